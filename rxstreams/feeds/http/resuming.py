"""Going on after an item, where the protocol has no word for it: a function of the item says what to ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rxstreams.feeds.http.connection import Connection, Cursor
from rxstreams.feeds.http.feed import Piece

__all__ = ["NOT_RESUMED", "Resuming", "checked_cursor"]

NOT_RESUMED = "cannot be asked to go on where it was (resume=): what comes while it is not connected is lost"

Resume = Callable[[Any], Cursor]


class Resuming:
    """Where one place would go on.

    Args:
        connection: The place.
        resume: Of an item, query parameters or a url that ask for what comes after it; None where the item does not say.
        decode: Bytes into an item.
        saved: What was saved.

    Attributes:
        cursor: Where to go on; None is from where the server begins.
    """

    def __init__(self, connection: Connection, resume: Resume | None, decode: Callable[[bytes], Any], saved: Any) -> None:
        self.connection, self.resume, self.decode = connection, resume, decode
        self.cursor: Cursor = saved

    def piece(self, values: Sequence[bytes]) -> Piece:
        """Items that came next; from here on it would go on after them."""
        if self.resume is None:
            return Piece(values)
        before = self.cursor
        after = self.cursor = self._after(values, len(values), before)
        return Piece(values, lambda n: after if n == len(values) else self._after(values, n, before))

    def _after(self, values: Sequence[bytes], n: int, before: Cursor) -> Cursor:
        """Where to go on after the first ``n``: after the last that says so. One that does not decode may come again."""
        assert self.resume is not None
        for at in range(n - 1, -1, -1):
            try:
                item = self.decode(values[at])
            except Exception:
                continue  # it meets the source's policy
            try:
                told = self.resume(item)
            except Exception as error:
                raise self.connection.error(f"resume= raised {type(error).__name__}: {error}") from error
            if told is not None:
                return checked_cursor(self.connection, "resume=", told)
        return before


def checked_cursor(connection: Connection, where: str, told: Any) -> Cursor:
    """What a user's function returned, as it can be saved.

    Raises:
        FeedError: If it is neither query parameters nor a url.
    """
    if isinstance(told, str):
        return told
    if isinstance(told, Mapping) and all(isinstance(v, str | int | float | None) for kv in told.items() for v in kv):
        return dict(told)
    raise connection.error(
        f"expected query parameters (a mapping of names to texts and numbers) or a url of {where}, got {told!r}"
    )
