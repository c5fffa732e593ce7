"""The shop and clients that are slow, silent, endless, deaf or wrong: it serves the others, and takes in what it acknowledges."""

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from rxstreams.brokers.sqlite import SqliteBroker
from tests.pipelines.conftest import ROOT

PROGRAM = """
import sys
import rxstreams as rxs
from fastapi import Response
from pipelines.shop import create_app
from rxstreams.web import serve
app = create_app(rxs.connect(sys.argv[1]))
app.add_route("/large", lambda _: Response(b"x" * 2**20))
serve(app, port=int(sys.argv[2]), patience=float(sys.argv[3]))
"""
BODY = b'{"amount": 1}'
ORDER = b"POST /api/orders HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"POST /api/orders HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 2**20


class Shop:
    """The shop as a process of its own, and an ordinary client of it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, file: Path) -> None:
        self.process, self.port, self.file = process, port, file
        limits = httpx2.Limits(max_connections=5)
        self.client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits)
        self.acknowledged: list[str] = []

    async def order(self) -> None:
        """Post an order as a good client does."""
        answer = await self.client.post("/api/orders", content=BODY)
        assert answer.status_code == 202, answer.text
        self.acknowledged.append(answer.json()["id"])

    async def serves_during(self, *rough: Coroutine[Any, Any, Any]) -> list[Any]:
        """Serve good clients while the rough ones are at work, and to the end; what became of those."""
        working = asyncio.gather(*rough)
        while not working.done() or len(self.acknowledged) < 10:
            await self.order()
        return list(await working)

    async def orders(self) -> list[str]:
        """The ids of all orders that were taken in."""
        broker = SqliteBroker(self.file)
        await broker.start()
        try:
            values = (await broker.read("orders", 0, 0, max_records=100_000)).values
        finally:
            await broker.stop()
        return [msgspec.json.decode(value)["id"] for value in values if value is not None]

    async def line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    def megabytes(self) -> float:
        """The process's memory."""
        shown = subprocess.run(["ps", "-o", "rss=", "-p", f"{self.process.pid}"], capture_output=True, text=True, check=True)
        return int(shown.stdout) * 1024 / MEGABYTE

    def connections(self) -> int:
        """How many files the process has open; a client that does not read cannot tell whether its connection is."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def has_connections(self, enough: Callable[[int], bool]) -> None:
        """Return when it has so many."""
        while not enough(self.connections()):  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(0.02)


Open = Callable[..., AbstractAsyncContextManager[Shop]]


@pytest.fixture
def shop(tmp_path: Path, free_port: int) -> Open:
    """Open a shop with so much patience, in seconds; warm, so that its memory can be measured."""

    @asynccontextmanager
    async def opened(patience: float) -> AsyncIterator[Shop]:
        file = tmp_path / "shop.db"
        command = [sys.executable, "-c", PROGRAM, f"sqlite:///{file}", f"{free_port}", f"{patience}"]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: ASYNC220  # it is left to run
                command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=log
            )
        one = Shop(process, free_port, file)
        try:
            deadline = time.monotonic() + 20
            while True:
                assert process.poll() is None
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                with contextlib.suppress(httpx2.TransportError):
                    await one.client.get("/openapi.json")
                    break
            await asyncio.gather(*(one.order() for _ in range(50)))
            yield one
            assert sorted(await one.orders()) == sorted(one.acknowledged)
        finally:
            await one.client.aclose()
            process.kill()
            process.wait()

    return opened


async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """What the server still says until it closes the connection."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := await reader.read(65_536):
            said += more
    writer.close()
    return said


async def dribble(shop: Shop, head: bytes, byte: bytes) -> bytes:
    """Send a head, and then a byte again and again, slowly, until the server closes the connection; what it said."""
    reader, writer = await shop.line()
    writer.write(head)
    closed = asyncio.ensure_future(until_closed(reader, writer))
    while not closed.done():
        writer.write(byte)
        await asyncio.wait({closed}, timeout=0.02)
    return closed.result()


LATE = b"Expected the whole request within 1 s."


