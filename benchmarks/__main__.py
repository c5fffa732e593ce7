"""Print every speed figure of docs/performance.md: ``python -m benchmarks [--records N] [--pairs N] [--write]``.

Ratios are CPU time of the reference ÷ ours, pair by pair in one process, medians and quartiles; 1 is as fast as the reference.
Absolute figures are scaled to a machine on which the W1 loop takes 300 ns a record. ``--write`` puts the table into the document.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import structlog

from benchmarks import brokers, data, feeds, files, flow, http, joins, loops, measure, patterns, pipelines, vocabulary, windows

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def ratios(records: list[bytes], pairs: int) -> Iterator[measure.Ratio]:
    """The workloads against their loops."""
    n = len(records)
    memory = pipelines.memory(records)
    close = lambda a, b: a[0] == b[0] and abs(a[1] - b[1]) <= 1e-9 * abs(a[1])  # noqa: E731  # a value among values
    yield measure.compare(
        "W1 decode, filter, map, fold", "≥ 0.85", lambda: loops.w1(records), lambda: pipelines.run_w1(memory),
        records=n, same=close, pairs=pairs,
    )  # fmt: skip
    yield measure.compare(
        "TOT running count and sum per user into a view", "≥ 0.75", lambda: loops.totals(records),
        lambda: pipelines.run_totals(memory, 60.0), records=n, pairs=pairs,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sqlite = pipelines.sqlite(records, folder)
        yield measure.compare(
            "TOT from a SQLite topic, committed every 100 ms", "≥ 0.55, wall ≤ 1.3 × CPU", lambda: pipelines.loop_totals(sqlite),
            lambda: pipelines.run_totals(sqlite, 0.1), records=n, pairs=pairs,
        )  # fmt: skip
    yield measure.compare(
        "W1 against RxPY", "≥ 2.5", lambda: pipelines.rxpy_w1(records), lambda: pipelines.run_w1(memory),
        records=n, same=close, pairs=pairs,
    )  # fmt: skip
    few = list(range(min(n, 50_000)))
    yield measure.compare(
        "direct subscribe, map and filter, against RxPY", "≥ 1 / 3.5 = 0.29", lambda: pipelines.rxpy_direct(few),
        lambda: pipelines.ours_direct(few), records=len(few), pairs=pairs,
    )  # fmt: skip


def import_ratio(pairs: int) -> tuple[float, float]:
    """CPU seconds of ``import rxstreams`` ÷ those of ``import reactivex``: median, and the median of ours in ms."""
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"

    # With bytecode cached for both, wherever the environment would not write it (an installed package has it).
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}

        def once(module: str) -> float:
            return float(subprocess.check_output([sys.executable, "-c", code.format(module)], text=True, env=environment))

        once("rxstreams")
        timed = [(once("rxstreams"), once("reactivex")) for _ in range(pairs)]
    return statistics.median(a / b for a, b in timed), statistics.median(a for a, _ in timed) * 1000


def bytes_per_idle_key(keys: int = 100_000) -> float:
    """What an idle key of ``aggregate(count, sum)`` keeps in memory, its text left out."""
    names = [f"u-{i}" for i in range(keys)]
    records = [b'{"id":"o","user_id":"%s","amount":1.0,"ts":0}' % name.encode() for name in names]
    broker = pipelines.memory(records)
    del records
    used = measure.traced(lambda: pipelines.hold_totals(broker))
    return (used - sum(map(sys.getsizeof, names))) / keys


def main() -> None:
    """Measure, print, and write on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--pairs", type=int, default=measure.PAIRS)
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    records = data.orders(options.records)

    lines = ["| work | ratio to the reference | quartiles | goal | wall ÷ CPU | ns a record |", "|---|---|---|---|---|---|"]
    print("\n".join(lines))
    pairs = options.pairs
    families = windows.ratios(len(records), pairs), joins.ratios(pairs), patterns.ratios(pairs), vocabulary.ratios(pairs)
    outside = flow.ratios(pairs), feeds.ratios(pairs), files.ratios(pairs)
    all_ratios = ratios(records, pairs), *families, *outside
    for ratio in chain(*all_ratios):
        lines.append(ratio.row())
        print(lines[-1], flush=True)
    lines += ["", "| figure | measured | goal |", "|---|---|---|"]
    rows = [*vocabulary.rows(), *windows.rows(), *joins.rows(), *patterns.rows(), *flow.rows(pairs)]
    rows += [(name, f"{value:.2f} µs a record, scaled", goal) for name, value, goal in brokers.broker_rows()]
    ratio, milliseconds = import_ratio(options.pairs)
    rows.append(("`import rxstreams` ÷ `import reactivex`, CPU", f"{ratio:.2f} ({milliseconds:.0f} ms)", "≤ 1.3"))
    rows.append(("bytes per idle key of `aggregate(count, sum)`", f"{bytes_per_idle_key():.0f}", "≤ 400"))
    rows += http.rows(options.pairs)
    for row in rows:
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
    if options.write:
        write(lines, options.records, options.pairs)


def write(lines: list[str], records: int, pairs: int) -> None:
    """Replace the table in the document."""
    head, _, rest = DOCUMENT.read_text().partition("<!-- table -->")
    _, _, tail = rest.partition("<!-- /table -->")
    made = f"`make bench` ({records:,} records, {pairs} pairs), Python {platform.python_version()}:"
    DOCUMENT.write_text(f"{head}<!-- table -->\n{made}\n\n" + "\n".join(lines) + f"\n<!-- /table -->{tail}")


if __name__ == "__main__":
    main()
