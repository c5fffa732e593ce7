"""map_async and its like: order, concurrency, retries, time-outs, what is saved, what is left behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import DeadLetter, Retry, Skip, aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, OperatorError
from tests.flow.driving import Served, outcome_of, run_through, virtual
from tests.runtime.faulty import got, put, until


def test_results_come_in_the_order_of_their_records_however_long_calls_take() -> None:
    """With `ordered=True`; no more calls are under way than `concurrency`."""
    served = Served(takes=lambda value: (value * 7 % 5) / 10)
    assert virtual(lambda: outcome_of(range(40), ops.map_async(served, concurrency=6))) == [n * 10 for n in range(40)]
    assert served.most == 6


def test_results_come_as_calls_end_without_order() -> None:
    """With `ordered=False`: the quick ones first, each once."""
    served = Served(takes=lambda value: 9.0 - value)
    assert virtual(lambda: outcome_of(range(5), ops.map_async(served, ordered=False))) == [40, 30, 20, 10, 0]


def test_calls_of_one_key_are_made_one_after_the_other() -> None:
    """With `ordered="by_key"`: per key in order and one at a time, other keys meanwhile."""
    under_way: dict[int, int] = {}

    async def alone(value: int) -> int:
        assert under_way.setdefault(value % 3, 0) == 0
        under_way[value % 3] = 1
        await asyncio.sleep(5.0 if value % 3 == 0 else 0.1)
        under_way[value % 3] = 0
        return value

    keyed = ops.key_by(lambda n: n % 3), ops.map_async(alone, ordered="by_key", concurrency=8)
    came = virtual(lambda: outcome_of(range(30), *keyed))
    assert sorted(came) == list(range(30))
    assert [[n for n in came if n % 3 == key] for key in range(3)] == [list(range(key, 30, 3)) for key in range(3)]
    assert came[-1] == 27  # the slow key held nobody up
    assert came.index(29) < came.index(12)


def test_by_key_needs_keys() -> None:
    """A stream without keys is refused when it is built, with what to do."""
    with pytest.raises(ConfigError, match=r"map_async\(ordered='by_key'\): expected a stream with keys; put key_by"):
        rxs.from_iterable([1]).pipe(ops.map_async(Served(), ordered="by_key"))


def test_a_call_that_fails_is_made_again() -> None:
    """`retry=2` makes three attempts, each later than the last; the results are as if nothing had been."""
    served = Served(takes=lambda value: 0.0, fails=lambda value, n: value == 2 and n < 3)
    assert virtual(lambda: outcome_of(range(4), ops.map_async(served, retry=2, concurrency=1))) == [0, 10, 20, 30]
    assert served.began == [0, 1, 2, 2, 2, 3]
    first, second, third = served.times[2:5]
    assert (second - first, third - second) == (pytest.approx(0.1), pytest.approx(0.2))


@pytest.mark.parametrize("ordered", [True, False, "by_key"])
def test_a_call_that_fails_for_good_meets_its_policy(ordered: Any) -> None:
    """With DeadLetter its record is one, with the attempts, and those before and behind it come out; so it is with Skip."""

    async def main() -> tuple[list[Any], dict[str, bytes], int]:
        broker = MemoryBroker()
        await put(broker, range(6))
        policy = Retry(1, backoff=0.5, then=DeadLetter("dead"))
        served = Served(fails=lambda value, n: value == 3)
        called = rxs.from_topic("in", int, until="end").pipe(
            ops.key_by(lambda n: n % 2), ops.map_async(served, ordered=ordered, on_error=policy), ops.to_topic("out")
        )
        async with rxs.start(called, app="app", broker=broker, clock=asyncio.get_running_loop().time) as running:
            await running.wait()
        dead = await broker.read("dead", 0, 0, max_records=9)
        assert dead.values == [b"3"]
        assert dead.headers is not None
        return await got(broker), dict(dead.headers[0]), running.statistics.lost

    came, headers, lost = virtual(main)
    assert (sorted(came), lost) == ([0, 10, 20, 40, 50], 1)
    assert (headers["rxs.offset"], headers["rxs.attempts"]) == (b"3", b"2")
    assert b"LookupError: no 3" in headers["rxs.error"]


def test_a_call_that_fails_stops_the_run_without_a_policy() -> None:
    """The error names the operator, what was raised, and the value."""
    served = Served(fails=lambda value, n: value == 3)
    with pytest.raises(OperatorError, match=r"map_async\(.*\): LookupError: no 3; .*value 3"):
        virtual(lambda: outcome_of(range(6), ops.map_async(served)))


def test_a_call_that_takes_too_long_is_cancelled() -> None:
    """It fails with TimeoutError after `timeout`, and meets the policy; nothing of it goes on."""
    served = Served(takes=lambda value: 100.0 if value == 1 else 1.0)
    assert virtual(lambda: outcome_of(range(3), ops.map_async(served, timeout=2, on_error=Skip()))) == [0, 20]
    assert (served.under_way, served.ended) == (0, [0, 2])


def test_a_time_out_of_the_function_s_own_is_an_error_like_others() -> None:
    """A TimeoutError that the function raises is not told as the operator's."""

    async def own(value: int) -> int:
        raise TimeoutError("the database")

    with pytest.raises(OperatorError, match="TimeoutError: the database"):
        virtual(lambda: outcome_of([1], ops.map_async(own, timeout=5)))


