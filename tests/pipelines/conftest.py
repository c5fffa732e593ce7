"""What the tests of pipelines share: running a module as a process, and the shop on a real server."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import uvicorn

from pipelines.shop import create_app
from rxstreams.brokers import Broker

ROOT = Path(__file__).parents[2]
Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
"""The shop on a broker, with more arguments of ``create_app``."""


class Modules:
    """Pipelines run as processes, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment.pop("RXSTREAMS_BROKER", None)
        self.broker = f"sqlite:///{folder / 'shop.db'}"
        """Where they are, if nothing else is said."""

    def on(self, broker: str) -> Modules:
        """Have them run on another broker."""
        self.broker = self.environment["RXSTREAMS_BROKER"] = broker
        return self

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a module with its outputs in pipes."""
        command = [sys.executable, "-m", f"pipelines.{module}", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True)
        self.started.append(process)
        return process

    def run(self, module: str, *arguments: str) -> tuple[int, str, str]:
        """Run a module to its end; return its status and outputs."""
        process = self.start(module, *arguments)
        output, errors = process.communicate(timeout=50)
        return process.returncode, output, errors

    def end(self, process: subprocess.Popen[str]) -> str:
        """Wait for the end of a process; return the rest of its output."""
        return process.communicate(timeout=50)[0]


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    """Run pipelines in an empty folder."""
    yield from ended_at_last(Modules(tmp_path))


def ended_at_last(made: Modules) -> Iterator[Modules]:
    """Lend it; afterwards end what still runs."""
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def serve() -> Serve:
    """The shop on a server of its own in this loop, and a client for it."""

    @asynccontextmanager
    async def serving(broker: Broker, **options: int) -> AsyncIterator[httpx2.AsyncClient]:
        server = uvicorn.Server(uvicorn.Config(create_app(broker, **options), port=0, log_level="warning"))
        task = asyncio.create_task(server.serve())
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert not task.done(), task
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                yield client
        finally:
            server.should_exit = True
            await task

    return serving
