"""What a run does when its broker fails: begin anew from what was committed, or stop, and never show what was not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import CommitUnknownError, StorageDamagedError, StorageFullError
from tests.runtime.faulty import Fault, FaultyBroker, Gate, got, put, until

pytestmark = pytest.mark.asyncio

N = 600


def pipeline(*, bounded: bool = True) -> list[rxs.Stream[Any]]:
    """Totals per key, running sums, a fold whose seed is changed in place, buffers, and a copy of the input."""
    numbers = rxs.from_topic("in", int, until="end" if bounded else None)

    def add(seen: list[int], n: int) -> list[int]:
        seen[0] += n
        return seen

    return [
        numbers.pipe(ops.to_topic("out")),
        numbers.pipe(
            ops.key_by(lambda n: n % 3), ops.aggregate(n=agg.count(), total=agg.sum(lambda n: n)), ops.to_view("totals")
        ),
        numbers.pipe(ops.scan(lambda total, n: total + n, 0), ops.to_topic("sums")),
        numbers.pipe(ops.reduce(add, [0]), ops.to_topic("sum")),
        numbers.pipe(ops.buffer_with_count(7), ops.to_topic("sevens")),
    ]


async def exact(broker: MemoryBroker, running: rxs.Running) -> None:
    """Every result of the pipeline is there once."""
    numbers = list(range(N))
    assert await got(broker) == numbers
    assert await got(broker, "sums") == [n * (n + 1) // 2 for n in numbers]
    assert await got(broker, "sum") == [[sum(numbers)]]
    assert await got(broker, "sevens") == [numbers[at : at + 7] for at in range(0, N, 7)]
    rows = {key: (row.n, row.total) for key, row in running.view("totals").items()}
    assert rows == {key: (N // 3, sum(numbers[key::3])) for key in range(3)}
    assert await broker.committed("app") == {("in", 0): N}


async def lose_the_reply(n: int, make: Callable[[], Awaitable[None]]) -> None:
    """Commit, but let nobody know, every second time."""
    await make()
    if n % 2:
        raise CommitUnknownError("the reply was lost")


async def lose_the_commit(n: int, make: Callable[[], Awaitable[None]]) -> None:
    """Commit every second time only, and never say which."""
    if n % 2:
        raise CommitUnknownError("the request was lost")
    await make()


async def refuse_the_first(n: int, make: Callable[[], Awaitable[None]]) -> None:
    """Refuse the first commit, and no other."""
    if n == 1:
        raise rxs.BrokerError("not now")
    await make()


@pytest.mark.parametrize("fault", [lose_the_reply, lose_the_commit, refuse_the_first])
async def test_after_a_doubtful_commit_the_run_begins_anew_and_results_are_exact(fault: Fault) -> None:
    """Whether the commit happened or not, all memory is dropped and the broker says where to go on."""
    broker = FaultyBroker(fault)
    await put(broker, range(N))
    with capture_logs() as lines:
        async with rxs.start(*pipeline(), app="app", broker=broker, commit_interval=0.0001) as running:
            await running.wait()
            await exact(broker, running)
    anew = [line for line in lines if line["event"] == "beginning anew from the broker"]
    assert len(anew) == running.statistics.restarts == broker.opened - 1 >= 1
    assert running.finished


async def test_what_an_attempt_had_folded_before_it_was_refused_is_not_folded_again() -> None:
    """All of the input was worked on when the only commit was refused; the next attempt begins with nothing of it."""
    broker = FaultyBroker(refuse_the_first)
    await put(broker, range(N))
    async with rxs.start(*pipeline(), app="app", broker=broker, commit_interval=60) as running:
        await running.wait()
        await exact(broker, running)
    assert (broker.opened, len(broker.commits), running.statistics.records) == (2, 2, 2 * N)


async def test_a_commit_before_a_lost_reply_is_not_made_twice() -> None:
    """A run that ends with a lost reply finds, when it begins anew, that it had finished."""
    broker = FaultyBroker(lose_the_reply)
    await put(broker, range(N))
    async with rxs.start(*pipeline(), app="app", broker=broker, commit_interval=60) as running:
        await running.wait()
        await exact(broker, running)
    assert (broker.opened, len(broker.commits), running.statistics.records, running.finished) == (2, 1, N, True)


async def test_a_broker_that_keeps_refusing_ends_the_run() -> None:
    """Definite failures restart the task five times, with pauses, and then the run fails with the broker's words."""

    async def refuse(n: int, make: Callable[[], Awaitable[None]]) -> None:
        raise rxs.BrokerError("no room for you")

    broker = FaultyBroker(refuse)
    await put(broker, range(N))
    with pytest.raises(rxs.BrokerError, match="no room for you"):
        async with rxs.start(*pipeline(), app="app", broker=broker, commit_interval=60) as running:
            await running.wait()
    assert (broker.opened, running.statistics.restarts, running.statistics.epochs) == (6, 5, 0)
    assert await got(broker) == []
    assert dict(running.view("totals")) == {}


@pytest.mark.parametrize(
    "error", [StorageFullError("full"), StorageDamagedError("damaged"), rxs.errors.FencedError("app", "0", "me", "you")]
)
async def test_what_a_restart_cannot_mend_ends_the_run_at_once(error: Exception) -> None:
    """A full or damaged storage and a newer instance are not tried again."""

    async def fail(n: int, make: Callable[[], Awaitable[None]]) -> None:
        raise error

    broker = FaultyBroker(fail)
    await put(broker, range(N))
    with pytest.raises(type(error)):
        async with rxs.start(*pipeline(), app="app", broker=broker) as running:
            await running.wait()
    assert (broker.opened, len(broker.commits), running.statistics.restarts) == (1, 1, 0)


