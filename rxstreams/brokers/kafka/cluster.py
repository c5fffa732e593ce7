"""What the brokers say: topics and their leaders, offsets, what groups committed; and topics that are made."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest
from aiokafka.protocol.api import Request, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest

from rxstreams.brokers.kafka.faults import AWAY, FORBIDDEN, closed, patiently, said, why_not
from rxstreams.brokers.kafka.protocol import IncrementalAlterConfigs, StableOffsets
from rxstreams.errors import BrokerError, MissingTopicError

__all__ = ["BEGIN", "END", "Cluster"]

A = TypeVar("A")
BEGIN, END = -2, -1
"""Instead of a timestamp: the first offset that is there, and the one after the last."""
_WRITTEN, _COMMITTED = 0, 1
_UNSTABLE = 88
_TOPIC, _BROKER = 2, 4
_PATIENCE = 10.0
"""Seconds for which a request is repeated while leaders move, or a topic comes to be."""
_ENDING = 1.0
"""Seconds for which transactions that are under way are let end, so that all of what they wrote is seen."""


class Cluster:
    """Requests to the brokers, outside of reading and writing records.

    Args:
        url: The broker's, for messages.
        options: How clients connect.
        replication: How often topics that are made are kept; None is three times, or once a broker if there are fewer.
        settings: Of topics that are made without settings.
        create: Whether topics are made.
    """

    def __init__(
        self, url: str, options: Mapping[str, Any], replication: int | None, settings: Mapping[str, str], *, create: bool = True
    ) -> None:
        self.url, self._options, self._replication, self._settings = url, options, replication, settings
        self._create = create
        self._limits: dict[str, int] = {}
        self._tables: set[str] = set()
        self._leaders: dict[tuple[str, int], int] = {}
        self._client: AIOKafkaClient | None = None
        self._connecting = asyncio.Lock()
        self._started = False

    async def start(self) -> None:
        """Connect."""
        self._started = True
        await self._connected()

    async def stop(self) -> None:
        """Close the connections."""
        self._started = False
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def topics(self, *names: str) -> dict[str, dict[int, int]]:
        """The leaders of the partitions of these topics, or of all but Kafka's own."""
        response = await self._send(MetadataRequest(list(names) or None, allow_auto_topic_creation=False))
        if names:
            self._raise_forbidden(names[0], (topic[0] for topic in response.topics))
        return {
            name: {partition: leader for _, partition, leader, *_ in sorted(partitions, key=lambda one: one[1])}
            for error, name, internal, partitions in (topic[:4] for topic in response.topics)
            if not error and not internal
        }

    async def partitions(self, topic: str) -> dict[int, int]:
        """The leaders of a topic's partitions.

        Raises:
            MissingTopicError: If there is no such topic.
        """
        found = await self.topics(topic)
        if topic not in found:
            raise MissingTopicError(topic, sorted(await self.topics()))
        return found[topic]

    async def make(self, topic: str, partitions: int = 1, settings: Mapping[str, str] | None = None) -> int:
        """Make sure that a topic is there; how many partitions it has then.

        Raises:
            MissingTopicError: If it, or a partition of it, is missing, and nothing is to be made.
            BrokerError: If it was to be a table, and Kafka would delete its rows by their age.
        """
        found = await self.topics(topic)
        if len(found.get(topic, ())) < partitions and not self._create:
            self._refuse(topic, partitions, found, settings or self._settings)
        if topic not in found:
            copies = self._replication or min(3, len((await self._connected()).cluster.brokers()))
            row: tuple[Any, ...] = topic, partitions, copies, [], list((settings or self._settings).items())
            response = await self._control(CreateTopicsRequest([row], 30_000, validate_only=False))
            self._check(topic, response.topic_errors, but=errors.TopicAlreadyExistsError)
        elif len(found[topic]) < partitions:
            request = CreatePartitionsRequest([(topic, (partitions, None))], 30_000, validate_only=False)
            response = await self._control(request)
            self._check(topic, response.topic_errors, but=errors.InvalidPartitionsError)
        else:
            if settings is not None and topic not in self._tables:
                await self._check_compacted(topic)
            return len(found[topic])
        return await self._until(lambda: self._led(topic, partitions))

    async def set(self, topic: str, settings: dict[str, str]) -> None:
        """Change some of a topic's settings."""
        response = await self._control(IncrementalAlterConfigs(topic, settings))
        self._check(topic, [(name, error, message) for error, message, _, name in response.resources])

    async def settings(self, topic: str) -> dict[str, str]:
        """A topic's settings, defaults too."""
        return await self._described(_TOPIC, topic, None)

    async def limit(self, topic: str, *, anew: bool = False) -> int:
        """The greatest batch, in bytes, that a topic takes, or would take if it were made."""
        if anew or topic not in self._limits:
            if topic in await self.topics(topic):
                self._limits[topic] = int((await self.settings(topic))["max.message.bytes"])
            else:
                node = next(iter((await self._connected()).cluster.brokers())).nodeId
                return int((await self._described(_BROKER, str(node), node))["message.max.bytes"])
        return self._limits[topic]

    async def _described(self, kind: int, name: str, node: int | None) -> dict[str, str]:
        response = await self._send(DescribeConfigsRequest([(kind, name, None)]), node)
        self._check(name, [(name, error, message) for error, message, *_ in response.resources])
        return {name: value for *_, entries in response.resources for name, value, *_ in entries}

    async def offsets(self, topic: str, at: int = END, *, committed: bool = True) -> list[int]:
        """Per partition the offset of the first record not before a time (ms), or ``BEGIN``, or ``END``.

        Args:
            topic: Which.
            at: The time.
            committed: Whether ``END`` is the end of what transactions have committed, or of all that is written. A record that
                is not there has offset -1.
        """
        return await self._until(lambda: self._offsets(topic, at, _COMMITTED if committed else _WRITTEN))

    async def end(self, topic: str, partition: int) -> int:
        """The end of what is committed of one partition."""
        return await self._until(lambda: self._end(topic, partition))

    async def ends(self, topic: str) -> list[int]:
        """Per partition the end of what is committed, after transactions under way have ended, or had a second to.

        A transaction's records become readable partition by partition, a moment after its commit. Who has seen one of them, and
        asks here for another partition's, must not be told of an earlier state.
        """
        written = await self.offsets(topic, committed=False)
        loop = asyncio.get_running_loop()
        until = loop.time() + _ENDING
        while True:
            ends = await self.offsets(topic)
            if loop.time() > until or all(end >= least for end, least in zip(ends, written)):
                return ends
            await asyncio.sleep(0.002)

    async def committed(self, app: str) -> dict[tuple[str, int], int]:
        """The offsets that a group has committed; a transaction under way is waited for."""
        return await self._until(lambda: self._committed(app))

    # Requests.

    async def _connected(self) -> Any:
        """The client; another one if the last could not reach the brokers any more."""
        if not self._started:
            raise BrokerError(f"broker {self.url}: it is not running; call start() first, and nothing after stop()")
        async with self._connecting:
            if self._client is None:
                client = AIOKafkaClient(**self._options)
                try:
                    with said(f"broker {self.url}"):
                        await client.bootstrap()
                except BrokerError as error:
                    await client.close()
                    raise BrokerError(f"broker {self.url}: {await why_not(client.hosts, self._options)}") from error
                except BaseException:
                    await client.close()
                    raise
                self._client = client
            return self._client

    async def _send(self, request: Request[Any], node: int | None = None) -> Response:
        client: Any = await self._connected()
        try:
            with said(f"broker {self.url}"):
                return await patiently(lambda: client.send(client.get_random_node() if node is None else node, request))
        except BrokerError as error:
            if isinstance(error.__cause__, AWAY):
                await self._drop(client)
            raise

    async def _drop(self, client: Any) -> None:
        """Have another client be made: one that knows the brokers by addresses that are theirs no more would never find them."""
        if self._client is client:
            self._client = None
        await closed(client.close())

    async def _control(self, request: Request[Any]) -> Response:
        metadata = await self._send(MetadataRequest([], allow_auto_topic_creation=False))
        return await self._send(request, metadata.controller_id)

    async def _until(self, ask: Callable[[], Awaitable[A | None]]) -> A:
        """Ask until there is an answer."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        while (answer := await ask()) is None:
            if loop.time() > until:
                where = f"no answer within {_PATIENCE:g} s; a partition has no leader, or a coordinator is missing"
                raise BrokerError(f"broker {self.url}: {where}")
            await asyncio.sleep(0.01)
        return answer

    async def _led(self, topic: str, least: int) -> int | None:
        leaders = (await self.topics(topic)).get(topic, {})
        return len(leaders) if len(leaders) >= least and -1 not in leaders.values() else None

    async def _offsets(self, topic: str, at: int, isolation: int) -> list[int] | None:
        leaders = await self.partitions(topic)
        led = defaultdict[int, list[tuple[int, int]]](list)
        for partition, leader in leaders.items():
            led[leader].append((partition, at))
        found: dict[int, int] = {}
        for leader, asked in led.items():
            if leader == -1:
                return None
            response = await self._send(OffsetRequest(-1, isolation, [(topic, asked)]), leader)
            for _, rows in response.topics:
                self._raise_forbidden(topic, (error for _, error, *_ in rows))
                found |= {partition: offset for partition, error, _, offset in rows if not error}
        return [found[partition] for partition in leaders] if len(found) == len(leaders) else None

    async def _end(self, topic: str, partition: int) -> int | None:
        leader = self._leaders.get((topic, partition))
        if leader is None:
            leader = (await self.partitions(topic)).get(partition, -1)
            if leader == -1:
                return None
            self._leaders[topic, partition] = leader
        response = await self._send(OffsetRequest(-1, _COMMITTED, [(topic, [(partition, END)])]), leader)
        ((_, ((_, error, _, offset),)),) = response.topics
        if error:
            del self._leaders[topic, partition]
            self._raise_forbidden(topic, [error])
            return None
        return int(offset)

    async def _committed(self, app: str) -> dict[tuple[str, int], int] | None:
        try:
            with said(f"broker {self.url}, app {app!r}"):
                node = await (await self._connected()).coordinator_lookup(0, app)
        except BrokerError as error:
            if isinstance(error.__cause__, (errors.CoordinatorNotAvailableError, *AWAY)):
                return None
            raise
        response = await self._send(StableOffsets(app), node)
        self._raise_forbidden(app, [response.error_code])
        rows = [(name, *row[:2], row[4]) for name, partitions, _ in response.topics for row in partitions]
        if response.error_code or any(error == _UNSTABLE for *_, error in rows):
            return None
        return {(name, partition): offset for name, partition, offset, _ in rows if offset >= 0}

    def _refuse(self, topic: str, partitions: int, found: Mapping[str, Mapping[int, int]], settings: Mapping[str, str]) -> None:
        told = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise MissingTopicError(
            topic,
            sorted(found),
            f"Nothing is made here, as the broker's URL says create=no. Create it with {partitions} partitions (now "
            f"{len(found.get(topic, ()))}) and {told}; or leave create=no out",
        )

    async def _check_compacted(self, table: str) -> None:
        """Refuse a table that loses rows; asked once."""
        policy = (await self.settings(table))["cleanup.policy"]
        if "compact" not in policy or "delete" in policy:
            raise BrokerError(
                f"broker {self.url}, topic {table!r}: it is to be a table, and has cleanup.policy={policy}, by which Kafka would "
                "delete what is still needed; set cleanup.policy=compact"
            )
        self._tables.add(table)

    def _raise_forbidden(self, what: str, codes: Iterable[int]) -> None:
        for code in codes:
            kind = errors.for_code(code)
            if issubclass(kind, FORBIDDEN):
                with said(f"broker {self.url}, {what!r}"):
                    raise kind

    def _check(self, topic: str, answers: Sequence[Sequence[Any]], *, but: type[Exception] | None = None) -> None:
        for _, code, *message in answers:
            kind = errors.for_code(code)
            if code and kind is not but:
                raise BrokerError(f"broker {self.url}, topic {topic!r}: {kind.__name__}: {message[0] if message else ''}")
