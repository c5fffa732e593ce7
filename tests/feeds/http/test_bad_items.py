"""What a server sends that is no item: too long, not decodable, another type altogether."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import FeedError
from rxstreams.feeds.http import from_poll
from tests.feeds.http.logs import PROTOCOLS, begin, item, numbers, stream
from tests.feeds.http.servers import Asked, every, first, serving
from tests.runtime.faulty import got

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)
MEGABYTE = b"x" * (1 << 20)


@each_protocol
@pytest.mark.asyncio
async def test_a_hundred_megabytes_in_one_line_are_a_bad_item_that_is_never_held(protocol: str) -> None:
    """The policy lets it go, the items around it come on the same connection, and memory stays small."""
    start, end = (b"id: 1\ndata: ", b"\n\n") if protocol == "sse" else (b"", b"\n")

    async def answer(asked: Asked) -> None:
        await begin(protocol, asked)
        await asked.send(item(protocol, 0) + start)
        for _ in range(100):
            await asked.send(MEGABYTE)
        await asked.send(end + item(protocol, 2))
        await asked.end()

    broker = MemoryBroker()
    async with serving(answer) as server:
        items = stream(protocol, server.url(), until="end", on_error=rxs.DeadLetter("dead"))
        tracemalloc.start()
        async with rxs.start(items.pipe(ops.to_topic("out")), app="long", broker=broker) as running:
            await running.wait()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (await got(broker), len(server.asked)) == (numbers(0, 2), 1)
    dead = await broker.read("dead", 0, 0, max_records=10)
    assert [value[:100] for value in dead.values if value] in ([b"x" * 100], [b"data: " + b"x" * 94])
    assert dead.headers is not None
    assert b"longer than max_item" in dict(dead.headers[0])["rxs.error"]
    assert most < 16 << 20


@each_protocol
@pytest.mark.asyncio
@pytest.mark.parametrize("bad", [b'"\xff"', b"{", b"[1]"])
async def test_an_item_that_is_none_is_let_go_and_its_neighbours_come(protocol: str, bad: bytes) -> None:
    """Text that is no UTF-8, malformed JSON, another type: on one connection."""

    async def answer(asked: Asked) -> None:
        await begin(protocol, asked)
        framed = b"id: 1\ndata: %b\n\n" if protocol == "sse" else b"%b\n"
        await asked.send(item(protocol, 0), framed % bad, item(protocol, 2))
        await asked.end()

    broker = MemoryBroker()
    async with serving(answer) as server:
        items = stream(protocol, server.url(), dict[str, int], until="end", on_error=rxs.DeadLetter("dead"))
        async with rxs.start(items.pipe(ops.to_topic("out")), app="bad", broker=broker) as running:
            await running.wait()
        dead = await broker.read("dead", 0, 0, max_records=10)
        assert (await got(broker), list(dead.values), len(server.asked)) == (numbers(0, 2), [bad], 1)


@each_protocol
@pytest.mark.asyncio
async def test_a_page_for_people_is_an_error_that_says_what_came(protocol: str) -> None:
    """With status 200 a server may send an error page; no retry mends the url."""

    async def answer(asked: Asked) -> None:
        await asked.answer(b"<html>Oh no</html>", headers={"content-type": "text/html; charset=utf-8"})

    async with serving(answer) as server:
        with pytest.raises(FeedError, match=r"expected .*, got 200 with content type 'text/html'; check the url"):
            await every(stream(protocol, server.url()))
        assert len(server.asked) == 1


@pytest.mark.asyncio
async def test_empty_lines_are_no_items_and_a_last_line_needs_no_end() -> None:
    """Nor is a carriage return part of an item; lines of Unicode are not what ends one."""

    async def answer(asked: Asked) -> None:
        await asked.answer('\n"a\u2028b"\r\n  \n\r\n"c"'.encode())

    async with serving(answer) as server:
        assert await every(stream("ndjson", server.url(), resume=None, until="end")) == ["a\u2028b", "c"]
        assert await every(stream("ndjson", server.url(), str, resume=None, until="end")) == ['"a\u2028b"', '"c"']


@pytest.mark.asyncio
@pytest.mark.parametrize("cut", [1, 3, 5])
async def test_a_byte_order_mark_is_no_part_of_an_item(cut: int) -> None:
    """At the start of lines, however they are cut, or of a page; elsewhere it is."""
    sent = b'\xef\xbb\xbf{"n": 0}\n{"n": 1}'

    async def answer(asked: Asked) -> None:
        await begin("ndjson", asked)
        await asked.send(sent[:cut], sent[cut:])
        await asked.end()

    async with serving(answer) as server:
        assert await every(stream("ndjson", server.url(), until="end")) == numbers(0, 1)
        sent = b"\xef\xbb\xbf[0, 1]"
        assert await every(from_poll(server.url(), every=1, until="end")) == [0, 1]
        sent = b"\xef\xbb\xbf7"
        assert await every(stream("ndjson", server.url(), resume=None, until="end")) == [7]
        sent = b"\xef\xbb\xbf" + b"1" * 500 + b"\n2"
        with pytest.raises(ValueError, match="longer than max_item"):
            await every(stream("ndjson", server.url(), resume=None, until="end", max_item=100))


@pytest.mark.asyncio
async def test_what_a_connection_broke_off_is_no_item_where_its_end_is_not_told() -> None:
    """A response of HTTP/1.0 ends with its connection, in the middle of a line or not."""

    async def answer(asked: Asked) -> None:
        rest = b"" if asked.number else b'{"n": 1'
        await asked.raw(b"HTTP/1.0 200 OK\r\n\r\n" + item("ndjson", asked.number) + rest)

    async with serving(answer) as server:
        assert await first(stream("ndjson", server.url()), 2) == numbers(0, 1)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("resume", "message"),
    [(lambda one: one["no"], r"resume= raised KeyError"), (lambda one: 3, r"expected query parameters .* of resume=, got 3")],
)
async def test_a_function_that_cannot_say_where_to_go_on_is_told(resume: Any, message: str) -> None:
    """With its error, or with what it returned."""

    async def answer(asked: Asked) -> None:
        await asked.answer(item("ndjson", 0))

    async with serving(answer) as server:
        with pytest.raises(FeedError, match=message):
            await every(stream("ndjson", server.url(), resume=resume))


@pytest.mark.asyncio
async def test_an_item_that_does_not_say_where_to_go_on_leaves_that_to_the_one_before() -> None:
    """None is no place, and neither is an item that does not decode."""
    sent = (b'{"n": 0}\n', b'{"hello": 1}\n', b"{\n")

    async def answer(asked: Asked) -> None:
        await begin("ndjson", asked)
        await asked.send(*(sent if asked.number == 0 else [item("ndjson", 1)]))
        if asked.number:
            await asked.end()

    async with serving(answer) as server:
        broker = MemoryBroker()
        items = stream("ndjson", server.url(), until="end", resume=lambda one: {"after": one["n"]} if "n" in one else None)
        async with rxs.start(items.pipe(ops.to_topic("out")), app="none", broker=broker, on_error=rxs.Skip()) as running:
            await running.wait()
        assert await got(broker) == [{"n": 0}, {"hello": 1}, {"n": 1}]
        assert [asked.query for asked in server.asked] == [{}, {"after": "0"}]
