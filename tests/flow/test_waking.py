"""Nothing waits for ever: what has its turn goes on, and what was cut off has an end; in runs, in subscriptions, on threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from typing import Any

import pytest
from reactivex.subject import Subject

import rxstreams as rxs
from rxstreams import Retry, Skip, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import GraphError, OperatorError
from rxstreams.operators.edges import Held
from tests.flow.driving import Served, outcome_of, run_through, virtual
from tests.runtime.faulty import got, put


def test_two_calls_in_a_row_go_on_in_a_subscription() -> None:
    """The first gives more as the second has room, and the end comes; with a slow reader too."""

    async def main() -> list[Any]:
        quick, slow = Served(takes=lambda value: 0.0), Served(takes=lambda value: 0.01)
        twice = rxs.from_iterable(range(1000)).pipe(ops.map_async(quick), ops.map_async(slow, concurrency=4))
        came, done = list[int](), asyncio.Event()
        twice.subscribe(came.append, on_completed=done.set)
        await done.wait()
        read = list[int]()
        async for value in rxs.from_iterable(range(1500)).pipe(ops.map_async(quick, ordered=False)):
            read.append(value)
            await asyncio.sleep(0.001)
        assert sorted(read) == [n * 10 for n in range(1500)]
        return came

    assert virtual(main) == [n * 100 for n in range(1000)]


def test_a_rate_limit_waits_for_room_without_turning_round_and_round() -> None:
    """Above a full edge it does nothing until there is room; on virtual time it would never end otherwise."""

    async def main() -> list[Any]:
        limited = ops.rate_limit(3, per=1.0), ops.map_async(Served(), concurrency=1, capacity=1)
        values = await outcome_of(range(10), *limited)
        came = [value async for value in rxs.from_iterable(range(10)).pipe(*limited)]
        assert came == values
        return came

    assert virtual(main) == [n * 10 for n in range(10)]


@pytest.mark.parametrize(
    "slow",
    [
        ops.map_async(Served(takes=lambda value: 400.0), timeout=1000, concurrency=2, capacity=2),
        ops.map_async(Served(fails=lambda value, n: n < 6, takes=lambda value: 1.0), capacity=64, retry=Retry(9, backoff=200)),
        ops.rate_limit(1, per=400, capacity=1),
    ],
    ids=["timeout", "backoff", "rate"],
)
def test_a_run_waits_for_what_comes_by_itself(slow: Any) -> None:
    """Calls with a time-out, waits between attempts, a rate: five minutes without progress are none to begin anew for."""

    async def main() -> rxs.Running:
        broker = MemoryBroker()
        await put(broker, range(200))
        stream = rxs.from_topic("in", int, max_ahead=None).pipe(slow, ops.to_topic("out"))
        async with rxs.start(stream, app="app", broker=broker, clock=asyncio.get_running_loop().time) as running:
            await asyncio.sleep(4000)
            assert len(await got(broker)) > 0
            return running

    assert virtual(main).statistics.restarts == 0


@pytest.mark.parametrize("ordered", [True, False, "by_key"])
@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "latest"])
def test_a_policy_that_drops_holds_its_bound_while_calls_are_slow(overflow: Any, ordered: Any) -> None:
    """Also where all that it holds is being called for, or waits for a slow one; what was dropped is let go of."""

    async def main() -> tuple[int, int]:
        served = Served(takes=lambda value: 1000.0 if value == 0 else 0.0)

        async def numbers() -> Any:
            for n in range(500):
                yield n
                await asyncio.sleep(0.0)

        slow = ops.map_async(served, concurrency=2, capacity=3, overflow=overflow, ordered=ordered)
        stream = rxs.from_async_iterable(numbers, name="numbers").pipe(ops.key_by(lambda n: n % 2), slow)
        async with rxs.start(stream, app="app", broker=MemoryBroker()) as running:
            await asyncio.sleep(100)
            gc.collect()
            return running.edges[0].most, sum(isinstance(one, Held) for one in gc.get_objects())

    most, alive = virtual(main)
    assert most <= 3
    assert alive <= 12


def test_a_meeting_holds_its_bound_behind_an_edge() -> None:
    """`zip` has no more waiting than its capacity, and `concat` none, although an edge stands before them."""

    async def numbers(pause: float) -> Any:
        for n in range(40):
            await asyncio.sleep(pause)
            yield n

    async def main(meet: Any) -> int:
        served = Served(takes=lambda value: 0.0)
        quick = rxs.from_iterable(range(2000), name="quick").pipe(ops.map_async(served, capacity=10, concurrency=10))
        slow = rxs.from_async_iterable(lambda: numbers(1.0), name="slow")
        async with rxs.start(meet(quick, slow), app="app", broker=MemoryBroker()):
            await asyncio.sleep(20.5)
            return len(served.ended)

    assert virtual(lambda: main(lambda quick, slow: quick.pipe(ops.zip(slow, capacity=10)))) <= 20 + 10 + 10
    assert virtual(lambda: main(lambda quick, slow: slow.pipe(ops.concat(quick)))) <= 10


def test_all_calls_are_made_where_a_run_ends_early_below() -> None:
    """`take` ends what comes out, not what goes outside."""
    served = Served()
    virtual(lambda: run_through(range(10), ops.to_callable(served), ops.take(3)))
    assert served.ended == list(range(10))


def test_no_call_is_begun_after_the_end_or_an_error() -> None:
    """Of fifty that wait none is called for once `take` has what it wants, or one has failed."""

    async def main() -> tuple[list[Any], list[Any]]:
        first, second = Served(takes=lambda value: 0.1), Served(takes=lambda value: 0.1, fails=lambda value, n: True)
        rxs.from_iterable(range(50)).pipe(ops.map_async(first, concurrency=1), ops.take(1)).subscribe()
        rxs.from_iterable(range(50)).pipe(ops.to_callable(second)).subscribe(on_error=lambda error: None)
        await asyncio.sleep(10)
        return first.began, second.began

    assert virtual(main) == ([0], [0])


class Odd(BaseException):
    """What is no Exception, as libraries raise to get past `except Exception`."""


@pytest.mark.parametrize("raised", [Odd, GeneratorExit])
def test_whatever_a_call_raises_is_heard_of(raised: type[BaseException]) -> None:
    """A run stops, a subscription gets the error; neither hangs."""

    async def call(value: int) -> int:
        raise raised

    with pytest.raises(OperatorError, match=raised.__name__):
        virtual(lambda: run_through([1], ops.map_async(call)))

    async def main() -> list[Exception]:
        errors: list[Exception] = []
        rxs.from_iterable([1]).pipe(ops.map_async(call)).subscribe(on_error=errors.append)
        await asyncio.sleep(1)
        return errors

    assert [type(error) for error in virtual(main)] == [RuntimeError]


def test_a_call_whose_error_nobody_hears_goes_to_the_loop_s_handler() -> None:
    """A subscription without `on_error` is no reason to be silent."""

    async def main() -> list[Any]:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        rxs.from_iterable([1]).pipe(ops.map_async(Served(fails=lambda value, n: True))).subscribe()
        await asyncio.sleep(2)
        return told

    assert "no 1" in str(virtual(main)[0])


def test_a_thread_that_raises_stop_iteration_fails() -> None:
    """No future takes a StopIteration, so it would be lost in its thread."""

    def call(value: int) -> int:
        raise StopIteration

    with pytest.raises(OperatorError, match="raised StopIteration"):
        asyncio.run(outcome_of([1], ops.map_async(rxs.in_thread(call))))


def test_awaitables_of_plain_functions_are_awaited_or_refused() -> None:
    """`to_callable` with `batch` or `retry` waits for what a lambda returns; without, it says that nobody would."""
    served = Served()
    virtual(lambda: run_through(range(4), ops.to_callable(lambda values: served(len(values)), batch=9)))  # no coroutine function
    assert served.ended == [4]
    with pytest.raises(GraphError, match="returned an awaitable"):
        virtual(lambda: run_through(range(4), ops.to_callable(lambda value: served(value) if value == 3 else None)))


def test_one_of_several_that_has_no_key_is_alone() -> None:
    """With `batch` its neighbours get their answers; 1 and True are different keys."""

    async def find(keys: list[Any]) -> list[str]:
        return [repr(key) for key in keys]

    rows = [{"id": 0}, {}, {"id": 1}, {"id": True}]
    came = virtual(lambda: outcome_of(rows, ops.enrich(find, key="id", batch=10, on_error=Skip())))
    assert came == [[{"id": 0}, "0"], [{"id": 1}, "1"], [{"id": True}, "True"]]


def test_a_result_without_truth_value_is_a_failing_record() -> None:
    """As of arrays with several elements."""

    class Array:
        def __bool__(self) -> bool:
            raise ValueError("ambiguous")

    async def check(value: int) -> Any:
        return Array() if value == 2 else True

    assert virtual(lambda: outcome_of(range(4), ops.filter_async(check, on_error=Skip()))) == [0, 1, 3]


def test_many_attempts_are_made_without_growing_waits_beyond_measure() -> None:
    """Two thousand without backoff are made; with one, no wait is longer than five minutes."""
    served = Served(takes=lambda value: 0.0, fails=lambda value, n: n < 2000)
    assert virtual(lambda: outcome_of([1], ops.map_async(served, retry=Retry(2000)))) == [10]
    slow = Served(takes=lambda value: 0.0, fails=lambda value, n: n < 20)
    assert virtual(lambda: outcome_of([1], ops.map_async(slow, retry=Retry(20, backoff=1.0)))) == [10]
    assert max(later - time for time, later in zip(slow.times, slow.times[1:], strict=False)) == pytest.approx(300)


def test_what_on_full_raises_names_the_operator() -> None:
    """It is the edge's error, not a bare one."""

    def tell() -> None:
        raise ValueError("oops")

    slow = ops.map_async(Served(), concurrency=1, capacity=1)
    with pytest.raises(GraphError, match=r"bounded\(capacity=3\): ValueError: oops"):
        virtual(lambda: run_through(range(9), ops.bounded(3, on_full=tell), slow))


