"""Lines out of the bytes of a response, however these are cut; one that is too long is never held whole."""

from __future__ import annotations

__all__ = ["BYTE_ORDER_MARK", "Lines", "TooLong"]

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

SHOWN = 200
"""Bytes that are kept of an item that is too long."""


class TooLong(bytes):
    """The beginning of an item that is longer than ``max_item``; where its turn comes, it is a bad item."""

    __slots__ = ()

    @classmethod
    def of(cls, value: bytes) -> TooLong:
        """What is kept of an item."""
        return cls(value[:SHOWN])


class Lines:
    """Cuts bytes into lines, without what ends them.

    Holds less than ``longest`` bytes of an unfinished line; of a longer one the beginning.

    Args:
        longest: Bytes of a line; one that has more is a ``TooLong``.
        any_ending: Whether a carriage return ends a line too, alone or before a line feed, as in Server-Sent Events.
    """

    def __init__(self, longest: int, *, any_ending: bool = False) -> None:
        self.longest, self.any_ending = longest, any_ending
        self.parts: list[bytes] = []
        self.size = 0
        self.over: TooLong | None = None
        self.returned = self.begun = False

    def split(self, part: bytes) -> list[bytes]:
        """The lines that end in ``part``."""
        if self.any_ending:
            part = self._with_line_feeds(part)
        *lines, rest = part.split(b"\n")
        if lines:
            lines[0] = self._first(self._joined(lines[0]))
            if max(map(len, lines)) > self.longest:
                lines = [TooLong.of(line) if len(line) > self.longest else line for line in lines]
        self._keep(rest)
        return lines

    def rest(self) -> bytes:
        """What came after the last line's end."""
        return self._first(self._joined(b""))

    def _first(self, line: bytes) -> bytes:
        """Without the byte order mark that the very first line may begin with."""
        if self.begun or line.__class__ is TooLong:
            return line
        self.begun = True
        return line.removeprefix(BYTE_ORDER_MARK)

    def _with_line_feeds(self, part: bytes) -> bytes:
        if self.returned and part:
            part = part.removeprefix(b"\n")
            self.returned = False
        if b"\r" in part:
            self.returned = part.endswith(b"\r")
            part = part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return part

    def _joined(self, end: bytes) -> bytes:
        """The unfinished line with its end."""
        line = self.over if self.over is not None else b"".join((*self.parts, end)) if self.parts else end
        self.parts, self.size, self.over = [], 0, None
        return line

    def _keep(self, rest: bytes) -> None:
        if not rest or self.over is not None:
            return
        self.parts.append(rest)
        self.size += len(rest)
        if self.size > self.longest:
            self.over = TooLong.of(b"".join(self.parts))
            self.parts = []
