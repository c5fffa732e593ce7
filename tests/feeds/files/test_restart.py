"""A restart goes on at the very next record, and what it finds must be the files that it left."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

import rxstreams as rxs
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import FeedError
from rxstreams.feeds.files import from_files
from rxstreams.feeds.files.opening import needed, zstd_library
from rxstreams.feeds.files.reading import Reading
from rxstreams.feeds.source import Chunk
from tests.feeds.files.reading import Order, fails_once, got, lines, passed, run, write

N = 1000


def _csv(path: Path, ids: range) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "amount"])
        writer.writerows((i, 1.5) for i in ids)


def _parquet(path: Path, ids: range) -> None:
    with duckdb.connect() as database:
        database.execute(
            f"COPY (SELECT range AS id, 1.5 AS amount FROM range({ids.start}, {ids.stop})) TO '{path}' (FORMAT parquet)"
        )


WRITE: dict[str, Callable[[Path, range], Any]] = {
    "ndjson": lambda path, ids: path.write_bytes(lines(ids)),
    "ndjson.gz": lambda path, ids: path.write_bytes(gzip.compress(lines(ids))),
    "ndjson.zst": lambda path, ids: path.write_bytes(needed(zstd_library(), "zstd").compress(lines(ids))),
    "csv": _csv,
    "parquet": _parquet,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", WRITE)
async def test_a_restart_goes_on_at_the_next_record(kind: str, tmp_path: Path) -> None:
    """A run fails in the middle of the second file: after another start each record of all three has come once, in order."""
    for number in range(3):
        WRITE[kind](tmp_path / f"{number}.{kind}", range(number * N, number * N + N))
    assert await fails_once(tmp_path / f"*.{kind}", N + 700, MemoryBroker()) == list(range(3 * N))


@pytest.mark.asyncio
async def test_a_restart_does_not_read_again_what_was_read(tmp_path: Path) -> None:
    """It seeks: that the middle of what was read is something else by now makes no difference."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(lines(range(N)))
    with pytest.raises(rxs.errors.OperatorError):
        await _fail_at(path, 700, broker)
    done = len(await got(broker))
    at = len(lines(range(100)))
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"x" * 100)
    assert done > 110
    assert await run(path, broker=broker) == list(range(N))


async def _fail_at(path: Any, at: int, broker: MemoryBroker) -> None:
    def step(order: Order) -> int:
        if order.id == at:
            raise RuntimeError("not now")
        return order.id

    async with rxs.start(passed(path, step=step), app="files", broker=broker, commit_interval=1e-9) as running:
        await running.wait()


def _cut(path: Path) -> None:
    os.truncate(path, 500)


def _replace(path: Path) -> None:
    path.write_bytes(lines(range(5, 5 + 2 * N)))


def _shift(path: Path) -> None:
    path.write_bytes(lines(range(100)) + lines(range(2 * N)).replace(b'"amount"', b'"amounts"'))


