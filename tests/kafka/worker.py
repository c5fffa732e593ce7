"""The process that the tests on Kafka kill: ``worker.py URL PROGRESS DELAY`` runs one app with a bit of everything."""

import sys
from typing import Any

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.patterns import past_last, stage
from tests.crash.worker import Event, counted

TOPICS = ("out", "totals", "windows", "pairs", "firsts", "matches")

third = stage("third", lambda event: event.amount % 3 == 0)
fifth = stage("fifth", lambda event: event.amount % 5 == 0)


def pipeline(keep: Any, *, until: Any = "end", ttl: float = 1e6) -> list[rxs.Stream[Any]]:
    """Running totals, windows, a join, dedup and a pattern, over the topic ``in`` to its end, or for ever."""
    kept = rxs.from_topic("in", Event, timestamp="at", until=until, max_ahead=None).pipe(ops.filter(keep))
    users = kept.pipe(ops.key_by("user"))
    totals = users.pipe(ops.aggregate(n=agg.count(), total=agg.sum("amount")))
    windows = users.pipe(ops.windowed(rxs.tumbling(60), n=agg.count(), total=agg.sum("amount")))
    even, odd = (users.pipe(ops.filter(lambda event, rest=rest: event.seq % 2 == rest)) for rest in (0, 1))
    pairs = even.pipe(ops.interval_join(odd, lower=0, upper=40), ops.map(lambda two: [two[0].part, two[0].seq, two[1].seq]))
    firsts = kept.pipe(ops.dedup(lambda event: f"{event.part}/{event.seq // 3}", ttl=ttl), ops.map(lambda e: [e.part, e.seq]))
    matches = users.pipe(
        ops.detect(third.followed_by(fifth).within(200), skip=past_last),
        ops.map(lambda match: [match.key, match.start, match.end]),
    )
    return [
        kept.pipe(ops.map(lambda event: [event.part, event.seq]), ops.to_topic("out", key=lambda pair: pair[0], partitions=2)),
        totals.pipe(ops.to_topic("totals", partitions=2)),
        totals.pipe(ops.to_view("totals", publish=True)),
        windows.pipe(ops.to_topic("windows", partitions=2)),
        pairs.pipe(ops.to_topic("pairs", key=lambda row: row[0])),
        firsts.pipe(ops.to_topic("firsts", key=lambda row: row[0])),
        matches.pipe(ops.to_topic("matches", key=lambda row: row[0])),
    ]


if __name__ == "__main__":
    url, progress, delay = sys.argv[1:]
    rxs.run(*pipeline(counted(progress, float(delay))), app="everything", broker=url, commit_interval=0.02)
