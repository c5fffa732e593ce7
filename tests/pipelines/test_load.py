"""The load test, with few clients; and that it tells what is wrong."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from benchmarks.load import Line, Tally, order
from tests.pipelines.conftest import ROOT


def load(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the load test to its end, on a file of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RXSTREAMS_")}
    command = [sys.executable, "-m", "benchmarks.load", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.timeout(120)
def test_what_many_clients_post_is_served_once_each() -> None:
    """Fifty clients of five orders: 250 acknowledged, 250 served, with their revenue; status 0."""
    done = load("--clients", "50", "--requests", "5")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    *_, requests, latency, analytics, retried, errors, lost = done.stdout.splitlines()
    assert requests.startswith("requests    250 in ")
    assert latency.startswith("latency     p50 ")
    assert analytics.startswith("/analytics  ")
    assert (retried, errors) == ("retried     0", "errors      0")
    assert lost == "lost        0: 250 acknowledged, 250 served; revenue 31,375, expected 31,375"


@pytest.mark.timeout(120)
def test_what_is_refused_for_a_while_is_served_in_the_end() -> None:
    """Where more is posted than may wait for analytics, 429s are retried when they say, and nothing is lost."""
    done = load("--clients", "50", "--requests", "5", "--max-backlog", "40")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.search(r"^retried     [1-9]\d*   429: [1-9]\d*", done.stdout, re.MULTILINE), done.stdout
    assert "lost        0: 250 acknowledged, 250 served; revenue 31,375, expected 31,375" in done.stdout


def test_a_machine_that_allows_too_few_open_files_is_told() -> None:
    """With what is needed and what there is; status 1."""
    done = load("--clients", str(10**12))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(
        r"the load test failed: so many clients need 1000000000100 open files, and this machine allows \d+", done.stderr
    )


GOOD = {"acknowledged": 3, "served": 3, "revenue": 60, "served_revenue": 60}
BAD = [
    {"served": 2},
    {"served": 4},
    {"served_revenue": 61},
    {"acknowledged": 2, "served": 2},
    {"errors": Counter({"500": 1})},
]


def test_a_run_is_good_when_all_is_acknowledged_and_counts_once() -> None:
    """What was lost, counted twice or refused makes it a bad one."""
    assert Tally(3, **GOOD).good
    assert [Tally(3, **GOOD | wrong).good for wrong in BAD] == [False] * len(BAD)


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that gives these answers, one a request; b"" closes the connection. Its port, and the keys that came."""
    keys, left = [], iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while answer := next(left, b""):
                head = await reader.readuntil(b"\r\n\r\n")
                keys.append(re.findall(rb"Idempotency-Key: (\w+)", head)[0])
                await reader.readexactly(len('{"amount": 7}'))
                writer.write(answer)
                if b"close" in answer:
                    break

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], keys


def answer(status: bytes, *headers: bytes) -> bytes:
    """An answer without a body."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: 0", *headers, b"", b""])


@pytest.mark.asyncio
async def test_a_client_posts_until_it_is_acknowledged_with_one_key() -> None:
    """After 429 and 503 when they say, and after a lost connection; what is refused for good is an error."""
    again = answer(b"429 Too Many Requests", b"Retry-After: 0")
    later = answer(b"503 Service Unavailable", b"Retry-After: 0", b"Connection: close")
    done, never = answer(b"202 Accepted"), answer(b"422 Unprocessable Content")
    async with answering(again, later, b"", done, never) as (port, keys):
        line, tally = Line(port), Tally(2)
        await order(line, 7, tally)
        assert len(set(keys)) == 1
        await order(line, 7, tally)
        line.close()
    assert (tally.acknowledged, tally.revenue, len(tally.latencies), len(set(keys))) == (1, 7, 1, 2)
    assert tally.retried == {"429": 1, "503": 1, "connection lost": 1}
    assert tally.errors == {"422": 1}
