"""Backlog: how much of a topic its reader has not taken in yet, and whether there is room for more."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from rxstreams.brokers.contract import Broker
from rxstreams.errors import BrokerError, ConfigError
from rxstreams.log import logger

__all__ = ["Backlog"]

_EVERY = 0.25
"""Seconds between two looks at the broker; what is let in meanwhile is counted."""
_PATIENCE = 1.0
"""Seconds that a look may take, and that a post may have to wait for one."""
_KNOWN = 2.0
"""Seconds for which a look is believed; longer than the next takes, so a busy intake never waits for it."""
_ROOM = 0.9
"""Of the bound, where posts are let in again: one end for one beginning, not one of each with every commit of the reader."""
_LEAST, _MOST = 1, 60


class Backlog:
    """A bound on what an app has not read yet of an intake's topic: ``Intake(…, backlog=Backlog("till", max_records=1000))``.

    While ``max_records`` records are unread, posts are refused, until a tenth of them is read. Unread is what lies between the
    app's committed offsets and the topic's end; of an app that has never committed that is all there is. While the broker cannot
    tell, posts are let in, and ``why`` says why.

    The broker is asked at most four times a second, by the first post that needs it, and the others go by the same answer and by
    how many were let in since. Several processes that take in posts for one topic may pass the bound by what they let in between
    two looks.

    Args:
        app: Who reads the topic.
        max_records: How much may be unread; some seconds' worth of posts at least, since the app commits now and then.
        clock: Seconds, from any moment on; None is the loop's.

    Attributes:
        why: Why the backlog is not known; None while it is.
        full: Whether posts are refused.
    """

    def __init__(self, app: str, *, max_records: int, clock: Callable[[], float] | None = None) -> None:
        if max_records < 1:
            raise ConfigError(f"Backlog({app!r}): max_records must be at least 1, got {max_records}")
        self.app, self.max_records = app, max_records
        self.why: str | None = None
        self.full = False
        self._clock = clock
        self._records = self._peak = 0
        self._asked = self._told = self._began = -math.inf
        self._looking: asyncio.Task[None] | None = None

    def start(self, broker: Broker, topic: str) -> None:
        """Watch this topic from now on."""
        self._broker, self._topic = broker, topic
        self._now = self._clock or asyncio.get_running_loop().time

    async def unread(self) -> int:
        """How many records are unread now.

        Raises:
            BrokerError: If the broker cannot tell, or not in time.
        """
        broker, topic = self._broker, self._topic
        try:
            async with asyncio.timeout(_PATIENCE):
                read, starts, ends = (
                    await broker.committed(self.app),
                    await broker.start_offsets(topic),
                    await broker.end_offsets(topic),
                )
        except TimeoutError:
            raise BrokerError(f"what {self.app} has read of {topic} was not told within {_PATIENCE:g} s") from None
        return sum(end - max(start, read.get((topic, p), 0)) for p, (start, end) in enumerate(zip(starts, ends)))

    async def admit(self) -> int | None:
        """Let one record in, or say after how many seconds to try again."""
        now = self._now()
        if self._looking is None and now >= self._asked + _EVERY:
            self._asked = now
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None and now > self._told + _KNOWN:
            await asyncio.wait({self._looking})  # unlike an await of it, this leaves it to the others when a client goes away
        self._judge()
        if self.full:
            return self._retry_after()
        self._records += 1
        return None

    async def _look(self) -> None:
        counted, why = self._records, None
        try:
            unread = await self.unread()
        except Exception as error:  # whatever it is: the bound is not worth an order
            unread, why = 0, str(error) or repr(error)
            if self.why is None:
                logger().warning("backlog unknown, posts are let in", topic=self._topic, reader=self.app, why=why)
        self._records += unread - counted  # those that were let in while the broker was asked may not be in what it told
        self._told, self._looking, self.why = self._now(), None, why
        self._judge()

    def _judge(self) -> None:
        """Begin or end to refuse."""
        if self.why is not None:
            self.full = False
        elif not self.full and self._records >= self.max_records:
            self.full, self._began, self._peak = True, self._now(), self._records
            logger().warning("backlog full, posts are refused", topic=self._topic, reader=self.app, unread=self._records)
        elif self.full and self._records <= self.max_records * _ROOM:
            self.full, took = False, round(self._now() - self._began, 1)
            logger().info("backlog has room, posts are let in", topic=self._topic, reader=self.app, seconds=took)

    def _retry_after(self) -> int:
        """Seconds until there is room, at the rate so far; without one, as long as it has lasted already."""
        lasted, gone = self._now() - self._began, self._peak - self._records
        left = self._records - self.max_records * _ROOM
        return min(max(_LEAST, math.ceil(lasted * left / gone if gone > 0 else lasted)), _MOST)
