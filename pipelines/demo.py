"""The shop, live: ``make demo``, or ``python -m pipelines.demo [--seconds N]``.

In: orders and payments that it posts by itself, as a person at a till would. Out: a table of what was acknowledged and what the
shop serves, once a second where there is no terminal:

    http://127.0.0.1:8000/analytics   try: curl -s http://127.0.0.1:8000/api/orders -d '{"amount": 100}'
    shop: process 4711, analytics: process 4712, fraud: process 4713, records: sqlite:///shop.db
    no orders yet
      1 s   posted    11   served    11 orders   revenue      5,487.00   average   498.82   paid  90.0 %   refused 2
      2 s   posted    22   served    22 orders   revenue     10,120.50   average   460.02   paid  95.0 %   refused 3
    Enriched: {id: order-0fc3e1…, amount: 96.3, paymentId: pay-52bd07…}
    3 orders were sent twice, and refused as a duplicate
    user-13 is blocked after 3 failed payments in 5 min; 2 more were refused
    22 orders acknowledged, all of them in the 22 served; revenue 10,120.50. Run it again: it goes on from here.

The payments of one user always fail, until the shop refuses them.

A server that dies is started again. A post whose answer was lost is sent again with its Idempotency-Key, so that it counts once;
some are sent twice without one, as by a client that knows nothing of it, and then their id tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import uuid4

import cyclopts
import httpx2
from rich.box import ROUNDED
from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table

from pipelines.records import SHOP, BrokerUrl

PATIENCE = 20.0
"""Seconds that a server may take to start, and the served totals to catch up."""
RESTARTS = 5
"""How often a server may die soon after its start."""
FENCED = 3
"""The status of a pipeline that a newer instance has replaced."""
PACE = (5.0, 20.0)
"""Orders a second, least and most."""
PAID, SUCCEEDS = 0.9, 0.9
TWICE = 10
"""Of so many orders one is sent twice."""
THIEF = "user-13"
"""The user whose payments fail."""


class Gone(Exception):
    """A server cannot be kept running, or did not answer in time."""


@dataclass
class Figures:
    """What was acknowledged, and what is served."""

    before: int = 0
    posted: int = 0
    twice: int = 0
    refused_before: int = 0
    blocked: int = 0
    served: dict[str, Any] = field(default_factory=dict)
    enriched: list[dict[str, Any]] = field(default_factory=list)
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=5))
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def orders(self) -> int:
        """How many orders are served."""
        return int(self.served.get("totalOrders", 0))

    @property
    def refused(self) -> int:
        """How many orders were duplicates, in this run."""
        return int(self.served.get("duplicateOrders", 0)) - self.refused_before

    @property
    def complete(self) -> bool:
        """Whether everything that was acknowledged is served, or refused as a duplicate."""
        return self.orders >= self.before + self.posted and self.refused >= self.twice

    def cells(self) -> dict[str, str]:
        """The figures as text."""
        rate = self.served.get("successRate")
        return {
            "posted": f"{self.posted}",
            "served": f"{self.orders} orders",
            "revenue": f"{self.served.get('totalRevenue', 0):,.2f}",
            "average": f"{self.served.get('avgOrderValue', 0):,.2f}",
            "paid": "-" if rate is None else f"{rate:.1f} %",
            "refused": f"{self.refused}",
        }

    def line(self) -> str:
        """The figures on one line."""
        widths = {"posted": 5, "served": 12, "revenue": 13, "average": 8, "paid": 7, "refused": 1}
        cells = [f"{name} {text:>{widths[name]}}" for name, text in self.cells().items()]
        return "   ".join([f"{time.monotonic() - self.began:3.0f} s", *cells])

    def summary(self) -> str:
        """What a run comes to."""
        revenue = self.served.get("totalRevenue", 0)
        pair = "Enriched: {{id: {id}, amount: {amount}, paymentId: {paymentId}}}"
        lines = [pair.format_map(one) for one in self.enriched[:1]]
        if self.refused:
            lines.append(f"{self.refused} order{'s were' if self.refused > 1 else ' was'} sent twice, and refused as a duplicate")
        if self.blocked:
            lines.append(f"{THIEF} is blocked after 3 failed payments in 5 min; {self.blocked} more were refused")
        counted = f"{self.posted} orders acknowledged, all of them in the {self.orders} served"
        return "\n".join([*lines, f"{counted}; revenue {revenue:,.2f}. Run it again: it goes on from here."])

    def picture(self) -> Group:
        """The figures as a table, and below it the last orders, and the last that were paid."""
        totals = Table(*(Column(name, justify="right") for name in self.cells()), box=ROUNDED)
        totals.add_row(*self.cells().values(), style="bold")
        orders = Table("the last orders", "user", Column("amount", justify="right"), box=None, header_style="dim", style="dim")
        for order in reversed(self.latest):
            orders.add_row(shortened(order["id"], 14), order["userId"], f"{order['amount']:,.2f}")
        paid = Table("paid", "with", Column("amount", justify="right"), box=None, header_style="dim", style="dim")
        for pair in self.enriched:
            paid.add_row(shortened(pair["id"], 14), shortened(pair["paymentId"], 12), f"{pair['amount']:,.2f}")
        return Group(totals, Columns([orders, paid], padding=(0, 4)))


def shortened(identity: str, length: int) -> str:
    """An id as far as it has room; an id that someone posted may be short."""
    return identity if len(identity) <= length else f"{identity[:length]}…"


class Server:
    """A module run as a process of its own, started again when it dies."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.module, self.arguments = module, arguments
        self.log: IO[bytes] = TemporaryFile()  # noqa: SIM115  # it lives as long as the server
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl-C: it ends after the demo has taken its last figures."""
        command = [sys.executable, "-m", f"pipelines.{self.module}", *self.arguments]
        spawn = partial(asyncio.create_subprocess_exec, stdin=asyncio.subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.process = await spawn(*command, start_new_session=True, preexec_fn=_die_with_parent)

    async def keep(self, figures: Figures) -> None:
        """Start it again whenever it dies, unless another instance has taken its place.

        Raises:
            Gone: If it dies again and again.
        """
        assert self.process is not None
        deaths = 0
        while deaths < RESTARTS:
            began = time.monotonic()
            status = await self.process.wait()
            if status == FENCED:
                figures.notes.append(f"another {self.module} process works on these records now; this one has stopped")
                return
            deaths = deaths + 1 if time.monotonic() - began < PATIENCE else 1
            await self.start()
            figures.notes.append(f"{self.module} died with status {status}; started again as process {self.pid}")
        raise Gone(f"{self.module} died {RESTARTS} times; its last words:\n{self.last_words()}")

    async def stop(self) -> None:
        """Ask it to end, and wait."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), PATIENCE)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def last_words(self) -> str:
        """The end of what it wrote."""
        self.log.seek(max(0, self.log.seek(0, os.SEEK_END) - 2000))
        return self.log.read().decode(errors="replace")


