"""Wrong arguments fail when a pipeline is built, and the message names the operator and the argument."""

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import Observable
from reactivex.internal import ArgumentOutOfRangeException

import rxstreams
from rxstreams import Retry, Stream, aggregates as agg, operators as ops
from rxstreams.errors import ConfigError
from tests.vocabulary import joins
from tests.vocabulary.families import FAMILIES
from tests.vocabulary.values import waiting, yielding


class AsyncCall:
    """An object that is called like a coroutine function."""

    async def __call__(self, value: Any) -> Any:
        """Return the value, later."""
        return value


class NoTimer:
    """A keyed operator that lacks a method."""

    def open(self) -> int:
        """Nothing to keep."""
        return 0

    def process(self, *_: Any) -> None:
        """Do nothing."""


CASES: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "aggregate": [
        (ops.aggregate, r"aggregate: expected at least one aggregate"),
        (lambda: ops.aggregate(key=agg.count()), r"aggregate: the result has a field 'key' already"),
        (lambda: ops.aggregate(n=3), r"aggregate\(n\): expected an aggregate"),
        (lambda: ops.aggregate(**{"a b": agg.count()}), r"aggregate\('a b'\): .*identifier"),
        (lambda: ops.aggregate(**{"class": agg.count()}), r"aggregate\('class'\): .*identifier"),
        (lambda: ops.aggregate(n=agg.count(), name=3), r"aggregate\(name\)"),
        (lambda: ops.aggregate(n=agg.count(), on_error="skip"), r"aggregate: on_error"),
        (lambda: ops.aggregate(n=agg.sum(3)), r"sum\(field\)"),
        (lambda: ops.aggregate(n=agg.max("")), r"max\(field\)"),
        (lambda: ops.aggregate(n=agg.mean(waiting)), r"mean\(field\).*coroutine function"),
    ],
    "buffer_with_count": [
        (lambda: ops.buffer_with_count("2"), r"buffer_with_count\(count\)"),
        (lambda: ops.buffer_with_count(2, 1.5), r"buffer_with_count\(skip\)"),
        (lambda: ops.buffer_with_count(2, name=""), r"buffer_with_count\(name\)"),
    ],
    "buffer_with_time": [
        (lambda: ops.buffer_with_time(0), r"buffer_with_time\(timespan\)"),
        (lambda: ops.buffer_with_time(float("nan")), r"buffer_with_time\(timespan\)"),
        (lambda: ops.buffer_with_time("1"), r"buffer_with_time\(timespan\)"),
        (lambda: ops.buffer_with_time(1, -1), r"buffer_with_time\(timeshift\)"),
        (lambda: ops.buffer_with_time(1, scheduler=3), r"buffer_with_time\(scheduler\)"),
        (lambda: ops.buffer_with_time(1, name=3), r"buffer_with_time\(name\)"),
    ],
    "combine_latest": [(lambda: ops.combine_latest([1]), r"combine_latest: expected an Observable as input 1, got \[1\]")],
    "distinct": [
        (lambda: ops.distinct(3), r"distinct\(key_mapper\)"),
        (lambda: ops.distinct(waiting), r"distinct\(key_mapper\).*coroutine function"),
        (lambda: ops.distinct(None, 3), r"distinct\(comparer\)"),
        (lambda: ops.distinct(name=3), r"distinct\(name\)"),
        (lambda: ops.distinct(on_error=3), r"distinct: on_error"),
    ],
    "filter": [
        (lambda: ops.filter(None), r"filter\(predicate\)"),
        (lambda: ops.filter(waiting), r"filter\(predicate\).*coroutine function.*filter_async"),
        (lambda: ops.filter(str, on_error="skip"), r"filter: on_error"),
    ],
    "flat_map": [
        (lambda: ops.flat_map("x"), r"flat_map\(mapper\)"),
        (lambda: ops.flat_map(3), r"flat_map\(mapper\)"),
        (lambda: ops.flat_map(yielding), r"flat_map\(mapper\).*coroutine function"),
        (lambda: ops.flat_map(list, on_error=Skip), r"flat_map: on_error"),
    ],
    "key_by": [
        (lambda: ops.key_by(3), r"key_by\(field\)"),
        (lambda: ops.key_by(""), r"key_by\(field\)"),
        (lambda: ops.key_by(waiting), r"key_by\(field\).*coroutine function"),
        (lambda: ops.key_by("a", on_error=1), r"key_by: on_error"),
    ],
    "map": [
        (lambda: ops.map("x"), r"map\(mapper\)"),
        (lambda: ops.map(waiting), r"map\(mapper\).*waiting is a coroutine function.*map_async"),
        (lambda: ops.map(functools.partial(waiting)), r"map\(mapper\).*coroutine function"),
        (lambda: ops.map(AsyncCall()), r"map\(mapper\).*coroutine function"),
        (lambda: ops.map(str, on_error=3), r"map: on_error"),
        (lambda: ops.map(str, on_error=Retry(1, backoff=2.0)), r"map: Retry\(backoff=2.0\)"),
    ],
    "merge": [
        (lambda: ops.merge(3), r"merge: expected an Observable as input 1, got 3"),
        (lambda: ops.merge(max_concurrent=0), r"merge\(max_concurrent\)"),
        (lambda: ops.merge(reactivex.of(1), max_concurrent=1), r"merge: expected sources or max_concurrent"),
    ],
    "process": [
        (lambda: ops.process(NoTimer()), r"process\(keyed\): .*NoTimer has no method on_timer"),
        (lambda: ops.process(None), r"process\(keyed\)"),
        (lambda: ops.process(_Nothing(), name=3), r"process\(name\)"),
        (lambda: ops.process(_Nothing(), on_error=3), r"process: on_error"),
    ],
    "reduce": [
        (lambda: ops.reduce(None), r"reduce\(accumulator\)"),
        (lambda: ops.reduce(waiting), r"reduce\(accumulator\).*coroutine function"),
        (lambda: ops.reduce(max, name=3), r"reduce\(name\)"),
        (lambda: ops.reduce(max, on_error=3), r"reduce: on_error"),
    ],
    "scan": [
        (lambda: ops.scan(3), r"scan\(accumulator\)"),
        (lambda: ops.scan(waiting), r"scan\(accumulator\).*coroutine function"),
        (lambda: ops.scan(max, name=""), r"scan\(name\)"),
        (lambda: ops.scan(max, on_error=3), r"scan: on_error"),
    ],
    "take": [
        (lambda: ops.take("3"), r"take\(count\)"),
        (lambda: ops.take(True), r"take\(count\)"),
        (lambda: ops.take(1, name=3), r"take\(name\)"),
    ],
    "to_callable": [
        (lambda: ops.to_callable(3), r"to_callable\(function\)"),
        (lambda: ops.to_callable(yielding), r"to_callable\(function\)"),
        (lambda: ops.to_callable(print, capacity=0), r"to_callable\(capacity\)"),
        (lambda: ops.to_callable(print, name=3), r"to_callable\(name\)"),
        (lambda: ops.to_callable(waiting, overflow="wait"), r"to_callable\(overflow\)"),
        (lambda: ops.to_callable(print, overflow="latest"), r"to_callable: timeout= and overflow= .*in_thread"),
        (lambda: ops.to_callable(print, timeout=1), r"to_callable: timeout="),
        (lambda: ops.to_callable(waiting, timeout="1"), r"to_callable\(timeout\)"),
        (lambda: ops.to_callable(waiting, batch=0), r"to_callable\(batch\)"),
        (lambda: ops.to_callable(waiting, batch=9, capacity=9, overflow="latest"), r"to_callable\(capacity\)"),
        (lambda: ops.to_callable(print, retry=0), r"Retry\(times\)"),
        (lambda: ops.to_callable(print, retry="x"), r"to_callable\(retry\)"),
        (lambda: ops.to_callable(print, with_id=1), r"to_callable\(with_id\)"),
        (lambda: ops.to_callable(print, on_error=3), r"to_callable: on_error"),
        (lambda: ops.to_callable(print, on_error=Retry(1, backoff=1.0)), r"to_callable: Retry"),
    ],
    "to_topic": [
        (lambda: ops.to_topic(""), r"to_topic\(name\)"),
        (lambda: ops.to_topic("t", key=3), r"to_topic\(key\)"),
        (lambda: ops.to_topic("t", timestamp=waiting), r"to_topic\(timestamp\).*coroutine function"),
        (lambda: ops.to_topic("t", headers="x"), r"to_topic\(headers\)"),
        (lambda: ops.to_topic("t", encode="json"), r"to_topic\(encode\)"),
        (lambda: ops.to_topic("t", partitions=0), r"to_topic\(partitions\)"),
        (lambda: ops.to_topic("t", on_error=3), r"to_topic: on_error"),
    ],
    "to_view": [(lambda: ops.to_view(3), r"to_view\(name\)"), (lambda: ops.to_view("v", publish="yes"), r"to_view\(publish\)")],
}
for _family in FAMILIES:
    CASES |= _family.ARGUMENTS
