"""from_websocket: messages, pings, the end, and what is asked for after it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, FeedError, OperatorError
from rxstreams.feeds.http import from_websocket
from rxstreams.log import logger
from tests.feeds.http.logs import numbers
from tests.feeds.http.servers import Answer, Asked, Server, every, first, serving
from tests.feeds.http.sockets import Peer
from tests.runtime.faulty import got


def url(server: Server, path: str = "/feed") -> str:
    """Its url as a WebSocket's."""
    return server.url(path).replace("http", "ws", 1)


def log(size: int, *, each: int | None = None, code: int = 1000) -> Answer:
    """Sends numbered messages up to ``size`` after ``?after=``; with at most ``each``, the connection is cut."""

    async def answer(asked: Asked) -> None:
        start = int(asked.query.get("after", -1)) + 1
        peer = await Peer(asked).accept()
        stop = size if each is None else min(size, start + each)
        await peer.texts(*(json.dumps({"n": n}) for n in range(start, stop)))
        if stop == size:
            await peer.close(code)
            await asked.gone()

    return answer


def after(item: Any) -> dict[str, int]:
    """What to ask for after an item."""
    return {"after": item["n"]}


@pytest.mark.asyncio
async def test_messages_are_items_until_the_server_closes() -> None:
    """Texts and bytes, in one frame or several."""

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        await peer.texts("1", '"é"')
        await peer.binary(b"[2", b", ", b"3]")
        await peer.close()
        assert (await peer.heard(lambda event: isinstance(event, CloseConnection))).code == 1000

    async with serving(answer) as server:
        assert await every(from_websocket(url(server), until="end")) == [1, "é", [2, 3]]


@pytest.mark.asyncio
async def test_a_connection_that_is_cut_is_taken_up_after_its_last_message() -> None:
    """And one that the server closes, where that is not the end."""
    async with serving(log(6, each=2)) as server:
        assert await every(from_websocket(url(server), until="end", resume=after)) == numbers(*range(6))
        assert [asked.query for asked in server.asked] == [{}, {"after": "1"}, {"after": "3"}]


@pytest.mark.asyncio
async def test_messages_that_come_with_the_goodbye_are_taken() -> None:
    """In the same bytes, and with a code that is not the normal one."""

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        await peer.put(TextMessage(str(asked.number)), CloseConnection(1001))

    async with serving(answer) as server:
        assert await first(from_websocket(url(server)), 3) == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_run_that_is_started_again_goes_on_after_what_it_committed() -> None:
    """With ``resume`` each message counts once, and the run promises it."""
    broker, failed = MemoryBroker(), list[int]()

    def fail_once(one: Any) -> Any:
        if one["n"] == 7 and not failed:
            failed.append(7)
            raise RuntimeError("not now")
        return one

    async with serving(log(12)) as server:
        for _ in range(2):
            items = from_websocket(url(server), until="end", resume=after, capacity=2, name="log")
            with suppress(OperatorError):
                stream = items.pipe(ops.map(fail_once), ops.to_topic("out"))
                async with rxs.start(stream, app="log", broker=broker, commit_interval=1e-9) as running:
                    assert running.guarantee.level == "exactly_once"
                    await running.wait()
        assert await got(broker) == numbers(*range(12))
        assert server.asked[1].query["after"] in ("1", "3", "5")


@pytest.mark.asyncio
async def test_without_resume_the_guarantee_has_the_weakness() -> None:
    """What comes while it is not connected is lost."""
    async with (
        serving(log(3)) as server,
        rxs.start(from_websocket(url(server)).pipe(ops.to_topic("out")), app="weak", broker=MemoryBroker()) as running,
    ):
        assert (running.guarantee.level, "resume=" in running.guarantee.because) == ("at_most_once", True)


@pytest.mark.asyncio
async def test_what_is_to_be_sent_is_sent_at_each_connection() -> None:
    """Texts, bytes and JSON; a function is asked each time."""
    sent = list[Any]()
    asked_for = list[int]()

    async def subscribe() -> list[Any]:
        asked_for.append(len(asked_for))
        return ["hello", b"\x00", {"token": asked_for[-1]}]

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        sent.extend([await peer.message(), await peer.message(), await peer.message()])
        await peer.texts(str(asked.number))
        if asked.number:
            await peer.close()
            await asked.gone()

    async with serving(answer) as server:
        assert await every(from_websocket(url(server), until="end", send=subscribe)) == [0, 1]
    assert sent == ["hello", b"\x00", '{"token":0}', "hello", b"\x00", '{"token":1}']


@pytest.mark.asyncio
async def test_a_message_that_is_too_long_is_a_bad_item_on_a_connection_that_goes_on() -> None:
    """In a single frame or in many, and the next message is whole."""

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        await peer.texts("1", '"' + "x" * 1_000_000 + '"', "2")
        await peer.binary(*[b"x" * 500] * 100)
        await peer.texts("3")
        await peer.close()
        await asked.gone()

    broker = MemoryBroker()
    async with serving(answer) as server:
        items = from_websocket(url(server), until="end", max_item=1000, on_error=rxs.DeadLetter("dead"))
        async with rxs.start(items.pipe(ops.to_topic("out")), app="long", broker=broker) as running:
            await running.wait()
        assert (await got(broker), len(server.asked)) == ([1, 2, 3], 1)
    dead = list((await broker.read("dead", 0, 0, max_records=10)).values)
    assert [(value or b"")[:3] for value in dead] == [b'"xx', b"xxx"]


