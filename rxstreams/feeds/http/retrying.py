"""One connection after another: what is waited for, how long, when a feed gives up, and what the log says of it."""

from __future__ import annotations

import math
import random
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from rxstreams.errors import FeedError
from rxstreams.log import logger

if TYPE_CHECKING:
    from stamina.instrumentation import RetryHook

__all__ = ["Lost", "Patience", "lasting", "retry_after"]

T = TypeVar("T")

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
MOST_WAIT = 600.0
"""Seconds that a server may have a feed wait; one that says more, by mistake or not, is asked again then."""
JITTER = 1.0
QUIET = 60.0
"""Seconds between two lines that a server ends its responses."""
DOUBTFUL = 10
"""Tries in a row of what a retry may mend, or not: a host that nobody knows, a response that is not what it should be."""


class Lost(Exception):
    """A connection that failed or ended, where another may do.

    Attributes:
        reason: What the log says.
        after: Seconds after which the server wants to be asked again, if it said so.
        tries: How often in a row this may happen; None is for ever.
        in_order: Whether the server ended the connection as it may.
    """

    def __init__(self, reason: str, *, after: float | None = None, tries: int | None = None, in_order: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.after, self.tries, self.in_order = reason, after, tries, in_order


class Patience:
    """How often in a row a place was lost, and when to try again: stamina's back-off hook.

    Args:
        feed: The feed's id.
        place: The place, without secrets.
        tries: After how many failures in a row to give up; None is never.
    """

    def __init__(self, feed: str, place: str, tries: int | None) -> None:
        self.feed, self.place, self.tries = feed, place, tries
        self.failures = self.doubtful = 0
        self.gone = self.brought = False
        self.ended, self.told_at, self.clock = 0, -math.inf, time.monotonic
        self.pause: float | None = None
        """Seconds that the server wants between two connections (``retry:`` of Server-Sent Events)."""

    def __call__(self, error: Exception) -> bool | float:
        """Whether to try again after ``error``, or after how many seconds."""
        if not isinstance(error, Lost):
            return False
        brought, self.brought = self.brought, False
        if error.in_order and brought:
            self._rotated()
            return self._wait(error.after)
        self.failures += 1
        # Their own row: a server that was away for long may then answer once what is no JSON.
        self.doubtful += error.tries is not None
        if self.tries is not None and self.failures >= self.tries:
            return False
        if error.tries is not None and self.doubtful >= error.tries:
            return False
        wait = self._wait(error.after)
        if not self.gone:
            self.gone = True
            told = {} if wait is True else {"seconds": round(wait, 1)}
            logger().warning("feed lost, trying again", feed=self.feed, place=self.place, reason=error.reason, **told)
        return wait

    def _wait(self, after: float | None) -> bool | float:
        if after is None and self.pause is not None:
            after = max(self.pause, min(self.pause * 2.0 ** (self.failures - 1), LONGEST_WAIT))
        # All clients of a server that comes back have been told the same, and must not come at once.
        return True if after is None else min(after, MOST_WAIT) * random.uniform(1.0, 1.1)

    def _rotated(self) -> None:
        """Some servers end every response after a while, or after each item: that is no failure, and not a line each time."""
        self.ended += 1
        if (now := self.clock()) - self.told_at >= QUIET:
            logger().info("the server ends its responses, asking on", feed=self.feed, place=self.place, times=self.ended)
            self.ended, self.told_at = 0, now

    def came(self) -> None:
        """The place gave something."""
        self.brought = True
        if self.gone:
            self.gone = False
            logger().info("feed is back", feed=self.feed, place=self.place, failures=self.failures)
        self.failures = self.doubtful = 0

    def error(self, text: str) -> FeedError:
        """An error that says where."""
        named = self.feed.partition(":")[2] == self.place
        return FeedError(f"{self.feed}: {text}" if named else f"{self.feed}: {self.place}: {text}")

    def given_up(self, lost: Lost) -> FeedError:
        """What to raise of the last failure."""
        return self.error(
            f"expected an answer, got {self.failures} failures in a row, at last: {lost.reason}. What was read is committed, and "
            "a restart goes on; check the url and the server, or raise tries="
        )


async def lasting(connect: Callable[[], AsyncGenerator[T, None]], patience: Patience) -> AsyncGenerator[T, None]:
    """What connection after connection gives; when one is lost the next is made, after a while that grows from try to try.

    Args:
        connect: Makes a connection, that is, an iterator over what it gives; its end is the end of all.
        patience: Says after which errors, and when.

    Raises:
        FeedError: What no retry mends, or when it was tried often enough.
    """
    import stamina

    _silence()
    waits = {"wait_initial": FIRST_WAIT, "wait_max": LONGEST_WAIT, "wait_jitter": JITTER}
    again = stamina.AsyncRetryingCaller(attempts=None, timeout=None, **waits).on(patience)
    stream = connect()
    failed: Lost | None = None

    async def anew() -> T | None:
        nonlocal stream, failed
        if failed is not None:  # the loss is the first failed try, so that the next one waits
            error, failed = failed, None
            raise error
        stream = connect()
        return await _next(stream, patience)

    try:
        while True:
            try:
                part = await _next(stream, patience)
            except Lost as error:
                failed = error
                part = await again(anew)
            if part is None:
                return
            patience.came()
            yield part
    except Lost as lost:
        raise patience.given_up(lost) from lost
    finally:
        await stream.aclose()


async def _next(stream: AsyncGenerator[T, None], patience: Patience) -> T | None:
    """What comes next, None at the end; an error that a retry may mend is a ``Lost``."""
    import httpx2

    try:
        return await anext(stream, None)
    except httpx2.LocalProtocolError:
        raise patience.error("a header or the url has a character that HTTP does not allow; check headers=") from None
    except (httpx2.TransportError, httpx2.DecodingError, TimeoutError, OSError) as error:
        raise _lost(error, patience) from error


def _lost(error: Exception, patience: Patience) -> Exception:
    import httpx2

    if isinstance(error, httpx2.ReadTimeout):
        return Lost("no byte came for as long as silence= says")
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return patience.error(
                f"the server's certificate is not trusted: {cause.verify_message}; check the url, or give ssl_context="
            )
        if isinstance(cause, socket.gaierror):
            return Lost("nobody knows the host", tries=DOUBTFUL)
    return Lost(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def retry_after(value: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header says, from now on: it is a number or a date; None where it is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=1)
def _silence() -> None:
    """Have stamina say nothing of a feed's tries: a feed tells once that it is lost, and once that it is back."""
    from stamina import instrumentation

    def but_for_feeds(hook: RetryHook) -> RetryHook:
        return lambda details: None if isinstance(details.caused_by, Lost) else hook(details)

    instrumentation.set_on_retry_hooks([but_for_feeds(hook) for hook in instrumentation.get_on_retry_hooks()])
