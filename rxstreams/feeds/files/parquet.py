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
        with duckdb.connect(config={"threads": 1}) as database:
            try:
                found = database.execute(ROWS, [glob.escape(os.path.abspath(self.file.name)), self.place.byte])
                names = [column[0] for column in found.description]
                while rows := found.fetchmany(PIECE):
                    at, self.place = self.place, Place(self.place.byte + len(rows), self.place.line + len(rows))
                    values = [dict(zip(names, row)) for row in rows]
                    yield Stretch(values, self.place, partial(_places, at.byte, len(rows)))
            except duckdb.Error as error:
                raise FeedError(f"{self.file.name} cannot be read on as Parquet: {error}") from error


def _places(at: int, n: int) -> list[Place]:
    return [Place(row, row) for row in range(at, at + n)]
