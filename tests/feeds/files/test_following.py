"""Files that are followed: what is new is read, once, whatever becomes of names in between."""

from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path

import pytest
import structlog

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import FeedError, OperatorError
from rxstreams.feeds.files import from_files
from tests.feeds.files.reading import Order, following, got, lines, write
from tests.feeds.files.test_restart import WRITE
from tests.runtime.faulty import until


def append(path: Path, data: bytes) -> None:
    """Write behind what a file has."""
    with path.open("ab") as file:
        file.write(data)


@pytest.mark.asyncio
async def test_new_files_and_new_lines_are_read(tmp_path: Path) -> None:
    """It waits for a first file; then lines that are appended to any file come, and further files, packed ones too."""
    async with following(tmp_path / "*.ndjson*", MemoryBroker()) as come:
        write(tmp_path, b=lines([0, 1]))
        await come([0, 1])
        write(tmp_path, a=lines([2]))
        await come([0, 1, 2])
        append(tmp_path / "b.ndjson", lines([3]))
        await come([0, 1, 2, 3])
        append(tmp_path / "a.ndjson", lines([4]))
        await come([0, 1, 2, 3, 4])
        (tmp_path / "c.part").write_bytes(gzip.compress(lines([5, 6])))
        (tmp_path / "c.part").rename(tmp_path / "c.ndjson.gz")
        await come([0, 1, 2, 3, 4, 5, 6])


@pytest.mark.asyncio
async def test_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """A half-written line is no record, and not a bad one; when it is complete it comes, once."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines([0]) + lines([1])[:5])
    async with following(tmp_path / "*.ndjson", MemoryBroker()) as come:
        await come([0])
        write(tmp_path, b=lines([2]))
        await come([0, 2])
        append(path, lines([1])[5:-1])
        write(tmp_path, c=lines([3]))
        await come([0, 2, 3])
        append(path, b"\n")
        await come([0, 2, 3, 1])


@pytest.mark.asyncio
async def test_a_row_waits_for_its_end(tmp_path: Path) -> None:
    """So does a header, and a quoted field that goes on in the next line."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"id,am")
    async with following(tmp_path / "*.csv", MemoryBroker()) as come:
        (tmp_path / "b.csv").write_bytes(b"id,amount\n0,1\n")
        await come([0])
        append(path, b'ount,note\n1,2,"x\n')
        (tmp_path / "c.csv").write_bytes(b"id,amount\n2,1\n")
        await come([0, 2])
        append(path, b'"\n3,4,y\n')
        await come([0, 2, 1, 3])


@pytest.mark.asyncio
async def test_a_restart_goes_on_following(tmp_path: Path) -> None:
    """What was written while nobody was there is read at the next start, and nothing again."""
    broker, path = MemoryBroker(), tmp_path / "a.ndjson"
    path.write_bytes(lines([0]) + lines([1])[:5])
    async with following(path, broker) as come:
        await come([0])
    append(path, lines([1])[5:] + lines([2]))
    async with following(path, broker) as come:
        await come([0, 1, 2])
        append(path, lines([3]))
        await come([0, 1, 2, 3])


@pytest.mark.asyncio
async def test_a_run_that_fails_while_it_follows_goes_on_at_the_next_record(tmp_path: Path) -> None:
    """It fails in the middle of what was appended; nothing is lost, nothing comes twice."""
    broker, path = MemoryBroker(), tmp_path / "a.ndjson"
    path.write_bytes(lines(range(600)))

    def step(order: Order) -> int:
        if order.id == 1100:
            raise RuntimeError("not now")
        return order.id

    with pytest.raises(OperatorError):
        async with following(path, broker, step=step) as come:
            await come(list(range(600)))
            append(path, lines(range(600, 1200)))
            await come(list(range(1200)))
    async with following(path, broker) as come:
        await come(list(range(1200)))
        append(path, lines([1200]))
        await come(list(range(1201)))


@pytest.mark.asyncio
@pytest.mark.parametrize("pattern", ["log.ndjson", "log.ndjson*"])
async def test_a_log_may_be_rotated(pattern: str, tmp_path: Path) -> None:
    """The file is renamed, written to a last time, and another takes its name: all comes once, whether the pattern has the
    new name or not.
    """
    log = tmp_path / "log.ndjson"
    log.write_bytes(lines([0]))
    async with following(tmp_path / pattern, MemoryBroker()) as come:
        await come([0])
        for turn in (1, 2):
            if turn == 2:
                (tmp_path / "log.ndjson.1").rename(tmp_path / "log.ndjson.2")
            append(log, lines([turn * 10])[:-1])
            log.rename(tmp_path / "log.ndjson.1")
            append(tmp_path / "log.ndjson.1", b"\n" + lines([turn * 10 + 1]))
            log.write_bytes(lines([turn * 10 + 2]))
            await come([0, 10, 11, 12, 20, 21, 22][: 3 * turn + 1])


