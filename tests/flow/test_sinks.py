"""to_callable and in_thread: what goes outside, in groups, again, in threads, and under names that stay the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import Skip, Stop, aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, GraphError, SinkError
from rxstreams.runtime import blocking
from tests.flow.driving import Served, outcome_of, run_through, virtual
from tests.runtime.faulty import put, until


def test_what_waits_goes_together_in_groups() -> None:
    """With `batch=8` a call gets a list, in order, of what has come meanwhile, eight at most; nobody waits for others."""
    calls: list[list[int]] = []

    async def write(values: list[int]) -> None:
        calls.append(values)
        await asyncio.sleep(1)

    came = virtual(lambda: outcome_of(range(30), ops.to_callable(write, batch=8, capacity=20)))
    assert came == list(range(30))
    assert [n for call in calls for n in call] == list(range(30))
    assert max(map(len, calls)) == 8
    assert len(calls) < 8


def test_plain_functions_get_groups_too() -> None:
    """A function that does not wait is called for groups as well."""
    calls: list[list[int]] = []
    virtual(lambda: run_through(range(30), ops.to_callable(calls.append, batch=8)))
    assert [n for call in calls for n in call] == list(range(30))
    assert max(map(len, calls)) == 8


def test_a_group_that_fails_meets_the_policy_with_each_of_its_records() -> None:
    """With Skip all of it are let go, and what comes after it is called for."""
    calls: list[list[int]] = []

    async def write(values: list[int]) -> None:
        calls.append(values)
        if 5 in values:
            raise OSError("no")

    async def main() -> int:
        running = await run_through(range(10), ops.to_callable(write, batch=4, capacity=4, retry=1, on_error=Skip()))
        return running.statistics.lost

    lost = virtual(main)
    assert Counter(n for call in calls for n in call)[5] == 2
    assert lost == next(len(call) for call in calls if 5 in call)


def test_names_are_the_same_for_the_same_record_after_a_crash() -> None:
    """With `with_id=True` each record has a name of its own, and keeps it where it is called for again."""

    async def main() -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        broker = MemoryBroker()
        await put(broker, range(20))
        calls: list[tuple[int, str]] = []
        gate = asyncio.Event()

        async def send(value: int, name: str) -> None:
            calls.append((value, name))
            if value == 7:
                await gate.wait()

        def build() -> rxs.Stream[Any]:
            twice = rxs.from_topic("in", int).pipe(ops.flat_map(lambda n: [n, n]))
            return twice.pipe(ops.to_callable(send, with_id=True, name="outbox"))

        async with rxs.start(build(), app="shop", broker=broker, commit_interval=0.001) as running:
            await until(lambda: running.statistics.epochs > 0 and len(calls) == 15)
        before = list(calls)
        calls.clear()
        gate.set()
        async with rxs.start(build(), app="shop", broker=broker, commit_interval=0.001):
            await until(lambda: len({name for _, name in (*before, *calls)}) == 40)
        return before, calls

    before, after = asyncio.run(main())
    assert before[:3] == [(0, "shop:outbox:topic:in:0:0:0"), (0, "shop:outbox:topic:in:0:0:1"), (1, "shop:outbox:topic:in:0:1:0")]
    assert len(dict.fromkeys(before + after)) == 40  # each name with one value: those called for twice have theirs again
    assert (7, "shop:outbox:topic:in:0:7:0") in before
    assert (7, "shop:outbox:topic:in:0:7:0") in after


def test_names_of_windows_are_their_bounds() -> None:
    """What a timer made is named after its key, window and pane."""
    named: list[str] = []

    async def main() -> None:
        source = rxs.from_iterable([0, 1, 7], timestamp=lambda n: 1_000_000_000_000 + n * 1000, name="values")
        counted = source.pipe(ops.key_by(lambda n: n % 2), ops.windowed(rxs.tumbling(5), n=agg.count()))
        sent = counted.pipe(ops.to_callable(lambda row, name: named.append(name), with_id=True, name="outbox"))
        async with rxs.start(sent, app="shop", broker="memory://") as running:
            await running.wait()

    virtual(main)
    assert sorted(named) == [
        f"shop:outbox:{key}"
        for key in ("0:1000000000000:1000000005000:0:0", "1:1000000000000:1000000005000:0:0", "1:1000000005000:1000000010000:0:0")
    ]


def test_values_name_themselves_where_nothing_else_can() -> None:
    """A field's name or a function does behind an operator whose results come when they can; `True` is refused there."""
    named: list[str] = []
    called = ops.map_async(Served(takes=lambda v: 0.0))
    sent = ops.to_callable(lambda value, name: named.append(name), with_id=lambda value: f"v{value}")
    virtual(lambda: run_through(range(3), called, sent))
    assert [name.rpartition(":")[2] for name in named] == ["v0", "v10", "v20"]
    with pytest.raises(GraphError, match=r"which is not known behind map_async\(.*\); give with_id= a field's name or a func"):
        virtual(lambda: run_through(range(3), called, ops.to_callable(print, with_id=True)))