@pytest.mark.asyncio
async def test_clients_that_dribble_or_say_nothing_are_let_go(shop: Open) -> None:
    """Heads and bodies that come byte by byte, and silent connections, are closed when patience ends, others served meanwhile;
    so is one that is silent, or dribbles, after a good request.
    """
    head, body = b"POST /api/orders HTTP/1.1\r\nX: ", ORDER[: -len(BODY)].replace(b"13", b"9999")
    async with shop(patience=1.0) as one:
        kinds = [(head, b"y")] * 100 + [(body, b" ")] * 100 + [(b"", b"")] * 50
        said = await one.serves_during(*(dribble(one, *kind) for kind in kinds))
        assert [answer.split(b"\r\n\r\n")[-1] for answer in said] == [LATE] * 100 + [b""] * 150
        reader, writer = await one.line()
        writer.write(ORDER)
        answer = await reader.readuntil(b"}")
        one.acknowledged.append(msgspec.json.decode(answer.split(b"\r\n\r\n")[1])["id"])
        writer.write(b"GET / HTTP/1.1\r\n")
        assert (await until_closed(reader, writer)).endswith(LATE)


@pytest.mark.asyncio
async def test_five_thousand_idle_connections_are_no_burden(shop: Open) -> None:
    """Others are served, and each takes a few kilobytes."""
    wanted = 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted + 200:
        pytest.skip(f"{wanted} connections need {wanted + 200} open files, and this machine allows {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    async with shop(patience=600.0) as one:
        before = one.megabytes()
        lines = [await one.line() for _ in range(wanted)]
        for _ in range(20):
            await one.order()
        assert one.megabytes() - before < 100
        assert not any(reader.at_eof() for reader, _ in lines)
        for _, writer in lines:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in lines))


async def endless(shop: Shop, head: bytes, piece: bytes) -> bytes:
    """Send a head, and then a piece again and again, until the server closes the connection; what it said."""
    reader, writer = await shop.line()
    closed = asyncio.ensure_future(until_closed(reader, writer))
    with contextlib.suppress(ConnectionError):
        writer.write(head)
        while not closed.done():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
    return await closed


