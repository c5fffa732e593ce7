"""Which items of a response came before, by ids of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from rxstreams.errors import ConfigError
from rxstreams.feeds.http.connection import Connection
from rxstreams.operators.arguments import check_function, field_of

__all__ = ["Id", "News", "checked_id", "identity"]

Id = str | Callable[[Any], Any]
"""A field's name, or a function of the item."""

SIZE = 8
"""Bytes that are kept of an id: what is committed stays small, and of a billion items none is taken for another."""


def checked_id(where: str, id: Any) -> Id | None:
    """``id`` itself, if it can name items.

    Raises:
        ConfigError: If not.
    """
    if isinstance(id, str) and id:
        return id
    if id is not None and not callable(id):
        raise ConfigError(f"{where}: expected a field's name, a function of the item, or None, got {id!r}")
    check_function(where, id, or_none=True)
    return id  # type: ignore[no-any-return]  # it was checked


class News:
    """The items of a response that did not come before.

    Attributes:
        places: Where they stand in the response.
    """

    def __init__(self, before: bytes, ids: Sequence[bytes], remember: int) -> None:
        known = {before[at : at + SIZE] for at in range(0, len(before), SIZE)}
        here = dict.fromkeys(ids)
        # What still stands in the response counts as seen last, or an item that stays there would be forgotten and come again.
        kept = [before[at : at + SIZE] for at in range(0, len(before), SIZE) if before[at : at + SIZE] not in here]
        self.kept = kept + [one for one in here if one in known]
        self.most = max(remember, len(here))
        first = {one: at for at, one in reversed(tuple(enumerate(ids))) if one not in known}
        self.places = sorted(first.values())
        self.new = [ids[at] for at in self.places]

    def after(self, n: int) -> bytes:
        """What is known after the first ``n`` of them."""
        return b"".join((self.kept + self.new[:n])[-self.most :])


def identity(id: Id, value: bytes, decode: Callable[[bytes], Any], connection: Connection) -> bytes:
    """What an item is known by; one that does not decode, and meets the source's policy, by its bytes.

    Raises:
        FeedError: If an item has no id.
    """
    try:
        item = decode(value)
    except Exception:
        return _short(value)
    try:
        own = _field(id, item, value) if isinstance(id, str) else id(item)
        if own is None:
            raise ValueError("it is None")
        return _short(msgspec.json.encode(own))
    except Exception as error:
        what = f"a field {id!r}" if isinstance(id, str) else "a function of the item that gives one"
        raise connection.error(
            f"expected an id of each item by id= ({what}), got {type(error).__name__}: {error}; name what each item has"
        ) from error


def _field(name: str, item: Any, value: bytes) -> Any:
    """Of the decoded item; of its JSON where that has no such field, as bytes have none."""
    try:
        return field_of(item, name)
    except (AttributeError, KeyError):
        return msgspec.json.decode(value)[name]


def _short(value: bytes) -> bytes:
    return blake2b(value, digest_size=SIZE).digest()
