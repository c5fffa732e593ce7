"""CSV: where each row ends, and what it is under the file's header."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rxstreams.errors import FeedError
from rxstreams.feeds.files.lines import LineReader
from rxstreams.feeds.files.opening import File
from rxstreams.feeds.files.stretches import Bad, Place, Stretch, grouped

__all__ = ["RowDecoder", "RowReader"]

UNFINISHED = "unexpected end of data"


class Layout(NamedTuple):
    """How the rows of a file are to be read."""

    columns: Sequence[str]
    delimiter: str


class RowDecoder:
    """Makes a record of a row's bytes; ``layout`` is that of its file.

    Args:
        make: What the texts by column become.
    """

    layout: Layout

    def __init__(self, make: Callable[[dict[str, str]], Any] | None) -> None:
        self.make = make

    def __call__(self, row: bytes) -> Any:
        """The record.

        Raises:
            ValueError: If it has not as many fields as the header.
        """
        columns, delimiter = self.layout
        text = row.decode()
        fields = _quoted(text, delimiter) if '"' in text else text.split(delimiter)
        if len(fields) != len(columns):
            raise ValueError(f"expected {len(columns)} fields as in the header, got {len(fields)}")
        record = dict(zip(columns, fields))
        return record if self.make is None else self.make(record)


def _quoted(text: str, delimiter: str) -> list[str]:
    return next(_reader(io.StringIO(text, newline="\n"), delimiter))


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=True)


class RowReader(LineReader):
    """Reads a CSV file's rows; a quoted field may have line ends. The first line has the names of the columns.

    A quote that is never closed makes its line a bad one; reading goes on at the next line.
    """

    def __init__(self, file: File, place: Place, longest: int, *, final: bool, delimiter: str) -> None:
        super().__init__(file, place, longest, final=final)
        self.delimiter = delimiter
        self.columns: list[str] = []
        self.begun = b""  # of a row, which goes on in the next block
        self.over = False

    def stretches(self) -> Iterator[Stretch]:
        if not self._read_header():
            return
        layout = Layout(self.columns, self.delimiter)
        for stretch in self._rows_of_all():
            stretch.layout = layout
            yield stretch

    def _rows_of_all(self) -> Iterator[Stretch]:
        yield from super().stretches()
        if self.begun and self.final:
            self.over = True
            yield from self.split(b"")
        self.rest = self.rest or bool(self.begun)

    def _read_header(self) -> bool:
        """Read the names of the columns; False if they are not there yet."""
        self.file.seek(0)
        raw = self.file.line(self.longest)
        if not raw or not (self.final or raw.endswith(b"\n")):
            self.rest = bool(raw)
            return False
        try:
            self.columns = next(_reader([raw.decode("utf-8-sig")], self.delimiter))
        except (csv.Error, UnicodeDecodeError) as error:
            raise FeedError(f"{self.file.name}, line 1: the header cannot be read: {error}") from error
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise FeedError(f"{self.file.name}, line 1: expected a header, a different name for each column, got {self.columns}")
        if self.place.byte == 0:
            self.place = Place(len(raw), 1)
        return True

    def split(self, data: bytes) -> Iterator[Stretch]:
        if not self.begun and b'"' not in data:
            yield from super().split(data)  # each line is a row
            return
        data, self.begun = self.begun + data, b""
        begin = self.place
        texts = io.StringIO(data.decode("utf-8", "surrogateescape"), newline="\n").readlines()
        values, places, at = self._rows(data.split(b"\n"), texts, begin)
        self.begun = data[at.byte - begin.byte :]
        self.place = Place(min(at.byte, begin.byte + len(data)), at.line)
        yield from grouped(values, places, self.place)

    def _rows(self, lines: list[bytes], texts: list[str], at: Place) -> tuple[list[bytes], list[Place], Place]:
        """The rows, where each begins, and where the one begins that is not complete."""
        values, places = list[bytes](), list[Place]()
        start, reader, read_before = 0, _reader(texts, self.delimiter), 0
        while start < len(texts):
            try:
                fields, problem = next(reader), ""
            except csv.Error as error:
                fields, problem = [], str(error)
            stop = read_before + reader.line_num
            if problem == UNFINISHED and not self.over and sum(map(len, lines[start:stop])) <= self.longest:
                break
            if problem:
                if stop > start + 1 or stop == len(texts):
                    reader = _reader(texts[start + 1 :], self.delimiter)
                    read_before = start + 1
                stop = start + 1
            raw = lines[start] if stop == start + 1 else b"\n".join(lines[start:stop])
            if fields or problem:
                values.append(self._row(raw.removesuffix(b"\r"), problem))
                places.append(at)
            at = Place(at.byte + len(raw) + 1, at.line + stop - start)
            start = stop
        return values, places, at

    def _row(self, raw: bytes, problem: str) -> bytes:
        if len(raw) > self.longest:
            return self.too_long(raw, len(raw))
        return Bad.of(raw, problem) if problem else raw
