"""Files among other sources: subscriptions, progress, memory, descriptors, thousands of files."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.feeds.files import from_files
from rxstreams.feeds.files.reading import Reading
from tests.feeds.files.reading import Order, following, lines, passed, run, write
from tests.runtime.faulty import FaultyBroker, got, until

DESCRIPTORS = Path("/proc/self/fd")
needs_proc = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="open files are counted in /proc")


def feed(*pattern: Path, **options: Any) -> Any:
    """The feed of a source."""
    return from_files(list(pattern), Order, **options).operation.ends


@pytest.mark.asyncio
async def test_a_subscription_reads_from_the_start_to_the_end(tmp_path: Path) -> None:
    """Value by value, over all files, and it saves nothing."""
    write(tmp_path, a=lines(range(3000)), b=lines([3000]))
    assert [one.id async for one in from_files(tmp_path / "*.ndjson", Order)] == list(range(3001))
    assert [one.id async for one in from_files(tmp_path / "*.ndjson", Order).pipe(ops.take(2))] == [0, 1]


@pytest.mark.asyncio
@needs_proc
@pytest.mark.parametrize("follow", [False, True])
async def test_no_file_stays_open_when_a_run_is_stopped(follow: bool, tmp_path: Path) -> None:
    """Neither the one that is being read, nor those that are followed."""
    write(tmp_path, **{f"f{i:03}": lines(range(500)) for i in range(100)})
    before = _open_below(tmp_path)
    seen: list[int] = []
    stream = from_files(tmp_path / "*.ndjson", Order, follow=follow).pipe(
        ops.do_action(lambda one: seen.append(one.id)), ops.count()
    )
    async with rxs.start(stream, app="files", broker=MemoryBroker()) as running:
        await until(lambda: len(seen) >= (50_000 if follow else 1))
        during = _open_below(tmp_path)
        await running.stop()
    assert (before, _open_below(tmp_path)) == (0, 0)
    assert during <= 64
    assert not follow or during == 64


@pytest.mark.asyncio
@needs_proc
async def test_no_file_stays_open_when_it_is_cancelled_while_a_thread_reads(tmp_path: Path) -> None:
    """Who is cancelled waits for the thread, and then closes."""
    with (tmp_path / "a.ndjson").open("wb") as file:
        file.truncate(50_000_000)
    chunks = feed(tmp_path / "a.ndjson").chunks(None, None, first=None, saved={})
    reading = asyncio.ensure_future(anext(chunks))
    await until(lambda: _open_below(tmp_path) > 0)
    assert not reading.done()
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading
    assert reading.cancelled()
    assert _open_below(tmp_path) == 0


@pytest.mark.asyncio
async def test_the_loop_goes_on_while_a_file_is_read(tmp_path: Path) -> None:
    """Others have many turns before a long line has been passed over."""
    with (tmp_path / "a.ndjson").open("wb") as file:
        file.truncate(50_000_000)
    chunks = feed(tmp_path / "a.ndjson", max_item=100).chunks(None, None, first=None, saved={})
    reading, turns = asyncio.ensure_future(anext(chunks)), 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    await chunks.aclose()
    assert len(reading.result().values) == 1
    assert turns > 10


def _open_below(folder: Path) -> int:
    """How many files in a folder this process has open."""
    return len(_descriptors(folder))


def _descriptors(folder: Path) -> list[str]:
    """The numbers of this process's open files in a folder."""
    found = []
    for descriptor in os.listdir(DESCRIPTORS):
        with suppress(OSError):
            if os.readlink(DESCRIPTORS / descriptor).startswith(str(folder)):
                found.append(descriptor)
    return found


@pytest.mark.asyncio
@needs_proc
async def test_it_reads_no_further_than_it_is_asked(tmp_path: Path) -> None:
    """Of a file of 60 MB whose records find no room below, some blocks are read, however often the thread has had a chance."""
    path = tmp_path / "a.ndjson"
    path.write_bytes((b'{"id":1,"amount":2,"x":"' + b"x" * 1000 + b'"}\n') * 60_000)
    gate, called = asyncio.Event(), list[int]()

    async def wait(order: Order) -> None:
        called.append(order.id)
        await gate.wait()

    stream = from_files(path, Order).pipe(ops.to_callable(wait, capacity=4))
    async with rxs.start(stream, app="files", broker=MemoryBroker()) as running:
        await until(lambda: bool(called))
        for _ in range(100):
            await asyncio.to_thread(os.getpid)
        [position] = [_position(one) for one in _descriptors(tmp_path)]
        stopping = asyncio.ensure_future(running.stop())
        gate.set()
        await stopping
    assert 2**20 <= position < 8 * 2**20


