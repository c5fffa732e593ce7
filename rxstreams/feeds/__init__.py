"""Where records come from: topics, iterables, async iterables."""

from rxstreams.feeds.iterables import from_async_iterable, from_iterable
from rxstreams.feeds.source import Chunk, Feed, Source
from rxstreams.feeds.topics import from_topic

__all__ = ["Chunk", "Feed", "Source", "from_async_iterable", "from_iterable", "from_topic"]