def test_a_call_that_somebody_else_cancels_is_an_error_like_others() -> None:
    """CancelledError from within a call does not end its worker in silence."""

    async def cancelled(value: int) -> int:
        if value == 1:
            raise asyncio.CancelledError
        return value

    made = ops.map_async(cancelled, concurrency=1, on_error=Skip())
    assert virtual(lambda: outcome_of(range(3), made)) == [0, 2]


def test_a_function_that_returns_no_awaitable_is_told() -> None:
    """The message says what to do with a plain function."""
    with pytest.raises(OperatorError, match=r"returned int, which cannot be awaited; .*in_thread"):
        virtual(lambda: outcome_of([1], ops.map_async(lambda value: value)))  # type: ignore[arg-type,return-value]  # that is it


def test_a_slow_call_does_not_hold_back_the_commits_of_others() -> None:
    """While one call takes a minute, what others gave is committed, and the offsets with it."""

    async def main() -> tuple[list[Any], float, dict[Any, int]]:
        broker, loop = MemoryBroker(), asyncio.get_running_loop()
        await put(broker, range(20))
        served = Served(takes=lambda value: 60.0 if value == 0 else 0.01)
        called = rxs.from_topic("in", int, until="end").pipe(ops.map_async(served, ordered=False), ops.to_topic("out"))
        async with rxs.start(called, app="app", broker=broker, clock=loop.time) as running:
            while len(await got(broker)) < 19:  # noqa: ASYNC110  # nobody tells of a commit
                await asyncio.sleep(0.01)
            early, at = await got(broker), loop.time()
            committed = await broker.committed("app")
            await running.wait()
        assert await got(broker) == [*early, 0]
        return early, at, committed

    early, at, committed = virtual(main)
    assert sorted(early) == [n * 10 for n in range(1, 20)]
    assert at < 1
    assert committed == {("in", 0): 20}