def test_values_from_other_threads_are_called_for_at_once() -> None:
    """The loop is told of them, and of a disposal on another thread."""

    async def main() -> tuple[list[int], Counter[str]]:
        values, ends = Subject[int](), Counter[str]()
        came, all_came = list[int](), asyncio.Event()

        async def call(value: int) -> int:
            if value < 200:
                return value
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ends["cancelled"] += 1
                all_came.set()
                raise
            return value

        loop = asyncio.get_running_loop()

        def take(value: int) -> None:
            came.append(value)
            if len(came) == 200:
                loop.call_soon_threadsafe(all_came.set)

        subscription = values.pipe(ops.map_async(call, capacity=1000)).subscribe(take)

        def send(numbers: range) -> None:
            for n in numbers:
                values.on_next(n)

        for numbers, then in ((range(200), lambda: None), (range(200, 203), subscription.dispose)):
            sender = threading.Thread(target=send, args=(numbers,))
            sender.start()
            if numbers.start == 0:
                await all_came.wait()
                all_came.clear()
            else:
                await asyncio.sleep(0.1)
                threading.Thread(target=then).start()
                await all_came.wait()
            sender.join()
        return came, ends

    with asyncio.Runner(debug=False) as runner:
        came, ends = runner.run(main())
    assert came == list(range(200))
    assert ends["cancelled"] >= 1


@pytest.mark.parametrize(("make", "instead"), [(ops.map, "map_async"), (ops.filter, "filter_async")])
def test_a_lambda_that_returns_a_coroutine_is_told(make: Any, instead: str) -> None:
    """It looks like a plain function when the pipeline is built; at its first record the error names the operator to use."""
    served = Served()
    with pytest.raises(GraphError, match=rf"returned an awaitable, which is no value; use {instead}"):
        virtual(lambda: run_through([1], make(lambda value: served(value + 1))))
