"""Serving: uvicorn, with bounds on what it waits for and keeps, so that no client can hold up the others."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["serve"]

_HEAD = 65_536
"""Bytes of a request beside its body: its head, what follows the body, and what divides that."""
_HEADERS = 100
"""Headers of a request, as in most servers: 256 kB that come at once have room for 43,000, which take 8 MB."""
_QUEUED = 100
"""Requests that a connection may have waiting for their turn; 256 kB have room for 14,000."""
_FILES = 65_536


class Patient(HttpToolsProtocol):
    """HTTP/1.1 for clients that are slow, silent or endless; uvicorn waits for them, and keeps what comes, without bound."""

    patience = 20.0
    _since: float | None
    """Since when a request has been coming, or could have been, the first time; None where none is."""
    _stuck: asyncio.TimerHandle | None = None
    _beside = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it stands in uvicorn
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch = self.loop.call_later(self.patience, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._since is None:
            self._since = self.loop.time()
        self._beside += len(data)
        super().data_received(data)
        if self._beside > _HEAD:
            self.send_400_response(f"Expected at most {_HEAD} bytes beside the body.")

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= _QUEUED:
            raise OverflowError("more requests than a client may send without waiting for their answers")
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= _HEADERS:
            raise OverflowError("more headers than a request may have")
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._beside = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._beside, self._since = 0, None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
        else:
            self.transport.abort()  # an answer is due to an earlier request, and would be taken for this one's

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def _look(self) -> None:
        """Give a request up that takes too long; one timer for all of a connection's, since one for each would cost each."""
        if self.transport.get_protocol() is not self:
            return  # it is a websocket now
        left = self.patience
        if self._since is not None and not self.flow.read_paused:  # else it is not the client who keeps us waiting
            left += self._since - self.loop.time()
        if left > 0:
            self._watch = self.loop.call_later(left, self._look)
        elif self._beside:
            self.send_400_response(f"Expected the whole request within {self.patience:g} s.")
        else:
            self.transport.abort()


def serve(app: Any, *, host: str = "127.0.0.1", port: int = 8000, patience: float = 20.0) -> None:
    """Serve an ASGI application until SIGINT or SIGTERM, by uvicorn with httptools.

    A client has ``patience`` for each request, from its first byte, or the connection's beginning, to its last; for as long it
    may leave unread what is sent to it. It may send 100 headers and 64 KiB beside a body, which the application bounds, and
    have 100 requests waiting. The process may open as many files as the machine lets it, since each connection is one.

    Args:
        app: The application.
        host: Where it listens; nobody else on the network can reach it unless it is told so.
        port: Where it listens.
        patience: Seconds.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it has shut down
    protocol = type("Patient", (Patient,), {"patience": patience})
    uvicorn.run(app, host=host, port=port, http=protocol, log_level="warning", timeout_graceful_shutdown=5)
