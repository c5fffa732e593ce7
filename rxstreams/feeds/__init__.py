"""Where records come from: topics, iterables, async iterables, files, HTTP feeds.

source        what they share: chunks of records, event time, what a feed saves
topics        topics of the broker
iterables     Python's own sequences
files/        NDJSON, CSV, Parquet; a glob, followed
http/         Server-Sent Events, lines of JSON, WebSockets, polling
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rxstreams.feeds.iterables import from_async_iterable, from_iterable
from rxstreams.feeds.source import Chunk, Feed, Source
from rxstreams.feeds.topics import from_topic

if TYPE_CHECKING:
    from rxstreams.feeds.files import from_files
    from rxstreams.feeds.http import Page, from_ndjson, from_poll, from_sse, from_websocket

__all__ = [
    "Chunk",
    "Feed",
    "Page",
    "Source",
    "from_async_iterable",
    "from_files",
    "from_iterable",
    "from_ndjson",
    "from_poll",
    "from_sse",
    "from_topic",
    "from_websocket",
]

_LATER = {
    "from_files": "rxstreams.feeds.files",
    **dict.fromkeys(("Page", "from_ndjson", "from_poll", "from_sse", "from_websocket"), "rxstreams.feeds.http"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value
