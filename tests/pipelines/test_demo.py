"""The demo as people start it, and as processes that are killed."""

import itertools
import os
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

import rxstreams as rxs
from pipelines.records import NewOrder, complete
from rxstreams import operators as ops
from tests.pipelines.conftest import Modules

SUMMARY = re.compile(r"(\d+) orders acknowledged, all of them in the (\d+) served")


def summary(output: str) -> tuple[int, int]:
    """How many orders the demo says were acknowledged, and are served."""
    found = SUMMARY.search(output)
    assert found, output
    return int(found[1]), int(found[2])


@pytest.mark.timeout(120)
def test_a_second_demo_goes_on_from_the_totals_also_after_servers_were_killed(modules: Modules) -> None:
    """What was acknowledged is served, though all servers are killed in the middle; the next run starts from there."""
    first = modules.start("demo", "--seconds", "5")
    assert first.stdout is not None
    lines = iter(first.stdout.readline, "")
    head = "".join(itertools.takewhile(lambda line: "posted" not in line, lines))
    for pid in re.findall(r"process (\d+)", head):
        os.kill(int(pid), signal.SIGKILL)
    output = "".join([head, *lines])
    assert first.wait(20) == 0, first.communicate()
    posted, served = summary(output)
    assert posted == served > 0, output
    assert output.count("started again") == 3, output

    status, output, errors = modules.run("demo", "--seconds", "3")
    assert (status, errors) == (0, "")
    assert f"going on from {served} orders" in output
    assert re.search(r"^Enriched: \{id: order-\w+, amount: [\d.]+, paymentId: pay-\w+\}$", output, re.MULTILINE), output
    assert re.search(r"^\d+ orders? (was|were) sent twice, and refused as a duplicate$", output, re.MULTILINE), output
    more, total = summary(output)
    assert total == served + more


@pytest.mark.timeout(120)
def test_the_demo_ends_at_a_signal_and_leaves_no_process(modules: Modules) -> None:
    """SIGINT ends it with its summary and status 0; both servers are gone."""
    process = modules.start("demo")
    assert process.stdout is not None
    head = "".join(itertools.takewhile(lambda line: "posted" not in line, iter(process.stdout.readline, "")))
    process.send_signal(signal.SIGINT)
    rest = modules.end(process)
    assert process.returncode == 0
    assert summary(rest)
    for pid in re.findall(r"process (\d+)", head):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


class Till:
    """A client that posts until it is acknowledged, and keeps count."""

    def __init__(self, port: int) -> None:
        self.url, self.posted = f"http://127.0.0.1:{port}", 0
        self.client = httpx2.Client(base_url=self.url, timeout=2)

    def post(self) -> None:
        """Post one order; where the answer is lost, again with the same key."""
        self.ask(
            lambda: self.client.post("/api/orders", json={"amount": 1}, headers={"Idempotency-Key": f"key-{self.posted}"}), 202
        )
        self.posted += 1

    def served(self) -> Any:
        """What the shop serves."""
        return self.ask(lambda: self.client.get("/analytics"), 200)

    def ask(self, request: Any, status: int) -> Any:
        """Repeat a request until it is answered."""
        deadline = time.monotonic() + 20
        while True:
            try:
                answer = request()
                assert answer.status_code == status, answer.text
                return answer.json()
            except httpx2.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.02)


@pytest.mark.timeout(120)
def test_served_totals_equal_acknowledged_posts_when_processes_are_killed(modules: Modules, free_port: int) -> None:
    """Killing the analytics process and the shop in the middle of posts loses none of them and counts none twice."""

    def start(module: str) -> subprocess.Popen[str]:
        return modules.start(module, *(["--port", str(free_port)] if module == "shop" else []))

    running = {module: start(module) for module in ("shop", "analytics")}
    till = Till(free_port)
    for victim in ("analytics", "shop", "analytics", "shop", "shop"):
        for _ in range(60):
            till.post()
        running[victim].kill()
        running[victim].communicate()
        if victim == "analytics":
            till.post()
        running[victim] = start(victim)
    deadline = time.monotonic() + 20
    while (served := till.served())["totalOrders"] < till.posted:
        assert time.monotonic() < deadline, (served, till.posted)
        time.sleep(0.02)
    assert (served["totalOrders"], served["totalRevenue"]) == (till.posted, till.posted)
    assert sum(served["ordersPerMinute"]) == till.posted
    for process in running.values():
        process.terminate()
        process.communicate(timeout=20)
        assert process.returncode == 0
    till.client.close()


def follow(process: subprocess.Popen[str], count: int) -> list[str]:
    """The next lines that a process prints; what bounds the wait is the test's timeout."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    assert all(lines), process.communicate()
    return lines


def test_the_last_window_closes_when_no_more_orders_come(modules: Modules) -> None:
    """After orders have stopped, time goes on with the clock, and the live windows are printed without a further record."""
    seconds = ("--size", "1", "--every", "1", "--out-of-orderness", "0.2", "--idle-after", "1")
    process = modules.start("windowing", *seconds)
    # A little ahead of the clock, so that it is not past them already where a slow machine takes its time to append them.
    made = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    orders = [complete(NewOrder(amount=amount, timestamp=made)) for amount in (100, 200, 150)]
    rxs.run(rxs.from_iterable(orders).pipe(ops.to_topic("orders")), app="till", broker=modules.broker)
    window = f"[{made:%H:%M:%S}-{made + timedelta(seconds=1):%H:%M:%S}Z]: 3 orders, $450\n"
    assert sorted(follow(process, 2)) == [f"Hopping {window}", f"Window {window}"]
    process.terminate()
    assert modules.end(process) == ""
    assert process.returncode == 0
