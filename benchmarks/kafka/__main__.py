"""Print every speed figure of Kafka in docs/performance.md: ``python -m benchmarks.kafka [--records N] [--only k2] [--write]``.

Rates are records per CPU second of a whole process, imports and start-up in it, and after the first 30% of the input; every
result of every run is compared. Ratios are of two runs of one round. It starts a broker of its own, whose time counts for nobody.
``--write`` puts the tables into the document.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import platform
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from benchmarks.kafka import commits, k2, latency, processes
from rxstreams.brokers.kafka import KafkaBroker
from tests.servers.kafka import running

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
RATES = "K2, exactly once", "thousand records per CPU second", "after the first 30%", "wall ÷ CPU", "ms between commits", "MB"
RATIOS = "K2", "ratio, round by round", "after the first 30%", "goal"
FIGURES = "figure", "measured", "goal"
PARTS = "k2", "latency", "commits"
BEGIN, END = "<!-- kafka -->", "<!-- /kafka -->"


async def measure(address: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """All tables' lines, printed as they come."""
    lines: list[str] = []
    figures: list[tuple[str, ...]] = []
    env = processes.environment(str(folder / "bytecode"))
    broker = KafkaBroker(address)
    await broker.start()
    try:
        if "k2" in options.only:
            one = k2.K2(broker, address, folder, env, options.records)
            await one.measure(options.variants, options.rounds)
            lines += _told(RATES, one.rates()) + _told(RATIOS, one.ratios())
            figures += one.figures()
        if "latency" in options.only:
            figures += await latency.rows(broker, address, env, options.seconds)
        if "commits" in options.only:
            figures += await commits.rows(broker)
    finally:
        await broker.stop()
    return lines + _told(FIGURES, figures)


def _told(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table's lines, printed."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *lines, ""]
    print("\n".join(lines), flush=True)
    return lines


def main() -> None:
    """Measure, print, and write on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long records are sent at a steady rate")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--variants", nargs="+", choices=k2.NAMES, default=list(k2.NAMES))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "broker") as server:
        lines = asyncio.run(measure(server.address, Path(folder), options))
    if options.write:
        write(lines, options.records, options.rounds)


def write(lines: list[str], records: int, rounds: int) -> None:
    """Replace the tables in the document."""
    head, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    made = f"`make bench-kafka` ({records:,} records, {rounds} rounds), Python {platform.python_version()}:"
    DOCUMENT.write_text(f"{head}{BEGIN}\n{made}\n\n" + "\n".join(lines) + f"{END}{tail}")


if __name__ == "__main__":
    main()
