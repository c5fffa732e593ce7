"""The keys of a join's inputs: that there are some, and that they can be equal."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any
from uuid import UUID

from reactivex import Observable

from rxstreams.errors import ConfigError
from rxstreams.operators.arguments import field_types
from rxstreams.stream import Operation, Stream, operator

__all__ = ["check_keyed", "joining", "key_type"]

_PASS_VALUES = frozenset(
    {
        "dedup", "delay", "distinct", "distinct_until_changed", "do_action", "event_time", "filter", "filter_indexed", "key_by",
        "merge", "share", "skip", "skip_while", "take", "take_while",
    }
)  # fmt: skip
_PLAIN = frozenset({str, int, bytes, bool, UUID})


def joining(operation: Operation, *others: Observable[Any]) -> Callable[[Observable[Any]], Stream[Any]]:
    """The function for ``pipe`` that joins streams by their keys."""
    build = operator(operation, *others)

    def join(source: Observable[Any]) -> Stream[Any]:
        made = build(source)
        check_keyed(operation.kind, {f"input {i}": stream for i, stream in enumerate((source, *others))})
        return made

    return join


def check_keyed(where: str, streams: dict[str, Observable[Any]]) -> None:
    """See that streams have keys, of one type where that is known.

    Raises:
        ConfigError: If one has none, or two have keys that are never equal.
    """
    for name, stream in streams.items():
        if not isinstance(stream, Stream) or not stream.keyed:
            raise ConfigError(f"{where}: {name}, {_shown(stream)}, has no keys to join by; put key_by(…) before it")
    known = {name: kind for name, stream in streams.items() if (kind := key_type(stream)) is not None}
    for (one, kind), (other, another) in zip(known.items(), list(known.items())[1:], strict=False):
        if kind is not another:
            raise ConfigError(
                f"{where}: the keys of {one} are {kind.__name__}, those of {other} {another.__name__}, which are never equal; "
                "have each key_by give the same type"
            )


def _shown(stream: Observable[Any]) -> str:
    return stream.operation.title if isinstance(stream, Stream) else type(stream).__name__


def key_type(stream: Observable[Any]) -> type | None:
    """The type of a stream's keys, where the declared type of what its source reads says so."""
    field: Any = None
    while isinstance(stream, Stream) and stream.inputs:
        operation = stream.operation
        if field is None and operation.kind == "key_by":
            field = operation.parameters["field"]
            if not isinstance(field, str):
                return None
        elif operation.kind not in _PASS_VALUES if field is not None else operation.key != "kept":
            return None
        stream = stream.inputs[0]
    declared = stream.operation.parameters.get("type") if isinstance(stream, Stream) else None
    kind = field_types(declared).get(field)
    return kind if kind in _PLAIN or (isinstance(kind, type) and issubclass(kind, Enum)) else None