def test_what_is_under_way_at_a_crash_is_called_for_again_and_counts_once() -> None:
    """Values whose calls had not come back at the last commit are saved; after a restart they come out, in their order."""

    async def main() -> tuple[list[Any], list[Any]]:
        broker, began = MemoryBroker(), list[int]()
        await put(broker, range(12))
        gate = asyncio.Event()

        async def call(value: int) -> int:
            began.append(value)
            if value % 4 == 3 and not gate.is_set():
                await asyncio.Event().wait()
            return value

        def build() -> rxs.Stream[Any]:
            called = ops.map_async(call, concurrency=5, capacity=5, name="calls")
            return rxs.from_topic("in", int).pipe(called, ops.to_topic("out"))

        async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
            await until(lambda: broker._store.topics["out"].partitions[0].end == 3)
            early = list(await got(broker))
        gate.set()
        async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
            assert running.statistics.restored == 5
            await until(lambda: broker._store.topics["out"].partitions[0].end == 12)
        assert await got(broker) == list(range(12))
        return early, began

    early, began = asyncio.run(main())
    assert early == [0, 1, 2]
    assert began[:8] == list(range(8))
    assert began.count(3) == 2


def test_watermarks_do_not_overtake_what_is_under_way() -> None:
    """A window closes only after the calls of all its records have come back, whatever order they come in."""

    async def main() -> list[Any]:
        served = Served(takes=lambda value: 50.0 if value == 2 else 0.1)
        source = rxs.from_iterable(list(range(10)), timestamp=lambda n: 1_000_000_000_000 + n * 1000, name="values")
        windows = source.pipe(ops.map_async(served, ordered=False), ops.windowed(rxs.tumbling(5), n=agg.count(), total=agg.sum()))
        late: list[Any] = []
        rows: list[Any] = []
        streams = (
            windows.pipe(ops.to_callable(lambda row: rows.append((row.n, row.total)))),
            windows.late.pipe(ops.to_callable(late.append)),
        )
        clock = asyncio.get_running_loop().time
        async with rxs.start(*streams, app="app", broker=MemoryBroker(), clock=clock) as running:
            await running.wait()
        assert late == []
        return rows

    assert virtual(main) == [(5, 100), (5, 350)]


@pytest.mark.parametrize("how", ["stop", "dispose", "async for"])
def test_nothing_is_left_behind_when_calls_are_cut_off(how: str) -> None:
    """Calls under way are cancelled with the run, the subscription, the loop that is left; no task stays."""

    async def main() -> None:
        served = Served(takes=lambda value: 1000.0)
        before = asyncio.all_tasks()
        stream = rxs.from_iterable(range(50), name="values").pipe(ops.map_async(served, concurrency=7))
        if how == "stop":
            async with rxs.start(stream, app="app", broker=MemoryBroker()):
                while served.under_way < 7:  # noqa: ASYNC110  # the service tells nobody
                    await asyncio.sleep(0.01)
        elif how == "dispose":
            subscription = stream.subscribe()
            await asyncio.sleep(1)
            assert served.under_way == 7
            subscription.dispose()
        else:
            iterator = aiter(stream)
            pending = asyncio.ensure_future(anext(iterator))
            await asyncio.sleep(1)
            assert served.under_way == 7
            pending.cancel()
            await asyncio.wait([pending])
            await iterator.aclose()  # type: ignore[attr-defined]  # it is an async generator
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert served.under_way == 0
        assert asyncio.all_tasks() == before

    virtual(main)


def test_a_call_that_ignores_its_cancellation_is_told_and_left() -> None:
    """A run does not wait for it for ever."""

    async def main() -> list[Any]:
        async def stubborn(value: int) -> int:
            while True:
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    if asyncio.get_running_loop().time() > 100:
                        raise

        with capture_logs() as logs:
            stream = rxs.from_iterable([1], name="values").pipe(ops.map_async(stubborn))
            async with rxs.start(stream, app="app", broker=MemoryBroker()):
                await asyncio.sleep(1)
        await asyncio.sleep(200)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(1)
        return [line for line in logs if "cancelled" in line["event"]]

    assert [line["app"] for line in virtual(main)] == ["app"]


