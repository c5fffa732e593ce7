"""Memory stays flat while records pass: nothing in a run grows with the number of records."""

import asyncio
import gc
import os
import resource
import sys
from pathlib import Path

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Record, Retention
from rxstreams.brokers.memory import MemoryBroker
from tests.runtime.faulty import until

SHARE = 20_000


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "records",
    [
        pytest.param(1_000_000, marks=[pytest.mark.timeout(120)]),
        pytest.param(5_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
async def test_memory_stays_flat(records: int) -> None:
    """What a process of its own holds does not grow (one that has run other tests has gaps in its memory to fill)."""
    code = f"import asyncio; from tests.runtime.test_run_memory import run; asyncio.run(run({records}))"
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    print(out.decode())


async def run(records: int) -> None:
    """Records come, pass through state, views and outputs, and are deleted by retention; what is held does not grow."""
    broker = MemoryBroker()
    for topic in ("in", "out"):
        await broker.create_topic(topic, 2, Retention(max_bytes=100_000))
    values = [Record(msgspec.json.encode({"user": f"u{n % 1_000}", "amount": n % 97}), b"%d" % n) for n in range(SHARE)]
    orders = rxs.from_topic("in", dict)
    totals = orders.pipe(
        ops.key_by("user"), ops.aggregate(n=agg.count(), total=agg.sum("amount")), ops.to_view("totals", publish=True)
    )
    copied = orders.pipe(ops.map(lambda o: o["amount"]), ops.scan(lambda a, b: (a + b) % 1_000, 0), ops.to_topic("out"))
    held: list[int] = []
    async with rxs.start(totals, copied, app="app", broker=broker, commit_interval=0.05) as running:
        await broker.append("in", values[:1])  # with its first commit the app is known to retention
        await until(lambda: running.statistics.epochs == 1)
        for turn in range(records // SHARE):
            await broker.append("in", values)
            await until(lambda done=(turn + 1) * SHARE: running.statistics.records > done, within=60)  # type: ignore[misc]  # this turn
            if turn % 5 == 4:
                held.append(resident())
    assert sum(row.n for row in running.view("totals").values()) == records + 1
    assert sum(await broker.end_offsets("in")) == sum(await broker.end_offsets("out")) == records + 1
    await broker.retain()  # while records come, how far deletion is behind them is a matter of luck
    kept = [end - start for end, start in zip(await broker.end_offsets("in"), await broker.start_offsets("in"))]
    assert max(kept) <= SHARE, "what was read is deleted"
    print("resident MB:", [round(bytes_ / 1e6) for bytes_ in held])
    half = len(held) // 2  # until then batches, buffers and the allocator grow to their size
    # 50 bytes a record of the second half; the five million of `make soak` notice less than five.
    assert max(held[half:]) - max(held[:half]) < 25_000_000, held


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