def test_windows_of_two_operators_cannot_be_told_apart() -> None:
    """So they are not named alike: the run does not begin."""
    source = rxs.from_iterable([1], timestamp=lambda n: n, name="values")
    one, other = (source.pipe(ops.windowed(rxs.tumbling(size), n=agg.count())) for size in (5, 9))
    with pytest.raises(GraphError, match=r"with_id=True cannot tell the windows of two operators before it apart; give"):
        rxs.explain_memory(one.pipe(ops.merge(other), ops.to_callable(print, with_id=True)))


def test_what_has_no_name_is_a_failing_record() -> None:
    """What an end has made is behind no single record."""
    with pytest.raises(SinkError, match=r"no single record and no window is behind this value"):
        virtual(lambda: run_through(range(3), ops.to_list(), ops.to_callable(lambda value, name: None, with_id=True)))


def test_a_window_that_becomes_several_values_gives_each_a_name() -> None:
    """Results of one window in a row are counted."""
    named: list[str] = []

    async def main() -> None:
        source = rxs.from_iterable([0], timestamp=lambda n: 1_000_000_000_000, name="values")
        twice = source.pipe(ops.windowed(rxs.tumbling(5), n=agg.count()), ops.flat_map(lambda row: [row, row]))
        sent = twice.pipe(ops.to_callable(lambda row, name: named.append(name), with_id=True, name="outbox"))
        async with rxs.start(sent, app="shop", broker="memory://") as running:
            await running.wait()

    virtual(main)
    assert [name[-4:] for name in named] == [":0:0", ":0:1"]


def test_a_blocking_function_in_a_thread_holds_nobody_up() -> None:
    """Calls in threads run at one time, and the loop turns meanwhile."""
    ready = threading.Barrier(5, timeout=30)

    def block(value: int) -> int:
        ready.wait()
        return value * 10

    async def main() -> list[Any]:
        return await outcome_of(range(20), ops.map_async(rxs.in_thread(block), concurrency=5))

    assert asyncio.run(main()) == [n * 10 for n in range(20)]


def test_in_thread_takes_functions_that_block() -> None:
    """A coroutine function needs none."""
    with pytest.raises(ConfigError, match=r"in_thread\(function\): .* is a coroutine function, which needs no thread"):
        rxs.in_thread(Served())
    with pytest.raises(ConfigError, match=r"in_thread\(function\): expected a function, got 3"):
        rxs.in_thread(3)  # type: ignore[arg-type]  # that is it
    assert rxs.in_thread(time.sleep).__name__ == "sleep"


def test_a_plain_function_that_returns_an_awaitable_is_told() -> None:
    """Nobody would wait for it."""
    served = Served()

    def later(value: int) -> Any:
        return served(value)

    with pytest.raises(GraphError, match="returned an awaitable, for which nobody would wait; give to_callable a coroutine"):
        virtual(lambda: run_through([1], ops.to_callable(later)))


def test_a_failing_call_stops_the_run_after_its_retries() -> None:
    """`retry=2` without a policy: three attempts, then a SinkError."""
    served = Served(fails=lambda value, n: value == 2)
    with pytest.raises(SinkError, match=r"LookupError: no 2; .*after 3 attempts"):
        virtual(lambda: run_through(range(4), ops.to_callable(served, retry=2, on_error=Stop())))
    assert served.began.count(2) == 3


def test_a_function_that_blocks_the_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says which function of the user's, and where; once."""
    monkeypatch.setattr(blocking, "BLOCKED_AFTER", 0.05)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(blocking, "logger", lambda: _Logger(told))

    def dawdle() -> None:
        while not told:
            time.sleep(0.01)
        time.sleep(0.2)

    async def main() -> None:
        with blocking.loop_watched("app"):
            await asyncio.sleep(0.2)
            assert told == []
            dawdle()
            await asyncio.sleep(0.2)

    asyncio.run(main())
    (line,) = told
    assert line["event"].startswith("the loop is blocked")
    assert line["by"].endswith("dawdle")
    assert "test_sinks.py:" in line["at"]


class _Logger:
    def __init__(self, told: list[dict[str, Any]]) -> None:
        self.told = told

    def warning(self, event: str, **more: Any) -> None:
        """Note a line."""
        self.told.append({"event": event, **more})
