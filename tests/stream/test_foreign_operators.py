"""RxPY's operators that are not ours, in a run: each gives what it gives elsewhere, however the input is cut, and the run says
what that costs.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import Observable, operators as rx
from reactivex.subject import Subject

import rxstreams
from rxstreams import Stream, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from tests.laws.harness import End, Event, Rec, lines, random_cuts, run
from tests.runtime.faulty import got, put

Step = Callable[[Observable[Any]], Observable[Any]]


def picky(x: int) -> int:
    """Return ten times a number; some are refused."""
    if x % 5 == 3:
        raise ValueError(f"not {x}")
    return x * 10


FOREIGN: dict[str, list[Step]] = {
    "all": [rx.all(lambda x: x < 99)],
    "buffer_when": [rx.buffer_when(reactivex.never), rx.map(len)],
    "catch": [rx.map(picky), rx.catch(reactivex.of(-1, -2))],
    "concat_map": [rx.concat_map(lambda x: reactivex.of(x, -x))],
    "contains": [rx.contains(7)],
    "default_if_empty": [rx.ignore_elements(), rx.default_if_empty(5)],
    "dematerialize": [rx.materialize(), rx.dematerialize()],
    "element_at_or_default": [rx.element_at_or_default(3, -1)],
    "expand": [rx.expand(lambda x: reactivex.of(x * 2) if x < 20 else reactivex.empty())],
    "find": [rx.find(lambda x, i, source: x > 10)],
    "group_by_until": [
        rx.group_by_until(lambda x: x % 3, None, lambda group: group.pipe(rx.skip(2))),
        rx.flat_map(lambda group: group.pipe(rx.to_iterable(), rx.map(lambda values: (group.key, list(values))))),
    ],
    "materialize": [rx.materialize(), rx.map(str)],
    "max_by": [rx.max_by(lambda x: x % 7)],
    "on_error_resume_next": [rx.on_error_resume_next(reactivex.of(1000))],
    "scan and starmap": [rx.map(lambda x: (x, 2)), rx.starmap(lambda a, b: a * b)],
    "sequence_equal": [rx.sequence_equal(reactivex.of(1, 2))],
    "slice": [rx.slice(1, 9, 2)],
    "switch_latest": [rx.map(lambda x: reactivex.of(x, x + 100)), rx.switch_latest()],
    "take_last_buffer": [rx.take_last_buffer(3)],
    "take_until": [rx.take_until(reactivex.never())],
    "to_dict": [rx.to_dict(lambda x: x % 4, lambda x: x)],
    "to_set": [rx.to_set(), rx.map(sorted)],
    "window_with_count": [rx.window_with_count(4, 2), rx.flat_map(lambda part: part.pipe(rx.to_iterable(), rx.map(list)))],
    "zip_with_iterable": [rx.zip_with_iterable(range(100))],
}
"""Chains of operators that a run knows nothing of; what they give follows from the input alone."""


def theirs(values: list[int], steps: list[Step]) -> list[Any]:
    """Return what a chain makes of values that come one by one."""
    source: Subject[int] = Subject()
    came: list[Any] = []
    source.pipe(*steps).subscribe(came.append)  # type: ignore[call-overload]  # as many as there are
    for value in values:
        source.on_next(value)
    source.on_completed()
    return came


def pipeline(steps: list[Step]) -> Stream[Any]:
    """Return a chain among operators of ours."""
    return lines().pipe(ops.map(lambda x: x + 1), *steps, ops.map(lambda x: x))  # type: ignore[no-any-return,call-overload]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_operator_gives_in_a_run_what_it_gives_elsewhere(name: str) -> None:
    """Its values are RxPY's, under pushes of one and under any cuts."""
    rng = random.Random(name)
    some = 0
    for length in (0, 1, 5, 40):
        values = [rng.randrange(20) for _ in range(length)]
        expected = theirs([value + 1 for value in values], FOREIGN[name])
        events: list[Event] = [*(Rec("a", 0, value, i) for i, value in enumerate(values)), End("a")]
        for cuts in (None, [], random_cuts(rng, len(events))):
            assert run(events, pipeline(FOREIGN[name]), cuts=cuts, timed=False).values == [expected]
        some += len(expected)
    assert some


def test_a_run_with_foreign_operators_says_what_it_cannot_promise() -> None:
    """Its guarantee is at most once, and names the foreign operators as the weakest link; what it commits is right."""

    async def main() -> None:
        broker = MemoryBroker()
        await put(broker, range(7))
        stream = rxstreams.from_topic("in", int, until="end").pipe(
            rx.window_with_count(3), rx.flat_map(lambda part: part.pipe(rx.to_iterable(), rx.map(list))), ops.to_topic("out")
        )
        async with rxstreams.start(stream, app="app", broker=broker) as running:
            assert running.guarantee.level == "at_most_once"
            assert "opaque" in running.guarantee.because
            assert "begins anew after a restart" in running.guarantee.because
            await running.wait()
        assert await got(broker) == [[0, 1, 2], [3, 4, 5], [6]]

    asyncio.run(main())


def test_what_foreign_operators_hold_begins_anew_after_a_restart() -> None:
    """The stated guarantee is what happens: a window that is half full at a restart is lost, what was committed is not."""

    async def main() -> None:
        broker = MemoryBroker()
        source = rxstreams.from_topic("in", int, until="end", finish=False)
        stream = source.pipe(rx.pairwise(), rx.buffer_with_count(2), ops.to_topic("out"))
        for part in (range(6), range(6, 12)):
            await put(broker, part)
            async with rxstreams.start(stream, app="app", broker=broker) as running:
                await running.wait()
        assert await broker.committed("app") == {("in", 0): 12}
        assert await got(broker) == [[[0, 1], [1, 2]], [[2, 3], [3, 4]], [[6, 7], [7, 8]], [[8, 9], [9, 10]]]

    asyncio.run(main())