Skip = rxstreams.Skip


@pytest.mark.parametrize("name", ops.__all__)
def test_wrong_arguments_are_refused_when_built(name: str) -> None:
    """Every operator refuses each wrong argument with a ConfigError that names both."""
    for build, message in CASES[name]:
        with pytest.raises(ConfigError, match=message):
            build()


def test_counts_below_the_range_are_what_rxpy_raises() -> None:
    """`take(-1)` and buffers of nothing raise RxPY's own error, which its tests expect."""
    for build in (lambda: ops.take(-1), lambda: ops.buffer_with_count(0), lambda: ops.buffer_with_count(1, 0)):
        with pytest.raises(ArgumentOutOfRangeException):
            build()


@pytest.mark.parametrize("name", ops.__all__)
def test_operators_refuse_what_is_no_observable(name: str) -> None:
    """An operator called on something else than an Observable says that it belongs in a pipe."""
    built = "map" if name == "partition" else name  # which is what its two streams are made of
    with pytest.raises(ConfigError, match=rf"{built}: expected an Observable to work on, got list"):
        BUILD[name]()([1, 2])


BUILD: dict[str, Callable[[], Any]] = {
    "aggregate": lambda: ops.aggregate(n=agg.count()),
    "buffer_with_count": lambda: ops.buffer_with_count(2),
    "buffer_with_time": lambda: ops.buffer_with_time(1.0),
    "combine_latest": lambda: ops.combine_latest(reactivex.of(1)),
    "distinct": ops.distinct,
    "filter": lambda: ops.filter(lambda x: x > 1),
    "flat_map": lambda: ops.flat_map(lambda x: [x]),
    "key_by": lambda: ops.key_by(str),
    "map": lambda: ops.map(str),
    "merge": lambda: ops.merge(reactivex.of(1)),
    "process": lambda: ops.process(_Nothing()),
    "reduce": lambda: ops.reduce(max),
    "scan": lambda: ops.scan(max),
    "take": lambda: ops.take(1),
    "to_callable": lambda: ops.to_callable(str),
    "to_topic": lambda: ops.to_topic("t"),
    "to_view": lambda: ops.to_view("v"),
}
for _family in FAMILIES:
    BUILD |= _family.BUILD


