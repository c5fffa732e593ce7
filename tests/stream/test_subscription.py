"""A direct subscription keeps Rx's contract, on any thread, re-entrant, and disposed of at any time."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import reactivex
from reactivex import Observable, operators as rx
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

import rxstreams
from rxstreams import operators as ops
from rxstreams.errors import GraphError

on_next, on_completed, on_error = ReactiveTest.on_next, ReactiveTest.on_completed, ReactiveTest.on_error


class Heard:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.ends: list[Any] = []

    def __call__(self, stream: Observable[Any], **options: Any) -> Any:
        """Subscribe to a stream."""
        return stream.subscribe(self.values.append, self.ends.append, lambda: self.ends.append("end"), **options)


def test_disposing_from_within_on_next_stops_at_once() -> None:
    """After `dispose()` inside `on_next` nothing more comes, not even the rest of what one record made."""
    subject: Subject[int] = Subject()
    got: list[int] = []

    def take_two(value: int) -> None:
        got.append(value)
        if len(got) == 2:
            subscription.dispose()

    subscription = subject.pipe(ops.flat_map(lambda x: [x, x + 1, x + 2]), ops.map(lambda x: x * 10)).subscribe(take_two)
    subject.on_next(1)
    subject.on_next(5)
    assert got == [10, 20]


def test_take_stops_an_endless_source() -> None:
    """`take` ends the stream from within `on_next`, and the iterable is not asked for one more."""
    asked: list[int] = []

    def count() -> Iterator[int]:
        n = 0
        while True:
            asked.append(n)
            yield n
            n += 1

    heard = Heard()
    heard(rxstreams.from_iterable(count()).pipe(ops.map(lambda x: x), ops.take(3)))
    assert (heard.values, heard.ends, asked) == ([0, 1, 2], ["end"], [0, 1, 2])


def test_feedback_through_a_subject_comes_round() -> None:
    """What an observer feeds back into the source goes through the operators again, and state is that of the right order."""
    subject: Subject[int] = Subject()
    heard = Heard()
    stream = subject.pipe(ops.scan(lambda total, x: total + x), ops.distinct(), ops.take(6))
    stream.subscribe(lambda total: subject.on_next(total) if total < 40 else None)
    heard(stream)
    subject.on_next(1)
    # RxPY's own operators do the same.
    theirs: Subject[int] = Subject()
    expected = Heard()
    other = theirs.pipe(rx.scan(lambda total, x: total + x), rx.distinct(), rx.take(6))
    other.subscribe(lambda total: theirs.on_next(total) if total < 40 else None)
    expected(other)
    theirs.on_next(1)
    assert (heard.values, heard.ends) == (expected.values, expected.ends)
    assert heard.values


@pytest.mark.parametrize(
    "failing",
    [
        ops.map(lambda x: 1 // x),
        ops.filter(lambda x: 1 // x),
        ops.flat_map(lambda x: [1 // x]),
        ops.scan(lambda total, x: total // x),
        ops.distinct(lambda x: 1 // x),
        ops.key_by(lambda x: 1 // x),
        ops.key_by(lambda x: 1.5 if x == 0 else x),
        ops.aggregate(most=rxstreams.aggregates.max(lambda x: 1 // x)),
        ops.to_callable(lambda x: 1 // x),
    ],
    ids=["map", "filter", "flat_map", "scan", "distinct", "key_by", "bad key", "aggregate", "to_callable"],
)
def test_an_exception_ends_the_stream(failing: Any) -> None:
    """What a user's function raises goes to `on_error`, once, and nothing comes after it."""
    heard, before = Heard(), Heard()
    subject: Subject[int] = Subject()
    heard(subject.pipe(failing))
    for value in (2, 1, 0, 3):
        subject.on_next(value)
    subject.on_completed()
    before(reactivex.of(2, 1).pipe(failing))
    assert heard.values == before.values
    assert before.ends == ["end"]
    assert [type(end) for end in heard.ends] in ([ZeroDivisionError], [rxstreams.state.keys.BadKeyError])


def test_stop_iteration_from_a_function_is_an_error() -> None:
    """A StopIteration neither ends the stream in silence nor loses the record."""
    heard = Heard()
    heard(rxstreams.from_iterable([1, 2, 3]).pipe(ops.map(lambda x: next(iter([])) if x == 2 else x)))
    assert heard.values == [1]
    assert [type(end) for end in heard.ends] in ([RuntimeError], [StopIteration])


