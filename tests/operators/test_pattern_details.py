"""What the examples of patterns do not show: what ends the waiting, when time is over, what is refused, saved and freed."""

from random import Random
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import Skip, operators as ops
from rxstreams.patterns import Pattern, no_skip, past_last, to_first, to_last, to_next
from tests.laws.harness import Drive, End, Rec, deltas_alone, run
from tests.operators.test_patterns import A2, A, B, C, D, as_text, came, found, look, text


def always(value: Any, before: Any) -> bool:
    """A condition on the events before that always holds: with it, each partial match is kept apart."""
    return True


TWICE = A.one_or_more().followed_by(B.optional()).times(1, 2)


@pytest.mark.parametrize("exact", ["", "c", "bc"])
@pytest.mark.parametrize(
    ("build", "events", "expected"),
    [
        # What must not come ends the waiting of those before it, and at once only that of the one just before it.
        (lambda b, c: A.not_followed_by(b).followed_by(c), "a1 d b a2 d c", ["a2 c"]),
        (lambda b, c: A.not_next(b).followed_by(c), "a1 a2 b c", ["a1 c"]),
        (lambda b, c: A.not_next(b).followed_by(c), "a b c", []),
        # What is until something does not begin with it.
        (lambda b, c: text("ab", "x").one_or_more().until(lambda value: value["e"] == "a0").next(c), "a0 c a1 c", ["a1 c"]),
        # What is greedy keeps its events from what follows, unless it can take no more; also where it may be left out.
        (lambda b, c: A.next(b.times(1, 2).greedy()).next(text("bc", "end")), "a b1 b2 b3 c", ["a b1 b2 b3"]),
        (lambda b, c: A.next(b.one_or_more().greedy().optional()).next(text("bc", "end")), "a b c", ["a b c"]),
        (lambda b, c: b.one_or_more().greedy().optional().next(text("bc", "end")), "b c", ["b c", "c"]),
        (lambda b, c: A.next(b.one_or_more().greedy()).not_followed_by(c).within(9), "a b1 b2", ["a b1 b2"]),
        # What is left out leaves how close the next must follow.
        (lambda b, c: A.followed_by(D.optional().next(c)), "a1 c1 a2 b c2", ["a1 c1"]),
        # Each number of times that is enough makes a match.
        (lambda b, c: A.followed_by(b.times(1, 2)), "a b1 b2", ["a b1", "a b1 b2"]),
    ],
)
def test_what_ends_the_waiting_does_so_also_with_conditions_on_earlier_events(
    exact: str, build: Any, events: str, expected: list[str]
) -> None:
    """The same with a condition on the events before that always holds."""
    b, c = (text(letter, given=always if letter in exact else None) for letter in "bc")
    assert sorted(found(build(b, c), events)) == expected


@pytest.mark.parametrize("given", [None, always])
def test_what_is_over_begins_nothing_while_what_came_after_it_goes_on(given: Any) -> None:
    """Also where timers are late: they go by steps of a sixteenth of ``within``."""
    events = [Rec("a", 0, {"key": "k", "e": e}, time) for e, time in (("a1", 1_001), ("a2", 1_501), ("a3", 1_502), ("b", 3_501))]
    pattern = A.followed_by(text("b", given=given)).within(2)
    assert [as_text(one) for one in run([*events, End("a")], look(pattern), cuts=()).values[0]] == ["a3 b"]


@pytest.mark.parametrize("pattern", [TWICE, C.optional().followed_by(TWICE)], ids=str)
def test_a_match_that_is_found_in_two_ways_comes_out_once(pattern: Pattern) -> None:
    """Two events are one repetition of two, and two of one."""
    assert sorted(found(pattern, "a1 a2")) == ["a1", "a1 a2", "a2"]