def _position(descriptor: str) -> int:
    """How far a file of this process has been read."""
    return int(Path(f"/proc/self/fdinfo/{descriptor}").read_text().split()[1])


@pytest.mark.asyncio
async def test_ten_thousand_files_are_saved_when_they_change_and_only_then(tmp_path: Path) -> None:
    """A commit after one of them has grown writes the entry of that one, not those of all."""
    for i in range(10_000):
        (tmp_path / f"{i:05}.ndjson").write_bytes(b'{"id": %d}\n' % i)
    broker = FaultyBroker(lambda _, make: make())
    async with following(tmp_path / "*.ndjson", broker) as come:
        await come(list(range(10_000)))
        before = len(broker.commits)
        with (tmp_path / "05000.ndjson").open("ab") as file:
            file.write(b'{"id": 10000}\n')
        await come(list(range(10_001)))
        written = b"".join(
            put.value or b"" for commit in broker.commits[before:] for put in commit.puts if b"position" not in put.key
        )
    assert written.count(b".ndjson") in range(1, 400), "an entry, or its group's snapshot"
    assert b"05000.ndjson" in written


@pytest.mark.asyncio
async def test_a_thread_is_asked_for_many_small_files_at_once(tmp_path: Path) -> None:
    """One turn of the thread takes in thousands of records, of however many files."""
    for i in range(1000):
        (tmp_path / f"{i:04}.ndjson").write_bytes(lines([i]))
    reading = Reading(feed(tmp_path / "*.ndjson").what, 0, {})
    chunks = reading.take()
    assert (len(chunks), reading.take()) == (1000, [])
    reading.close()


@pytest.mark.asyncio
async def test_files_without_a_timestamp_have_the_clock_s(tmp_path: Path) -> None:
    """Each record's time is when it was read, by the run's clock, also where it is decoded in one loop with windows."""
    write(tmp_path, a=lines([1, 2]))
    stream = from_files(tmp_path / "a.ndjson", Order).pipe(
        ops.key_by(lambda one: 0), ops.windowed(rxs.tumbling(60), n=rxs.aggregates.count()), ops.map(lambda w: (w.start, w.n)),
        ops.to_topic("out"),
    )  # fmt: skip
    broker = MemoryBroker()
    async with rxs.start(stream, app="files", broker=broker, clock=lambda: 120.5) as running:
        await running.wait()
    assert await got(broker) == [[120_000, 2]]


@pytest.mark.asyncio
async def test_a_run_of_files_promises_exactly_once(tmp_path: Path) -> None:
    """Files can be read again; two sources in one run have a name each, and what is saved of one is not the other's."""
    write(tmp_path, a=lines([1]))
    one, other = (from_files(tmp_path / "a.ndjson", Order, name=name) for name in ("one", "other"))
    broker = MemoryBroker()
    async with rxs.start(
        one.pipe(ops.merge(other), ops.map(lambda order: order.id), ops.to_topic("out")), app="files", broker=broker
    ) as running:
        assert running.guarantee.level == "exactly_once"
        await running.wait()
    assert await got(broker) == [1, 1]


@pytest.mark.asyncio
async def test_progress_is_shown_on_standard_error_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """True shows a bar with how much of how much; False, and by itself what is no terminal, none."""
    write(tmp_path, a=lines(range(10_000)))
    shown = []
    for progress in (True, False, None):
        await run(tmp_path / "a.ndjson", progress=progress)
        out, error = capsys.readouterr()
        assert not out
        shown.append("━" in error)
        if progress:
            size = (tmp_path / "a.ndjson").stat().st_size
            assert f"{size / 1000:.1f}/{size / 1000:.1f} kB" in error
    assert shown == [True, False, False]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """Neither DuckDB, nor rich, nor a library for zstd."""
    code = "import sys, rxstreams.feeds.files; print([one for one in ('duckdb', 'rich', 'backports.zstd') if one in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_a_source_shows_what_it_reads() -> None:
    """Its picture has the pattern."""
    assert passed("logs/*.csv", dict, follow=True).inputs[0].inputs[0].operation.title == (
        "from_files(pattern='logs/*.csv', type=dict, follow=True)"
    )
