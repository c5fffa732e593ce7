"""Feeds over HTTP, read on httpx2: each goes on where it was, as far as its protocol lets it."""

from rxstreams.feeds.http.ndjson import from_ndjson
from rxstreams.feeds.http.poll import Page, from_poll
from rxstreams.feeds.http.sse import from_sse
from rxstreams.feeds.http.websocket import from_websocket

__all__ = ["Page", "from_ndjson", "from_poll", "from_sse", "from_websocket"]