def _die_with_parent() -> None:
    if sys.platform == "linux":  # elsewhere a killed demo leaves its servers behind
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


async def post(client: httpx2.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """Post a body until it is acknowledged; however often that takes, it counts once. None if it is forbidden."""
    headers = {"Idempotency-Key": uuid4().hex}
    while True:
        with contextlib.suppress(httpx2.TransportError):
            answer = await client.post(path, json=body, headers=headers)
            if answer.status_code == 202:
                return dict(answer.json())
            if answer.status_code == 403:
                return None
            if answer.status_code < 500 and answer.status_code != 429:
                raise Gone(f"{path} refused {body}: {answer.status_code} {answer.text}")
        await asyncio.sleep(0.2)


async def sell(client: httpx2.AsyncClient, figures: Figures, ending: asyncio.Event) -> None:
    """Post orders, and payments for most of them, until ``ending``."""
    while not ending.is_set():
        user = THIEF if random.random() < 0.1 else f"user-{random.randint(1, 40)}"
        order = await post(client, "/api/orders", {"userId": user, "amount": round(random.lognormvariate(4.5, 1.2) + 5, 2)})
        assert order is not None, "orders are refused to nobody"
        figures.posted += 1
        figures.latest.append(order)
        if figures.posted % TWICE == 1:
            await post(client, "/api/orders", order)  # with another Idempotency-Key: only the id tells
            figures.twice += 1
        if random.random() < PAID:
            status = "success" if user != THIEF and random.random() < SUCCEEDS else "failed"
            payment = {"orderId": order["id"], "userId": user, "status": status}
            if await post(client, "/api/payments", payment) is None and user == THIEF:
                figures.blocked += 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), 1 / random.uniform(*PACE))