async def test_a_view_shows_nothing_before_its_commit() -> None:
    """While a commit is under way the view has the rows, the epoch and no change of before; after it all three."""
    broker = FaultyBroker(gate := Gate())
    told: list[Any] = []
    async with rxs.start(*pipeline(bounded=False), app="app", broker=broker, commit_interval=0.001) as running:
        view = running.view("totals")
        view.changes.subscribe(told.append)
        await put(broker, [3, 4])
        await gate.waiting.wait()
        assert (dict(view), view.as_of, told, await got(broker)) == ({}, 0, [], [])
        gate.opened.set()
        await until(lambda: len(view) == 2)
        assert {key: (row.n, row.total) for key, row in view.items()} == {0: (1, 3), 1: (1, 4)}
        assert (view.as_of, [key for key, _ in told], await got(broker)) == (1, [0, 1], [3, 4])


async def test_a_restart_shows_what_was_committed_only() -> None:
    """After a commit that did not happen, views and outputs go on from the last one that did."""
    outcome: list[Exception | None] = [None, rxs.BrokerError("lost"), None]

    async def fault(n: int, make: Callable[[], Awaitable[None]]) -> None:
        error = outcome[n - 1] if n <= len(outcome) else None
        if error is not None:
            assert {key: row.total for key, row in running.view("totals").items()} == {0: 3}
            raise error
        await make()

    broker = FaultyBroker(fault)
    async with rxs.start(*pipeline(bounded=False), app="app", broker=broker, commit_interval=0.001) as running:
        view = running.view("totals")
        await put(broker, [3])
        await until(lambda: len(view) == 1)
        await put(broker, [6])
        await until(lambda: view[0].total != 3)
        assert (view[0].n, view[0].total, await got(broker), await got(broker, "sums")) == (2, 9, [3, 6], [3, 9])


async def test_a_newer_instance_in_the_same_process_fences_the_older() -> None:
    """Two runs of one app: the older one's next commit fails and names the newer one; results are there once."""
    broker = MemoryBroker()
    await put(broker, range(10))
    with pytest.raises(rxs.errors.FencedError, match="The newer goes on") as caught:
        async with rxs.start(*pipeline(bounded=False), app="app", broker=broker, commit_interval=0.001) as older:
            await until(lambda: older.statistics.epochs > 0)
            async with rxs.start(*pipeline(bounded=False), app="app", broker=broker, commit_interval=0.001) as newer:
                await put(broker, range(10, N))
                await until(lambda: sum(row.n for row in newer.view("totals").values()) == N)
                await older.wait()
    assert (caught.value.mine, caught.value.newer) == (older.instance, newer.instance)
    assert await got(broker) == list(range(N))


async def test_stopping_drops_what_cannot_be_committed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that hangs holds up the end for a bounded time; then the epoch is dropped, and nothing of it is there."""
    monkeypatch.setattr("rxstreams.runtime.running.STOP_WITHIN", 0.05)
    broker = FaultyBroker(gate := Gate())
    await put(broker, range(N))
    async with rxs.start(*pipeline(bounded=False), app="app", broker=broker, commit_interval=0.001) as running:
        await gate.waiting.wait()
    assert (await got(broker), running.statistics.epochs, dict(running.view("totals"))) == ([], 0, {})


async def test_a_user_s_error_stops_the_run_without_its_epoch() -> None:
    """With the default policy a raising function ends the run; what was committed before stays, its epoch is not there."""
    broker = MemoryBroker()
    await put(broker, range(5))

    def picky(n: int) -> int:
        if n == 7:
            raise ValueError("seven")
        return n

    stream = rxs.from_topic("in", int).pipe(ops.map(picky), ops.to_topic("out"))
    with pytest.raises(rxs.RxStreamsError, match=r"map.*seven.*topic:in, partition 0.*value 7"):
        async with rxs.start(stream, app="app", broker=broker, commit_interval=0.001) as running:
            await until(lambda: broker._store.offsets.get("app") == {("in", 0): 5})
            await put(broker, range(5, 10))
            await running.wait()
    assert (await got(broker), await broker.committed("app")) == (list(range(5)), {("in", 0): 5})


async def test_commits_take_a_quarter_of_the_time_at_most() -> None:
    """The interval stretches with the time that a commit takes, and shrinks again."""
    slow = [0.05]

    async def fault(n: int, make: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(slow[0])
        await make()

    broker = FaultyBroker(fault)
    async with rxs.start(*pipeline(bounded=False), app="app", broker=broker, commit_interval=0.01) as running:
        await put(broker, [1])
        await until(lambda: running.statistics.epochs == 1)
        await put(broker, [2])
        await until(lambda: running.statistics.epochs == 2)
        took = running.statistics.commit_seconds
        assert (took >= 0.05, running.statistics.interval >= 0.15) == (True, True)
        slow[0] = 0
        for n in range(2):
            await put(broker, [3])
            await until(lambda n=n: running.statistics.epochs == 3 + n)  # type: ignore[misc]  # this turn's number
        assert running.statistics.interval < 0.15
