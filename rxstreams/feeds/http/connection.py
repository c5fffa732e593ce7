"""A place on the web and how it is asked: headers, redirects, statuses, how often; nothing secret in what is said of it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from rxstreams.errors import FeedError
from rxstreams.feeds.http.retrying import Lost, Patience, lasting, retry_after

if TYPE_CHECKING:
    import ssl

    import httpx2

__all__ = ["Asking", "Connection", "Cursor", "Paces", "Place", "shown"]

T = TypeVar("T")
Cursor = str | Mapping[str, Any] | None
"""Where to go on: query parameters, or a url that may be relative; None is the url as it was given."""

MOST_REDIRECTS = 5
REMEDIES = {
    401: "give a token that is valid, as headers=; a function if it expires",
    403: "give a token that may read this, as headers=",
    404: "check the url",
    410: "it is gone for good, or what to go on from is; check the url, or begin anew under another name=",
}


def shown(url: str) -> str:
    """A url as it may be seen: without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    """Whom a url asks, and how; a WebSocket begins as a request."""
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    return scheme, url.host, url.port or (443 if scheme == "https" else 80)


def _check_askable(url: httpx2.URL) -> None:
    """See that a url can be asked for; what is not seen here would fail in a socket.

    Raises:
        ValueError: If not.
    """
    if url.scheme not in ("http", "https", "ws", "wss"):
        raise ValueError(f"expected http, https, ws or wss, got {url.scheme!r}")
    if not url.host or not set(url.host).isdisjoint("%[] "):
        raise ValueError(f"expected a host, got {url.host!r}")
    if url.port is not None and not 0 < url.port < 1 << 16:
        raise ValueError(f"expected a port up to 65535, got {url.port}")


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How every place of a feed is asked; see ``Common``."""

    headers: Any
    timeout: float
    silence: float | None
    rate: float | None
    tries: int | None
    ssl_context: ssl.SSLContext | None

    def client(self) -> httpx2.AsyncClient:
        """The client of one subscription or run."""
        import httpx2

        timeout = httpx2.Timeout(self.timeout, read=self.silence, pool=None)
        limits = httpx2.Limits(max_connections=None)
        verify = True if self.ssl_context is None else self.ssl_context
        return httpx2.AsyncClient(timeout=timeout, limits=limits, verify=verify)


class Place(msgspec.Struct, frozen=True):
    """One url of a feed: a partition.

    Attributes:
        number: The partition.
        url: With all that is secret.
        shown: Without.
        key: What its cursor is saved under.
    """

    number: int
    url: str
    shown: str
    key: str


class Paces:
    """When each host may be asked next."""

    def __init__(self, rate: float | None) -> None:
        self.gap = None if rate is None else 1.0 / rate
        self.next: dict[str, float] = {}

    async def turn(self, host: str) -> None:
        """Return when it is this request's turn."""
        if self.gap is None:
            return
        now = asyncio.get_running_loop().time()
        at = max(now, self.next.get(host, now))
        self.next[host] = at + self.gap
        await asyncio.sleep(at - now)


