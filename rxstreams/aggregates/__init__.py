"""Aggregates: what can be computed of many records one by one, in a bounded accumulator, and merged.

Every one takes ``field``: a field's name (of objects and mappings alike), a function of the value, or nothing for the value
itself. What they hold is saved with the key's state; what of it can grow says what bounds it.
"""

from collections.abc import Callable as _Callable
from inspect import iscoroutinefunction as _is_async
from typing import Any as _Any

from rxstreams.aggregates import accumulators as _accumulators, keeping as _keeping, numeric as _numeric
from rxstreams.aggregates.accumulators import Aggregate
from rxstreams.errors import ConfigError as _ConfigError

__all__ = [
    "Aggregate",
    "collect",
    "count",
    "distinct_count",
    "first",
    "last",
    "max",
    "mean",
    "min",
    "of",
    "sum",
    "top",
    "variance",
]


def _field(where: str, field: object) -> _accumulators.Field:
    if _is_async(field):
        raise _ConfigError(f"{where}: {field!r} is a coroutine function, whose result would be a coroutine, not a value")
    if field is None or (isinstance(field, str) and field) or callable(field):
        return field
    raise _ConfigError(
        f"{where}: expected a field's name, a function of the value, or nothing for the value itself, got {field!r}"
    )


def _function(where: str, function: _Any) -> _Any:
    if not callable(function) or _is_async(function):
        raise _ConfigError(f"{where}: expected a function, got {function!r}")
    return function


def _number(where: str, value: _Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _ConfigError(f"{where}: expected an integer of at least {least}, got {value!r}")
    return value


def count() -> Aggregate:
    """How many records there are: an int, 0 of no records. Holds one number."""
    return _accumulators.Count()


def sum(field: _accumulators.Field = None, *, exact: bool = False) -> Aggregate:
    """The sum of a field: 0 of no records. Holds one number.

    By plain additions in the records' order, as a loop would. With ``exact`` it is compensated (Neumaier 1974) and holds two
    numbers: of n floats the error is at most that of one rounding and n · 2⁻¹⁰⁵ of the sum of their absolute values, in any
    order and merged from any parts.
    """
    made = _numeric.ExactSum if exact else _accumulators.Sum
    return made(_field("sum(field)", field))


def mean(field: _accumulators.Field = None, *, exact: bool = False) -> Aggregate:
    """The arithmetic mean of a field: None of no records. Holds the sum and the count.

    With ``exact`` the sum is compensated, as in ``sum``.
    """
    made = _numeric.ExactMean if exact else _accumulators.Mean
    return made(_field("mean(field)", field))


def variance(field: _accumulators.Field = None, *, ddof: int = 1) -> Aggregate:
    """The variance of a field: a float, None of too few records. Holds three numbers.

    Args:
        field: What is a number.
        ddof: 1 is that of a sample (divided by n − 1), 0 that of a population (divided by n).

    Source: Welford (1962), merged as Chan, Golub and LeVeque (1982) do.
    """
    return _numeric.Variance(_field("variance(field)", field), _number("variance(ddof)", ddof, 0))


def min(field: _accumulators.Field = None) -> Aggregate:
    """The least value of a field, the first of equals; None of no records. Holds one value."""
    return _accumulators.Min(_field("min(field)", field))


def max(field: _accumulators.Field = None) -> Aggregate:
    """The greatest value of a field, the first of equals; None of no records. Holds one value."""
    return _accumulators.Max(_field("max(field)", field))


def first(field: _accumulators.Field = None) -> Aggregate:
    """The first value of a field, in the order of arrival; None of no records. Holds one value."""
    return _keeping.First(_field("first(field)", field))


def last(field: _accumulators.Field = None) -> Aggregate:
    """The last value of a field, in the order of arrival; None of no records. Holds one value."""
    return _keeping.Last(_field("last(field)", field))


def collect(field: _accumulators.Field = None, *, max: int) -> Aggregate:
    """The values of a field in a list, in the order of arrival: the first ``max`` of them, and no more.

    Holds those values; a key whose list has grown is saved as a whole, so ``max`` also bounds what a commit writes for it.

    Args:
        field: What is collected.
        max: How many; a list that must be whole asks for a ``count()`` beside it, which tells whether it is.
    """
    return _keeping.Collect(field=_field("collect(field)", field), max=_number("collect(max)", max, 1))


def distinct_count(field: _accumulators.Field = None) -> Aggregate:
    """How many different values a field has: an int, 0 of no records. Values are compared as in a set, and must be hashable.

    Exact, so it holds every distinct value, which nothing else bounds; a key whose set has grown is saved as a whole.
    """
    return _keeping.DistinctCount(_field("distinct_count(field)", field))


def top(n: int, by: _accumulators.Field, field: _accumulators.Field = None) -> Aggregate:
    """The ``n`` records that are greatest ``by`` a field, greatest first, of equal ones the earlier first: a list.

    Holds ``n`` values and what they were ranked by.

    Args:
        n: How many.
        by: What they are ranked by: a field's name, or a function of the value.
        field: What of them is kept; nothing is the values themselves.
    """
    _number("top(n)", n, 1)
    if by is None:
        raise _ConfigError("top(by): expected a field's name or a function of the value to rank by, got None")
    rank, kept = (_reader(_field(f"top({name})", one)) for name, one in (("by", by), ("field", field)))
    return _keeping.Top(field=lambda value: (rank(value), kept(value)), n=n, by=by, of=field)


def _reader(field: _accumulators.Field) -> _Callable[[_Any], _Any]:
    if field is None:
        return lambda value: value
    return _accumulators.reader(field)


def of(
    init: _Callable[[], _Any],
    add: _Callable[[_Any, _Any], _Any],
    merge: _Callable[[_Any, _Any], _Any] | None,
    result: _Callable[[_Any], _Any] | None = None,
    *,
    field: _accumulators.Field = None,
) -> Aggregate:
    """An aggregate of one's own. Holds one accumulator, which must be savable; what bounds it is its functions' affair.

    Args:
        init: Makes the accumulator of no records.
        add: The accumulator with one more value: a new one, as what it changed in place could not be undone.
        merge: One accumulator of two, the second's records after the first's; with it ``add`` must agree: merging two parts is
            adding all records one after the other. None where that cannot be: hopping, session and sliding windows refuse it.
        result: What is shown of the accumulator; None is the accumulator itself.
        field: What ``add`` gets of a record.
    """
    finish = None if result is None else _function("of(result)", result)
    return _keeping.Of(
        field=_field("of(field)", field),
        init=_function("of(init)", init),
        add=_function("of(add)", add),
        combine=None if merge is None else _function("of(merge)", merge),
        finish=finish,
    )
