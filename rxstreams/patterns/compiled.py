"""An automaton's step as code of its own: what it does for one event, where conditions do not depend on the events before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rxstreams.patterns.automaton import Automaton, Wait
from rxstreams.patterns.partial import Chain, Link, Open, Taken, join, linked
from rxstreams.stream.loops import define, indented

__all__ = ["Advance", "advancing"]

Advance = Callable[[Open, Any, int, int], Chain]
"""Takes in an event, its time and what holds for it, with what a key has open; the events with which matches are complete."""


def advancing(automaton: Automaton) -> Advance:
    """The step of an automaton that is not ``exact``: all partial matches at one place fare alike."""
    waits = [f"w{i}" for i in range(len(automaton.waits))]
    lines = [f"[{', '.join(waits)}] = state.waits"] if waits else []
    lines += [f"r{place} = None" for place in range(len(automaton.places))]
    for i, wait in enumerate(automaton.waits):
        lines += [f"if w{i} is not None:", *(f"    {line}" for line in _meeting(f"w{i}", wait))]
    starts = {start.place: start for start in automaton.starts}
    for place in range(len(automaton.places)):
        start, before = starts.get(place), f"r{place}"
        lines.append(f"if {before} is not None and {before}.last <= ended: {before} = None")
        made = [f"    {line}" for line in _taken(automaton, place)]
        if start is not None:
            begins = f"holds & {start.bit}" + (f" and not holds & {start.kill}" if start.kill else "")
            first = f"number if {before} is None else {before}.first"
            lines += [f"if {begins}:", "    begun = True"]
            lines += [
                f"    one = taken({place}, value, time, number, {before}, {first}, number)",
                *made,
                f"elif {before} is not None:",
            ]
        else:
            lines.append(f"if {before} is not None:")
        lines += [f"    one = taken({place}, value, time, number, {before}, {before}.first, {before}.last)", *made]
    code = f"""
def advance(state, value, time, holds):
    number, ended, done, begun, made = state.number + 1, state.ended, None, False, 0
{indented(lines, 1)}
    state.number, state.waits = number, [{", ".join(waits)}]
    state.size += made
    if begun and {automaton.within is not None}: state.begin(time)
    return None if done is None or done.last <= ended else done
"""
    names = {"taken": Taken, "linked": linked, "join": join, "older": older}
    return define("advance", code, names)  # type: ignore[no-any-return]  # it is what the code defines


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
