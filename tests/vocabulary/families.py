"""All families, and how a picture of any is run: on virtual time, with a loop where the operator needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import looptime
from reactivex import Observable, from_marbles
from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.scheduler.eventloop import AsyncIOScheduler

import rxstreams
from rxstreams import aggregates, operators, windows as windows_of
from rxstreams.pictures.marbles import Event, Outcome, read_picture, run_picture
from tests.vocabulary import combining, flow, folding, joins, mapping, patterning, taking, timing, windows

FAMILIES = (combining, flow, folding, joins, mapping, patterning, taking, timing, windows)
BEGIN = 200.0
"""Where time begins on a loop, as in a subscription under TestScheduler."""


def operators_for(expression: str, inputs: Mapping[str, Observable[Any]]) -> Sequence[Callable[[Observable[Any]], Any]]:
    """Evaluate what stands in a picture's brackets: one operator or several."""
    names = {
        **{name: getattr(rxstreams, name) for name in rxstreams.__all__},
        **{name: getattr(operators, name) for name in operators.__all__},
        "agg": aggregates,
        **patterning.NAMES,
        **flow.NAMES,
        "rxs": rxstreams,
        "windows": windows_of,
        **inputs,
    }
    found = eval(f"({expression},)", names)
    assert isinstance(found, tuple)
    return found


def outcome_of(picture: str) -> Outcome:
    """Run a picture."""
    if "asyncio." not in picture:
        return run_picture(picture, operators_for)
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=BEGIN)) as runner:
        return runner.run(_on_the_loop(picture))


async def _on_the_loop(picture: str) -> Outcome:
    marbles, loop = read_picture(picture), asyncio.get_running_loop()
    came: list[Event] = []

    def note(what: Notification[Any]) -> None:
        came.append(((loop.time() - BEGIN) / marbles.unit, what))

    sources = {name: from_marbles(line.drawn, timespan=marbles.unit, lookup=line.values) for name, line in marbles.inputs.items()}
    stream = next(iter(sources.values())).pipe(*operators_for(marbles.operator, sources))
    subscription = stream.subscribe(
        lambda value: note(OnNext(value)),
        lambda error: note(OnError(error)),
        lambda: note(OnCompleted()),
        scheduler=AsyncIOScheduler(loop),
    )
    width = max(len(line.drawn) for line in [marbles.result, *marbles.inputs.values()])
    await asyncio.sleep((width - 0.5) * marbles.unit)
    subscription.dispose()
    return Outcome(marbles.result.events, came, marbles.result.values)
