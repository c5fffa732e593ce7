"""An automaton's step as code of its own: what it does for one event, where conditions do not depend on the events before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rxstreams.patterns.automaton import Automaton, Wait
from rxstreams.patterns.partial import Chain, Link, Taken, join, linked
from rxstreams.stream.loops import define, indented

__all__ = ["Advance", "advancing"]

Advance = Callable[[list[Chain], Any, int, int, int, int], tuple[list[Chain], Chain, int, bool]]
"""Of what waits, an event, its time, what holds for it, its number, and the last event with which no match may begin: what waits
then, the events with which matches are complete, how many events were taken, and whether a match may have begun.
"""


def advancing(automaton: Automaton) -> Advance:
    """The step of an automaton that is not ``exact``: all partial matches at one place fare alike."""
    n = len(automaton.waits)
    lines = ["done = None", "made = 0", f"[{', '.join(f'w{i}' for i in range(n))}] = waits" if n else ""]
    lines += [f"r{place} = None" for place in range(len(automaton.places))]
    for i, wait in enumerate(automaton.waits):
        lines += [f"if w{i} is not None:", *(f"    {line}" for line in _meeting(f"w{i}", wait))]
    starts = {start.place: start for start in automaton.starts}
    lines.append("begun = False")
    for number, place in enumerate(automaton.places):
        start, before = starts.get(number), f"r{number}"
        lines.append(f"if {before} is not None and {before}.last <= ended: {before} = None")
        made = [f"    {line}" for line in _taken(automaton, number)]
        if start is not None:
            begins = f"holds & {start.bit}" + (f" and not holds & {start.kill}" if start.kill else "")
            first = f"number if {before} is None else {before}.first"
            lines += [f"if {begins}:", "    begun = True", f"    one = taken({number}, value, time, number, {before}, {first}, number)", *made]
            lines += [f"elif {before} is not None:"]
        else:
            lines += [f"if {before} is not None:"]
        lines += [f"    one = taken({number}, value, time, number, {before}, {before}.first, {before}.last)", *made]
    code = f"""
def advance(waits, value, time, holds, number, ended):
{indented([line for line in lines if line], 1)}
    return [{", ".join(f"w{i}" for i in range(n))}], done, made, begun
"""
    return define("advance", code, {"taken": Taken, "linked": linked, "join": join, "older": older})  # type: ignore[no-any-return]


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