def test_what_an_observer_raises_comes_out_where_the_value_went_in() -> None:
    """As in RxPY: an exception of `on_next` propagates to the producer, and the subscription goes on."""

    def raised(operators: Any) -> list[str]:
        subject: Subject[int] = Subject()
        errors: list[str] = []

        def fail(value: int) -> None:
            raise LookupError(value)

        subject.pipe(operators.map(lambda x: x + 1), operators.scan(lambda total, x: total + x)).subscribe(fail)
        for value in (1, 2):
            try:
                subject.on_next(value)
            except LookupError as error:
                errors.append(str(error))
        return errors

    assert raised(ops) == raised(rx) == ["2", "5"]


def test_two_subscriptions_share_nothing() -> None:
    """Each subscription of one stream counts from the beginning."""
    subject: Subject[int] = Subject()
    stream = subject.pipe(ops.scan(lambda total, x: total + x), ops.buffer_with_count(2))
    one, other = Heard(), Heard()
    one(stream)
    subject.on_next(1)
    other(stream)
    for value in (2, 3):
        subject.on_next(value)
    subject.on_completed()
    assert (one.values, other.values) == ([[1, 3], [6]], [[2, 5]])


def test_subscribing_after_the_end_ends_at_once() -> None:
    """A subject that is over gives its end to whoever comes later, through all operators."""
    subject: Subject[int] = Subject()
    subject.on_completed()
    for stream in (
        subject.pipe(ops.map(str)),
        subject.pipe(ops.merge(subject)),
        subject.pipe(ops.combine_latest(subject)),
        subject.pipe(ops.take(2)),
        subject.pipe(ops.buffer_with_count(2)),
    ):
        heard = Heard()
        heard(stream)
        assert (heard.values, heard.ends) == ([], ["end"])


def test_dispose_stops_timers() -> None:
    """A disposed buffer leaves nothing on the scheduler that would act."""
    scheduler = TestScheduler()
    got: list[list[int]] = []
    source = scheduler.create_hot_observable(on_next(210, 1), on_next(410, 2))
    subscription = source.pipe(ops.buffer_with_time(100)).subscribe(got.append, scheduler=scheduler)
    scheduler.schedule_absolute(350, lambda *_: subscription.dispose())
    scheduler.start()
    assert got == [[], [], [1]]