def test_a_subscription_calls_in_bounds_and_gives_all() -> None:
    """`async for` gets every result in order; the source is not read further ahead than the capacity."""

    async def main() -> list[int]:
        entered, came = list[int](), list[int]()
        counted = rxs.from_iterable(range(30)).pipe(ops.do_action(entered.append))
        async for value in counted.pipe(ops.map_async(Served(), concurrency=2, capacity=4)):
            came.append(value)
            assert len(entered) - len(came) <= 5
        return came

    assert virtual(main) == [n * 10 for n in range(30)]


def test_a_source_that_cannot_be_slowed_ends_a_subscription_whose_edge_is_full() -> None:
    """The error says how many wait, and what to choose instead."""

    async def main() -> list[Any]:
        errors: list[Any] = []
        reactivex.from_iterable(range(9)).pipe(ops.map_async(Served(), capacity=4)).subscribe(on_error=errors.append)
        await asyncio.sleep(1)
        return errors

    (error,) = virtual(main)
    assert isinstance(error, BufferError)
    assert "4 records wait already (capacity=4), and this kind of source cannot be slowed: choose what to drop" in str(error)


def test_a_loop_is_needed() -> None:
    """Outside of a coroutine a subscription says so."""
    errors: list[Exception] = []
    reactivex.of(1).pipe(ops.map_async(Served())).subscribe(on_error=errors.append)
    assert "needs a running asyncio loop" in str(errors[0])


def test_calls_that_do_not_wait_let_others_have_their_turn() -> None:
    """A worker that never suspends yields every now and then."""

    async def main() -> int:
        calls = most = 0

        async def at_once(value: int) -> int:
            nonlocal calls, most
            calls += 1
            most = max(most, calls)
            return value

        async def tick() -> None:
            nonlocal calls
            while True:
                calls = 0
                await asyncio.sleep(0)

        ticking = asyncio.ensure_future(tick())
        await run_through(range(2000), ops.map_async(at_once, capacity=1000))
        ticking.cancel()
        return most

    assert 1 < asyncio.run(main()) <= 2 * 64


def test_flat_map_async_takes_coroutines_and_async_generators() -> None:
    """All that one call gives comes together, in order; one that fails in the middle gives nothing."""

    async def several(value: int) -> list[int]:
        await asyncio.sleep(1.0 / (value + 1))
        return [value] * value

    async def pages(value: int) -> Any:
        for n in range(value):
            await asyncio.sleep(0.1)
            if n == 2:
                raise LookupError("no third page")
            yield (value, n)

    assert virtual(lambda: outcome_of(range(4), ops.flat_map_async(several))) == [1, 2, 2, 3, 3, 3]
    came = virtual(lambda: outcome_of(range(4), ops.flat_map_async(pages, on_error=Skip())))
    assert came == [[1, 0], [2, 0], [2, 1]]


def test_filter_async_keeps_what_the_service_says() -> None:
    """In order, those for which it says something true."""

    async def odd(value: int) -> int:
        await asyncio.sleep(1.0 / (value + 1))
        return value % 2

    assert virtual(lambda: outcome_of(range(9), ops.filter_async(odd))) == [1, 3, 5, 7]


@pytest.mark.asyncio
async def test_what_was_saved_and_has_come_out_does_not_come_again() -> None:
    """Values are saved while their calls are under way; once they have come out, the next commit has them no more."""
    broker, gate, began = MemoryBroker(), asyncio.Event(), list[int]()
    await put(broker, range(5))

    async def call(value: int) -> int:
        began.append(value)
        await gate.wait()
        return value

    def build() -> rxs.Stream[Any]:
        return rxs.from_topic("in", int).pipe(ops.map_async(call, name="calls"), ops.to_topic("out"))

    async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
        await until(lambda: running.statistics.epochs > 0)
        gate.set()
        await until(lambda: broker._store.topics["out"].partitions[0].end == 5)
    async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
        assert running.statistics.restored == 0
        await put(broker, [5])
        await until(lambda: broker._store.topics["out"].partitions[0].end == 6)
    assert await got(broker) == began == list(range(6))
