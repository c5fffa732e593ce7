"""K2's variants in turns: each in a process of its own, its output compared, its rates kept by round."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from benchmarks.kafka import processes, streams
from benchmarks.kafka.orders import PARTITIONS, Expected, check, fill
from benchmarks.kafka.processes import Taken
from rxstreams.brokers.contract import Retention
from rxstreams.brokers.kafka import KafkaBroker

PLAIN, TUNED, CLIENT, BATCHES, STREAMS = "plain", "tuned", "client", "batches", "streams"
NAMES = {
    PLAIN: "aiokafka by hand, plain",
    TUNED: "aiokafka by hand, tuned",
    CLIENT: "rxstreams, by the client's public way",
    BATCHES: "rxstreams, straight from the record batches",
    STREAMS: "Kafka Streams 4.1, in memory",
}
FEW = 10_000
"""Records of a first run that nobody counts: it compiles bytecode, and fails fast."""

_turns = count()


class K2:
    """The input on a broker, and what was measured with it.

    Args:
        broker: Started.
        address: Its address.
        folder: For compiled classes and state.
        env: The processes' environment.
        records: How many orders.
    """

    def __init__(self, broker: KafkaBroker, address: str, folder: Path, env: Mapping[str, str], records: int) -> None:
        self.broker, self.address, self.folder, self.env, self.records = broker, address, folder, env, records
        self.taken: dict[str, list[Taken]] = defaultdict(list)
        self.java: list[str] = []
        self.expected: dict[str, Expected] = {}

    async def measure(self, variants: Sequence[str], rounds: int) -> None:
        """Run the Python ones in turns, there and back, then Kafka Streams twice."""
        by_python = [one for one in variants if one != STREAMS]
        for topic, records in ("few", FEW), ("orders", self.records):
            self.expected[topic] = await fill(self.address, topic, records)
        for one in by_python:
            await self.run(one, "few", FEW)
        for turn in range(rounds):
            for one in by_python if turn % 2 == 0 else reversed(by_python):
                self.taken[one].append(await self.run(one, "orders", self.records))
        if STREAMS in variants:
            self.java = streams.compiled(self.folder)
            self.taken[STREAMS] = [await self.run(STREAMS, "orders", self.records) for _ in range(2)]

    async def run(self, variant: str, topic: str, records: int) -> Taken:
        """Run a variant, and compare what it wrote."""
        sink = f"{variant}-{next(_turns)}"
        await self.broker.create_topic(sink, PARTITIONS, Retention())
        group, command = self._command(variant, topic, sink, records)
        jvm = variant == STREAMS
        taken = await processes.measure(self.broker, command, self.env, group=group, records=records, ends=not jvm)
        expected = self.expected[topic]
        # Kafka Streams knows no watermark over partitions: each closes its windows by its own records.
        await check(self.broker, sink, expected.apart if jvm else expected.together)
        return taken

    def _command(self, variant: str, topic: str, sink: str, records: int) -> tuple[str, list[str]]:
        """The group that it commits for, and the command."""
        arguments = self.address, topic, sink
        if variant == STREAMS:
            return f"streams-{sink}", [*self.java, *arguments, str(self.folder / sink)]
        if variant in (PLAIN, TUNED):
            return f"loop-{sink}", processes.module("loops", variant, *arguments, str(records))
        return f"rxstreams-{sink}", processes.module("worker", variant, *arguments)

    # Tables.

    def rates(self) -> Iterator[tuple[str, ...]]:
        """A row for each variant."""
        for variant, name in NAMES.items():
            if taken := self.taken[variant]:
                yield (
                    name,
                    _thousands(one.rate for one in taken),
                    _thousands(one.warm for one in taken),
                    f"{statistics.median(one.wall / one.cpu for one in taken):.2f}",
                    f"{self._median(variant, 'between') * 1000:.0f}",
                    f"{self._median(variant, 'megabytes'):.0f}",
                )

    def ratios(self) -> Iterator[tuple[str, ...]]:
        """A row for each comparison: by round, of whole runs and without their starts."""
        for ours, theirs, goal in (
            (CLIENT, TUNED, "≥ 0.8"),
            (BATCHES, TUNED, "≥ 1.3"),
            (CLIENT, PLAIN, ""),
            (BATCHES, PLAIN, ""),
        ):
            pairs = list(zip(self.taken[ours], self.taken[theirs]))
            if pairs:
                whole, warm = [a.rate / b.rate for a, b in pairs], [a.warm / b.warm for a, b in pairs]
                yield f"{NAMES[ours]} ÷ {NAMES[theirs]}", spread(whole), spread(warm), goal
        for ours in (CLIENT, BATCHES):
            if self.taken[ours] and self.taken[STREAMS]:
                whole, warm = (self._median(ours, what) / self._median(STREAMS, what) for what in ("rate", "warm"))
                yield f"{NAMES[ours]} ÷ {NAMES[STREAMS]}", f"{whole:.2f}", f"{warm:.2f}", "≥ 3 without start-up"

    def figures(self) -> Iterator[tuple[str, ...]]:
        """(what, figure, goal): how often rxstreams commits, and whether it waits."""
        for variant in (CLIENT, BATCHES):
            if taken := self.taken[variant]:
                between = self._median(variant, "between") * 1000
                yield f"{NAMES[variant]}: ms from commit to commit", f"{between:.0f}", "≤ 120"
                waits = statistics.median(one.wall / one.cpu for one in taken)
                yield f"{NAMES[variant]}: wall ÷ CPU", f"{waits:.2f}", "≤ 1.3"

    def _median(self, variant: str, what: str) -> float:
        return statistics.median(getattr(one, what) for one in self.taken[variant])


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """The median, and the quartiles."""
    if len(values) < 3:
        return " and ".join(f"{one:{form}}" for one in values)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}}–{high:{form}})"


def _thousands(values: Iterable[float]) -> str:
    return spread([one / 1000 for one in values], ".0f")
