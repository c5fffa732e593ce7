"""What the files may hold, how they may be packed, and how a pattern finds them."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any, TypedDict

import duckdb
import msgspec
import pytest

from rxstreams.errors import ConfigError, FeedError
from rxstreams.feeds.files import from_files
from rxstreams.feeds.files.opening import needed, zstd_library
from tests.feeds.files.reading import Order, lines, run, write

ZSTD = needed(zstd_library(), "zstd")
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": ZSTD.compress}


class Reading(msgspec.Struct):
    """What a row is made into."""

    id: int
    level: float | None
    note: str
    count: int = 7


class Row(TypedDict):
    """What a row is made into, as a dict."""

    id: int


@pytest.mark.asyncio
@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("kind", ["ndjson", "jsonl", "csv", "tsv"])
async def test_lines_are_read_however_they_are_packed(kind: str, suffix: str, tmp_path: Path) -> None:
    """Each format of lines, plain, by gzip and by zstd, all by suffix."""
    comma = b"\t" if kind == "tsv" else b","
    content = lines(range(3)) if "js" in kind else b"id%bamount\n" % comma + b"".join(b"%d%b1.5\n" % (i, comma) for i in range(3))
    (tmp_path / f"a.{kind}{suffix}").write_bytes(PACKED[suffix](content))
    assert await run(tmp_path / f"a.{kind}{suffix}") == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_packed_file_may_have_several_parts(tmp_path: Path) -> None:
    """What was packed in turns and put together is one file, as gzip and zstd themselves have it."""
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(lines([0])) + gzip.compress(lines([1])))
    (tmp_path / "b.ndjson.zst").write_bytes(ZSTD.compress(lines([2])) + ZSTD.compress(lines([3])))
    assert await run(tmp_path / "*.ndjson*") == [0, 1, 2, 3]


@pytest.mark.asyncio
async def test_parquet_gives_rows_in_order(tmp_path: Path) -> None:
    """Rows of more than one block, as dicts or as a type; a name with brackets is a name."""
    path = tmp_path / "a[1].parquet"
    with duckdb.connect() as database:
        rows = "SELECT range AS id, [range, 1] AS pair, 'n' AS note, NULL AS level FROM range(5000)"
        database.execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
    assert await run(path, Any) == [{"id": i, "pair": [i, 1], "note": "n", "level": None} for i in range(5000)]
    assert await run(path, Reading) == [{"id": i, "level": None, "note": "n", "count": 7} for i in range(5000)]


@pytest.mark.asyncio
async def test_rows_of_csv_are_texts_by_column_or_what_the_type_says(tmp_path: Path) -> None:
    """Quotes, line ends within a field, an empty field and an empty line are what RFC 4180 says."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,level,note,count\r\n1,2.5,"a, ""b""\r\n\r\nc",1\r\n\r\n2,,5" pipe,2\r\n3,,,')
    texts = [
        {"id": "1", "level": "2.5", "note": 'a, "b"\r\n\r\nc', "count": "1"},
        {"id": "2", "level": "", "note": '5" pipe', "count": "2"},
        {"id": "3", "level": "", "note": "", "count": ""},
    ]
    assert await run(path, Any) == await run(path, dict) == texts
    assert await run(path, Row) == [{"id": 1}, {"id": 2}, {"id": 3}]
    assert await run(path, Reading) == [
        {"id": 1, "level": 2.5, "note": 'a, "b"\r\n\r\nc', "count": 1},
        {"id": 2, "level": None, "note": '5" pipe', "count": 2},
        {"id": 3, "level": None, "note": "", "count": 7},
    ]


@pytest.mark.asyncio
async def test_lines_may_end_as_on_windows_and_the_last_not_at_all(tmp_path: Path) -> None:
    """A byte order mark, CRLF, and empty lines are no records; the line without an end is one."""
    (tmp_path / "a.ndjson").write_bytes(b'\xef\xbb\xbf1\r\n\r\n\n"2"\r\n[3]')
    assert await run(tmp_path / "a.ndjson", Any) == [1, "2", [3]]


@pytest.mark.asyncio
async def test_files_come_in_order_of_name_and_each_once(tmp_path: Path) -> None:
    """Whatever order the patterns have, and however many of them match; folders on the way are passed through."""
    (tmp_path / "z").mkdir()
    write(tmp_path, b=lines([1]), a=lines([0]))
    write(tmp_path / "z", c=lines([2]))
    (tmp_path / "z" / "folder.ndjson").mkdir()
    assert await run([tmp_path / "b.ndjson", tmp_path / "**" / "*.ndjson"]) == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell, of a path as of a glob."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, a=lines([0]), b=lines([1]))
    assert await run(["~/a.ndjson", Path("~/[b-c].ndjson")]) == [0, 1]


