"""draw of a pattern: the automaton that it becomes."""

from __future__ import annotations

from collections.abc import Iterator

from rxstreams.patterns.automaton import Automaton, Wait
from rxstreams.patterns.pattern import Pattern

__all__ = ["mermaid_of", "text_of"]

HOW = {"next": "next", "followed_by": "followed by", "followed_by_any": "followed by any"}


def text_of(pattern: Pattern) -> str:
    """A line for each place of the pattern, with what is waited for after it."""
    automaton = Automaton(pattern)
    names = _names(automaton)
    starts = ", ".join(names[start.place] for start in automaton.starts)
    lines = [repr(pattern), f"begins with {starts}"]
    for place, name in zip(automaton.places, names, strict=True):
        waits = [_told(automaton, automaton.waits[i], names) for i in place.waits]
        lines.append(f"{name}: {'; '.join([*(['a match'] if place.final else []), *waits])}")
    return "\n".join(lines)


def mermaid_of(pattern: Pattern) -> str:
    """The same as a Mermaid state diagram."""
    automaton = Automaton(pattern)
    names = _names(automaton)
    lines = ["stateDiagram-v2", *(f'    state "{name}" as p{i}' for i, name in enumerate(names))]
    lines += [f"    [*] --> p{start.place}" for start in automaton.starts]
    for i, place in enumerate(automaton.places):
        lines += [f"    p{i} --> {to}: {label}" for to, label in _edges(automaton, i)]
        lines += [f"    p{i} --> [*]"] if place.final else []
    return "\n".join(lines)


def _edges(automaton: Automaton, place: int) -> Iterator[tuple[str, str]]:
    for i in automaton.places[place].waits:
        wait = automaton.waits[i]
        label = "when time is over" if wait.place is None and wait.how == "followed_by" else HOW[wait.how]
        yield ("[*]" if wait.place is None else f"p{wait.place}"), label + _unless(automaton, wait)


def _names(automaton: Automaton) -> list[str]:
    """Each place's stage, with a number where it is repeated."""
    stages = [place.stage for place in automaton.places]
    return [stage if stages.count(stage) == 1 else f"{stage} {stages[: i + 1].count(stage)}" for i, stage in enumerate(stages)]


def _told(automaton: Automaton, wait: Wait, names: list[str]) -> str:
    """What is waited for, in words."""
    if wait.place is None:
        what = "a match with the next event" if wait.how == "next" else "a match when time is over"
    else:
        what = f"{HOW[wait.how]} {names[wait.place]}"
    return what + _unless(automaton, wait)


def _unless(automaton: Automaton, wait: Wait) -> str:
    """What ends the waiting."""
    words = ""
    for where, bits, guards in (("before", wait.kill, wait.guards), ("right after", wait.next_kill, wait.next_guards)):
        ends = [
            label for i, label in enumerate(automaton.labels) if 1 << i & bits or any(1 << i == guard.bit for guard in guards)
        ]
        words += f", no {' or '.join(ends)} {where}" if ends else ""
    return words
