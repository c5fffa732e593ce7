"""Demo 9, complex event processing: patterns of payments over time, and what follows from them.

In: the topic ``payments``, live by when it took them, as users set clocks as they like; live, also ``unblocks``, an operator's
records. Out: a line when a user has three failed payments within five minutes; live, also the published view ``blocked``, by
which the shop refuses that user's payments until an operator unblocks the user. With ``--pattern retry`` it is another one: a
failed payment followed by one that has not failed, within ten seconds.

Run it with ``python -m pipelines.fraud`` beside the shop, with ``--sample`` over the example, or with ``--input FILE``, a payment
a line:

    FRAUD ALERT: User user-1 has 3 failed payments in 5 min
"""

from __future__ import annotations

from typing import Literal

import cyclopts
from reactivex import Observable

import rxstreams as rxs
from pipelines.records import SHOP, BrokerUrl, Payment, Standing, Unblock
from pipelines.sampling import Input, Sample, show, topics_from
from rxstreams import operators as ops
from rxstreams.patterns import Match, past_last, stage

EXAMPLE = [
    {"userId": "user-1", "status": "failed", "timestamp": "2026-01-16T10:00:00Z"},
    {"userId": "user-2", "status": "failed", "timestamp": "2026-01-16T10:00:10Z"},
    {"userId": "user-2", "status": "success", "timestamp": "2026-01-16T10:00:18Z"},
    {"userId": "user-1", "status": "failed", "timestamp": "2026-01-16T10:00:30Z"},
    {"userId": "user-1", "status": "failed", "timestamp": "2026-01-16T10:01:00Z"},
    {"userId": "user-1", "status": "failed", "timestamp": "2026-01-16T10:01:30Z"},
]
Which = Literal["fraud", "retry"]

failed = stage("failed", lambda payment: payment.status == "failed")
paid = stage("paid", lambda payment: payment.status != "failed")


def frauds(payments: Observable[Payment]) -> rxs.Stream[Match]:
    """Three failed payments of a user within five minutes; each payment counts for one of them only."""
    return payments.pipe(ops.key_by("user_id"), ops.detect(failed.times(3).within(300), skip=past_last))


def retries(payments: Observable[Payment]) -> rxs.Stream[Match]:
    """A failed payment of a user, and the next one that has not failed, within ten seconds."""
    return payments.pipe(ops.key_by("user_id"), ops.detect(failed.followed_by(paid).within(10), skip=past_last))


def alert(match: Match) -> str:
    """What is printed for a user with failed payments."""
    return f"FRAUD ALERT: User {match.key} has {len(match['failed'])} failed payments in 5 min"


def retry(match: Match) -> str:
    """What is printed for a user who paid after all."""
    return f"Retried: User {match.key} paid {(match.end - match.start) / 1000:g} s after a failed payment"


def standings(found: Observable[Match], unblocks: Observable[Unblock]) -> rxs.Stream[Standing]:
    """Who is blocked, as of the last alert or the operator's last record."""
    blocked = found.pipe(ops.map(lambda match: Standing(user_id=match.key, blocked=True)))
    free = unblocks.pipe(ops.map(lambda one: Standing(user_id=one.user_id, blocked=False)))
    return blocked.pipe(ops.merge(free), ops.key_by("user_id"), ops.to_view("blocked", publish=True))


def main(*, sample: Sample = False, file: Input = None, broker: BrokerUrl = SHOP, pattern: Which = "fraud") -> None:
    """Look for a pattern in the shop's payments until Ctrl-C."""
    live = not sample and file is None
    reading = {"timestamp": None if live else "timestamp", "out_of_orderness": 1.0 if live else 1e9, "idle_after": 1.0}
    with topics_from(EXAMPLE, {"payments": Payment}, sample=sample, file=file, broker=broker, **reading) as (topics, home):
        found = (frauds if pattern == "fraud" else retries)(topics["payments"])
        lines = found.pipe(ops.map(alert if pattern == "fraud" else retry), ops.to_callable(show))
        unblocks = rxs.from_topic("unblocks", Unblock, on_error=rxs.Skip())
        rxs.run(lines, *([standings(found, unblocks)] if live and pattern == "fraud" else []), app=pattern, broker=home)


if __name__ == "__main__":
    cyclopts.run(main)
