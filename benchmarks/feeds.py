"""HTTP feeds against httpx2 and msgspec by hand: 200-byte items from a server in another process, counted to the end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import msgspec
import structlog

import rxstreams as rxs
from benchmarks import measure
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.feeds.http import from_ndjson, from_sse

ITEMS = 200_000
WRITE = 65_536


class Item(msgspec.Struct):
    id: int
    user: str
    amount: float
    text: str


def items() -> Iterator[bytes]:
    """As JSON, 200 bytes each."""
    for number in range(ITEMS):
        item = msgspec.json.encode(Item(number, f"u-{number % 1000}", 1.5, ""))
        yield item[:-2] + b"x" * (200 - len(item)) + item[-2:]


def ratios(pairs: int) -> Iterator[measure.Ratio]:
    """CPU of this process; both stop when the server ends the response."""
    with server() as port:
        url = f"http://127.0.0.1:{port}"
        for name, theirs, ours in (
            ("`from_sse`, 200 bytes an event, against httpx2's events and msgspec", _sse_by_hand, _sse),
            ("`from_ndjson`, 200 bytes a line, against httpx2's lines and msgspec", _lines_by_hand, _ndjson),
            ("`from_ndjson`, 200 bytes a line, against httpx2's bytes, split by hand, and msgspec", _bytes_by_hand, _ndjson),
        ):
            yield measure.compare(
                name, "≥ 0.6", functools.partial(_ran, theirs, url), functools.partial(_ran, ours, url), records=ITEMS,
                pairs=pairs,
            )  # fmt: skip


def _ran(work: Callable[[str], Any], url: str) -> int:
    counted: int = asyncio.run(work(url))
    return counted


async def _sse_by_hand(url: str) -> int:
    decode, n = msgspec.json.Decoder(Item).decode, 0
    async with httpx2.AsyncClient() as client, client.sse(f"{url}/events") as events:
        async for event in events:
            decode(event.data)
            n += 1
    return n


async def _lines_by_hand(url: str) -> int:
    decode, n = msgspec.json.Decoder(Item).decode, 0
    async with httpx2.AsyncClient() as client, client.stream("GET", f"{url}/lines") as response:
        async for line in response.aiter_lines():
            decode(line)
            n += 1
    return n


async def _bytes_by_hand(url: str) -> int:
    decode, n, rest = msgspec.json.Decoder(Item).decode, 0, b""
    async with httpx2.AsyncClient() as client, client.stream("GET", f"{url}/lines") as response:
        async for part in response.aiter_bytes():
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                decode(line)
                n += 1
    return n


async def _sse(url: str) -> int:
    return await _counted(from_sse(f"{url}/events", Item, until="end"))


async def _ndjson(url: str) -> int:
    return await _counted(from_ndjson(f"{url}/lines", Item, until="end", resume=lambda item: {"after": item.id}))


async def _counted(stream: rxs.Stream[Item]) -> int:
    counts = stream.pipe(ops.aggregate(n=agg.count()), ops.to_view("n"))
    async with rxs.start(counts, app="feeds", broker=MemoryBroker()) as running:
        await running.wait()
        found: int = running.view("n").get(None).n
    return found


def serve() -> None:
    """Serve on a free port, whose number goes to standard output: ``/events`` and ``/lines``."""
    lines = b"".join(item + b"\n" for item in items())
    events = b"".join(b"id: %d\ndata: %b\n\n" % (number, item) for number, item in enumerate(items()))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            kind, body = (b"text/event-stream", events) if b"/events" in head else (b"application/x-ndjson", lines)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n" % kind)
            for at in range(0, len(body), WRITE):
                part = body[at : at + WRITE]
                writer.write(b"%x\r\n%b\r\n" % (len(part), part))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await server.serve_forever()

    asyncio.run(main())


@contextlib.contextmanager
def server() -> Iterator[int]:
    """The server's port."""
    command = [sys.executable, "-c", "from benchmarks.feeds import serve; serve()"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    for ratio in ratios(int(sys.argv[1]) if len(sys.argv) > 1 else measure.PAIRS):
        print(ratio.row())
