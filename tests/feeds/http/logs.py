"""A log of numbered items on a server, which it gives in either protocol, after the number that it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rxstreams as rxs
from rxstreams.feeds.http import from_ndjson, from_sse
from tests.feeds.http.servers import EVENTS, LINES, Answer, Asked

PROTOCOLS = ("sse", "ndjson")


def item(protocol: str, number: int) -> bytes:
    """An item as it travels."""
    return b'id: %d\ndata: {"n": %d}\n\n' % (number, number) if protocol == "sse" else b'{"n": %d}\n' % number


def after(asked: Asked) -> int:
    """The number of the item to begin with."""
    said = asked.headers.get("last-event-id") or asked.query.get("after")
    return 0 if said is None else int(said) + 1


async def begin(protocol: str, asked: Asked) -> None:
    """Send the head."""
    await asked.begin(headers=EVENTS if protocol == "sse" else LINES)


def log(protocol: str, size: int, *, each: int | None = None, cut: bytes = b"") -> Answer:
    """Answers with items up to ``size``; with at most ``each`` in a connection, which breaks off after ``cut``."""

    async def answer(asked: Asked) -> None:
        start = after(asked)
        stop = size if each is None else min(size, start + each)
        await begin(protocol, asked)
        await asked.send(b"".join(item(protocol, number) for number in range(start, stop)))
        if stop < size:
            await asked.send(cut or b" ")
        else:
            await asked.end()

    return answer


def stream(protocol: str, url: Any, type: Any = Any, **options: Any) -> rxs.Stream[Any]:
    """A feed that goes on by the items' numbers."""
    if protocol == "sse":
        return from_sse(url, type, **options)
    resume: Callable[[Any], Any] = lambda one: {"after": one["n"]} if isinstance(one, dict) else None  # noqa: E731  # a value among values
    return from_ndjson(url, type, **{"resume": resume, **options})


def numbers(*values: int) -> list[dict[str, int]]:
    """What comes out."""
    return [{"n": value} for value in values]
