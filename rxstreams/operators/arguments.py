"""What operators' arguments may be: checked when a pipeline is built, so that running fails for outside reasons only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from keyword import iskeyword
from operator import attrgetter
from typing import Any, get_type_hints

from reactivex import abc

from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.errors import ConfigError, StateCodecError
from rxstreams.state.codec import TAGGED
from rxstreams.stream import Node
from rxstreams.stream.loops import column_reader

__all__ = [
    "check_aggregates",
    "check_count",
    "check_fields",
    "check_flag",
    "check_function",
    "check_name",
    "check_no_awaitable",
    "check_savable",
    "check_scheduler",
    "column_of",
    "field_of",
    "field_types",
    "getter",
    "is_async",
]


def check_function(where: str, function: Any, *, or_none: bool = False) -> Any:
    """``function`` itself, if it can be called for a value now.

    Raises:
        ConfigError: If it is no function, or a coroutine function.
    """
    if function is None and or_none:
        return None
    if not callable(function):
        raise ConfigError(f"{where}: expected a function, got {function!r}")
    if is_async(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__name__", "the function")
        raise ConfigError(
            f"{where}: {name} is a coroutine function, whose result would be a coroutine, not a value; "
            + _WAITING.get(where.partition("(")[0], "do the waiting before it, in map_async(…)")
        )
    return function


_WAITING = {kind: f"use {kind}_async(…), which waits for it" for kind in ("map", "filter", "flat_map")}
_WAITING["do_action"] = "use to_callable(…), which waits for it"


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine: an async function, or an object with an async ``__call__``."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # its kind matters, not whether it is there


def check_aggregates(where: str, aggregates: Mapping[str, Any], reserved: Container[str]) -> None:
    """See that there are aggregates, with names that can be fields of a result.

    Raises:
        ConfigError: If not.
    """
    if not aggregates:
        raise ConfigError(f"{where}: expected at least one aggregate, such as n=agg.count()")
    check_fields(where, aggregates, reserved)
    for label, one in aggregates.items():
        if not isinstance(one, Aggregate):
            raise ConfigError(f"{where}({label}): expected an aggregate such as agg.count(), got {one!r}")


def check_fields(where: str, fields: Iterable[str], reserved: Container[str]) -> None:
    """See that names can be fields of a result.

    Raises:
        ConfigError: If not.
    """
    for label in fields:
        if label in reserved:
            raise ConfigError(f"{where}: the result has a field {label!r} already; choose another name")
        if not label.isidentifier() or iskeyword(label):
            raise ConfigError(f"{where}({label!r}): expected an identifier, which becomes a field's name")


def check_count(where: str, value: Any, *, least: int) -> int:
    """``value`` itself, if it is an integer of at least ``least``.

    Raises:
        ConfigError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where}: expected an integer of at least {least}, got {value!r}")
    return value


def check_flag(where: str, value: Any) -> bool:
    """``value`` itself, if it is True or False.

    Raises:
        ConfigError: If it is neither.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: expected True or False, got {value!r}")
    return value


def check_no_awaitable(node: Node, kind: str, result: Any) -> None:
    """End the output of a node whose function, no coroutine function itself, returned what somebody would have to await."""
    if hasattr(result, "__await__"):
        if hasattr(result, "close"):
            result.close()  # or Python would tell that nobody has awaited it
        node.fail(TypeError(f"the function returned an awaitable, which is no value; {_WAITING[kind]}"))


def check_name(where: str, name: Any, *, or_none: bool = True) -> Any:
    """``name`` itself, if it is one (or None, where that is allowed).

    Raises:
        ConfigError: If it is not.
    """
    if not (name is None and or_none) and not (isinstance(name, str) and name):
        raise ConfigError(f"{where}: expected a name, got {name!r}")
    return name


def check_scheduler(where: str, scheduler: Any) -> Any:
    """``scheduler`` itself, if it is one or None.

    Raises:
        ConfigError: If it is not.
    """
    if scheduler is not None and not isinstance(scheduler, abc.SchedulerBase):
        raise ConfigError(f"{where}: expected a scheduler of RxPY, got {scheduler!r}")
    return scheduler


def check_savable(node: Node, value: Any) -> None:
    """End the output of a node in a run if it cannot keep ``value`` as state: now, and not at the commit."""
    if node.host.durable:
        try:
            TAGGED.check(value)
        except StateCodecError as error:
            node.fail(error)


def getter(where: str, field: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a value: a field's (of objects and mappings alike), or the user's own."""
    if isinstance(field, str):
        if not field:
            raise ConfigError(f"{where}: expected a field's name, got an empty text")
        return lambda value: field_of(value, field)
    if not callable(field):
        raise ConfigError(f"{where}: expected a field's name or a function of the value, got {field!r}")
    return check_function(where, field)  # type: ignore[no-any-return]  # checked to be callable


def field_of(value: Any, field: str) -> Any:
    """``value.field``, or ``value["field"]`` of a mapping."""
    return value[field] if isinstance(value, dict) else attrgetter(field)(value)


def field_types(kind: Any) -> dict[str, Any]:
    """The types of a type's fields, as a decoder sees to them; none where it has a ``__post_init__``, which may change them."""
    if not isinstance(kind, type) or hasattr(kind, "__post_init__"):
        return {}
    try:
        return get_type_hints(kind)
    except Exception:  # a name that is not defined where the type is: then nothing is known
        return {}


def column_of(field: str | Callable[[Any], Any] | None, values: Sequence[Any]) -> Sequence[Any]:
    """``field`` of every value, as fast as it goes: all values of a stream have mostly one type."""
    if field is None:
        return values
    if not isinstance(field, str):
        return [field(value) for value in values]
    return column_reader(field, isinstance(values[0], dict))(values)