@pytest.mark.parametrize("given", [None, always])
@pytest.mark.parametrize(
    ("build", "events", "expected", "over"),
    [
        (lambda b: A.followed_by(b).within(3), "a1 d a2 b", ["a2 b"], [("a1", 3_999)]),
        (lambda b: A.followed_by(b.one_or_more()).within(3), "a b1", ["a b1"], []),
        (lambda b: A.not_followed_by(b).within(3), "a1 a2 b", [], []),
        (lambda b: A.not_followed_by(b).within(3), "a1 a2", ["a1", "a2"], []),
        (lambda b: A.not_next(b).within(3), "a1 a2", ["a1"], [("a2", 4_999)]),
    ],
)
def test_a_partial_match_is_told_when_its_time_is_over(
    given: Any, build: Any, events: str, expected: list[str], over: list[tuple[str, int]]
) -> None:
    """Unless it was complete; an event that comes just then is not of it any more."""
    stream = look(build(text("b", given=given)))
    matches, told = run([*came(events), End("a")], stream, stream.timed_out, cuts=()).values
    assert [as_text(one) for one in matches] == expected
    assert [(as_text(one), one.end) for one in told] == over


TURNS = A.followed_by(B).optional().followed_by(C).within(3)


def test_a_match_comes_out_as_soon_as_what_began_before_it_is_over() -> None:
    """Not in steps of a sixteenth of ``within``, and whatever has begun after it; also if it was restored in the meantime."""
    drive = Drive(look(TURNS, past_last))
    drive.feed(came("a1 c a2"))
    other = [Rec("a", 0, {"key": "other", "e": "x"}, time) for time in (3_900, 3_999, 4_000)]
    drive.feed(other[:2])
    drive.commit()
    drive.crash()
    assert drive.outcome().values == [[]]
    drive.feed(other[2:])
    assert [as_text(one) for one in drive.outcome().values[0]] == ["c"]


@pytest.mark.parametrize(
    ("skip", "expected"), [(past_last, ["a b c2"]), (to_next, ["a b c2", "c1", "c2"]), (no_skip, ["c1", "a b c2", "c2"])]
)
def test_a_match_that_is_complete_later_may_end_one_that_is_complete(skip: Any, expected: list[str]) -> None:
    """If it began before it."""
    assert found(A.followed_by(B).optional().followed_by(C), "a c1 b c2", skip) == expected


@pytest.mark.parametrize(
    ("pattern", "events", "limit"),
    [
        (A.followed_by_any(A2).followed_by(B).within(100), "a1 a2 a3 a4 a5 a6 b", 12),
        (A.one_or_more().combinations().within(100), "a1 a2 a3 a4 a5", 12),
        (A.optional().followed_by(text("ab", "two")).followed_by(C).within(100), "b c a", 1),
    ],
    ids=str,
)
def test_an_event_that_is_too_much_is_as_if_it_had_not_come(pattern: Pattern, events: str, limit: int) -> None:
    """What is open is the same as without it."""
    left = []
    for sent in (came(events), came(events)[:-1]):
        drive = Drive(look(pattern, past_last if limit == 1 else no_skip, limit=limit, on_error=Skip()))
        drive.feed([*sent, Rec("a", 0, {"key": "other", "e": "x"}, 20_000)])
        assert len(drive.lost) == (len(sent) == len(came(events)))
        state = drive.outcome().states["a/detect"]["k"]
        left.append([getattr(state, name) for name in ("waits", "number", "size", "starts", "complete")])
    assert left[0] == left[1]


def test_what_is_due_at_one_time_is_in_the_order_of_the_keys() -> None:
    """Events, absences, and matches that need not wait any more at the end."""
    events = [Rec("a", 0, {"key": key, "e": "a"}, 1_000) for key in "lkm"]
    for pattern in (A, A.not_followed_by(B).within(2)):
        matches = run([*events, End("a")], look(pattern), cuts=()).values[0]
        assert [match.key for match in matches] == ["k", "l", "m"]
    events = [Rec("a", 0, {"key": key, "e": "a"}, 1_000 * i) for i, key in enumerate("lkmlkmlkm", 1)]
    matches = run([*events, End("a")], look(A.times(2).combinations(), to_first("a")), cuts=()).values[0]
    assert [match.key for match in matches[-3:]] == ["k", "l", "m"]


