"""The app that is simulated, its inputs, and what it must come to."""

from functools import cache
from random import Random
from typing import Any, Literal, NamedTuple

import msgspec

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Broker, Record
from rxstreams.patterns import past_last, stage
from rxstreams.runtime.checkpoints import saved_topology
from rxstreams.runtime.chunks import read_group
from tests.crash.processes import keys_of

APP = "everything"
STATE = f"{APP}.state"
VIEW = f"{APP}.view.totals"
RECORDS = 10_000
INPUTS = 4
DISORDER = 20_000
"""Milliseconds by which an event's time may be away from its turn."""
BEGAN = 1_700_000_000_000

How = Literal["on", "to the present end", "to the end"]
"""How an instance reads its input: it waits for more, or stops at what is there, or knows that this is all."""


class Event(msgspec.Struct):
    """An input record: the ``seq``-th of ``part``, at ``at`` ms."""

    part: str
    seq: int
    user: str
    amount: int
    at: int


third = stage("third", lambda event: event.amount % 3 == 0)
fifth = stage("fifth", lambda event: event.amount % 5 == 0)


@cache
def pipeline(how: How) -> list[rxs.Stream[Any]]:
    """Running totals with a view, windows, a join, dedup and a pattern; of some events each, as many take long."""
    events = rxs.from_topic(
        "in", Event, timestamp="at", out_of_orderness=2.5 * DISORDER / 1000, until=None if how == "on" else "end",
        finish=how == "to the end", idle_after=None, advance_when_idle=False, max_ahead=None,
    )  # fmt: skip
    kept = events.pipe(ops.filter(lambda event: event.seq % 10 != 3))
    totals = kept.pipe(ops.key_by("user"), ops.aggregate(n=agg.count(), total=agg.sum("amount")))
    some = kept.pipe(ops.filter(lambda event: event.user.endswith(("0", "1", "2"))), ops.key_by("user"))
    windows = some.pipe(ops.windowed(rxs.tumbling(60), n=agg.count(), total=agg.sum("amount")))
    few = some.pipe(ops.filter(lambda event: event.user.endswith("1")))
    even, odd = few.pipe(ops.filter(lambda event: event.seq % 2 == 0)), few.pipe(ops.filter(lambda event: event.seq % 2 == 1))
    pairs = even.pipe(ops.interval_join(odd, lower=0, upper=90), ops.map(lambda two: [two[0].user, two[0].seq, two[1].seq]))
    firsts = kept.pipe(
        ops.dedup(lambda event: f"{event.part}/{event.seq // 3 % 100}", ttl=600), ops.map(lambda event: [event.part, event.seq])
    )
    matches = few.pipe(
        ops.detect(third.followed_by(fifth).within(200), skip=past_last),
        ops.map(lambda match: [match.key, match.start, match.end]),
    )
    first = lambda row: row[0]  # noqa: E731  # a value among values
    return [
        kept.pipe(ops.map(lambda event: [event.part, event.seq]), ops.to_topic("out", key=first, partitions=2)),
        totals.pipe(ops.to_topic("totals", partitions=2)),
        totals.pipe(ops.to_view("totals", publish=True)),
        windows.pipe(ops.to_topic("windows", partitions=2)),
        pairs.pipe(ops.to_topic("pairs", key=first)),
        firsts.pipe(ops.to_topic("firsts", key=first)),
        matches.pipe(ops.to_topic("matches", key=first)),
    ]


TOPICS = ("out", "totals", "windows", "pairs", "firsts", "matches")


class Input(NamedTuple):
    """What the topic ``in`` gets: per partition, records in order."""

    partitions: list[list[Record]]
    events: list[list[Event]]


@cache
def input_of(number: int, records: int = RECORDS) -> Input:
    """The ``number``-th input: two or three partitions, of which each has its users, who come and go."""
    dice = Random(f"input {number}")
    keys = keys_of(2 + number % 2)
    events = []
    for key in keys:
        part, time, mine = key.decode(), BEGAN, []
        for seq in range(records // len(keys)):
            time += dice.choice((1_000, 3_000, 3_000, 5_000)) if seq % 500 else 400_000
            user = f"{part}/{seq // 400 + dice.randrange(25)}"
            mine.append(Event(part, seq, user, dice.randrange(1_000), time + dice.randint(-DISORDER, DISORDER)))
        events.append(mine)
    encode = msgspec.json.Encoder().encode
    return Input([[Record(encode(one), key) for one in mine] for key, mine in zip(keys, events)], events)


class Outcome(NamedTuple):
    """What an app has come to."""

    topics: dict[str, dict[bytes, list[bytes]]]
    """The values of each topic, by key, in order."""
    view: dict[bytes, bytes]
    """The published view."""


async def outcome(broker: Broker) -> Outcome:
    """What is in the topics and in the published view."""
    topics: dict[str, dict[bytes, list[bytes]]] = {}
    known = await broker.topics()
    for topic in TOPICS:
        found: dict[bytes, list[bytes]] = {}
        for partition in range(known[topic]):
            got = await broker.read(topic, partition, 0, max_records=10 * RECORDS, max_bytes=2**40)
            for key, value in zip(got.keys or (), got.values, strict=True):
                found.setdefault(key or b"", []).append(value or b"")
        topics[topic] = found
    rows = (await broker.read_table(VIEW)).rows
    return Outcome(topics, {key: value or b"" for key, value in rows})


async def state(broker: Broker) -> dict[Any, Any]:
    """Every saved state, by operator, space and key; without the numbers that tell in which order records of several partitions
    came.
    """
    rows = (await broker.read_table(STATE)).rows
    position = saved_topology(rows)
    assert position is not None
    table = {key: value for key, value in rows if value is not None}
    found: dict[Any, Any] = {}
    waiting: list[Any] = []
    for group, record in position.groups.items():
        for (identity, space), states in read_group(table, group, record.generation, record.parts, record.deltas).items():
            if identity.endswith("/waiting events"):
                waiting += states.values()
                continue
            for key, value in states.items():
                found[identity, space, key] = value if space is None else value[1]
    return {**found, "waiting": sorted(waiting, key=repr)}


def folded(given: Input) -> tuple[dict[bytes, list[bytes]], dict[str, tuple[int, int]]]:
    """What ``out`` and the totals must be, computed without the engine."""
    out: dict[bytes, list[bytes]] = {}
    totals: dict[str, tuple[int, int]] = {}
    for events in given.events:
        for event in events:
            if event.seq % 10 != 3:
                out.setdefault(event.part.encode(), []).append(msgspec.json.encode([event.part, event.seq]))
                n, total = totals.get(event.user, (0, 0))
                totals[event.user] = n + 1, total + event.amount
    return out, totals
