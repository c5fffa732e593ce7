"""Aggregates: what they compute, that parts merge into the whole, and that they change all of a record or nothing."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pytest

from rxstreams import aggregates as agg
from rxstreams.aggregates.compiled import stepper, wholly
from rxstreams.errors import ConfigError
from rxstreams.state.codec import dumps, loads, pack

EVERY: dict[str, Callable[[], agg.Aggregate]] = {
    "count": agg.count,
    "sum": agg.sum,
    "exact sum": lambda: agg.sum(exact=True),
    "mean": agg.mean,
    "exact mean": lambda: agg.mean(exact=True),
    "variance": agg.variance,
    "population variance": lambda: agg.variance(ddof=0),
    "min": agg.min,
    "max": agg.max,
    "first": agg.first,
    "last": agg.last,
    "collect": lambda: agg.collect(max=5),
    "distinct_count": agg.distinct_count,
    "top": lambda: agg.top(3, lambda x: round(x) % 4),
    "of": lambda: agg.of(tuple, lambda fold, x: (*fold, x), lambda a, b: a + b, len),
}

Numbers = Sequence[float]

BY_DEFINITION: dict[str, Callable[[Numbers], Any]] = {
    "count": len,
    "sum": lambda xs: reduce(lambda a, b: a + b, xs, 0),
    "exact sum": math.fsum,
    "mean": lambda xs: math.fsum(xs) / len(xs) if xs else None,
    "exact mean": lambda xs: math.fsum(xs) / len(xs) if xs else None,
    "variance": lambda xs: statistics.variance(xs) if len(xs) > 1 else None,
    "population variance": lambda xs: statistics.pvariance(xs) if xs else None,
    "min": lambda xs: min(xs, default=None),
    "max": lambda xs: max(xs, default=None),
    "first": lambda xs: xs[0] if xs else None,
    "last": lambda xs: xs[-1] if xs else None,
    "collect": lambda xs: list(xs[:5]),
    "distinct_count": lambda xs: len(set(xs)),
    "top": lambda xs: sorted(xs, key=lambda x: round(x) % 4, reverse=True)[:3],
    "of": len,
}


class Fold:
    """One aggregate's accumulator, stepped by the loop that a run uses."""

    def __init__(self, one: agg.Aggregate) -> None:
        self.one, self.states = one, {None: list(one.start)}
        self.shown: list[Any] = []
        self.step = stepper([(one, 0)], mapping=False, row=lambda key, result: result)

    @property
    def row(self) -> list[Any]:
        """The slots."""
        return self.states[None]

    def add(self, values: Numbers) -> Fold:
        """Take values in, one by one."""
        self.step(self.states, list(self.one.start), ((None, value, None) for value in values), self.shown.append)
        return self

    def saved(self) -> Fold:
        """Another one, restored from what this one saves."""
        other = Fold(self.one)
        other.states[None] = loads(dumps(pack(self.row)))
        return other

    @property
    def result(self) -> Any:
        """The result so far."""
        return self.one.result(self.row, 0)


def random_numbers(rng: random.Random) -> list[float]:
    """Return numbers of very different sizes, some of them equal, or none."""
    return [round(rng.gauss(0, 10) * 10 ** rng.choice((0, 0, 3)), 2) for _ in range(rng.choice((0, 1, 2, 40)))]