class Connection:
    """Asks one place, again and again."""

    def __init__(self, feed: str, place: Place, client: httpx2.AsyncClient, asking: Asking, paces: Paces) -> None:
        self.feed, self.place, self.client, self.asking, self.paces = feed, place, client, asking, paces
        self.patience = Patience(feed, place.shown, asking.tries)

    def lasting(self, connect: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
        """See ``rxstreams.feeds.http.retrying.lasting``."""
        return lasting(connect, self.patience)

    def error(self, text: str) -> FeedError:
        """An error that says where."""
        return self.patience.error(text)

    @asynccontextmanager
    async def opened(
        self, cursor: Cursor = None, headers: Mapping[str, str | bytes] | None = None, *, also: int | None = None
    ) -> AsyncIterator[httpx2.Response]:
        """A response that has begun, with a good status or ``also`` that one.

        Raises:
            Lost: If asking again may do.
            FeedError: If it will not.
        """
        target = self._target(cursor)
        request = self.client.build_request("GET", target, headers=await self._headers(headers or {}))
        response = await self._sent(request)
        try:
            if not response.is_success and response.status_code != also:
                raise self._refusal(response)
            yield response
        finally:
            await response.aclose()

    async def _headers(self, more: Mapping[str, str | bytes]) -> Any:
        import httpx2

        given = self.asking.headers
        try:
            if callable(given):
                given = given()
            if inspect.isawaitable(given):
                given = await given
            headers = httpx2.Headers(given)
        except (httpx2.TransportError, TimeoutError, OSError):
            raise  # as where a token comes from is lost, too
        except Exception as error:
            raise self.error(f"headers= raised {type(error).__name__}: {error}") from error
        headers.update(more)  # type: ignore[arg-type]  # bytes are taken, too
        return headers

    def _target(self, cursor: Cursor) -> httpx2.URL:
        import httpx2

        try:
            target = url = httpx2.URL(self.place.url)
            if cursor is not None:
                target = url.join(cursor) if isinstance(cursor, str) else url.copy_merge_params(dict(cursor))
            _check_askable(target)
        except (httpx2.InvalidURL, ValueError, TypeError) as error:
            given, remedy = ("the url", "check it") if cursor is None else ("the next url", "check what next= or resume= returns")
            raise self.error(f"{given} cannot be asked for: {error}; {remedy}") from error
        self._check_origin(target, "the next url")
        return target

    def _check_origin(self, url: httpx2.URL, what: str) -> None:
        """Headers may hold a secret, which is for who was named only: another port may be another's, and http is read by all."""
        import httpx2

        if self.asking.headers and _origin(url) != _origin(httpx2.URL(self.place.url)):
            scheme, host, port = _origin(url)
            raise self.error(
                f"{what} leads to another host, port or scheme ({scheme}://{host}:{port}), which must not see headers=; "
                "name that one's url"
            )

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        for _ in range(MOST_REDIRECTS):
            await self.paces.turn(request.url.host)
            response = await self._answered(request)
            if response.next_request is None:
                return response
            await response.aclose()
            request = response.next_request
            try:
                _check_askable(request.url)
            except ValueError as error:
                raise self.error(f"a redirect leads to a url that cannot be asked for: {error}; check the url") from error
            self._check_origin(request.url, "a redirect")
        raise self.error(f"more than {MOST_REDIRECTS} redirects; check the url")

    async def _answered(self, request: httpx2.Request) -> httpx2.Response:
        import httpx2

        try:
            async with asyncio.timeout(self.asking.timeout):
                return await self.client.send(request, stream=True, follow_redirects=False)
        except TimeoutError as error:
            raise Lost(f"no answer for {self.asking.timeout:g} seconds") from error
        except (httpx2.InvalidURL, ValueError, OverflowError) as error:
            # A redirect to what is no url, a name that cannot be looked up.
            raise self.error(f"the url, or a redirect's, cannot be asked for: {error}; check the url") from error

    def _refusal(self, response: httpx2.Response) -> Exception:
        status, got = response.status_code, f"{response.status_code} {response.reason_phrase}".strip()
        if status >= 500 or status in (408, 425, 429):
            return Lost(f"the server answered {got}", after=retry_after(response.headers.get("retry-after")))
        return self.error(f"expected status 200, got {got}; {REMEDIES.get(status, 'check the url, and what the server takes')}")

    def check_type(self, response: httpx2.Response, expected: str, refused: Callable[[str], bool]) -> None:
        """Raise if the response is of a type that this feed cannot be: a page for people, most often.

        Raises:
            FeedError: If so.
        """
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if refused(kind):
            raise self.error(
                f"expected {expected}, got {response.status_code} with content type {kind or 'none'!r}; check the url"
            )
