"""Health over HTTP: whether a run works, and if not, why."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rxstreams.runtime import Running

__all__ = ["healthz", "readyz"]

Endpoint = Callable[[Request], Awaitable[Response]]


def healthz(running: Running) -> Endpoint:
    """A route: 200 while the run does its work, 503 while it does not, with the run's ``Health`` as JSON, which says why.

    ``app.add_route("/healthz", healthz(running))``. A supervisor that restarts what is not healthy for long loses nothing.
    """
    return _endpoint(running, lambda: running.health.healthy)


def readyz(running: Running) -> Endpoint:
    """A route: 200 once the run has restored its state, 503 before and after that."""
    return _endpoint(running, lambda: running.health.ready)


def _endpoint(running: Running, good: Callable[[], bool]) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        body = msgspec.json.encode({"app": running.app, **msgspec.structs.asdict(running.health)})
        return Response(body, 200 if good() else 503, media_type="application/json")

    return endpoint