async def refresh(client: httpx2.AsyncClient, figures: Figures) -> int | None:
    """Take the served totals; return how many records are not in them yet, or None if the shop does not answer."""
    try:
        behind = int((await client.get("/healthz")).json()["analyticsLag"])
        figures.served = (await client.get("/analytics")).json()
        figures.enriched = (await client.get("/enriched")).json()
    except (httpx2.TransportError, ValueError, KeyError):
        return None
    return behind


async def caught_up(client: httpx2.AsyncClient, figures: Figures) -> None:
    """Return when everything that was posted is in the served totals.

    Raises:
        Gone: If that takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while await refresh(client, figures) != 0 or not figures.complete:
        if time.monotonic() > deadline:
            raise Gone(f"{figures.before + figures.posted} orders are acknowledged, but {figures.orders} are served")
        await asyncio.sleep(0.05)


async def watch(client: httpx2.AsyncClient, figures: Figures, console: Console, ending: asyncio.Event) -> None:
    """Show the figures until ``ending``: live on a terminal, else a line each second."""
    live = Live(console=console, refresh_per_second=8) if console.is_terminal else None
    with live or contextlib.nullcontext():
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), 0.25 if live else 1.0)
            await refresh(client, figures)
            while figures.notes:
                console.print(figures.notes.pop(0))
            if live:
                live.update(figures.picture())
            else:
                print(figures.line(), flush=True)


@contextlib.asynccontextmanager
async def serving(servers: list[Server], figures: Figures) -> AsyncIterator[asyncio.TaskGroup]:
    """Start the servers and keep them running; stop them at the end. Whatever fails in the group ends it."""
    try:
        async with asyncio.TaskGroup() as group:
            keepers = []
            for server in servers:
                await server.start()
                keepers.append(group.create_task(server.keep(figures)))
            yield group
            for keeper in keepers:
                keeper.cancel()
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


def ends_by_signal() -> asyncio.Event:
    """An event that is set by SIGINT and SIGTERM; a second signal ends the process at once."""
    ending = asyncio.Event()

    def on_signal(number: int) -> None:
        if ending.is_set():
            os._exit(128 + number)
        ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal, number)
    return ending


async def demo(seconds: float | None, port: int, broker: str) -> None:
    """Run the servers, sell, show, and sum up."""
    if broker.startswith("memory:"):
        raise Gone(f"the servers are processes, which cannot share {broker}; use a file, such as {SHOP}")
    os.environ["RXSTREAMS_BROKER"] = broker
    url, figures, ending, console = (
        f"http://127.0.0.1:{port}",
        Figures(),
        ends_by_signal(),
        Console(highlight=False, soft_wrap=True),
    )
    servers = [Server("shop", "--port", str(port)), Server("analytics"), Server("fraud")]
    async with httpx2.AsyncClient(base_url=url, timeout=5.0) as client, serving(servers, figures) as group:
        await caught_up(client, figures)
        figures.before, figures.refused_before, figures.began = figures.orders, figures.refused, time.monotonic()
        console.print(f"{url}/analytics   try: curl -s {url}/api/orders -d '{{\"amount\": 100}}'")
        processes = ", ".join(f"{server.module}: process {server.pid}" for server in servers)
        console.print(f"{processes}, records: {broker}")
        console.print(f"going on from {figures.before} orders" if figures.before else "no orders yet")
        working = group.create_task(sell(client, figures, ending)), group.create_task(watch(client, figures, console, ending))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), seconds)
        ending.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*working)
        await caught_up(client, figures)
        console.print(figures.summary())


def free_port(wanted: int) -> int:
    """The wanted port, or another one if that is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise Gone("no port is free on 127.0.0.1")


def main(*, seconds: float | None = None, port: int = 8000, broker: BrokerUrl = SHOP) -> None:
    """Run the shop live until Ctrl-C, or for some seconds; another port is taken if this one is in use."""
    try:
        asyncio.run(demo(seconds, free_port(port), broker))
    except (Gone, ExceptionGroup) as error:
        problem = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        print(f"the demo failed: {problem or 'it did not come to an end'}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    cyclopts.run(main)