def test_merge_from_two_threads_loses_nothing() -> None:
    """Two threads that push at once into `merge` and `combine_latest` meet one lock: every value comes, and none doubled."""
    one: Subject[int] = Subject()
    other: Subject[int] = Subject()
    heard, counted = Heard(), Heard()
    heard(one.pipe(ops.merge(other), ops.scan(lambda n, _: n + 1, 0)))
    counted(one.pipe(ops.combine_latest(other)))
    start = threading.Barrier(2)

    def push(subject: Subject[int]) -> None:
        start.wait()
        for value in range(3000):
            subject.on_next(value)

    threads = [threading.Thread(target=push, args=(subject,)) for subject in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard.values == list(range(1, 6001))
    assert counted.values[-1] == (2999, 2999)


def test_side_streams_say_who_has_them() -> None:
    """`errors` of a stream without it names the operator before it that has it; alone it asks for a run."""
    mapped = rxstreams.from_iterable([1]).pipe(ops.map(str))
    taken = mapped.pipe(ops.take(1))
    with pytest.raises(
        AttributeError, match=r"the stream of take\(count=1\) has no side stream 'errors'.*map\(mapper=str\) returned"
    ):
        _ = taken.errors
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = taken.colour
    heard = Heard()
    heard(mapped.errors)
    assert "in a run only" in str(heard.ends[0])


@pytest.mark.parametrize("sink", [ops.to_topic("t"), ops.to_view("v")], ids=["to_topic", "to_view"])
def test_sinks_of_the_broker_say_that_they_need_a_run(sink: Any) -> None:
    """Subscribing to a stream that ends in the broker fails with the remedy."""
    heard = Heard()
    heard(rxstreams.from_iterable([1]).pipe(sink))
    assert [type(end) for end in heard.ends] == [GraphError]
    assert "rxstreams.run" in str(heard.ends[0])


# On a loop.


def test_async_for_is_bounded_and_complete() -> None:
    """100,000 items come one by one, and never more than the capacity wait, but for what one record makes."""

    async def main() -> tuple[list[int], int]:
        ahead, most, got = 0, 0, []

        def count(value: int) -> int:
            nonlocal ahead, most
            ahead += 1
            most = max(most, ahead)
            return value

        async for value in rxstreams.from_iterable(range(100_000)).pipe(ops.map(count)):
            ahead -= 1
            got.append(value)
        async for value in rxstreams.from_iterable(range(3000)).pipe(ops.flat_map(lambda x: [x, x])):
            got.append(value)
        return got, most

    got, most = asyncio.run(main())
    assert got == [*range(100_000), *(x // 2 for x in range(6000))]
    assert most <= 1025


def test_async_for_fails_when_a_source_that_cannot_be_slowed_runs_ahead() -> None:
    """A subject 1,024 values ahead of the loop's body is an error, not a loss and not a leak."""

    async def main() -> int:
        subject: Subject[int] = Subject()
        seen = 0
        with pytest.raises(BufferError, match="1024 values ahead"):
            async for _ in subject.pipe(ops.map(lambda x: x), ops.merge(reactivex.of(0))):
                seen += 1
                for value in range(2000 if seen == 1 else 0):
                    subject.on_next(value)
        return seen

    assert asyncio.run(main()) == 1025


def test_async_for_leaves_nothing_behind_when_left_early() -> None:
    """After `break` the source is closed and no task is left."""

    async def main() -> tuple[list[int], bool, set[Any]]:
        closed = asyncio.Event()

        async def numbers() -> AsyncIterator[int]:
            try:
                for n in range(10**9):
                    yield n
            finally:
                closed.set()

        got = []
        async for value in rxstreams.from_async_iterable(numbers).pipe(ops.map(lambda x: x * 2)):
            got.append(value)
            if value == 6:
                break
        gc.collect()
        async with asyncio.timeout(1):
            await closed.wait()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return got, closed.is_set(), asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == ([0, 2, 4, 6], True, set())


def test_async_for_raises_what_the_stream_fails_with() -> None:
    """An error comes out of the loop after the values before it."""

    async def main() -> list[int]:
        got: list[int] = []
        with pytest.raises(ZeroDivisionError):
            async for value in rxstreams.from_iterable([1, 2, 0, 4]).pipe(ops.map(lambda x: 4 // x)):
                got.append(value)
        return got

    assert asyncio.run(main()) == [4, 2]


def test_async_calls_in_a_subscription_slow_their_source_down() -> None:
    """`to_callable` with a coroutine function calls in order, passes everything on, and lets no more than its capacity wait."""

    async def main() -> tuple[list[int], Heard, int]:
        calls: list[int] = []
        heard = Heard()
        ended = asyncio.Event()
        most = 0

        async def call(value: int) -> None:
            nonlocal most
            await asyncio.sleep(0)
            most = max(most, len(heard.values) - len(calls))
            calls.append(value)

        stream = rxstreams.from_iterable(range(500)).pipe(ops.to_callable(call, capacity=4))
        stream.subscribe(heard.values.append, heard.ends.append, ended.set)
        await ended.wait()
        return calls, heard, most

    calls, heard, most = asyncio.run(main())
    assert calls == heard.values == list(range(500))
    assert heard.ends == []
    assert most <= 4


def test_async_calls_end_a_subscription_with_their_error_or_without_a_loop() -> None:
    """A failing call goes to `on_error`; without a loop the subscription fails with the remedy."""

    async def call(value: int) -> None:
        if value == 2:
            raise LookupError(value)

    async def main() -> Heard:
        heard = Heard()
        failed = asyncio.Event()
        stream = rxstreams.from_iterable([1, 2, 3]).pipe(ops.to_callable(call))
        stream.subscribe(heard.values.append, lambda error: (heard.ends.append(error), failed.set()))
        await failed.wait()
        return heard

    assert [type(end) for end in asyncio.run(main()).ends] == [LookupError]
    heard = Heard()
    heard(reactivex.of(1).pipe(ops.to_callable(call)))
    assert "needs a running asyncio loop" in str(heard.ends[0])


def test_keys_of_some_inputs_only_are_no_keys() -> None:
    """Where keyed and unkeyed streams meet, records have no keys, whichever come first; so in a run."""
    source = rxstreams.from_iterable([1, 2, 3])
    keyed = source.pipe(ops.key_by(lambda x: x % 2))
    mixed = keyed.pipe(ops.merge(source.pipe(ops.map(lambda x: -x))))
    assert (source.keyed, keyed.keyed, mixed.keyed, keyed.pipe(ops.merge(keyed)).keyed) == (False, True, False, True)
    heard = Heard()
    heard(mixed.pipe(ops.aggregate(n=rxstreams.aggregates.count())))
    assert [(row.key, row.n) for row in heard.values] == [(None, n) for n in range(1, 7)]
