"""Guards of what comes over HTTP: how much, from whom, and how slowly."""

from tests.mutants.guard import Mutant, mutant

BACKLOG = "tests/web/test_backlog.py::test_"
HOOK = "tests/web/test_webhook.py::test_"
ROUGH = "tests/pipelines/test_rough_clients.py::test_"


def rough(*of: str) -> Mutant:
    """A mutant whose tests start the shop as a process, which takes seconds."""
    return mutant(*of)._replace(seconds=30)


MUTANTS = [
    mutant(
        "what is let in between two looks is counted",
        "web/backlog.py",
        "        self._records += 1\n",
        "",
        f"{BACKLOG}exactly_as_many_are_let_in_as_the_bound_says",
    ),
    mutant(
        "a pause between two looks",
        "web/backlog.py",
        "now >= self._asked + _EVERY",
        "True",
        f"{BACKLOG}the_broker_is_asked_four_times_a_second_however_many_post",
    ),
    mutant(
        "one look for all that ask at once",
        "web/backlog.py",
        "        if self._looking is None and now",
        "        if now",
        f"{BACKLOG}a_post_does_not_wait_while_the_last_look_is_believed",
    ),
    mutant(
        "a look is believed for a while",
        "web/backlog.py",
        "now > self._told + _KNOWN",
        "True",
        f"{BACKLOG}a_post_does_not_wait_while_the_last_look_is_believed",
    ),
    mutant(
        "room before posts are let in again",
        "web/backlog.py",
        "elif self.full and self._records <= self.max_records * _ROOM:",
        "elif self.full and self._records < self.max_records:",
        f"{BACKLOG}posts_are_let_in_again_when_a_tenth_is_read",
    ),
    mutant(
        "an unknown backlog refuses nothing",
        "web/backlog.py",
        "        if self.why is not None:\n            self.full = False\n        elif",
        "        if",
        f"{BACKLOG}posts_are_let_in_while_the_backlog_is_not_known",
    ),
    mutant(
        "what retention has deleted is not unread",
        "web/backlog.py",
        "end - max(start, read.get((topic, p), 0))",
        "end - read.get((topic, p), 0)",
        f"{BACKLOG}what_retention_has_deleted_is_not_unread",
    ),
    mutant(
        "what was acknowledged is answered while the backlog is full",
        "web/intake.py",
        "if not (token and self._came_before(token)) and (refused",
        "if (refused",
        "tests/pipelines/test_shop.py::test_posts_are_refused_while_analytics_is_too_far_behind",
    ),
    mutant(
        "a signature is looked at",
        "web/intake.py",
        "        if problem is not None:\n            return _refusal(401",
        "        if False:\n            return _refusal(401",
        f"{HOOK}what_is_not_signed_right_is_refused_with_the_reason",
    ),
    mutant(
        "no empty secret",
        "web/webhook.py",
        "isinstance(one, str | bytes) and one for one in several)",
        "isinstance(one, str | bytes) for one in several)",
        f"{HOOK}what_nobody_could_sign_or_anybody_is_refused",
    ),
    mutant(
        "a timestamp is signed",
        "web/webhook.py",
        'stamp.encode() + b"." + body',
        "body",
        f"{HOOK}a_timestamp_is_part_of_what_is_signed",
    ),
    mutant(
        "a timestamp must be near",
        "web/webhook.py",
        "        if stamp is not None and not self._near(stamp):",
        "        if False:",
        f"{HOOK}a_timestamp_must_be_near_the_clock",
    ),
    rough(
        "patience with a request",
        "web/serving.py",
        "        if self._since is None:\n            self._since = self.loop.time()\n",
        "",
        f"{ROUGH}clients_that_dribble_or_say_nothing_are_let_go",
    ),
    rough(
        "patience with a silent connection",
        "web/serving.py",
        "        super().connection_made(transport)\n        self._since = self.loop.time()\n",
        "        super().connection_made(transport)\n        self._since = None\n",
        f"{ROUGH}clients_that_dribble_or_say_nothing_are_let_go",
    ),
    rough(
        "patience with a client that does not read",
        "web/serving.py",
        "self._stuck = self.loop.call_later(self.patience, self.transport.abort)",
        "pass",
        f"{ROUGH}clients_that_never_read_are_let_go",
    ),
    rough(
        "a bound for heads",
        "web/serving.py",
        "        if self._beside > _HEAD:",
        "        if False:",
        f"{ROUGH}a_head_that_is_too_long_is_refused",
    ),
    rough(
        "a bound for headers",
        "web/serving.py",
        "        if len(self.headers) >= _HEADERS:",
        "        if False:",
        f"{ROUGH}a_head_that_is_too_long_is_refused",
    ),
    rough(
        "a bound for requests that wait",
        "web/serving.py",
        "        if len(self.pipeline) >= _QUEUED:",
        "        if False:",
        f"{ROUGH}requests_that_do_not_wait_for_answers_are_answered_in_their_order",
    ),
    rough(
        "no 400 where another answer is due",
        "web/serving.py",
        "        if self.cycle is None or self.cycle.response_complete:",
        "        if True:",
        f"{ROUGH}what_is_no_http_is_refused",
    ),
]
