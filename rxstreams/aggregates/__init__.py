"""Aggregates: what can be computed of many records, incrementally, and merged: count, sum, mean, min, max."""

from inspect import iscoroutinefunction as _is_async

from rxstreams.aggregates import accumulators as _accumulators
from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.errors import ConfigError as _ConfigError

__all__ = ["Aggregate", "count", "max", "mean", "min", "sum"]


def _field(where: str, field: object) -> _accumulators.Field:
    if _is_async(field):
        raise _ConfigError(f"{where}: {field!r} is a coroutine function, whose result would be a coroutine, not a value")
    if field is None or (isinstance(field, str) and field) or callable(field):
        return field
    raise _ConfigError(
        f"{where}: expected a field's name, a function of the value, or nothing for the value itself, got {field!r}"
    )


def count() -> Aggregate:
    """How many records there are."""
    return _accumulators.Count()


def sum(field: _accumulators.Field = None) -> Aggregate:
    """The sum of a field (or of the values), by plain additions in the records' order (0 of no records)."""
    return _accumulators.Sum(_field("sum(field)", field))


def mean(field: _accumulators.Field = None) -> Aggregate:
    """The arithmetic mean of a field; None of no records."""
    return _accumulators.Mean(_field("mean(field)", field))


def min(field: _accumulators.Field = None) -> Aggregate:
    """The least value of a field, the first of equals; None of no records."""
    return _accumulators.Min(_field("min(field)", field))


def max(field: _accumulators.Field = None) -> Aggregate:
    """The greatest value of a field, the first of equals; None of no records."""
    return _accumulators.Max(_field("max(field)", field))
