"""Server-Sent Events out of the bytes of a response.

The parser is our own, though httpx2 has one: that ends the stream at an event that is too long (and the next connection gets it
again), puts U+FFFD where there is no UTF-8, does not tell an event that has an id from one that has not, and makes a frozen
object of each event, one at a time (``python -m benchmarks.feeds`` has what that costs).
"""

from __future__ import annotations

from rxstreams.feeds.http.lines import Lines, TooLong

__all__ = ["Event", "Events"]

Event = tuple[bytes, bytes | None, bytes]
"""Data, the event's own id, and its name."""

LONGEST_NAME = 4096
LONGEST_NUMBER = 18
"""Digits that a wait may have; one that has more is none."""


class Events:
    """Events of one response.

    Holds at most ``longest`` bytes of an unfinished event's data, and as much of an unfinished line, but 4 KiB of one that may be
    an id or a name.

    Attributes:
        retry: Seconds that the server wants between two connections, if it said so.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.lines = Lines(max(longest, LONGEST_NAME) + len(b"data: "), any_ending=True)
        self.data: list[bytes] = []
        self.size = 0
        self.id: bytes | None = None
        self.name = b"message"
        self.retry: float | None = None

    def of(self, part: bytes) -> list[Event]:
        """The events that end in ``part``."""
        found: list[Event] = []
        for line in self.lines.split(part):
            # The two kinds of line that most of a stream is come first.
            if line[:6] == b"data: ":
                self._add(line, 6)
            elif not line:
                if self.data:
                    found.append((self._joined(), self.id, self.name))
                    self.data, self.size = [], 0
                self.id, self.name = None, b"message"
            else:
                self._take(line)
        return found

    def _add(self, line: bytes, start: int) -> None:
        self.size += len(line) - start + bool(self.data)
        if line.__class__ is TooLong or self.size > self.longest:
            self.size = self.longest  # what comes after it is too long, too
            self.data = [TooLong.of(self.data[0] if self.data else line[start:])]
        else:
            self.data.append(line[start:])

    def _joined(self) -> bytes:
        data = self.data
        if len(data) == 1:
            return data[0]
        return data[0] if data[0].__class__ is TooLong else b"\n".join(data)

    def _take(self, line: bytes) -> None:
        """A line with another field than data, or a comment."""
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if line.__class__ is TooLong and field != b"data":
            return
        if field == b"id":
            self.id = value if value and b"\0" not in value else None
        elif field == b"event":
            self.name = value or b"message"
        elif field == b"data":
            self._add(line, len(line) - len(value))
        elif field == b"retry" and value.isdigit() and len(value) <= LONGEST_NUMBER:
            self.retry = int(value) / 1000
