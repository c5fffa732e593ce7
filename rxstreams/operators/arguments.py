"""What operators' arguments may be: checked when a pipeline is built, so that running fails for outside reasons only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from rxstreams.errors import ConfigError

__all__ = ["check_count", "check_function", "column_getter", "field_of", "getter"]


def check_function(where: str, function: Any, *, or_none: bool = False) -> Any:
    """``function`` itself, if it can be called for a value now.

    Raises:
        ConfigError: If it is no function, or a coroutine function.
    """
    if function is None and or_none:
        return None
    if not callable(function):
        raise ConfigError(f"{where}: expected a function, got {function!r}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__name__", "the function")
        raise ConfigError(
            f"{where}: {name} is a coroutine function, whose result would be a coroutine, not a value; "
            "do the waiting in to_callable(…), or in the source"
        )
    return function


def check_count(where: str, value: Any, *, least: int) -> int:
    """``value`` itself, if it is an integer of at least ``least``.

    Raises:
        ConfigError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where}: expected an integer of at least {least}, got {value!r}")
    return value


def getter(where: str, field: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a value: a field's (of objects and mappings alike), or the user's own."""
    if isinstance(field, str):
        if not field:
            raise ConfigError(f"{where}: expected a field's name, got an empty text")
        return lambda value: field_of(value, field)
    return check_function(where, field)  # type: ignore[no-any-return]  # checked to be callable


def field_of(value: Any, field: str) -> Any:
    """``value.field``, or ``value["field"]`` of a mapping."""
    return value[field] if isinstance(value, dict) else attrgetter(field)(value)


def column_getter(field: str | Callable[[Any], Any]) -> Callable[[Sequence[Any]], Callable[[Any], Any]]:
    """Chooses, for a batch, the fastest function that reads ``field``: all values of a stream have mostly one type."""
    if not isinstance(field, str):
        return lambda values: field
    of_object, of_mapping = attrgetter(field), itemgetter(field)
    either: Callable[[Any], Any] = lambda value: field_of(value, field)  # noqa: E731  # a value, as its two siblings

    def choose(values: Sequence[Any]) -> Callable[[Any], Any]:
        first, last = isinstance(values[0], dict), isinstance(values[-1], dict)
        return either if first != last else of_mapping if first else of_object

    return choose
