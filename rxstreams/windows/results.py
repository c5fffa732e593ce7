"""What a window gives: its bounds, its key, which pane it is, and what was aggregated."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

__all__ = ["EARLY", "LATE", "ON_TIME", "RESERVED", "Pane", "Timing", "Windowed", "windowed_type"]

Timing = Literal["early", "on time", "late"]
EARLY: Final[Timing] = "early"
ON_TIME: Final[Timing] = "on time"
LATE: Final[Timing] = "late"


class Pane(msgspec.Struct, frozen=True, gc=False):
    """Which of a window's results this is.

    Attributes:
        timing: ``"early"`` before the watermark has passed the window's end, ``"on time"`` when it does, ``"late"`` after that,
            within the window's lateness.
        number: How many results of this window, for this key, came before it.
        last: Whether no further one can come. False does not mean that one will.

    Source: the panes of Apache Beam's ``PaneInfo`` (Akidau et al., "The Dataflow Model", VLDB 2015).
    """

    timing: Timing = ON_TIME
    number: int = 0
    last: bool = True


class Windowed(msgspec.Struct, frozen=True, gc=False):
    """One result of a window: its key and bounds, which pane it is, and a field per aggregate.

    On a topic it is a JSON object with these fields, ``start`` and ``end`` in milliseconds since the epoch. To read it back,
    declare the aggregates, as in ``class PerMinute(rxstreams.Windowed, frozen=True): orders: int``, and read
    ``from_topic("per-minute", PerMinute)``.

    Attributes:
        key: The user's key; None where the stream is not keyed.
        start: Where the window begins (ms since the epoch).
        end: Where it ends; a record with just this time is not in it.
        pane: Which of the window's results this is.
    """

    key: Any
    start: int
    end: int
    pane: Pane

    if TYPE_CHECKING:  # the aggregates: what they are called is the pipeline's affair

        def __getattr__(self, name: str) -> Any: ...


RESERVED = frozenset({*Windowed.__struct_fields__, "over"})


def windowed_type(aggregates: tuple[str, ...]) -> type[Windowed]:
    """The type of the results with these aggregates, one type per list of names.

    It is an attribute of this module, so that a saved result finds its type again without importing anything.
    """
    name = "_Windowed_" + "_".join(f"{len(field)}{field}" for field in aggregates)  # ("a_b", "c") is not ("a", "b_c")
    here = sys.modules[__name__]
    if not hasattr(here, name):
        fields = [(field, Any) for field in aggregates]
        shown = {"__repr__": _show}
        made = msgspec.defstruct(name, fields, bases=(Windowed,), module=__name__, frozen=True, gc=False, namespace=shown)
        made.__doc__ = f"One result of a window: {', '.join(aggregates)}."
        setattr(here, name, made)
    return cast("type[Windowed]", getattr(here, name))


def _show(result: Any) -> str:
    return f"Windowed({', '.join(f'{name}={getattr(result, name)!r}' for name in result.__struct_fields__)})"
