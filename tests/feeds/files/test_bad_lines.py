"""Bad lines meet the policy, with their file and line; their neighbours do not notice."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import DecodeError, OperatorError, TimestampError
from rxstreams.feeds.files import from_files
from tests.feeds.files.reading import Order, dead, fails_once, lines, passed, run, write

GOOD, BETTER = lines([1]), lines([2])

BAD = {
    "malformed": b'{"id": 1, "amount": ',
    "wrong type": b'{"id": "one"}',
    "no JSON at all": b"\x00\xff\xfe",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_line_is_a_dead_letter_with_its_file_and_line(kind: str, tmp_path: Path) -> None:
    """The dead letter has the bytes as they were; the lines around it are results."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(GOOD + b"\n" + BAD[kind] + b"\n" + BETTER)
    assert await run(path, broker=broker, on_error=rxs.DeadLetter("dead")) == [1, 2]
    [(value, place, error)] = await dead(broker)
    assert (value, place) == (BAD[kind], f"{path}, line 3")
    assert f"offset 1, {path}, line 3" in error


@pytest.mark.asyncio
async def test_a_line_that_is_not_utf_8_is_bad(tmp_path: Path) -> None:
    """Where its text is wanted; its bytes are kept as they were."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(b'"a"\n"\xff"\n"b"\n')
    assert await run(path, str, broker=broker, on_error=rxs.DeadLetter("dead")) == ["a", "b"]
    assert [value for value, _, _ in await dead(broker)] == [b'"\xff"']


@pytest.mark.asyncio
async def test_bad_lines_are_skipped(tmp_path: Path) -> None:
    """With Skip only the good ones are results, through many blocks."""
    write(tmp_path, a=b"".join(lines([i]) + b"x" * (i % 100) + b"{\n" for i in range(20_000)))
    assert await run(tmp_path / "a.ndjson", on_error=rxs.Skip()) == list(range(20_000))


@pytest.mark.asyncio
async def test_without_a_policy_the_run_stops_and_says_where(tmp_path: Path) -> None:
    """The error names file and line, for a record that does not decode as for one at which a function fails."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(range(3000)) + b"{\n")
    with pytest.raises(DecodeError, match=rf"{path}, line 3001"):
        await run(path)
    with pytest.raises(OperatorError, match=rf"{path}, line 2501, value"):
        await run(path, step=lambda order: 1 / (order.id - 2500))


@pytest.mark.asyncio
async def test_a_bad_line_has_its_place_whatever_comes_behind_the_source(tmp_path: Path) -> None:
    """Where nobody asks for the records' order, too; and so has a record whose time cannot be read."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(range(3000)) + b"{\n")
    for step in (ops.to_topic("out"), ops.do_action(lambda _: None)):
        with pytest.raises(DecodeError, match=rf"offset 3000, {path}, line 3001"):
            await _through(from_files(path, Order).pipe(step))
    late = from_files(path, bytes, timestamp=lambda line: 1 // (line != b"{"))
    with pytest.raises(TimestampError, match=rf"offset 3000, {path}, line 3001"):
        await _through(late.pipe(ops.key_by(bool), ops.windowed(rxs.tumbling(60), n=agg.count()), ops.to_topic("out")))


async def _through(stream: rxs.Stream[Any]) -> None:
    async with rxs.start(stream, app="files", broker=MemoryBroker()) as running:
        await running.wait()


@pytest.mark.asyncio
async def test_lines_are_counted_over_a_restart(tmp_path: Path) -> None:
    """The second start names the line as the first would have."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(b"\n\n" + lines(range(1000)) + b"{\n")
    assert await fails_once(path, 700, broker, on_error=rxs.DeadLetter("dead")) == list(range(1000))
    assert [place for _, place, _ in await dead(broker)] == [f"{path}, line 1003"]


@pytest.mark.asyncio
async def test_a_bad_row_is_a_dead_letter_and_its_neighbours_are_rows(tmp_path: Path) -> None:
    """Too few fields, too many, a wrong type, not UTF-8, text behind a quote, and a quote that is never closed."""
    path, broker = tmp_path / "a.csv", MemoryBroker()
    bad = [b"2", b"3,1,1", b"x,1", b'"\xff",1', b'"4" 5,1', b'6,"7']
    path.write_bytes(b"id,amount\n" + b"".join(b"%d,1\n%b\n" % (i, row) for i, row in enumerate(bad)) + b"9,1")
    assert await run(path, broker=broker, on_error=rxs.DeadLetter("dead")) == [0, 1, 2, 3, 4, 5, 9]
    letters = await dead(broker)
    assert [(value, place) for value, place, _ in letters] == [(row, f"{path}, line {2 * i + 3}") for i, row in enumerate(bad)]
    assert "expected 2 fields as in the header, got 1" in letters[0][2]
    assert "unexpected end of data" in letters[-1][2]


@pytest.mark.asyncio
@pytest.mark.parametrize("suffix", ["ndjson", "csv"])
async def test_a_line_that_is_too_long_is_bad_although_it_is_json(suffix: str, tmp_path: Path) -> None:
    """Whether it ends in the block where it begins or in a later one; of it the first bytes are kept, and its length is told."""
    path, broker = tmp_path / f"a.{suffix}", MemoryBroker()
    head, good = (b"", lines) if suffix == "ndjson" else (b"id,amount\n", lambda ids: b"".join(b"%d,1\n" % i for i in ids))
    short, long = b"[" + b"1" * 30_000 + b"]", b"[" + b"2" * 3_000_000 + b"]"
    path.write_bytes(head + good([0]) + short + b"\n" + good([1]) + long + b"\n" + good([2]) + long)
    assert await run(path, broker=broker, max_item=20_000, on_error=rxs.DeadLetter("dead")) == [0, 1, 2]
    letters = await dead(broker)
    assert [value for value, _, _ in letters] == [short[:1000], long[:1000], long[:1000]]
    assert [place.rpartition(" ")[2] for _, place, _ in letters] == [str(n + len(head.split()[:1])) for n in (2, 4, 6)]
    assert "30,002 bytes are more than max_item=20,000" in letters[0][2]
    assert "3,000,002 bytes are more" in letters[2][2]


@pytest.mark.asyncio
async def test_a_line_that_is_too_long_stops_a_run_without_a_policy(tmp_path: Path) -> None:
    """Also where lines are decoded in one loop with what follows, or are not decoded at all; the second start meets it again."""
    path, broker = tmp_path / "a.ndjson", MemoryBroker()
    path.write_bytes(lines(range(1000)) + b"1" * 1000 + b"\n" + lines([1000]))
    for kind in (Order, bytes):
        with pytest.raises(DecodeError, match=rf"1,000 bytes are more than max_item=100; .*{path}, line 1001"):
            await run(path, kind, max_item=100, broker=broker if kind is Order else None)
    assert await run(path, max_item=100, broker=broker, on_error=rxs.Skip()) == list(range(1001))


@pytest.mark.asyncio
async def test_a_line_of_100_mb_is_not_held(tmp_path: Path) -> None:
    """What is held is some blocks, and as much of a line as a record may have."""
    path = tmp_path / "a.ndjson"
    with path.open("wb") as file:
        file.write(lines([0]))
        file.truncate(100_000_000)
        file.seek(0, 2)
        file.write(b"\n" + lines([1]))
    tracemalloc.start()
    try:
        assert await run(path, max_item=2**20, on_error=rxs.Skip()) == [0, 1]
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.asyncio
async def test_a_row_of_parquet_that_does_not_fit_is_a_dead_letter_as_json(tmp_path: Path) -> None:
    """There are no bytes of its own, so it is written as JSON, with its row."""
    import duckdb

    path, broker = tmp_path / "a.parquet", MemoryBroker()
    with duckdb.connect() as database:
        database.execute(
            f"COPY (SELECT range AS id, if(range = 1, 'x', '2') AS amount FROM range(3)) TO '{path}' (FORMAT parquet)"
        )
    assert await run(path, broker=broker, on_error=rxs.DeadLetter("dead")) == [0, 2]
    assert [letter[:2] for letter in await dead(broker)] == [(b'{"id":1,"amount":"x"}', f"{path}, line 2")]


@pytest.mark.asyncio
async def test_a_time_that_cannot_be_read_or_is_absurd_is_bad(tmp_path: Path) -> None:
    """Far ahead of the clock is bad where files are followed; in files that are read once it is as good as any."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines([1, 9_999_999_999]))
    timed: dict[str, Any] = {"timestamp": "id"}
    assert await _timed(path, **timed) == [1, 9_999_999_999]
    with pytest.raises(TimestampError, match=rf"more than max_ahead=86400 s ahead of the clock.*{path}, line 2"):
        await _timed(path, follow=True, every=0.002, **timed)


async def _timed(path: Path, **options: Any) -> list[Any]:
    seen: list[Any] = []
    stream = passed(path, step=lambda order: order.id, **options).pipe(
        ops.do_action(seen.append), ops.key_by(bool), ops.windowed(rxs.tumbling(60), n=agg.count()), ops.to_topic("windows")
    )
    async with rxs.start(stream, app="timed", broker=MemoryBroker()) as running:
        await running.wait()
    return seen