def _put_another(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_cut, "it has 500 bytes, and was read up to byte"),
        (_replace, "it begins otherwise"),
        (_shift, "there is something else before byte"),
        (_put_another, "another file was put in its place"),
        (Path.unlink, "is gone, and was read up to byte"),
    ],
)
async def test_a_file_that_was_read_in_part_must_be_there_as_it_was(
    change: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    """One that shrank, was replaced or is gone stops the start with its name and what is wrong."""
    broker = MemoryBroker()
    write(tmp_path, a=lines(range(N)), b=b"")
    with pytest.raises(rxs.errors.OperatorError):
        await _fail_at(tmp_path / "*.ndjson", 700, broker)
    before = await got(broker)
    change(tmp_path / "a.ndjson")
    with pytest.raises(FeedError, match=f"a.ndjson.*{said}"):
        await run(tmp_path / "*.ndjson", broker=broker)
    assert await got(broker) == before


@pytest.mark.asyncio
async def test_a_packed_file_of_another_size_is_another_file(tmp_path: Path) -> None:
    """Unless it is the first with more behind it, which is read on, whether it was read in part or to its end."""
    path, broker = tmp_path / "a.ndjson.gz", MemoryBroker()
    path.write_bytes(gzip.compress(lines(range(N)), mtime=0))
    with pytest.raises(rxs.errors.OperatorError):
        await _fail_at(path, 700, broker)
    whole, committed = path.read_bytes(), await got(broker)
    for other, said in ((whole[:-1], "it has"), (whole[:-1] + b"x" + whole, "there is something else before byte")):
        path.write_bytes(other)
        with pytest.raises(FeedError, match=said):
            await run(path, broker=broker)
    assert await got(broker) == committed
    path.write_bytes(whole + gzip.compress(lines([N])))
    assert await run(path, broker=broker, finish=False) == list(range(N + 1))
    path.write_bytes(path.read_bytes() + gzip.compress(lines([N + 1])))
    assert await run(path, broker=broker, finish=False) == list(range(N + 2))


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["written over it", "renamed to it"])
async def test_a_packed_file_that_was_half_there_goes_on_when_it_is_whole(how: str, tmp_path: Path) -> None:
    """As its error says: put it there whole, and start again."""
    path, broker = tmp_path / "a.ndjson.gz", MemoryBroker()
    whole = gzip.compress(lines(range(5 * N)), 1)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FeedError, match="ends in the middle"):
        async with rxs.start(passed(path), app="files", broker=broker, commit_interval=1e-9) as running:
            await running.wait()
    assert 0 < len(await got(broker)) < 5 * N
    copy = path if how == "written over it" else tmp_path / "copy"
    copy.write_bytes(whole)
    copy.replace(path)
    assert await run(path, broker=broker) == list(range(5 * N))


@pytest.mark.asyncio
async def test_a_file_that_is_put_in_the_place_of_one_that_was_read_is_read_whole(tmp_path: Path) -> None:
    """An export of each night: it may begin as the last one, and be longer."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(lines(range(N)))
    assert await run(path, broker=broker, finish=False) == list(range(N))
    (tmp_path / "new").write_bytes(lines(range(N + 1)))
    (tmp_path / "new").replace(path)
    assert await run(path, broker=broker, finish=False) == [*range(N), *range(N + 1)]


@pytest.mark.asyncio
async def test_files_that_were_read_to_their_end_may_go_and_new_ones_are_read(tmp_path: Path) -> None:
    """With finish=False a later start reads what is new: other files, lines that were appended, a new file of an old name."""
    broker, pattern = MemoryBroker(), tmp_path / "*.ndjson"
    write(tmp_path, a=lines([0]), b=lines([1]), c=lines([2]), d=lines([3]))
    assert await run(pattern, broker=broker, finish=False) == [0, 1, 2, 3]
    (tmp_path / "a.ndjson").unlink()
    with (tmp_path / "b.ndjson").open("ab") as file:
        file.write(lines([4]))
    (tmp_path / "c.ndjson").unlink()
    write(tmp_path, c=lines([50]), e=lines([6]))
    assert await run(pattern, broker=broker, finish=False) == [0, 1, 2, 3, 4, 50, 6]


@pytest.mark.asyncio
async def test_a_file_that_is_renamed_between_two_starts_goes_on_under_its_new_name(tmp_path: Path) -> None:
    """Half read, and renamed: nothing of it is read twice, and nothing is missing."""
    broker = MemoryBroker()
    write(tmp_path, a=lines(range(N)))
    with pytest.raises(rxs.errors.OperatorError):
        await _fail_at(tmp_path / "*.ndjson", 700, broker)
    (tmp_path / "a.ndjson").rename(tmp_path / "z.ndjson")
    write(tmp_path, a=lines([N]))
    assert await run(tmp_path / "*.ndjson", broker=broker) == list(range(N + 1))


@pytest.mark.asyncio
async def test_a_copy_of_the_folder_is_as_good(tmp_path: Path) -> None:
    """If it kept the times: half read, copied and put back, files are read on; those at their end are not."""
    broker = MemoryBroker()
    write(tmp_path, a=lines(range(N)), b=lines(range(N, 2 * N)))
    with pytest.raises(rxs.errors.OperatorError):
        await _fail_at(tmp_path / "*.ndjson", N + 700, broker)
    for path in (tmp_path / "a.ndjson", tmp_path / "b.ndjson"):
        copy = path.with_suffix(".copy")
        shutil.copy2(path, copy)
        copy.replace(path)
    assert await run(tmp_path / "*.ndjson", broker=broker) == list(range(2 * N))


@pytest.mark.asyncio
@pytest.mark.parametrize("content", ["windows", "mixed"])
async def test_a_restart_goes_on_at_the_next_record_whatever_ends_its_lines(content: str, tmp_path: Path) -> None:
    """All lines as on Windows; or some, and empty ones between them, and a byte order mark before."""
    some = lines(range(N)).splitlines(keepends=True)
    windows = [
        line.replace(b"\n", b"\r\n") if content == "windows" or i % 3 else line + b"\n" * (i % 2) for i, line in enumerate(some)
    ]
    path = tmp_path / "a.ndjson"
    path.write_bytes((b"\xef\xbb\xbf" if content == "mixed" else b"") + b"".join(windows))
    assert await fails_once(path, 700, MemoryBroker()) == list(range(N))


@pytest.mark.asyncio
async def test_a_restart_goes_on_at_the_next_row_where_rows_have_several_lines(tmp_path: Path) -> None:
    """Quoted fields with line ends, so that a row's place is not its line's."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"note,id\r\n" + b"".join(b'"x\r\n%b",%d\r\n' % (b"y" * (i % 50), i) for i in range(50 * N)))
    assert await fails_once(path, 49 * N, MemoryBroker(), dict) == list(range(50 * N))


