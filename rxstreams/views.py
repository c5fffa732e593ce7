"""Views: a stream's latest results by key, as of the last commit; in the process that computes them, and in any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, TypeVar, overload

import msgspec
from reactivex import Observable
from reactivex.subject import Subject

from rxstreams.brokers import connect
from rxstreams.brokers.contract import Broker, Put
from rxstreams.errors import ConfigError
from rxstreams.state.keys import decode_key, encode_key, internal, original

__all__ = ["PublishedView", "View", "table_of", "view"]

T = TypeVar("T")
_POLL = 0.02


class View(Mapping[Any, Any]):
    """The latest value of each key, in the process of the run. It changes only when a commit has happened.

    Iterate over it, ask ``view[key]`` or ``view.get(key)``; the row of an unkeyed stream is ``view[None]``.

    Attributes:
        as_of: The number of the epoch that changed it last.
        changes: An Observable of (key, value), right after each commit.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.as_of = 0
        self._rows: dict[Any, Any] = {}
        self._changes: Subject[tuple[Any, Any]] = Subject()

    def __getitem__(self, key: Any) -> Any:
        return self._rows[internal(key)]

    def __iter__(self) -> Iterator[Any]:
        return (original(key) for key in list(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<View {self.name!r}: {len(self)} rows as of epoch {self.as_of}>"

    @property
    def changes(self) -> Observable[tuple[Any, Any]]:
        """An Observable of (key, value), right after each commit."""
        return self._changes

    def _load(self, rows: Mapping[Any, Any], epoch: int) -> None:
        """Begin with what was saved."""
        self._rows, self.as_of = dict(rows), epoch

    def _apply(self, changed: Mapping[Any, Any], epoch: int) -> None:
        """An epoch is committed."""
        if changed:
            self._rows.update(changed)
            self.as_of = epoch
            for key, value in changed.items() if self._changes.observers else ():
                self._changes.on_next((original(key), value))


def table_of(app: str, name: str) -> str:
    """The broker's table that a published view is kept in."""
    return f"{app}.view.{name}"


def published(app: str, name: str, changed: Mapping[Any, Any]) -> list[Put]:
    """What a commit writes of a published view: a record per changed key, its value as JSON."""
    table = table_of(app, name)
    return [Put(table, encode_key(key), msgspec.json.encode(value)) for key, value in changed.items()]


class PublishedView:
    """A view that another process publishes, read from the broker: committed results only.

    Use it as an async context manager, or call ``close``. Values are what their JSON says, or of the type that was asked for.
    """

    def __init__(self, broker: Broker, app: str, name: str, type: Any, *, owned: bool) -> None:
        self._broker, self._table, self._owned = broker, table_of(app, name), owned
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(type).decode
        self._rows: dict[Any, Any] = {}
        self._started = not owned
        self.as_of = 0
        self.name = name

    async def __aenter__(self) -> PublishedView:
        if not self._started:
            await self._broker.start()
            self._started = True
        await self.refresh()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Release the broker, if the view opened it."""
        if self._owned and self._started:
            await self._broker.stop()
            self._started = False

    async def refresh(self) -> list[tuple[Any, Any]]:
        """Read what was committed since; return the changed (key, value) pairs, None for a deleted one."""
        read = await self._broker.read_table(self._table, after=self.as_of)
        changed = [(decode_key(key), None if value is None else self._decode(value)) for key, value in read.rows]
        for key, value in changed:
            if value is None:
                self._rows.pop(internal(key), None)
            else:
                self._rows[internal(key)] = value
        self.as_of = read.version
        return changed

    async def get(self, key: Any, default: Any = None) -> Any:
        """The value of a key, as of the last commit."""
        await self.refresh()
        return self._rows.get(internal(key), default)

    async def items(self) -> list[tuple[Any, Any]]:
        """Every (key, value), as of the last commit."""
        await self.refresh()
        return [(original(key), value) for key, value in self._rows.items()]

    async def changes(self) -> AsyncIterator[tuple[Any, Any]]:
        """Each (key, value) as it is committed, from now on; first the rows that are there."""
        for pair in await self.items():
            yield pair
        while True:
            for pair in await self.refresh():
                yield pair
            await asyncio.sleep(_POLL)


@overload
def view(app: str, name: str, type: type[T], /, *, broker: str | Broker | None = None) -> PublishedView: ...
@overload
def view(app: str, name: str, /, *, broker: str | Broker | None = None) -> PublishedView: ...
def view(app: str, name: str, type: Any = Any, /, *, broker: str | Broker | None = None) -> PublishedView:
    """A view that ``app`` publishes (``to_view(name, publish=True)``), from any process.

    Args:
        app: The app that computes it.
        name: The view's name.
        type: What a value is; any JSON without.
        broker: The broker or its URL; None is ``RXSTREAMS_BROKER``, or the default file.

    Raises:
        ConfigError: If a name is missing, or the broker's URL is not one.
    """
    from rxstreams.feeds.topics import broker_url  # the default is one for sources and views

    if not app or not name:
        raise ConfigError(f"view(app, name): expected two names, got {app!r} and {name!r}")
    if broker is None or isinstance(broker, str):
        return PublishedView(connect(broker_url(broker)), app, name, type, owned=True)
    return PublishedView(broker, app, name, type, owned=False)
