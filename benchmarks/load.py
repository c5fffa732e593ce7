"""The load test: clients that post orders while ``/analytics`` is polled once a second, and whether all is served in the end.

``make load``, or ``python -m benchmarks.load [--clients 1000] [--requests 100]``. The shop and the analytics pipeline run as they
do in the demo, on a new SQLite file, or on the broker that ``RXSTREAMS_BROKER`` names. What it prints at the end:

    requests    100,000 in 40.1 s: 2,494/s
    latency     p50 385 ms   p99 611 ms   max 1,102 ms
    /analytics  39 polls   p50 14 ms   p99 57 ms   max 57 ms
    retried     0
    errors      0
    lost        0: 100,000 acknowledged, 100,000 served; revenue 50,050,000, expected 50,050,000

Status 1 if an order was lost, counted twice or refused for good, or if a server died.

The clients are streams of asyncio and a dozen lines, since httpx2 takes longer for a request than the shop does: it would be the
client that is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import cyclopts
import httpx2

from pipelines.demo import PATIENCE, Figures, Gone, Server, caught_up, free_port, refresh, serving

HEAD = (
    "POST /api/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    "Content-Length: {}\r\nIdempotency-Key: {}\r\n\r\n"
)
RETRIED = (429, 503)
FILES = 100
"""Open files that a process needs beside its connections."""


class Line:
    """A connection to the shop, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, body: str, key: str) -> tuple[int, float]:
        """Post an order; the status, and the seconds of Retry-After.

        Raises:
            OSError, EOFError: If there is no connection, or it was lost.
        """
        if self.writer is not None and self.reader.at_eof():
            self.close()  # it was kept for a while, and no longer
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write((HEAD.format(len(body), key) + body).encode())
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        await self.reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), float(headers.get("retry-after", 1))

    def close(self) -> None:
        """Give the connection up."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None


@dataclass
class Tally:
    """What was posted, how long it took, and what is served of it in the end."""

    expected: int
    acknowledged: int = 0
    revenue: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    polls: list[float] = field(default_factory=list)
    retried: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    served: int = 0
    served_revenue: float = 0

    def lines(self) -> Iterator[str]:
        """The report."""
        sums = f"revenue {self.served_revenue:,}, expected {self.revenue:,}"
        yield f"requests    {self.acknowledged:,} in {self.seconds:.1f} s: {self.acknowledged / self.seconds:,.0f}/s"
        yield f"latency     {quantiles(self.latencies)}"
        yield f"/analytics  {len(self.polls)} polls   {quantiles(self.polls)}"
        yield f"retried     {counted(self.retried)}"
        yield f"errors      {counted(self.errors)}"
        yield f"lost        {self.lost:,}: {self.acknowledged:,} acknowledged, {self.served:,} served; {sums}"

    @property
    def lost(self) -> int:
        """Orders that were acknowledged and are not served."""
        return self.acknowledged - self.served

    @property
    def good(self) -> bool:
        """Whether every order was acknowledged, and counts once."""
        exact = (self.acknowledged, self.lost, self.served_revenue) == (self.expected, 0, self.revenue)
        return exact and not self.errors


def quantiles(seconds: list[float]) -> str:
    """The median, the 99th percentile and the maximum in milliseconds."""
    found = sorted(seconds) or [0.0]
    at = {"p50": len(found) // 2, "p99": len(found) * 99 // 100, "max": -1}
    return "   ".join(f"{name} {found[index] * 1000:,.0f} ms" for name, index in at.items())


def counted(counter: Counter[str]) -> str:
    """How many in all, and of what."""
    return "   ".join([f"{counter.total():,}", *(f"{name}: {count:,}" for name, count in sorted(counter.items()))])


async def order(line: Line, amount: int, tally: Tally) -> None:
    """Post an order until it is acknowledged or refused for good; its key makes it count once, however often that takes."""
    body, key = f'{{"amount": {amount}}}', uuid4().hex
    while True:
        began = time.perf_counter()
        try:
            status, wait = await line.post(body, key)
        except (OSError, EOFError):
            line.close()
            status, wait = 0, 1.0
        if status == 202:
            tally.latencies.append(time.perf_counter() - began)
            tally.acknowledged += 1
            tally.revenue += amount
            return
        if status not in (0, *RETRIED):
            tally.errors[f"{status}"] += 1
            return
        tally.retried[f"{status}" if status else "connection lost"] += 1
        await asyncio.sleep(wait * random.uniform(1.0, 1.5))  # not all at the same moment


async def client(port: int, number: int, requests: int, tally: Tally) -> None:
    """Post orders one after the other, as one client does."""
    line = Line(port)
    for index in range(requests):
        await order(line, 1 + (number * requests + index) % 1000, tally)
    line.close()


async def poll(shop: httpx2.AsyncClient, tally: Tally) -> None:
    """Ask for ``/analytics`` once a second, and tell how far it is."""
    started = time.perf_counter()
    while True:
        began = time.perf_counter()
        served = (await shop.get("/analytics")).json()["totalOrders"]
        tally.polls.append(time.perf_counter() - began)
        print(f"{began - started:5.0f} s   acknowledged {tally.acknowledged:>9,}   served {served:>9,}", flush=True)
        await asyncio.sleep(1.0)


async def all_served(shop: httpx2.AsyncClient, figures: Figures) -> None:
    """Return when analytics has read everything; where it does not get on, too."""
    behind: int | None = None
    deadline = time.monotonic() + PATIENCE
    while (now := await refresh(shop, figures)) != 0 and time.monotonic() < deadline:
        if now != behind:
            behind, deadline = now, time.monotonic() + PATIENCE
        await asyncio.sleep(0.05)


async def load(clients: int, requests: int, broker: str, max_backlog: int) -> tuple[Tally, list[str]]:
    """Start the servers, post, and see what is served: the tally, and what befell the servers."""
    os.environ["RXSTREAMS_BROKER"] = broker
    port, figures, tally = free_port(0), Figures(), Tally(clients * requests)
    servers = [Server("shop", "--port", str(port), "--max-backlog", str(max_backlog)), Server("analytics")]
    print(f"{clients:,} clients of {requests:,} requests each at http://127.0.0.1:{port}, records: {broker}", flush=True)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as shop, serving(servers, figures) as group:
        await caught_up(shop, figures)
        before: dict[str, Any] = figures.served
        polling, began = group.create_task(poll(shop, tally)), time.perf_counter()
        await asyncio.gather(*(client(port, number, requests, tally) for number in range(clients)))
        tally.seconds = time.perf_counter() - began
        polling.cancel()
        await all_served(shop, figures)
        tally.served = figures.orders - before["totalOrders"]
        tally.served_revenue = figures.served["totalRevenue"] - before["totalRevenue"]
    return tally, figures.notes


def allow_files(wanted: int) -> None:
    """Let this process, and the servers that it starts, open so many files.

    Raises:
        Gone: If the machine refuses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise Gone(f"so many clients need {wanted} open files, and this machine allows {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main(*, clients: int = 1000, requests: int = 100, max_backlog: int = 100_000) -> None:
    """Load the shop, and print what became of it."""
    try:
        with contextlib.ExitStack() as stack:
            allow_files(clients + FILES)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            broker = os.environ.get("RXSTREAMS_BROKER") or f"sqlite:///{folder / 'load.db'}"
            tally, notes = asyncio.run(load(clients, requests, broker, max_backlog))
    except (Gone, ExceptionGroup) as error:
        problem = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        print(f"the load test failed: {problem}", file=sys.stderr)
        raise SystemExit(1) from None
    print("\n".join([*notes, *tally.lines()]))
    raise SystemExit(0 if tally.good and not notes else 1)


if __name__ == "__main__":
    cyclopts.run(main)