class _Nothing(NoTimer):
    def on_timer(self, *_: Any) -> None:
        """Do nothing."""


@pytest.mark.parametrize("name", ops.__all__)
def test_operators_build_streams_that_know_themselves(name: str) -> None:
    """Each operator returns a Stream of its own kind over its inputs, and nothing has happened yet."""
    source: Observable[int] = reactivex.throw(AssertionError("subscribed to while a pipeline was built"))
    if name in joins.BUILD:
        source = source.pipe(ops.key_by(bool))
    stream = source.pipe(BUILD[name]())
    if name == "partition":
        assert [one.operation.kind for one in stream] == ["map", "map"]
        return
    assert isinstance(stream, Stream)
    assert (stream.operation.kind, stream.inputs[0]) == (name, source)


def test_fluent_methods_build_our_operators() -> None:
    """Every method of RxPY's Observable that bears the name of an operator of ours builds ours on a Stream."""
    stream = rxstreams.from_iterable([1, 2])
    arguments: dict[str, tuple[Any, ...]] = {
        "buffer_with_count": (2,),
        "buffer_with_time": (1.0,),
        "combine_latest": (stream,),
        "distinct": (),
        "filter": (bool,),
        "flat_map": (lambda x: [x],),
        "map": (str,),
        "merge": (stream,),
        "reduce": (max,),
        "scan": (max,),
        "take": (1,),
    }
    for family in FAMILIES:
        arguments |= family.FLUENT
    fluent = [name for name in ops.__all__ if hasattr(Observable, name)]
    assert fluent == sorted(arguments)
    for name in fluent:
        built = getattr(stream, name)(*arguments[name])
        if name == "partition":
            assert all(isinstance(one, Stream) for one in built)
            continue
        assert isinstance(built, Stream)
        assert built.operation.kind == name
    assert [name for name in ops.__all__ if name not in fluent and hasattr(stream, name)] == []


def test_no_operator_takes_what_this_test_does_not_know() -> None:
    """A new argument of an operator needs a case here."""
    known = {"aggregates", "args", "sources", "other", "others", "seed"}
    for name in ops.__all__:
        told = " ".join(message for _, message in CASES[name])
        for argument in inspect.signature(getattr(ops, name)).parameters.values():
            assert argument.name in known or argument.name in told, (name, argument.name)


def test_coroutine_functions_are_welcome_in_to_callable() -> None:
    """`to_callable` takes a coroutine function, a partial of one, and an object with an async call."""

    async def main() -> list[int]:
        seen: list[int] = []

        async def call(value: int) -> None:
            seen.append(value)

        class Call:
            async def __call__(self, value: int) -> None:
                seen.append(value)

        for function in (call, functools.partial(call), Call()):
            async for _ in rxstreams.from_iterable([1, 2]).pipe(ops.to_callable(function)):
                pass
        return seen

    assert asyncio.run(main()) == [1, 2, 1, 2, 1, 2]
