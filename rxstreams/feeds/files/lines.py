"""Lines: blocks of a file split at line ends, NDJSON's records as they are."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from rxstreams.feeds.files.opening import File
from rxstreams.feeds.files.stretches import Bad, Place, Stretch, even, grouped

__all__ = ["LineReader"]

BLOCK = 2**18
SHOWN = 1000
"""Bytes that are kept of a line that is too long."""
BOM = b"\xef\xbb\xbf"


class LineReader:
    """Reads a file's lines from a place on.

    Holds: a block of 256 KiB, and the line that begins in it, up to ``longest`` bytes.

    Args:
        file: Where they are.
        place: Where to begin.
        longest: The most bytes of a line.
        final: Whether what has no line end is a line, too; otherwise the rest of it is still to come.

    Attributes:
        place: How far it has come.
        rest: Whether a line has begun and not ended.
    """

    def __init__(self, file: File, place: Place, longest: int, *, final: bool) -> None:
        self.file, self.place, self.longest, self.final = file, place, longest, final
        self.rest = False

    def stretches(self) -> Iterator[Stretch]:
        """The records, as they lie in the file."""
        self.file.seek(self.place.byte)
        left = b""
        while block := self.file.read(BLOCK):
            if self.place.byte == 0 and not left and block.startswith(BOM):
                block, self.place = block[len(BOM) :], Place(len(BOM), 0)
            data = left + block if left else block
            whole = data.rfind(b"\n") + 1
            left = data[whole:]
            if whole:
                yield from self.split(data[:whole] if left else data)
            if len(left) > self.longest:
                left = yield from self._pass_over(left)
        whole = len(left) if self.final else left.rfind(b"\n") + 1
        self.rest = self.rest or whole < len(left)
        if whole:
            yield from self.split(left[:whole])

    def _pass_over(self, begun: bytes) -> Generator[Stretch, None, bytes]:
        """Read to the end of a line that is too long, and keep its first bytes; return what comes after it."""
        length, left = len(begun), b""
        while block := self.file.read(BLOCK):
            end = block.find(b"\n")
            length += len(block) if end < 0 else end
            if end >= 0:
                left, length = block[end + 1 :], length + 1
                break
        else:
            if not self.final:
                self.rest = True
                return b""
        at, self.place = self.place, Place(self.place.byte + length, self.place.line + 1)
        yield Stretch([self.too_long(begun, length)], self.place, lambda: [at])
        return left

    def too_long(self, line: bytes, length: int) -> Bad:
        """A line that was not kept whole."""
        return Bad.of(line[:SHOWN], f"{length:,} bytes are more than max_item={self.longest:,}; the first {SHOWN:,} are kept")

    def split(self, data: bytes) -> Iterator[Stretch]:
        """Whole lines as records."""
        lines, width = data.split(b"\n"), 1
        ends = len(lines) - 1
        begin, self.place = self.place, Place(self.place.byte + len(data), self.place.line + ends + bool(lines[-1]))
        returns = data.count(b"\r")
        if returns == ends and len(windows := data.split(b"\r\n")) == ends + 1:
            lines, width = windows, 2
        if not lines[-1]:
            lines.pop()
        if (returns and width == 1) or not all(lines) or len(data) > self.longest:
            yield from self._uneven(lines, begin, width)
        else:
            yield from even(lines, begin, self.place, width)

    def _uneven(self, lines: list[bytes], at: Place, width: int) -> Iterator[Stretch]:
        """Lines of which some are empty, end as on Windows, or are too long."""
        values, places = list[bytes](), list[Place]()
        for line in lines:
            value = line.removesuffix(b"\r")
            if value:
                values.append(value if len(value) <= self.longest else self.too_long(value, len(value)))
                places.append(at)
            at = Place(at.byte + len(line) + width, at.line + 1)
        yield from grouped(values, places, self.place)