@pytest.mark.asyncio
async def test_a_last_line_that_goes_on_after_it_was_read_is_an_error(tmp_path: Path) -> None:
    """It was a record without its end; what it goes on with is none. One that only gets its end is as it was."""
    broker, path = MemoryBroker(), tmp_path / "a.ndjson"
    path.write_bytes(lines([0, 1]).rstrip(b"\n"))
    assert await run(path, broker=broker, finish=False) == [0, 1]
    path.write_bytes(path.read_bytes() + b"\n" + lines([2]).rstrip(b"\n"))
    assert await run(path, broker=broker, finish=False) == [0, 1, 2]
    path.write_bytes(path.read_bytes() + b" \n" + lines([3]))
    with pytest.raises(FeedError, match="no line ends at byte"):
        await run(path, broker=broker, finish=False)


def test_a_commit_may_come_between_any_two_chunks(tmp_path: Path) -> None:
    """Three logs are rotated, and a new one begins: wherever the second reading is cut off, a third goes on exactly."""
    names = [tmp_path / f"log.ndjson{suffix}" for suffix in ("", ".1", ".2", ".3")]
    for number, path in enumerate(names[:3]):
        path.write_bytes(lines([number]))
    what = from_files(tmp_path / "log.ndjson*", Order).operation.ends.what
    first = _all(Reading(what, 0, {}))
    assert _ids(first) == [0, 1, 2]
    for number in (3, 2, 1):
        names[number - 1].rename(names[number])
        names[number].write_bytes(names[number].read_bytes() + lines([number * 10]))
    names[0].write_bytes(lines([40]))
    saved = _saved({}, first)
    second = _all(Reading(what, 3, saved))
    assert sorted(_ids(second)) == [10, 20, 30, 40]
    assert len(second) > 4
    for n in range(len(second) + 1):
        third = _all(Reading(what, 3, _saved(saved, second[:n])))
        assert sorted(_ids([*second[:n], *third])) == [10, 20, 30, 40], n


def _all(reading: Reading) -> list[Chunk]:
    chunks = []
    while more := reading.take():
        chunks += more
    reading.close()
    return chunks


def _ids(chunks: list[Chunk]) -> list[int]:
    return [msgspec.json.decode(value)["id"] for chunk in chunks for value in chunk.values]


def _saved(before: dict[Any, Any], chunks: list[Chunk]) -> dict[Any, Any]:
    """What is saved after these chunks, as the node does."""
    saved = dict(before)
    for chunk in chunks:
        assert chunk.saves is not None
        name, entry = chunk.saves(len(chunk.values))
        if entry is None:
            saved.pop(name, None)
        else:
            saved[name] = entry
    return saved
