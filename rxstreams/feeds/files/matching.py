"""Which files a pattern means, and what is in them, by their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast, get_args

from rxstreams.errors import ConfigError, FeedError

__all__ = ["Compression", "Format", "check_compression", "compression_of", "format_of", "matched", "patterns_of"]

Format = Literal["ndjson", "csv", "parquet"]
Compression = Literal["gzip", "zstd", "none"]

FORMATS: dict[str, Format] = {
    "ndjson": "ndjson", "jsonl": "ndjson", "csv": "csv", "tsv": "csv", "parquet": "parquet", "pq": "parquet",
}  # fmt: skip
COMPRESSIONS: dict[str, Compression] = {"gz": "gzip", "gzip": "gzip", "zst": "zstd", "zstd": "zstd"}


def patterns_of(pattern: Any) -> tuple[str, ...]:
    """A path or a glob, or a list of these, as texts.

    Raises:
        ConfigError: If it is something else, or nothing.
    """
    given = [pattern] if isinstance(pattern, str | os.PathLike) else pattern
    if isinstance(given, list | tuple) and given and all(isinstance(one, str | os.PathLike) for one in given):
        patterns = tuple(os.path.expanduser(os.fspath(one)) for one in given)
        if all(isinstance(one, str) and one for one in patterns):
            return patterns
    raise ConfigError(f"from_files(pattern): expected a path, a glob, or a list of these, got {pattern!r}")


def format_of(patterns: Iterable[str], format: Any) -> Format:
    """What the files hold: what was said, or what the suffix of every pattern says.

    Raises:
        ConfigError: If that is no format that is read, or cannot be told.
    """
    if format is not None:
        if format not in get_args(Format):
            raise ConfigError(f"from_files(format): expected 'ndjson', 'csv', 'parquet' or None, got {format!r}")
        return cast("Format", format)
    found = {next((FORMATS[part] for part in reversed(_suffixes(one)) if part in FORMATS), None) for one in patterns}
    [only, *others] = found
    if others or only is None:
        raise ConfigError(
            f"from_files(pattern): {', '.join(patterns)} does not say by its suffix ({', '.join(FORMATS)}) what is in the files: "
            "say format='ndjson', 'csv' or 'parquet'"
        )
    return only


def check_compression(compression: Any, format: Format) -> Compression | None:
    """How the files are packed; None is by their suffixes.

    Raises:
        ConfigError: If it is none that is read.
    """
    if compression is not None and compression not in get_args(Compression):
        raise ConfigError(f"from_files(compression): expected 'gzip', 'zstd', 'none' or None, got {compression!r}")
    if compression in ("gzip", "zstd") and format == "parquet":
        raise ConfigError("from_files(compression): Parquet is packed inside; leave compression out")
    return cast("Compression | None", compression)


def compression_of(name: str) -> Compression:
    """How a file is packed, by its suffix."""
    return COMPRESSIONS.get(_suffixes(name)[-1], "none")


def _suffixes(name: str) -> list[str]:
    """The parts of a name behind its dots, without the wildcards around them."""
    return [part.strip("*?") for part in os.path.basename(name).lower().split(".")[1:]] or [""]


def matched(patterns: Sequence[str]) -> tuple[dict[str, os.stat_result], list[str]]:
    """The files that there are, in order of name; and the patterns that none matches."""
    names = {pattern: _matches(pattern) for pattern in patterns}
    found = {}
    for name in sorted({name for some in names.values() for name in some}):
        try:
            found[name] = os.stat(name)
        except FileNotFoundError:
            continue  # it went away between the two looks
    return found, [pattern for pattern, some in names.items() if not some]


def _matches(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        raise FeedError(f"from_files: {pattern} is a folder; say which files of it, as in {os.path.join(pattern, '*.ndjson')!r}")
    if os.path.exists(pattern) and not os.path.isfile(pattern):
        raise FeedError(f"from_files: {pattern} is no file that can be read again; from_async_iterable reads what comes once")
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        return [pattern] if os.path.exists(pattern) else []  # a name may have brackets, too
    return list(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
