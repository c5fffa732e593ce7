"""Files: plain NDJSON, gzip and CSV through filter, map and fold, against the loops that a careful hand writes over a file.

``python -m benchmarks.files [--records N] [--pairs N]`` prints the rows alone.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

import rxstreams as rxs
from benchmarks import data, loops, measure
from benchmarks.pipelines import keep, to_vnd
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.feeds.files import from_files

GOALS = {"ndjson": "≥ 0.8", "ndjson.gz": "", "csv": ""}


def ratios(pairs: int, records: int = 300_000) -> Iterator[measure.Ratio]:
    """A file of each kind against its loop."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in written(Path(folder), data.orders(records)).items():
            yield measure.compare(
                f"W1 over a file of {kind}", GOALS[kind], lambda path=path, kind=kind: LOOPS[kind](path),  # type: ignore[misc]  # of this turn
                lambda path=path: ours(path), records=records, same=close, pairs=pairs,
            )  # fmt: skip


def close(a: tuple[int, float], b: tuple[int, float]) -> bool:
    return a[0] == b[0] and abs(a[1] - b[1]) <= 1e-9 * abs(a[1])


def written(folder: Path, orders: list[bytes]) -> dict[str, Path]:
    """The orders as files of each kind."""
    paths = {kind: folder / f"orders.{kind}" for kind in GOALS}
    lines = b"\n".join(orders) + b"\n"
    paths["ndjson"].write_bytes(lines)
    paths["ndjson.gz"].write_bytes(gzip.compress(lines, 6))
    with paths["csv"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(loops.Order.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(msgspec.json.decode(one, type=loops.Order)) for one in orders)
    return paths


def over_lines(path: Path) -> tuple[int, float]:
    with open(path, "rb") as file:
        return loops.w1(file)


def over_gzip(path: Path) -> tuple[int, float]:
    with gzip.open(path, "rb") as file:
        return loops.w1(file)


def over_rows(path: Path) -> tuple[int, float]:
    n, total = 0, 0.0
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            order = msgspec.convert(row, loops.Order, strict=False)
            if keep(order):
                n += 1
                total += to_vnd(order)
    return n, total


LOOPS = {"ndjson": over_lines, "ndjson.gz": over_gzip, "csv": over_rows}


def ours(path: Path) -> tuple[int, float]:
    """The file through a run, with nothing but its end committed."""
    stream = from_files(path, loops.Order, progress=False).pipe(
        ops.filter(keep), ops.map(to_vnd), ops.aggregate(n=agg.count(), total=agg.sum()), ops.to_view("w1")
    )
    row = asyncio.run(_to_the_end(stream))[None]
    return row.n, row.total


async def _to_the_end(stream: Any) -> Any:
    async with rxs.start(stream, app="files", broker=MemoryBroker(), commit_interval=60.0) as running:
        await running.wait()
        return running.view("w1")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--pairs", type=int, default=measure.PAIRS)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"{os.cpu_count()} cores; CPU of the loop ÷ ours | median | quartiles | goal | wall ÷ CPU | ns a record")
    for one in ratios(chosen.pairs, chosen.records):
        print(one.row(), flush=True)