@pytest.mark.asyncio
async def test_a_server_s_ping_is_answered() -> None:
    """Or it would think that nobody is there."""

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        await peer.ping()
        pong = await peer.heard(lambda event: isinstance(event, Pong))
        await peer.texts(json.dumps(bytes(pong.payload).decode()))
        await peer.close()
        await asked.gone()

    async with serving(answer) as server:
        assert await every(from_websocket(url(server), until="end")) == ["there?"]


@pytest.mark.asyncio
async def test_a_server_that_is_silent_is_pinged_and_left_when_it_stays_so() -> None:
    """One that answers is not left, however long it has nothing to say."""

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        if asked.number == 0:
            await asked.gone()  # deaf
            return
        for _ in range(5):
            ping = await peer.heard(lambda event: isinstance(event, Ping))
            await peer.put(ping.response())
        await peer.texts("1")
        await peer.close()
        await asked.gone()

    logger()
    async with serving(answer) as server:
        with capture_logs() as told:
            assert await every(from_websocket(url(server), until="end", ping=0.02)) == [1]
        assert (told[0]["reason"], len(server.asked)) == ("no answer to a ping for 0.02 seconds", 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("ping", [None, 0.02, 0.001])
async def test_a_server_without_a_message_is_left_after_the_silence_that_is_given(ping: float | None) -> None:
    """Though it answers pings: some servers forget their subscribers."""

    async def answer(asked: Asked) -> None:
        peer = await Peer(asked).accept()
        if asked.number == 0:
            while True:
                event = await peer.heard(lambda event: isinstance(event, Ping))
                await peer.put(event.response())
        await peer.texts("1")
        await peer.close()
        await asked.gone()

    logger()
    async with serving(answer) as server:
        with capture_logs() as told:
            assert await every(from_websocket(url(server), until="end", ping=ping, silence=0.05)) == [1]
        assert told[0]["reason"] == "no message for 0.05 seconds"


@pytest.mark.asyncio
async def test_a_server_that_refuses_again_and_again_is_given_up() -> None:
    """By a code that says that the client is wrong; one that says that the server goes away is tried for ever."""
    async with serving(log(0, code=1008)) as server:
        with pytest.raises(FeedError, match=r"got 10 failures in a row, at last: the server closed with code 1008"):
            await every(from_websocket(url(server)))
    async with serving(log(0, code=1001)) as server:
        with pytest.raises(FeedError, match=r"got 15 failures in a row, at last: the server closed with code 1001"):
            await every(from_websocket(url(server), tries=15))


@pytest.mark.asyncio
async def test_a_url_that_is_no_websocket_is_told() -> None:
    """A page, or an upgrade to something else."""

    async def page(asked: Asked) -> None:
        await asked.answer(b"hello")

    async def other(asked: Asked) -> None:
        await asked.raw(b"HTTP/1.1 101 -\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n")

    for answer in (page, other):
        async with serving(answer) as server:
            with pytest.raises(FeedError, match=r"expected a WebSocket \(status 101\), got (200|101); check the url"):
                await every(from_websocket(url(server)))


@pytest.mark.asyncio
async def test_text_that_is_not_utf_8_breaks_the_protocol() -> None:
    """The connection cannot go on after it; one that does it always is given up."""

    async def answer(asked: Asked) -> None:
        await Peer(asked).accept()
        await asked.raw(b"\x81\x01\xff")
        await asked.gone()

    async with serving(answer) as server:
        with pytest.raises(FeedError, match=r"10 failures in a row, at last: the server closed with code 1007"):
            await every(from_websocket(url(server)))


@pytest.mark.asyncio
async def test_a_function_of_what_to_send_that_raises_is_told() -> None:
    """And one that returns what cannot be sent."""

    def wrong() -> Any:
        return object()

    async with serving(log(1)) as server:
        with pytest.raises(FeedError, match="send= raised TypeError"):
            await every(from_websocket(url(server), send=wrong))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"send": object()}, r"from_websocket\(send\)"),
        ({"resume": "n"}, r"from_websocket\(resume\)"),
        ({"ping": 0}, r"from_websocket\(ping\)"),
    ],
)
def test_wrong_arguments_are_told_when_built(options: dict[str, Any], message: str) -> None:
    """Not when it runs."""
    with pytest.raises(ConfigError, match=message):
        from_websocket("ws://localhost/", **options)


def test_only_urls_of_websockets_are_taken() -> None:
    """The others have feeds of their own."""
    with pytest.raises(ConfigError, match=r"expected ws://… or wss://… with a host, got 'http://localhost/'"):
        from_websocket("http://localhost/")
