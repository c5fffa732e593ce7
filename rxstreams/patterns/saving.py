"""What is saved of a key's partial matches: each event once, and which may be before it by number."""

from __future__ import annotations

from typing import Any

from rxstreams.patterns.partial import Chain, Link, Open, Taken

__all__ = ["packed", "unpacked"]


def packed(state: Open) -> list[Any]:
    """Lists, numbers and events; what is shared stands once."""
    rows: list[list[Any]] = []
    numbers: dict[int, int] = {}

    def number(chain: Chain) -> int:
        """The row of a part, which stands behind those that it refers to; -1 is none."""
        if chain is None:
            return -1
        waiting: list[Any] = [chain]
        while waiting:
            at = waiting[-1]
            needs = [at.one, at.rest] if isinstance(at, Link) else [] if at.before is None else [at.before]
            unknown = [one for one in needs if id(one) not in numbers]
            if unknown:
                waiting += unknown
                continue
            waiting.pop()
            if id(at) not in numbers:
                numbers[id(at)] = len(rows)
                refers = [numbers[id(one)] for one in needs] or [-1]
                rows.append(
                    refers if isinstance(at, Link) else [*refers, at.place, at.value, at.time, at.number, at.first, at.last]
                )
        return numbers[id(chain)]

    waits = [number(chain) for chain in state.waits]
    counts = [state.number, state.ended, state.skipped, state.size, state.bound, state.awaited]
    complete = None if state.complete is None else [[*one[:2], list(one[2])] for one in state.complete]
    return [rows, waits, counts, state.starts, complete]


def unpacked(saved: list[Any]) -> Open:
    """The same again."""
    rows, waits, counts, starts, complete = saved
    parts: list[Any] = []
    for row in rows:
        if len(row) == 2:
            one, rest = parts[row[0]], parts[row[1]]
            parts.append(Link(one, rest, min(one.first, rest.first), max(one.last, rest.last)))
        else:
            before, place, value, time, number, first, last = row
            parts.append(Taken(place, value, time, number, None if before < 0 else parts[before], first, last))
    state = Open(len(waits))
    state.waits = tuple(None if at < 0 else parts[at] for at in waits)
    state.number, state.ended, state.skipped, state.size, state.bound, state.awaited = counts
    state.starts = starts
    state.complete = None if complete is None else [(first, ends, tuple(match)) for first, ends, match in complete]
    return state
