"""How much is read ahead, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import FeedError
from rxstreams.feeds.http import from_ndjson, from_poll, from_sse, from_websocket
from tests.feeds.http.logs import PROTOCOLS, begin, item, log, numbers, stream
from tests.feeds.http.servers import Asked, Server, every, first, serving
from tests.feeds.http.sockets import Peer
from tests.runtime.faulty import got, until


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_server_waits_for_a_slow_reader(protocol: str) -> None:
    """Of 64 MB that it has to give, it is never more than what sockets hold ahead of one who takes his time."""
    sent = taken = most = 0
    line = b"x" * 60_000

    async def answer(asked: Asked) -> None:
        nonlocal sent
        asked.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        asked.writer.transport.set_write_buffer_limits(high=65_536)
        await begin(protocol, asked)
        for n in range(1000):
            await asked.send(b"id: %d\ndata: %b\n\n" % (n, line) if protocol == "sse" else line + b"\n")
            sent += len(line)
        await asked.end()

    async with serving(answer) as server:
        feed = stream(protocol, server.url(), bytes, until="end").operation.ends
        async with aclosing(feed.chunks(None, None, first=None, saved={})) as chunks:
            async for chunk in chunks:
                taken += sum(map(len, chunk.values))
                for _ in range(20):
                    await asyncio.sleep(0)
                most = max(most, sent - taken)
    assert (sent, taken) == (60_000_000, 60_000_000)
    assert most < 24_000_000


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_items_travel_together_but_not_more_than_the_capacity(protocol: str) -> None:
    """What came at once is one chunk, or as many as it takes."""
    async with serving(log(protocol, 1000)) as server:
        for capacity, sizes in ((1024, {1000}), (300, {300, 100})):
            feed = stream(protocol, server.url(), until="end", capacity=capacity).operation.ends
            chunks = [chunk async for chunk in feed.chunks(None, None, first=None, saved={})]
            assert sum(len(chunk.values) for chunk in chunks) == 1000
            assert {len(chunk.values) for chunk in chunks} <= sizes | set(range(1000 if capacity > 1000 else capacity))
            assert len(chunks) <= 2 * (1000 // capacity + 1)
            assert [chunk.offsets[0] for chunk in chunks[1:]] == [chunk.next_offset for chunk in chunks[:-1]]


def descriptors() -> int:
    """How many files and sockets this process has open."""
    return len(os.listdir("/dev/fd"))


@asynccontextmanager
async def nothing_left(server: Server) -> AsyncIterator[None]:
    """Within it a feed is read; after it neither a task nor a socket is left, nor an error that nobody saw, and the server sees
    that its client is gone.
    """
    unseen = list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, told: unseen.append(told))

    def alone() -> bool:
        return server.open == 0 and len(asyncio.all_tasks()) == 1

    await until(alone)
    before = descriptors()
    yield
    await until(alone)
    await until(lambda: descriptors() == before)
    gc.collect()
    assert unseen == []


async def endless(asked: Asked) -> None:
    """Three items in the protocol that is asked for, and no end."""
    if "sec-websocket-key" in asked.headers:
        await (await Peer(asked).accept()).texts("0", "1", "2")
    elif asked.path == "/poll":
        await asked.answer(b"[0, 1, 2]")
        return
    else:
        await begin(asked.path[1:], asked)
        await asked.send(*(item(asked.path[1:], n) for n in range(3)))
    await asked.gone()


def feeds(server: Any, kind: str) -> rxs.Stream[Any]:
    """A feed of each kind, of one url or several."""
    url = server.url(f"/{kind.removesuffix('s') if kind.endswith('ls') else kind}")
    return {
        "sse": lambda: from_sse(url),
        "ndjson": lambda: from_ndjson(url),
        "poll": lambda: from_poll(url, every=3600),
        "websocket": lambda: from_websocket(url.replace("http", "ws", 1)),
        "several": lambda: from_sse([server.url("/sse"), server.url("/sse?x")], idle_after=3600),
    }[kind]()


KINDS = pytest.mark.parametrize("kind", ["sse", "ndjson", "poll", "websocket", "several"])


@KINDS
@pytest.mark.asyncio
async def test_a_subscription_that_is_left_leaves_nothing(kind: str) -> None:
    """While it waits for more: no task, no socket; the server sees that the client is gone."""
    async with serving(endless) as server:
        await first(feeds(server, kind), 1)  # what is loaded and opened once is not counted
        async with nothing_left(server):
            assert len(await first(feeds(server, kind), 3)) == 3


@KINDS
@pytest.mark.asyncio
async def test_a_run_that_is_stopped_leaves_nothing(kind: str) -> None:
    """Nor does one that is cancelled while it waits."""
    async with serving(endless) as server:
        await first(feeds(server, kind), 1)
        async with nothing_left(server):
            broker = MemoryBroker()
            async with rxs.start(feeds(server, kind).pipe(ops.to_topic("out")), app="stopped", broker=broker):
                await broker.create_topic("out")
                while not await got(broker):
                    await broker.wait({("out", 0): 0}, timeout=0.01)


@pytest.mark.asyncio
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_feed_that_waits_for_its_next_try_leaves_nothing(protocol: str) -> None:
    """Cancelled between two connections, it is gone, and so is what it waited for."""
    import stamina

    async with serving(log(protocol, 1)) as server:
        await first(stream(protocol, server.url(), until="end"), 1)
        with stamina.set_testing(False):
            async with nothing_left(server):
                assert await first(stream(protocol, server.url()), 1) == numbers(0)
                task = asyncio.ensure_future(every(stream(protocol, server.url("/x"))))
                await until(lambda: any(asked.path == "/x" for asked in server.asked) and server.open == 0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


@pytest.mark.asyncio
async def test_an_error_of_one_url_leaves_nothing_of_the_others() -> None:
    """The feed ends with it."""

    async def one_is_wrong(asked: Asked) -> None:
        if asked.path == "/wrong":
            await asked.answer(status=404)
        else:
            await endless(asked)

    async with serving(one_is_wrong) as server:
        await first(from_sse([server.url("/sse"), server.url("/sse?x")]), 1)
        async with nothing_left(server):
            with pytest.raises(FeedError, match="/wrong: expected status 200, got 404"):
                await every(from_sse([server.url("/sse"), server.url("/wrong")]))


@pytest.mark.asyncio
async def test_subscribe_gets_what_async_for_gets() -> None:
    """And the error, as Rx has it."""
    async with serving(log("sse", 3)) as server:
        found, over = list[Any](), asyncio.Event()
        from_sse(server.url(), until="end").subscribe(found.append, lambda error: None, over.set)
        await over.wait()
        assert found == numbers(0, 1, 2)
    async with serving(endless) as server:
        errors, failed = list[Exception](), asyncio.Event()

        def fail(error: Exception) -> None:
            errors.append(error)
            failed.set()

        from_ndjson(server.url("/sse"), bytes).pipe(ops.map(int)).subscribe(found.append, fail)
        await failed.wait()
        assert [type(error) for error in errors] == [ValueError]
