"""from_files: files of NDJSON, CSV or Parquet as a stream."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, get_origin, is_typeddict, overload

import msgspec

from rxstreams.errors import ConfigError, Policy, seconds
from rxstreams.feeds.files.feed import FilesFeed, FilesSource
from rxstreams.feeds.files.matching import Compression, Format, check_compression, compression_of, format_of, patterns_of
from rxstreams.feeds.files.opening import needed, zstd_library
from rxstreams.feeds.files.rows import RowDecoder
from rxstreams.feeds.files.what import What
from rxstreams.feeds.source import DAY, IDLE_AFTER, Stamping, check_idle_after, check_source, runs_by_clock
from rxstreams.stream import Operation, Stream, source_stream
from rxstreams.watermarks import Generator, TimestampSource

__all__ = ["from_files"]

T = TypeVar("T")
Pattern = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

LONGEST = 16 * 2**20


@overload
def from_files(
    pattern: Pattern,
    type: type[T],
    /,
    *,
    format: Format | None = ...,
    compression: Compression | None = ...,
    delimiter: str | None = ...,
    follow: bool = ...,
    every: float | timedelta = ...,
    max_item: int = ...,
    timestamp: TimestampSource = ...,
    out_of_orderness: float | timedelta = ...,
    watermarks: Generator | None = ...,
    idle_after: float | timedelta | None = ...,
    advance_when_idle: bool | None = ...,
    max_ahead: float | timedelta | None = ...,
    finish: bool = ...,
    progress: bool | None = ...,
    name: str | None = ...,
    on_error: Policy | None = ...,
) -> Stream[T]: ...
@overload
def from_files(
    pattern: Pattern,
    /,
    *,
    format: Format | None = ...,
    compression: Compression | None = ...,
    delimiter: str | None = ...,
    follow: bool = ...,
    every: float | timedelta = ...,
    max_item: int = ...,
    timestamp: TimestampSource = ...,
    out_of_orderness: float | timedelta = ...,
    watermarks: Generator | None = ...,
    idle_after: float | timedelta | None = ...,
    advance_when_idle: bool | None = ...,
    max_ahead: float | timedelta | None = ...,
    finish: bool = ...,
    progress: bool | None = ...,
    name: str | None = ...,
    on_error: Policy | None = ...,
) -> Stream[Any]: ...
def from_files(
    pattern: Pattern,
    type: Any = Any,
    /,
    *,
    format: Format | None = None,
    compression: Compression | None = None,
    delimiter: str | None = None,
    follow: bool = False,
    every: float | timedelta = 1.0,
    max_item: int = LONGEST,
    timestamp: TimestampSource = None,
    out_of_orderness: float | timedelta = 0.0,
    watermarks: Generator | None = None,
    idle_after: float | timedelta | None = IDLE_AFTER,
    advance_when_idle: bool | None = None,
    max_ahead: float | timedelta | None = DAY,
    finish: bool = True,
    progress: bool | None = None,
    name: str | None = None,
    on_error: Policy | None = None,
) -> Stream[Any]:
    """Read files in order of name: each line of NDJSON, row of CSV or row of Parquet as a ``type``.

    Shape: → T, in order. Exactly once in a run: how far each file was read is committed with the results, and a restart goes on
    at the next record.
    Holds: in a run some blocks of 1 MiB, and a record of up to ``max_item`` bytes; an entry for each file that was ever read.
    Ends: after the last file, or never if it follows. With a FeedError where a file is damaged, or one that was read in part
    is gone, shorter or another.

    Args:
        pattern: A path, a glob (``logs/*.ndjson.gz``; ``**`` is any folders), or a list of these.
        type: What a record is: a msgspec Struct, a dataclass, a TypedDict, ``dict``; of NDJSON also ``bytes`` (lines as they
            are); without, any JSON, and rows as dicts. Fields of CSV are texts, and become what ``type`` says; an empty one
            that is to be something else is None, or as if it were not there.
        format: ``"ndjson"``, ``"csv"`` or ``"parquet"``; None is by suffix (ndjson, jsonl, csv, tsv, parquet, pq).
        compression: ``"gzip"``, ``"zstd"`` or ``"none"``; None is by each file's suffix (gz, gzip, zst, zstd).
        delimiter: What is between two fields of CSV; None is a comma, in ``.tsv`` a tab.
        follow: Whether to go on for new files, and for lines that are appended to NDJSON and CSV files that are not packed. A
            last line without an end then waits for its end. A file that is renamed is read on, one that takes its name is new.
        every: Seconds between two looks for something new.
        max_item: Bytes that a line may have; a longer one is a bad record, of which the first 1,000 bytes are kept.
        timestamp: The event time (a field's name or a function); None is the clock when the record is read.
        out_of_orderness: Seconds by which records may be out of order, over all files as they are read.
        watermarks: How far time has come after a record, instead: ``rxstreams.watermarks.punctuated(…)``, or one's own.
        idle_after: Seconds without a record after which files that are followed are idle; None is never.
        advance_when_idle: Whether the watermark then goes on with the clock, ``out_of_orderness`` behind it, so that windows
            close without a further record; None is yes where files are followed, unless ``watermarks`` leaves it to the records.
        max_ahead: Seconds that an event time of followed files may be ahead of the clock; a record beyond is a bad record. None
            lets all in.
        finish: Whether the end is the end of the input: all windows close, and a later start says that it is finished. False
            stops here, and a later start goes on with what is new.
        progress: Whether a bar on standard error shows how far it is; None is a bar on a terminal, else a line in the log once
            a second.
        name: What its positions are saved under, instead of the pattern.
        on_error: What happens to a record that does not decode, or has no readable time; None is the run's policy.

    Raises:
        ConfigError: If an argument is wrong, or a library is missing that the files need.

    Source: Unix ``tail -F`` for what follows; RFC 4180 for CSV.
    """
    patterns = patterns_of(pattern)
    form = format_of(patterns, format)
    packed = check_compression(compression, form)
    _check(delimiter, max_item, follow=follow, progress=progress, finish=finish)
    check_source("from_files", on_error)
    if form == "parquet":
        needed("duckdb", "Parquet")
    if "zstd" in (packed, *map(compression_of, patterns)):
        needed(zstd_library(), "a file packed by zstd")
    by_clock = runs_by_clock("from_files", advance_when_idle, watermarks, live=follow)
    stamping = Stamping.of("from_files", timestamp, out_of_orderness, watermarks, max_ahead=max_ahead, by_clock=by_clock)
    silence = check_idle_after("from_files", idle_after) if follow else None
    look = seconds("from_files(every)", every, allow_least=False)
    told = ", ".join(patterns)
    what = What(patterns, form, packed, delimiter, max_item, follow)
    feed = FilesFeed(f"files:{name or told}", what, look, progress, follow, finish, silence)
    decoder = _decoder(form, type)
    make = lambda: FilesSource(feed, decoder(), stamping, on_error, mapping=_mapping(form, type), kind=type)  # noqa: E731  # a value among values
    parameters = {"pattern": told, "type": None if type is Any else type, "timestamp": timestamp, "follow": follow or None}
    return source_stream(Operation("from_files", make, parameters, name, stateful=True, ends=feed, sides=("errors",)))


def _check(delimiter: Any, max_item: Any, **flags: Any) -> None:
    if delimiter is not None and not (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'):
        raise ConfigError(f"from_files(delimiter): expected one character, no quote and no line end, got {delimiter!r}")
    if not isinstance(max_item, int) or isinstance(max_item, bool) or max_item < 1:
        raise ConfigError(f"from_files(max_item): expected bytes, at least 1, got {max_item!r}")
    for name, value in flags.items():
        if not isinstance(value, bool) and (value is not None or name != "progress"):
            raise ConfigError(f"from_files({name}): expected True or False, got {value!r}")


def _decoder(format: Format, type: Any) -> Callable[[], Callable[[Any], Any] | None]:
    """What gives a source its decoder, which makes a ``type`` of a line, a row or a dict; None where that is what it is."""
    try:
        whole = msgspec.json.Decoder(type).decode  # says, too, whether the type is one that can be made
        if type is bytes and format != "ndjson":
            raise TypeError("only NDJSON has records as bytes")
    except TypeError as error:
        raise ConfigError(f"from_files: cannot make {type!r} of {format}: {error}") from error
    if format == "ndjson":
        return lambda: None if type is bytes else whole
    as_it_is = type is Any or type is dict
    if format == "parquet":
        return lambda: None if as_it_is else lambda row: msgspec.convert(row, type, strict=False)
    fitted = None if as_it_is else partial(_fitted, type, _empty(type))
    return lambda: RowDecoder(fitted)


def _empty(type: Any) -> dict[str, bool]:
    """The fields that are no texts and may be missing; True for those that may be None."""
    found = {}
    for field in getattr(msgspec.inspect.type_info(type), "fields", ()):
        kinds = {kind.__class__ for kind in getattr(field.type, "types", (field.type,))}
        none = msgspec.inspect.NoneType in kinds
        if not kinds & {msgspec.inspect.StrType, msgspec.inspect.AnyType} and (none or not field.required):
            found[field.encode_name] = none
    return found


def _fitted(type: Any, empty: dict[str, bool], record: dict[str, str]) -> Any:
    """The record as a ``type``; where that cannot be, with its empty fields as None, or left out."""
    try:
        return msgspec.convert(record, type, strict=False)
    except msgspec.ValidationError:
        if "" not in record.values():
            raise
        filled = {name: text or (None if name in empty else "") for name, text in record.items() if text or empty.get(name, True)}
        return msgspec.convert(filled, type, strict=False)


def _mapping(format: Format, type: Any) -> bool | None:
    """Whether records are mappings, or objects; None where they may be either."""
    if isinstance(type, builtins.type) and (issubclass(type, msgspec.Struct) or is_dataclass(type)):
        return False
    rows = format != "ndjson" and type is Any
    return True if rows or type is dict or get_origin(type) is dict or is_typeddict(type) else None