@pytest.mark.asyncio
async def test_a_log_may_be_rotated_while_nobody_is_there(tmp_path: Path) -> None:
    """Renamed to a name that the pattern has, it goes on where it was read up to; the new file of its name is new."""
    broker, log = MemoryBroker(), tmp_path / "log.ndjson"
    log.write_bytes(lines([0]))
    async with following(tmp_path / "log.ndjson*", broker) as come:
        await come([0])
    append(log, lines([1]))
    log.rename(tmp_path / "log.ndjson.1")
    log.write_bytes(lines([2]))
    async with following(tmp_path / "log.ndjson*", broker) as come:
        await come([0, 1, 2])


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["renamed", "replaced", "written anew"])
async def test_another_file_of_the_same_name_is_read_whole_although_it_begins_as_the_first(how: str, tmp_path: Path) -> None:
    """It is longer, too; what is written into the first file itself is told by what stands before the place that was read."""
    path = tmp_path / "a.ndjson"
    first = [0] * 300
    second = [0] * 400 if how != "written anew" else [0] * 200 + [1] * 300
    path.write_bytes(lines(first))
    async with following(path, MemoryBroker()) as come:
        await come(first)
        if how == "renamed":
            path.rename(tmp_path / "a.old")
        other = path if how != "replaced" else tmp_path / "a.new"
        other.write_bytes(lines(second))
        other.replace(path)
        await come(first + second)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["ndjson.gz", "ndjson.zst", "parquet"])
async def test_a_packed_file_that_is_being_written_is_waited_for(kind: str, tmp_path: Path) -> None:
    """Those beside it are read meanwhile; the log says it once; when it is whole, all of it has come once."""
    whole, path, seen, broker = tmp_path / f"whole.{kind}", tmp_path / f"a.{kind}", list[int](), MemoryBroker()
    WRITE[kind](whole, range(5000))
    content, third = whole.read_bytes(), whole.stat().st_size // 3 + 1
    stream = from_files([path, tmp_path / f"[b-d].{kind}"], Order, follow=True, every=0.002)
    seeing = stream.pipe(ops.do_action(lambda order: seen.append(order.id)), ops.to_topic("out"))
    with structlog.testing.capture_logs() as told:
        async with rxs.start(seeing, app="files", broker=broker, commit_interval=0.001):
            for part, name in enumerate("bc"):
                append(path, content[part * third :][:third])
                WRITE[kind](tmp_path / name, range(5000 + part, 5001 + part))
                (tmp_path / name).rename(tmp_path / f"{name}.{kind}")
                await until(lambda: 5000 + part in seen)  # noqa: B023  # it is called at once
            append(path, content[2 * third :])
            await until(lambda: len(seen) >= 5002)
    assert [i for i in seen if i < 5000] == list(range(5000))
    assert [(one["event"], one["file"]) for one in told if "file" in one] == [
        ("a file ends in the middle; waiting for the rest", str(path))
    ]


@pytest.mark.asyncio
async def test_a_file_that_is_emptied_begins_anew_if_it_was_read_to_its_end(tmp_path: Path) -> None:
    """As logs are rotated that are copied and truncated."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines([10, 11]))
    async with following(path, MemoryBroker()) as come:
        await come([10, 11])
        os.truncate(path, 0)
        append(path, lines([2]))
        await come([10, 11, 2])


@pytest.mark.asyncio
async def test_a_file_that_is_emptied_in_the_middle_of_a_line_is_an_error(tmp_path: Path) -> None:
    """What had begun is lost, and that is said."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(lines([10, 11]) + b'{"id": 1')
    with pytest.raises(FeedError, match="it has 0 bytes, and was read up to byte"):
        async with following(path, broker) as come:
            await come([10, 11])
            os.truncate(path, 0)
            await come([10, 11, 12])
    assert await got(broker) == [10, 11]


@pytest.mark.asyncio
@pytest.mark.parametrize("idle_after", [0.01, None])
async def test_time_goes_on_when_files_are_idle(idle_after: float | None, tmp_path: Path) -> None:
    """A window of what was read closes by the clock once nothing has come for ``idle_after``; without that it stays open."""
    write(tmp_path, a=lines([1]))
    broker, now, seen = MemoryBroker(), [1.0e9], list[int]()
    stream = from_files(
        tmp_path / "*.ndjson", Order, follow=True, every=0.002, idle_after=idle_after, timestamp=lambda _: 1.0e9
    ).pipe(
        ops.do_action(lambda one: seen.append(one.id)),
        ops.key_by(lambda one: one.id),
        ops.windowed(rxs.tumbling(60), n=agg.count()),
        ops.map(lambda window: window.key),
        ops.to_topic("out"),
    )
    async with rxs.start(stream, app="files", broker=broker, commit_interval=0.001, clock=lambda: now[0]):
        await until(lambda: seen == [1])
        now[0] += 120
        if idle_after is not None:
            await until_out(broker, 1)
        else:
            write(tmp_path, b=lines([2]))
            await until(lambda: seen == [1, 2])
            assert await got(broker) == []
    assert await got(broker) == ([1] if idle_after is not None else [])


async def until_out(broker: MemoryBroker, n: int) -> None:
    """Wait for so many results."""
    async with asyncio.timeout(10):
        while len(await got(broker)) < n:
            await broker.wait({("out", 0): 0}, timeout=0.05)