KILOBYTES = b"x" * 65_536
ENDLESS = [
    pytest.param(ORDER[: -len(BODY)].replace(b"13", b"99999999999"), KILOBYTES, b"HTTP/1.1 413", id="a body with its length"),
    pytest.param(CHUNKED, b"10000\r\n" + KILOBYTES + b"\r\n", b"HTTP/1.1 413", id="large chunks"),
    pytest.param(CHUNKED, b"1\r\nx\r\n" * 1000, b"HTTP/1.1 413", id="small chunks"),
    pytest.param(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n" * 1000, b"", id="what follows a body"),
    pytest.param(CHUNKED + b"1;", KILOBYTES, b"", id="an extension of a chunk"),
    pytest.param(b"POST /api/orders HTTP/1.1\r\n", b"X: y\r\n" * 1000, b"HTTP/1.1 400", id="headers"),
    pytest.param(b"POST /api/orders HTTP/1.1\r\nX: ", KILOBYTES, b"HTTP/1.1 400", id="one header"),
    pytest.param(b"POST /", KILOBYTES, b"HTTP/1.1 400", id="a path"),
    pytest.param(b"", b"\r\n" * 1000, b"HTTP/1.1 400", id="blank lines"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("head", "piece", "said"), ENDLESS)
async def test_what_never_ends_is_cut_off(shop: Open, head: bytes, piece: bytes, said: bytes) -> None:
    """As soon as it is too long the client is told, where an answer to it is due; it is not kept, and others are served."""
    async with shop(patience=1.0) as one:
        before = one.megabytes()
        answers = await one.serves_during(*(endless(one, head, piece) for _ in range(10)))
        assert one.megabytes() - before < 40
        # A client that still sends when the connection closes may lose what was said before; and so long as many keep the server
        # busy, patience may end before the answer.
        assert {answer[: len(said)] for answer in answers} <= {said, b""}


async def deaf(shop: Shop) -> socket.socket:
    """Ask for more than there is room for on the way; nobody reads the answers."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, ("127.0.0.1", shop.port))
    await loop.sock_sendall(line, b"GET /large HTTP/1.1\r\nHost: shop\r\n\r\n" * 50)
    return line


@pytest.mark.asyncio
async def test_clients_that_never_read_are_let_go(shop: Open) -> None:
    """Their answers wait in bounded room, and when patience ends, no longer."""
    async with shop(patience=3.0) as one:
        memory, connections = one.megabytes(), one.connections()
        lines = [await deaf(one) for _ in range(20)]
        await one.has_connections(lambda count: count > connections + 14)  # the good client's five come and go
        assert one.megabytes() - memory < 60
        await one.serves_during(one.has_connections(lambda count: count < connections + 6))
        for line in lines:
            line.close()


HOST = b" HTTP/1.1\r\nHost: shop\r\n"
MALFORMED = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 100,
    b"hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /" + HOST + b"no colon\r\n\r\n",
    b"GET /" + HOST + b"X: a\x00b\r\n\r\n",
    b"GET /" + HOST + b" folded: yes\r\n\r\n",
    b"POST /api/orders" + HOST + b"Content-Length: -1\r\n\r\n" + BODY,
    b"POST /api/orders" + HOST + b"Content-Length: +13\r\n\r\n" + BODY,
    b"POST /api/orders" + HOST + b"Content-Length: 13x\r\n\r\n" + BODY,
    b"POST /api/orders" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n" + BODY,
    b"POST /api/orders" + HOST + b"Content-Length: 13\r\nContent-Length: 12\r\n\r\n" + BODY,
    b"POST /api/orders" + HOST + b"Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n" + BODY + b"\r\n0\r\n\r\n",
    b"POST /api/orders" + HOST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + BODY,
]


@pytest.mark.asyncio
async def test_what_is_no_http_is_refused(shop: Open) -> None:
    """400, or only a closed connection where a request had begun; nothing is appended, and others are served."""

    async def answer(text: bytes) -> bytes:
        reader, writer = await one.line()
        writer.write(text)
        return (await until_closed(reader, writer))[:12]

    async with shop(patience=1.0) as one:
        answers = await one.serves_during(*(answer(text) for text in MALFORMED))
    assert answers == [b"HTTP/1.1 400"] * (len(MALFORMED) - 1) + [b""]


@pytest.mark.asyncio
async def test_a_head_that_is_too_long_is_refused(shop: Open) -> None:
    """As soon as it is; with a hundred headers and just below 64 KiB it is none."""
    async with shop(patience=20.0) as one:
        for headers, said in (
            (b"X: " + b"y" * 65_536, b"Expected at most 65536 bytes beside the body."),
            (b"X: y\r\n" * 100 + b"\r\n", b"Invalid HTTP request received."),
            (b"X: y\r\n" * 98 + b"Connection: close\r\n\r\n", b"[]"),
            (b"X: " + b"y" * 65_000 + b"\r\nConnection: close\r\n\r\n", b"[]"),
        ):
            reader, writer = await one.line()
            writer.write(b"GET /blocked" + HOST + headers)
            assert (await until_closed(reader, writer)).split(b"\r\n\r\n")[1] == said


@pytest.mark.asyncio
async def test_requests_that_do_not_wait_for_answers_are_answered_in_their_order(shop: Open) -> None:
    """Fifty orders at once on one connection; five thousand are more than a client may have waiting."""
    async with shop(patience=20.0) as one:
        reader, writer = await one.line()
        posts = [ORDER.replace(b"shop\r\n", b"shop\r\nIdempotency-Key: key-%d\r\n" % number) for number in range(50)]
        writer.write(b"".join(posts))
        ids = []
        for _ in posts:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202")
            ids.append(msgspec.json.decode(await reader.readuntil(b"}"))["id"])
        one.acknowledged += ids
        assert (await one.orders())[-50:] == ids
        writer.write(b"GET /blocked HTTP/1.1\r\nHost: shop\r\n\r\n" * 5000)
        before = one.megabytes()
        assert (await until_closed(reader, writer)).count(b"HTTP/1.1 200") <= 101
        assert one.megabytes() - before < 30
