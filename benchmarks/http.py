"""The shop's ``POST /api/orders`` with and without the append: two servers, one process each, loaded in turns by 32 clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CLIENTS = 32
REQUESTS = 100
BODY = b'{"amount": 100}'
HEAD = b"POST /api/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def serve(kind: str, path: str) -> None:
    """Serve the shop on a free port, whose number goes to standard output; ``bare`` appends nothing."""
    import uvicorn

    from pipelines.shop import create_app
    from rxstreams.brokers.sqlite import SqliteBroker
    from rxstreams.web.serving import Patient

    class Bare(SqliteBroker):
        async def append(self, topic: str, records: object, /) -> list[tuple[int, int]]:
            return [(0, 0)]

    server = uvicorn.Server(
        uvicorn.Config(
            create_app((Bare if kind == "bare" else SqliteBroker)(path)),
            port=0,
            http=Patient,
            log_level="warning",
            access_log=False,
        )
    )

    async def main() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await serving

    asyncio.run(main())


@contextlib.contextmanager
def server(kind: str, folder: str) -> Iterator[int]:
    """A server of a kind; its port."""
    command = [
        sys.executable,
        "-c",
        f"from benchmarks.http import serve; serve({kind!r}, {str(Path(folder) / (kind + '.db'))!r})",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


async def _client(port: int, requests: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(requests):
        writer.write(HEAD + BODY)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 202"):
            raise AssertionError(f"expected 202, got {head[:40]!r}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
    writer.close()
    await writer.wait_closed()


async def _load(port: int) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(_client(port, REQUESTS) for _ in range(CLIENTS)))
    return CLIENTS * REQUESTS / (time.perf_counter() - began)


def rows(pairs: int) -> list[tuple[str, str, str]]:
    """The rate with appends ÷ the rate without."""
    with tempfile.TemporaryDirectory() as folder, server("bare", folder) as bare, server("real", folder) as real:
        for port in (bare, real):
            asyncio.run(_load(port))
        rates = [(asyncio.run(_load(real)), asyncio.run(_load(bare))) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in rates)
    rate = statistics.median(a for a, _ in rates)
    return [("`POST /api/orders`, 32 clients, ÷ the same without the append", f"{ratio:.2f} ({rate:,.0f} requests/s)", "≥ 0.75")]
