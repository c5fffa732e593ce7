"""A run says how it fares; what does not get on begins anew, and at last ends, saying why."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import BrokerError
from rxstreams.runtime import Health, task as tasks
from rxstreams.web import healthz, readyz
from tests.runtime.faulty import FaultyBroker, got, put

pytestmark = pytest.mark.asyncio


async def reached(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # a run has no event for it
            await asyncio.sleep(0.005)


async def asked(running: rxs.Running, path: str) -> tuple[int, dict[str, object]]:
    """What a supervisor is told."""
    app = Starlette()
    app.add_route("/healthz", healthz(running))
    app.add_route("/readyz", readyz(running))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://run") as client:
        answer = await client.get(path)
    return answer.status_code, answer.json()


async def test_a_run_that_works_is_healthy_and_ready() -> None:
    """And at its end it has finished, or was stopped."""
    broker = MemoryBroker()
    await put(broker, range(3))
    copied = rxs.from_topic("in", int).pipe(ops.to_topic("out"))
    async with rxs.start(copied, app="copy", broker=broker) as running:
        assert running.health == Health("running")
        fine = {"app": "copy", "status": "running", "why": None, "restarts": 0}
        assert await asked(running, "/healthz") == await asked(running, "/readyz") == (200, fine)
    assert running.health.status == "stopped"
    assert (await asked(running, "/readyz"))[0] == 503
    bounded = rxs.from_topic("in", int, until="end").pipe(ops.to_topic("out"))
    async with rxs.start(bounded, app="bounded", broker=broker) as running:
        await running.wait()
    assert running.health == Health("finished")


async def test_a_run_that_begins_anew_says_why_and_at_last_fails() -> None:
    """What the broker said is there while it is tried, and when it was given up."""

    async def refuse(n: int, make: Callable[[], Awaitable[None]]) -> None:
        raise BrokerError("the disk is on holiday")

    broker = FaultyBroker(refuse)
    await put(broker, range(3))
    seen: set[tuple[str, int]] = set()
    copied = rxs.from_topic("in", int).pipe(ops.to_topic("out"))
    with pytest.raises(BrokerError, match="holiday"):
        async with rxs.start(copied, app="copy", broker=broker, commit_interval=0.01) as running:
            await reached(lambda: running.health.status == "restarting")
            status, told = await asked(running, "/healthz")
            assert (status, told["why"]) == (503, "the disk is on holiday")
            while running.health.status != "failed":
                seen.add((running.health.status, running.health.restarts))
                await asyncio.sleep(0.002)
    assert seen >= {("restarting", n) for n in range(1, 6)}
    assert running.health == Health("failed", "the disk is on holiday", 5)


async def test_a_user_s_error_is_in_the_health_too() -> None:
    """Whatever ends it."""
    broker = MemoryBroker()
    await put(broker, [0])
    inverse = rxs.from_topic("in", int).pipe(ops.map(lambda n: 1 / n), ops.to_topic("out"))
    with pytest.raises(rxs.RxStreamsError):
        async with rxs.start(inverse, app="inverse", broker=broker) as running:
            await running.wait()
    assert running.health.status == "failed"
    assert "ZeroDivisionError" in (running.health.why or "")


async def test_a_run_that_makes_no_progress_while_records_wait_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that never ends holds everything back; after the restart it is made again."""
    monkeypatch.setattr(tasks, "STALLED_AFTER", 0.3)
    monkeypatch.setattr(tasks, "HEARTBEAT", 0.1)
    calls = 0

    async def hang_at_first(n: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await asyncio.Event().wait()

    broker = MemoryBroker()
    await put(broker, range(5))
    copied = rxs.from_topic("in", int).pipe(ops.to_callable(hang_at_first, capacity=1), ops.to_topic("out"))
    async with rxs.start(copied, app="copy", broker=broker, commit_interval=0.01) as running:
        await reached(lambda: running.health.status == "restarting")
        assert "no progress for 0.3 s, and 3 records wait" in (running.health.why or "")
        await reached(lambda: running.health == Health("running"))
        await reached(lambda: broker._store.topics["out"].partitions[0].end == 5)
    assert await got(broker) == list(range(5))
    assert running.statistics.restarts == 1


async def test_an_idle_run_is_not_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits, so there is no progress to be made."""
    monkeypatch.setattr(tasks, "STALLED_AFTER", 0.05)
    monkeypatch.setattr(tasks, "HEARTBEAT", 0.02)
    broker = MemoryBroker()
    await put(broker, range(3))
    copied = rxs.from_topic("in", int).pipe(ops.to_topic("out"))
    async with rxs.start(copied, app="copy", broker=broker, commit_interval=0.01) as running:
        await reached(lambda: running.statistics.records == 3)
        await asyncio.sleep(0.3)
        assert running.health == Health("running")
        assert running.statistics.restarts == 0


@pytest.mark.parametrize(("day", "again"), [(0.2, True), (86_400.0, False)])
async def test_an_idle_run_commits_its_offsets_once_a_day(monkeypatch: pytest.MonkeyPatch, day: float, *, again: bool) -> None:
    """Kafka forgets those of a group that is quiet for a week; in between it commits nothing, to learn that it was fenced."""
    monkeypatch.setattr(tasks, "DAY", day)
    monkeypatch.setattr(tasks, "HEARTBEAT", 0.02)

    async def make_it(n: int, make: Callable[[], Awaitable[None]]) -> None:
        await make()

    broker = FaultyBroker(make_it)
    await put(broker, range(3))
    copied = rxs.from_topic("in", int).pipe(ops.to_topic("out"))
    async with rxs.start(copied, app="copy", broker=broker, commit_interval=0.01) as running:
        await reached(lambda: running.statistics.records == 3)
        await asyncio.sleep(0.5)
    idle = [one for one in broker.commits if not one.outputs and not one.puts]
    with_offsets = [one.offsets for one in idle if one.offsets]
    assert len(idle) > 5
    assert with_offsets == ([{("in", 0): 3}] * len(with_offsets) if again else [])
    assert 0 < len(with_offsets) <= 3 if again else not with_offsets
