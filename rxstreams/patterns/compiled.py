"""An automaton's step as code of its own: what it does for one event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rxstreams.patterns.apart import advancing_each
from rxstreams.patterns.automaton import Automaton, Wait
from rxstreams.patterns.partial import Chain, Found, Link, Open, Taken, join, linked
from rxstreams.stream.loops import define, indented

__all__ = ["Take", "stepping"]

Take = Callable[[Open, Any, int, int], Sequence[Found]]
"""Takes in an event, its time and what holds for it, with what a key has open; returns the matches that come out."""


def stepping(
    automaton: Automaton,
    limit: int,
    pass_over: Callable[[Open, int], None],
    make_room: Callable[[Open], int],
    completed: Callable[[Open, Chain, tuple[Chain, ...], int, int], Sequence[Found]],
) -> Take:
    """The step of an automaton. If it raises, which conditions may, nothing has changed.

    Args:
        automaton: What is looked for.
        limit: How many events may be taken.
        pass_over: Lets no match have what began too long before a time.
        make_room: Lets go of what is over; returns how many events are taken then.
        completed: What comes out when something is complete, or too much is taken; given what waited before, and how many events
            were taken now.
    """
    waits = "".join(f"w{i}, " for i in range(len(automaton.waits)))
    if automaton.exact:
        body = ["after, done, begun, made = each(before, value, time, number, ended, holds)"]
    else:
        body = ["done, begun, made = None, False, 0", *_alike(automaton), f"after = ({waits})"]
        body[:0] = [f"({waits}) = before"]
    over, begin = [], []
    if automaton.within is not None:
        over = [
            "starts = state.starts",
            f"if starts is not None and starts[1] + {automaton.within} <= time: pass_over(state, time)",
        ]
        begin = ["if begun and state.starts is None: state.starts = [number, time]", "elif begun: state.starts += (number, time)"]
    code = f"""
def take(state, value, time, holds):
{indented(over, 1)}
    size = state.size
    if size >= state.bound or size > {limit - len(automaton.places)}: size = make_room(state)
    before, number, ended = state.waits, state.number + 1, state.ended
{indented(body, 1)}
    state.waits, state.number, state.size = after, number, size + made
{indented(begin, 1)}
    if done is None and state.complete is None and size + made <= {limit}: return ()
    return completed(state, done, before, made, holds)
"""
    names = {"taken": Taken, "linked": linked, "join": join, "older": older, "each": advancing_each(automaton)}
    names |= {"pass_over": pass_over, "make_room": make_room, "completed": completed}
    return define("take", code, names)  # type: ignore[no-any-return]  # it is what the code defines


def _alike(automaton: Automaton) -> Iterator[str]:
    """The statements where no condition depends on the events before: all partial matches at one place fare alike."""
    met = {wait.place for wait in automaton.waits}
    yield from (f"r{place} = None" for place in range(len(automaton.places)) if place in met)
    for i, wait in enumerate(automaton.waits):
        yield f"if w{i} is not None:"
        yield from (f"    {line}" for line in _meeting(f"w{i}", wait))
    starts = {start.place: start for start in automaton.starts}
    for place in range(len(automaton.places)):
        start, before = starts.get(place), f"r{place}" if place in met else None
        made = [f"    {line}" for line in _taken(automaton, place)]
        if start is not None:
            if before is not None:
                yield f"if {before} is not None and {before}.last <= ended: {before} = None"
            first = "number" if before is None else f"number if {before} is None else {before}.first"
            yield f"if holds & {start.bit}" + (f" and not holds & {start.kill}:" if start.kill else ":")
            yield "    begun = True"
            yield f"    one = taken({place}, value, time, number, {before}, {first}, number)"
            yield from made
        if before is not None:
            yield f"{'if' if start is None else 'elif'} {before} is not None and {before}.last > ended:"
            yield f"    one = taken({place}, value, time, number, {before}, {before}.first, {before}.last)"
            yield from made


def _meeting(chain: str, wait: Wait) -> Iterator[str]:
    """The statements for what waits: it is over, waits on, or has met what it waited for."""
    over = f"{chain} = None"
    if wait.kill:
        yield f"if holds & {wait.kill}: {over}"
    if wait.next_kill:
        yield f"if holds & {wait.next_kill}: {chain} = older({chain}, number)"
    if wait.place is None:
        if wait.how == "next":
            yield f"done = join(done, {chain}); {over}"
        elif not (wait.kill or wait.next_kill):
            yield "pass"
        return
    met = f"r{wait.place}"
    found = f"{met} = {chain} if {met} is None else join({met}, {chain})"
    yield f"if holds & {wait.bit}: {found}" + (f"; {over}" if wait.how == "followed_by" else "")
    if wait.how == "next":
        yield over


def _taken(automaton: Automaton, place: int) -> Iterator[str]:
    """The statements for the event ``one`` that was taken for a place."""
    if automaton.places[place].waits:
        yield "made += 1"
    if automaton.places[place].final:
        yield "done = one if done is None else join(done, one)"
    for i in automaton.places[place].waits:
        yield f"w{i} = one if w{i} is None else linked(one, w{i})"


def older(chain: Chain, number: int) -> Chain:
    """The events of a chain but those just before event ``number``."""
    while isinstance(chain, Link) and chain.one.number == number - 1:
        chain = chain.rest
    return None if isinstance(chain, Taken) and chain.number == number - 1 else chain