def close(one: Any, other: Any) -> bool:
    """Tell whether two results are equal, floats within 1e-9."""
    if isinstance(one, float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


@pytest.mark.parametrize("name", EVERY)
def test_an_aggregate_is_what_its_definition_says(name: str) -> None:
    """However many numbers there are, by steps, as a whole column, and in what is shown after each."""
    for seed in range(60):
        numbers = random_numbers(random.Random(f"{name}{seed}"))
        one = EVERY[name]()
        fold = Fold(one).add(numbers)
        assert close(fold.result, BY_DEFINITION[name](numbers)), numbers
        assert all(close(shown, BY_DEFINITION[name](numbers[: i + 1])) for i, shown in enumerate(fold.shown))
        if numbers and not one.in_place:
            column = [one.field(x) if callable(one.field) else x for x in numbers]
            assert wholly([(one, 0)], list(one.start), [column]) == fold.row


@pytest.mark.parametrize("name", EVERY)
def test_parts_merge_into_the_whole(name: str) -> None:
    """Merging is associative, an empty part is neutral, and merged parts are what all values one after the other are."""
    for seed in range(60):
        rng = random.Random(f"merge {name}{seed}")
        one = EVERY[name]()
        parts = [random_numbers(rng) for _ in range(3)]
        whole = Fold(one).add([x for part in parts for x in part]).result
        left, right = Fold(one).add(parts[0]), Fold(one).add(parts[1])
        one.merge(right.row, Fold(one).add(parts[2]).saved().row, 0)  # a + (b + c)
        one.merge(left.row, right.row, 0)
        assert close(left.result, whole), parts
        left = Fold(one).add(parts[0])  # (a + b) + c, with empty ones between
        for part in ([], parts[1], [], parts[2]):
            one.merge(left.row, Fold(one).add(part).row, 0)
        assert close(left.result, whole), parts


@pytest.mark.parametrize("name", EVERY)
def test_a_restored_accumulator_goes_on_as_the_other(name: str) -> None:
    """What is saved in the middle and restored gives the same in the end."""
    for seed in range(20):
        numbers = random_numbers(random.Random(f"save {name}{seed}"))
        half = Fold(EVERY[name]()).add(numbers[: len(numbers) // 2])
        other = half.saved().add(numbers[len(numbers) // 2 :])
        assert other.result == half.add(numbers[len(numbers) // 2 :]).result
        assert other.row == half.row


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"count"}))
def test_a_result_is_not_changed_by_later_values(name: str) -> None:
    """What was shown stays as it was, though the accumulator goes on."""
    fold = Fold(EVERY[name]()).add([3.0, 1.0])
    before, copy = fold.result, repr(fold.result)
    fold.add([5.0, 7.0])
    assert repr(before) == copy
    assert repr(fold.shown[1]) == copy


@pytest.mark.parametrize("name", sorted(EVERY.keys() - {"count"}))
def test_a_value_that_cannot_be_taken_in_changes_nothing(name: str) -> None:
    """A function of the value that raises leaves all aggregates of the record as they were."""

    def field(x: float) -> float:
        return 1 / x

    make: dict[str, Callable[[], agg.Aggregate]] = {
        "exact sum": lambda: agg.sum(field, exact=True),
        "exact mean": lambda: agg.mean(field, exact=True),
        "population variance": lambda: agg.variance(field, ddof=0),
        "collect": lambda: agg.collect(field, max=5),
        "top": lambda: agg.top(2, field),
        "of": lambda: agg.of(int, lambda a, x: a + x, max, field=field),
    }
    one = make[name]() if name in make else getattr(agg, name)(field)
    slots = [(agg.count(), 0), (agg.collect(max=9), 1), (agg.distinct_count(), 2), (one, 3)]
    empty = [slot for each, _ in slots for slot in each.start]
    states = {None: empty.copy()}
    step = stepper(slots, mapping=False, row=None)
    step(states, empty, [(None, 2.0, None)], print)
    before = loads(dumps(pack(states[None])))
    with pytest.raises(ZeroDivisionError):
        step(states, empty, [(None, 0.0, None)], print)
    assert states[None] == before


def test_exact_sums_do_not_depend_on_the_order() -> None:
    """A sum that plain additions lose is kept, in any order and in any parts, and so is a mean."""
    numbers = [1e16, 1.0, -1e16, 3.5e-3] * 50
    for seed in range(20):
        random.Random(seed).shuffle(numbers)
        fold = Fold(agg.sum(exact=True)).add(numbers)
        most = 2.0**-53 * abs(math.fsum(numbers)) + len(numbers) * 2.0**-105 * math.fsum(map(abs, numbers))
        assert abs(fold.result - math.fsum(numbers)) <= most
        assert fold.shown[-1] == fold.result
        merged, one = Fold(agg.sum(exact=True)), agg.sum(exact=True)
        for at in range(0, len(numbers), 7):
            one.merge(merged.row, Fold(one).add(numbers[at : at + 7]).row, 0)
        assert abs(merged.result - math.fsum(numbers)) <= most
        assert abs(Fold(agg.mean(exact=True)).add(numbers).result - math.fsum(numbers) / len(numbers)) <= most
    assert abs(Fold(agg.sum()).add(numbers).result - math.fsum(numbers)) > 1e6 * most


def test_exact_sums_of_what_is_no_number_are_what_plain_sums_are() -> None:
    """Infinity stays infinity, and infinity less infinity is not a number."""
    assert Fold(agg.sum(exact=True)).add([1.0, math.inf, 2.0]).result == math.inf
    assert Fold(agg.sum(exact=True)).add([1.0, math.inf]).shown == [1.0, math.inf]
    assert math.isnan(Fold(agg.sum(exact=True)).add([math.inf, -math.inf]).result)
    assert Fold(agg.sum(exact=True)).add([1e308, 1e308]).result == math.inf


def test_what_defines_the_state_is_in_the_name() -> None:
    """Two aggregates that keep different things are not taken for the same."""
    shown = Counter(map(repr, (make() for make in EVERY.values())))
    assert set(shown.values()) == {1}
    assert repr(agg.collect("amount", max=3)) == "collect(amount, max=3)"
    assert repr(agg.sum("amount", exact=True)) == "exactSum(amount)"


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: agg.collect("x", max=0), r"collect\(max\): expected an integer of at least 1"),
    (lambda: agg.collect(3, max=1), r"collect\(field\)"),
    (lambda: agg.variance(ddof=-1), r"variance\(ddof\)"),
    (lambda: agg.top(0, "x"), r"top\(n\)"),
    (lambda: agg.top(1, None), r"top\(by\)"),
    (lambda: agg.top(1, "x", 3), r"top\(field\)"),
    (lambda: agg.distinct_count(""), r"distinct_count\(field\)"),
    (lambda: agg.first(3), r"first\(field\)"),
    (lambda: agg.last(3), r"last\(field\)"),
    (lambda: agg.of(0, max, max), r"of\(init\)"),
    (lambda: agg.of(int, 0, max), r"of\(add\)"),
    (lambda: agg.of(int, max, 0), r"of\(merge\)"),
    (lambda: agg.of(int, max, max, 0), r"of\(result\)"),
]


@pytest.mark.parametrize(("build", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments_are_refused_when_built(build: Callable[[], Any], message: str) -> None:
    """An aggregate says which argument is wrong."""
    with pytest.raises(ConfigError, match=message):
        build()
