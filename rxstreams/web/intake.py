"""Intake: a POST becomes a record of a topic, and is acknowledged when the record is durable."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rxstreams.brokers.contract import Broker, Fetched, Record
from rxstreams.errors import BrokerError
from rxstreams.web.backlog import Backlog

__all__ = ["Intake"]

A = TypeVar("A")

_HEADER = "idempotency-key"
"""Of a record: the key that it was posted with."""
_KEY_LENGTH = 255
_DAY = 86_400.0
_RETRY_AFTER = "5"
_FETCH = 4096
_GROUP = 1000
"""Records that one append takes at most, more or less."""
_TURNS = 3
"""Turns of the loop in which a busy server hears from its clients again; measured, 2 and less make smaller groups."""


class Intake(Generic[A]):
    """A route that appends each posted JSON body to a topic: ``app.add_route(path, intake.post, methods=["POST"])``.

    It answers 202 with the whole record once ``append`` has returned, so posts that come together share a commit; 422 with
    ``field`` and ``reason`` for any other body; 413 for one of more than ``max_bytes``, sent in chunks or not; 503
    with ``Retry-After`` while the broker cannot append, 429 with it while the ``backlog`` is full; 403 with the reason for what
    ``refuse`` refuses.

    An ``Idempotency-Key`` header makes a retry safe: the same key gets the first answer again, and there is no second record.
    The key travels as a header of the record, so ``start`` finds the answers again after a restart, however the process ended.
    The window: the last ``remember`` keys of the last ``max_age`` seconds, and after a restart those among the last
    ``remember`` records of each partition. Two processes that take in posts for one topic do not know each other's keys as
    they come. Beyond the window ``complete`` can still give a record an id that follows from the key, for consumers to
    deduplicate by.

    Args:
        topic: Where the records go; made by ``start`` if it is not there.
        body: What a body must be, a msgspec Struct; None is any bytes.
        key: The record's key, of the completed value; records of one key stay in order, those without one are spread.
        complete: What turns a body and its idempotency key, None without one, into the value that is appended and returned.
        refuse: Says of a completed value why it must not be taken in; None is to take it. What was acknowledged once is not asked
            about again.
        backlog: How much the topic's reader may leave unread. What was acknowledged once still gets its answer.
        forged: Says of a request's headers and raw body why it is not from whom it should be; None is that it is. 401 otherwise.
        token: The header with the idempotency key; None is that there is none.
        answer: What is answered, and remembered, of the record's bytes.
        max_bytes: The longest body that is taken.
        remember: How many idempotency keys are kept.
        max_age: Seconds that a key is kept.
    """

    def __init__(
        self,
        topic: str,
        body: type[A] | None,
        *,
        key: Callable[[Any], str | None],
        complete: Callable[[A, str | None], Any],
        refuse: Callable[[Any], Awaitable[str | None]] | None = None,
        backlog: Backlog | None = None,
        forged: Callable[[Headers, bytes], str | None] | None = None,
        token: str | None = "Idempotency-Key",
        answer: Callable[[bytes], bytes] = bytes,
        max_bytes: int = 65_536,
        remember: int = 100_000,
        max_age: float = _DAY,
    ) -> None:
        self.topic, self.max_bytes = topic, max_bytes
        self._key, self._complete, self._refuse, self._backlog = key, complete, refuse, backlog
        self._decode: Callable[[bytes], Any] = bytes if body is None else msgspec.json.Decoder(body).decode
        self._encode = bytes if body is None else msgspec.json.Encoder().encode
        self._forged, self._token, self._answer = forged, token, answer
        self._answers = Answers(remember, max_age, answer)
        self._appends: Appends | None = None

    async def start(self, broker: Broker) -> None:
        """Take in posts for ``broker`` from now on; it must have been started."""
        await broker.create_topic(self.topic)
        await self._answers.recall(broker, self.topic)
        self._appends = Appends(broker, self.topic)
        if self._backlog is not None:
            self._backlog.start(broker, self.topic)

    async def post(self, request: Request) -> Response:
        """Answer one POST."""
        try:
            body = await _body(request, self.max_bytes)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if body is None:
            return _refusal(413, None, f"expected a body of at most {self.max_bytes} bytes")
        problem = None if self._forged is None else self._forged(request.headers, body)
        if problem is not None:
            return _refusal(401, None, problem)
        if not body and self._decode is not bytes:
            return _refusal(422, None, "expected a body of JSON, got nothing")
        token = None if self._token is None else request.headers.get(self._token)
        if token is not None and not 0 < len(token) <= _KEY_LENGTH:
            return _refusal(422, self._token, f"expected 1 to {_KEY_LENGTH} characters, got {len(token)}")
        try:
            value = self._complete(self._decode(body), token)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return _refusal(422, *_reason(error))
        try:
            if not (token and self._came_before(token)) and (refused := await self._refused(value)):
                return refused
            answer = await (self._append(value, None) if token is None else self._once(value, token))
        except BrokerError as error:
            return _refusal(503, None, str(error), {"Retry-After": _RETRY_AFTER})
        return Response(answer, 202, media_type="application/json")

    async def _refused(self, value: Any) -> Response | None:
        """Why a value must not be taken in, or not now."""
        reason = None if self._refuse is None else await self._refuse(value)
        if reason is not None:
            return _refusal(403, None, reason)
        seconds = None if self._backlog is None else await self._backlog.admit()
        if seconds is None:
            return None
        assert self._backlog is not None
        reason = f"{self._backlog.app} is behind with {self.topic}; try again in {seconds} s"
        return _refusal(429, None, reason, {"Retry-After": str(seconds)})

    def _came_before(self, token: str) -> bool:
        """Whether a post with this key was let through before: it has its answer, is under way, or may be in the topic."""
        return self._answers.get(token) is not None or self._answers.doubts(token)

    async def _append(self, value: Any, token: str | None) -> bytes:
        assert self._appends is not None, "start(broker) comes first"
        record, key = self._encode(value), self._key(value)
        headers = () if token is None else ((_HEADER, token.encode("latin-1")),)
        await self._appends.append(Record(record, None if key is None else key.encode(), None, headers))
        return self._answer(record)

    async def _once(self, value: Any, token: str) -> bytes:
        """The answer to a key: the one that was given, the one that is being made, or a new one."""
        known = self._answers.get(token)
        if isinstance(known, bytes):
            return known
        if known is None:
            known = asyncio.ensure_future(self._append_once(value, token, doubtful=self._answers.doubts(token)))
            self._answers.put(token, known)
        return await asyncio.shield(known)  # a client that goes away takes no other's answer with it

    async def _append_once(self, value: Any, token: str, *, doubtful: bool) -> bytes:
        assert self._appends is not None, "start(broker) comes first"
        try:
            if doubtful:
                await self._answers.recall(self._appends.broker, self.topic)
                known = self._answers.get(token)
                if isinstance(known, bytes):
                    return known
            answer = await self._append(value, token)
        except BaseException:
            self._answers.put(token, None)
            raise
        self._answers.put(token, answer)
        return answer


class Appends:
    """Appends to a topic one group at a time: what comes while a commit is under way goes into the next."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.broker, self.topic = broker, topic
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None

    def append(self, record: Record) -> asyncio.Future[None]:
        """A future that is done when the record is durable."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append((record, done))
        if self._working is None:
            self._working = loop.create_task(self._work())
        return done

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                group, self._waiting = self._waiting, []
                await self._commit([record for record, _ in group], [done for _, done in group])
        finally:
            self._working = None

    async def _gather(self) -> None:
        """Wait while each turn of the loop brings more: half the commits, for clients that would wait for the next anyway."""
        seen = 0
        while seen < len(self._waiting) < _GROUP:
            seen = len(self._waiting)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    async def _commit(self, records: list[Record], waiters: list[asyncio.Future[None]]) -> None:
        error: BaseException | None = None
        try:
            await self.broker.append(self.topic, records)
        except BaseException as problem:
            error = (
                problem if isinstance(problem, BrokerError) else BrokerError(f"the append to {self.topic!r} failed: {problem!r}")
            )
            if not isinstance(problem, Exception):
                raise
        finally:
            for done in waiters:
                if done.done():
                    continue  # whoever posted it has gone
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)


Answer = bytes | asyncio.Future[bytes] | None
"""What was answered; or what is being appended; or None: an append failed, and only the topic knows whether it happened."""


class Answers:
    """The answers to the latest idempotency keys."""

    def __init__(self, capacity: int, max_age: float, answer: Callable[[bytes], bytes]) -> None:
        self.capacity, self.max_age, self.answer = capacity, max_age, answer
        self._known: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def get(self, token: str) -> Answer:
        """The answer to a key, if it is still known."""
        since, answer = self._known.get(token, (0.0, None))
        return answer if since > time.time() - self.max_age else None

    def doubts(self, token: str) -> bool:
        """Whether an append with this key has failed, and the record may be there all the same."""
        return token in self._known and self._known[token][1] is None

    def put(self, token: str, answer: Answer, at: float | None = None) -> None:
        """Remember an answer, and forget the oldest."""
        self._known[token] = (time.time() if at is None else at, answer)
        while len(self._known) > self.capacity:
            self._known.popitem(last=False)

    async def recall(self, broker: Broker, topic: str) -> None:
        """Learn from the topic's tail what was answered."""
        starts = await broker.offsets_at(topic, int((time.time() - self.max_age) * 1000))
        ends = await broker.end_offsets(topic)
        for partition, (start, end) in enumerate(zip(starts, ends, strict=True)):
            at = max(start, end - self.capacity)
            while at < end:
                got = await broker.read(topic, partition, at, max_records=_FETCH)
                self._learn(got)
                at = got.next_offset

    def _learn(self, got: Fetched) -> None:
        for value, stamp, headers in zip(got.values, got.timestamps, got.headers or (), strict=False):
            token = dict(headers).get(_HEADER)
            if token is not None and value is not None:
                self.put(token.decode("latin-1"), self.answer(value), stamp / 1000)


async def _body(request: Request, max_bytes: int) -> bytes | None:
    """The body, or None as soon as it is too long; the server drops what the client still sends of it."""
    if int(request.headers.get("content-length", 0)) > max_bytes:
        return None
    body: bytes = b""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > max_bytes:
            return None
        if not message.get("more_body", False):
            return body


def _reason(error: Exception) -> tuple[str | None, str]:
    """The field that msgspec complains of, as it stands in the body, and why."""
    reason, _, path = str(error).partition(" - at `$")
    missing = re.search(r"missing required field `(.+?)`", reason)
    names = [*([path.rstrip("`").lstrip(".")] if path.rstrip("`") else []), *([missing[1]] if missing else [])]
    return ".".join(names) or None, reason


def _refusal(status: int, field: str | None, reason: str, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode({"field": field, "reason": reason}), status, headers, "application/json")
