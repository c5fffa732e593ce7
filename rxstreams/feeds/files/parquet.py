"""Parquet: rows as dicts, by DuckDB."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from functools import partial

from rxstreams.errors import FeedError
from rxstreams.feeds.files.opening import File, needed
from rxstreams.feeds.files.stretches import PIECE, Place, Stretch

__all__ = ["ParquetReader"]

ROWS = "SELECT * FROM read_parquet(?, hive_partitioning = false) OFFSET ?"
MAGIC = b"PAR1"
"""A file's first bytes, and its last, which are written when it is complete."""


class ParquetReader:
    """Reads a file's rows from one on; a place is a row's number.

    Holds: what DuckDB holds of a row group, and 2,048 rows.
    """

    rest = False

    def __init__(self, file: File, place: Place) -> None:
        self.file, self.place = file, place

    def stretches(self) -> Iterator[Stretch]:
        """The rows, in the order of the file."""
        duckdb = needed("duckdb", "Parquet")
        self._refuse_others()
        with duckdb.connect(config={"threads": 1}) as database:
            try:
                found = database.execute(ROWS, [glob.escape(os.path.abspath(self.file.name)), self.place.byte])
                names = [column[0] for column in found.description]
                while rows := found.fetchmany(PIECE):
                    at, self.place = self.place, Place(self.place.byte + len(rows), self.place.line + len(rows))
                    values = [dict(zip(names, row)) for row in rows]
                    yield Stretch(values, self.place, partial(_places, at.byte, len(rows)))
            except duckdb.Error as error:
                problem = str(error).partition("\n")[0]  # the rest shows the query
                raise FeedError(f"{self.file.name} cannot be read on as Parquet: {problem}") from error

    def _refuse_others(self) -> None:
        """Say of what is no Parquet, or not all of it, what it is instead."""
        begin, size = self.file.head(len(MAGIC)), self.file.status.st_size
        if not MAGIC.startswith(begin):
            raise FeedError(f"{self.file.name} cannot be read on as Parquet: it is none, it begins with {begin!r}")
        if size < 2 * len(MAGIC) or self.file.before(size, len(MAGIC)) != MAGIC:
            raise self.file.cut_off()


def _places(at: int, n: int) -> list[Place]:
    return [Place(row, row) for row in range(at, at + n)]