@pytest.mark.parametrize("given", [None, always])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("build", "events", "skip"),
    [
        (lambda c: A.one_or_more().followed_by(B.one_or_more()).followed_by(c), "a1 a2 b1 a3 b2 c1 a4 b3 c2 c3", no_skip),
        (lambda c: A.followed_by(B).optional().followed_by(c), "a1 c1 a2 c2 d d b1 c3", past_last),
        (lambda c: A.followed_by(B).not_followed_by(c), "a1 b1 a2 c1 a3 b2 d d d", to_next),
        (lambda c: A.followed_by_any(B).followed_by_any(c), "a1 a2 b1 c1 b2 c2 a3 b3 c3", to_last("b")),
    ],
)
def test_a_crash_after_each_event_changes_nothing(given: Any, told: bool, build: Any, events: str, skip: Any) -> None:
    """Whatever waits, is open, or has its turn later; and what is gone is gone in the table, too."""

    def make() -> list[rxs.Stream[Any]]:
        stream = look(build(text("c", given=given)).within(4), skip, delay=1.5)
        return [stream, stream.timed_out] if told else [stream]

    sent = [*came(events), *came(events, key="l"), End("a")]
    sent.sort(key=lambda one: one.time if isinstance(one, Rec) else 99_999)
    drive = Drive(*make())
    with deltas_alone():
        for i, one in enumerate(sent):
            drive.feed([one], offset=i)
            drive.commit()
            drive.crash()
    assert drive.outcome().results == run(sent, *make()).results
    assert [store.states for store in drive.graph.stores if store.states] == []


@pytest.mark.parametrize("given", [None, always])
def test_what_is_over_is_let_go_of_while_more_comes(given: Any) -> None:
    """Of a thousand events some dozens are kept, as no more are within a second."""
    stream = look(text("a", given=given).one_or_more().consecutive().followed_by(B).within(1))
    drive = Drive(stream)
    drive.feed(came(" ".join(["a"] * 1_000), apart=0.1), cuts=())
    [states] = [store.states for store in drive.graph.stores if store.identity.endswith("detect")]
    assert states["k"].size < 200


def test_a_restart_writes_nothing_anew_and_each_event_is_saved() -> None:
    """What was restored is as it was saved; what an event changes is saved with it, though nothing is looked at again."""
    drive = Drive(look(A.followed_by(B).followed_by(C).within(100)))
    with deltas_alone():
        for i, one in enumerate(came("a x b x")):
            drive.feed([one], offset=i)
            drive.commit()
        drive.crash()
        assert [store.dirty for store in drive.graph.stores if store.dirty] == []
        drive.feed([*came("a x b x c")[4:], End("a")], offset=4)
    assert [as_text(match) for match in drive.outcome().values[0]] == ["a b c"]


@pytest.mark.parametrize("seed", range(8))
def test_what_waited_through_a_restart_is_taken_once(seed: int) -> None:
    """Events come in no order, wait, are restored in another order, and are taken bit by bit as time passes, each bit saved."""
    random = Random(seed)
    begun = 1_700_000_000
    came = [{"key": key, "e": e, "at": begun * 1000 + random.randrange(8_000)} for key in "klmnopqrst" for e in "ab"]
    random.shuffle(came)
    events = rxs.from_topic("in", dict, timestamp="at", out_of_orderness=50, max_ahead=None)
    stream = events.pipe(ops.key_by("key"), ops.detect(A.followed_by(B), skip=past_last))
    drive = rxs.testing.drive(stream)
    with deltas_alone():
        drive.feed(*came)
        for seconds in range(1, 12):
            drive.restart()
            drive.commit()  # in which there is nothing new
            drive.watermark(begun + seconds)
    times = {(one["key"], one["e"]): one["at"] for one in came}
    assert sorted(match.key for match in drive.values(stream)) == [
        key for key in "klmnopqrst" if times[key, "a"] < times[key, "b"]
    ]
