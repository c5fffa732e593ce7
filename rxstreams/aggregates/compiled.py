"""All aggregates of an operator in one loop, so that each record's accumulator is looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.stream.loops import Loop, define, indented

__all__ = ["Slots", "step_lines", "stepper", "wholly"]

Slots = Sequence[tuple[Aggregate, int]]
"""Aggregates, each with its first slot in the accumulator."""


def step_lines(slots: Slots, loop: Loop) -> tuple[list[str], list[str]]:
    """The statements that compute all new slots of ``row``, and those that store them.

    A record changes all of its accumulator or, if something raises, nothing.
    """
    compute: list[str] = []
    for one, at in slots:
        read = loop.read(one.field) if one.reads else ""
        if one.reads > 1 and read != "value":
            compute.append(f"x = {read}")
            read = "x"
        compute += one.step(at, read, loop.bind)
    return compute, [line for one, at in slots for line in one.store(at)]


def stepper(slots: Slots, *, mapping: bool, row: Callable[..., Any] | None) -> Callable[..., None]:
    """A loop that takes records into their accumulators: ``step(states, begin, records, append)``.

    ``records`` gives (key, value, key as the user knows it); ``begin`` is an empty accumulator.

    Args:
        slots: The aggregates.
        mapping: Whether values are mappings.
        row: Makes a result of (key, results…), to be appended for each record; None appends nothing.
    """
    loop = Loop(mapping=mapping)
    compute, store = step_lines(slots, loop)
    if row is not None:
        compute.append(f"made = {loop.bind(row)}(shown, {', '.join(one.shown(at) for one, at in slots)})")
        store.append("append(made)")
    code = f"""
def step(states, begin, records, append):
    for key, value, shown in records:
        try:
            row = states[key]
        except KeyError:
            row = begin.copy()
{indented(compute, 3)}
            states[key] = row
        else:
{indented(compute, 3)}
{indented(store, 2)}
"""
    return define("step", code, loop.names)  # type: ignore[no-any-return]  # it is what the code defines


def wholly(slots: Slots, row: list[Any], columns: Iterable[Sequence[Any]]) -> list[Any]:
    """An accumulator after whole columns, one per aggregate."""
    return [slot for (one, at), column in zip(slots, columns, strict=True) for slot in one.whole(row, at, column)]