@pytest.mark.asyncio
async def test_blocks_are_put_together_wherever_they_are_cut(tmp_path: Path) -> None:
    """Lines over several blocks of 1 MiB, of any length, come out whole."""
    texts = ["x" * (i * 7919 % 3000) for i in range(3000)]
    (tmp_path / "a.ndjson").write_bytes(b"".join(msgspec.json.encode(text) + b"\n" for text in texts))
    assert await run(tmp_path / "a.ndjson", Any) == texts


@pytest.mark.asyncio
async def test_nothing_to_read_is_an_error_that_says_where_was_looked(tmp_path: Path) -> None:
    """Of a pattern without a file, its folder is named; of a folder, how to say its files."""
    with pytest.raises(FeedError, match=rf"no file matches {tmp_path}/x\*.csv in {tmp_path}"):
        await run(tmp_path / "x*.csv", Any)
    write(tmp_path, a=lines([1]))
    with pytest.raises(FeedError, match=r"no file matches .*/b.ndjson in "):
        await run([tmp_path / "a.ndjson", tmp_path / "b.ndjson"])
    os.mkfifo(tmp_path / "c.ndjson")
    with pytest.raises(FeedError, match="is no file that can be read again"):
        await run(tmp_path / "c.ndjson")
    with pytest.raises(FeedError, match=r"is a folder; say which files of it, as in '.*/\*.ndjson'"):
        await run(tmp_path, format="ndjson")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.ndjson.gz", gzip.compress(lines(range(100)))[:-20], "ends in the middle"),
        ("a.ndjson.zst", ZSTD.compress(lines(range(100)))[:-5], "ends in the middle"),
        ("a.ndjson.gz", b"no gzip at all", "cannot be read on: Not a gzipped file"),
        ("a.ndjson.zst", b"no zstd at all", "cannot be read on"),
        ("a.parquet", b"no Parquet at all", "cannot be read on as Parquet: it is none, it begins with b'no P'$"),
        ("a.parquet", b"PAR1 and so on", "ends in the middle"),
        ("a.parquet", b"", "ends in the middle"),
        ("a.parquet", b"PAR1" + b"\x00" * 8 + b"PAR1", "cannot be read on as Parquet: .*[^?^]$"),
        ("a.ndjson", "1\n".encode("utf-16"), "is UTF-16"),
        ("a.csv", b"a,a\n1,2\n", "a different name for each column"),
        ("a.csv", b"\n1,2\n", "expected a header"),
        ("a.csv", b"\xff,b\n1,2\n", "line 1: the header cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    """Cut off, not packed at all, not UTF-8, without a header: the error says which file and what is wrong."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FeedError, match=rf"{name}.*{said}"):
        await run(tmp_path / name, Any)


@pytest.mark.asyncio
async def test_what_came_before_the_damage_is_not_lost(tmp_path: Path) -> None:
    """A file that is cut off gives the records before; those of the files before it are there, too."""
    whole = gzip.compress(lines(range(1, 5000)), 1)
    write(tmp_path, a=lines([0]))
    (tmp_path / "b.ndjson.gz").write_bytes(whole[: len(whole) // 2])
    seen: list[int] = []
    with pytest.raises(FeedError, match=r"b\.ndjson\.gz cannot be read on"):
        async for order in from_files(tmp_path / "*.ndjson*", Order):
            seen.append(order.id)
    assert len(seen) > 100
    assert seen == list(range(len(seen)))


WRONG: list[tuple[Any, dict[str, Any]]] = [
    (5, {}),
    ([], {}),
    ("", {}),
    (["a.csv", 5], {}),
    ("a.txt", {}),
    (["a.csv", "b.ndjson"], {}),
    ("a.csv", {"format": "xml"}),
    ("a.csv", {"compression": "bz2"}),
    ("a.parquet", {"compression": "gzip"}),
    ("a.csv", {"delimiter": ",,"}),
    ("a.csv", {"max_item": 0}),
    ("a.csv", {"follow": "yes"}),
    ("a.csv", {"follow": True, "every": 0}),
    ("a.csv", {"follow": True, "idle_after": 0}),
    ("a.csv", {"progress": 1}),
    ("a.csv", {"finish": None}),
    ("a.csv", {"timestamp": 5}),
    ("a.csv", {"on_error": "skip"}),
    ("a.csv", {"out_of_orderness": -1}),
    ("a.csv", {"advance_when_idle": "yes"}),
]


@pytest.mark.parametrize(("pattern", "options"), WRONG)
def test_a_wrong_argument_fails_when_it_is_built(pattern: Any, options: dict[str, Any]) -> None:
    """The error names the function."""
    with pytest.raises(ConfigError, match="from_files"):
        from_files(pattern, **options)


@pytest.mark.parametrize("pattern", ["a.csv", "a.parquet"])
def test_a_type_that_cannot_be_made_fails_when_it_is_built(pattern: str) -> None:
    """Rows are no bytes."""
    with pytest.raises(ConfigError, match="only NDJSON has records as bytes"):
        from_files(pattern, bytes)


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    """The error says what to install."""
    with pytest.raises(ConfigError, match=r"Parquet needs no_such_module: pip install 'rxstreams\[batch\]'"):
        needed("no_such_module", "Parquet")
