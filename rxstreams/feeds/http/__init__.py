"""Feeds over HTTP, read on httpx2: each goes on where it was, as far as its protocol lets it."""

from rxstreams.feeds.http.ndjson import from_ndjson
from rxstreams.feeds.http.sse import from_sse

__all__ = ["from_ndjson", "from_sse"]
