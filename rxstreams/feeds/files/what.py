"""Which files to read, and by what reader: what ``from_files`` was told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import msgspec

from rxstreams.errors import FeedError
from rxstreams.feeds.files.lines import LineReader
from rxstreams.feeds.files.matching import Compression, Format, compression_of
from rxstreams.feeds.files.opening import File
from rxstreams.feeds.files.parquet import ParquetReader
from rxstreams.feeds.files.rows import RowReader
from rxstreams.feeds.files.stretches import Place, Stretch

__all__ = ["Reader", "What"]


class Reader(Protocol):
    """A file at work: its records, how far it has come, and whether a record has begun that is still to come."""

    place: Place
    rest: bool

    def stretches(self) -> Iterator[Stretch]: ...


class What(msgspec.Struct, frozen=True):
    """Which files to read, and how."""

    patterns: tuple[str, ...]
    format: Format
    compression: Compression | None
    delimiter: str | None
    longest: int
    follow: bool

    def _compression(self, name: str) -> Compression:
        return "none" if self.format == "parquet" else self.compression or compression_of(name)

    def grows(self, name: str) -> bool:
        """Whether what is appended to a file is more of it."""
        return self.format != "parquet" and self._compression(name) == "none"

    def open(self, name: str) -> File | None:
        """The file; None if it went away since it was looked for, of which the next look sees what to think."""
        try:
            return File(name, self._compression(name))
        except FeedError:
            if self.follow and not os.path.exists(name):
                return None
            raise

    def reader(self, file: File, place: Place, *, final: bool) -> Reader:
        """What reads a file from a place on; ``final`` where a last line without an end is a line."""
        if self.format == "parquet":
            return ParquetReader(file, place)
        if self.format == "csv":
            tabs = ".tsv" in os.path.basename(file.name).lower()
            return RowReader(file, place, self.longest, final=final, delimiter=self.delimiter or ("\t" if tabs else ","))
        return LineReader(file, place, self.longest, final=final)
