"""Event-time marbles: diagrams in which a record has a time of its own, and a key, and time can be moved by hand.

    orders   -a-b--c---d-|      a=1@10 b=2@50 c=3@40 d=4@65   out_of_orderness=15
             [ windowed(rxs.tumbling(60), n=agg.count()) ]
    result   ------------(x,y|) x=(start=0, n=3)@59.999 y=(start=60000, n=1)

Where a marble stands says when the record is handled: a character is a second, unless the picture says otherwise, from 0 on.
What it is stands beside the line:

    a=1@50          the value 1, whose event time is second 50; without @, the time at which it is handled
    a=ann/1@50      the same with the key ``ann``
    W=@60           the watermark is moved to 60 by hand
    I=idle          this partition is set aside as idle; when all of a source's are, its time goes on with the clock
    C=commit        a commit;  X=crash  the process dies, and starts again from the last commit

Lines ``orders[0]`` and ``orders[1]`` are partitions of one source. Below the operator the first line is the result, others its
side streams (``late``, ``errors``): of a value there its key and its time are compared where they are shown. Where no line
has event times, time follows the clock, as in a subscription under RxPY's TestScheduler; else it follows the records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from reactivex import Observable
from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.observable.marbles import parse

from rxstreams import operators as ops
from rxstreams.errors import RxStreamsError
from rxstreams.feeds.source import Source, Stamping
from rxstreams.pictures.marbles import Event, OperatorsFor, Outcome, Parts, Row, read_legend, read_parts, read_value
from rxstreams.state.keys import original
from rxstreams.stream import Operation, Stream, source_stream
from rxstreams.testing.driving import Drive
from rxstreams.watermarks import bounded

__all__ = ["MarbleOutcome", "run_marbles"]

Build = Callable[..., Stream[Any]]
_NAME = re.compile(r"(\w+?)(?:\[(\d+)\])?$")
_MARBLE = re.compile(r"(?:(\w+)/)?(.*?)(?:@(-?\d+(?:\.\d+)?))?$")
_DISORDER = re.compile(r"\bout_of_orderness=(\d+(?:\.\d+)?)")
_WORDS = frozenset({"idle", "commit", "crash"})
_TICK = 0.001


class Marble(NamedTuple):
    """A record in a diagram; what is None is not shown."""

    value: Any
    time: float | None = None
    key: Any = None


class Act(NamedTuple):
    """What a marble does that is no record: a word, or a watermark (seconds)."""

    word: str
    time: float = 0.0


class Came:
    """A result with its event time (seconds) and key; equal to any value or marble that shows nothing else of it."""

    __slots__ = ("_key", "_time", "_value")
    __hash__ = None  # type: ignore[assignment]  # it is equal to unequal things

    def __init__(self, value: Any, time: float | None, key: Any) -> None:
        self._value, self._time, self._key = value, time, key

    def __eq__(self, shown: object) -> bool:
        if not isinstance(shown, Marble):
            return bool(shown == self._value)
        timed = shown.time is None or self._time is None or abs(shown.time - self._time) < 1e-6
        return timed and bool(shown.value == self._value) and (shown.key is None or shown.key == self._key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._value, name)  # a row is compared by the fields that are shown

    def __repr__(self) -> str:
        return repr(self._value) if self._time is None else f"{self._value!r}@{self._time:g}"


class MarbleOutcome(NamedTuple):
    """What a picture shows and what happens, line by line; ``str()`` of it has them below each other."""

    lines: Mapping[str, Outcome]

    @property
    def holds(self) -> bool:
        """Whether all that comes is what the picture shows, when it shows it."""
        return all(line.holds for line in self.lines.values())

    def __str__(self) -> str:
        wrong = [(name, line) for name, line in self.lines.items() if not line.holds]
        return "\n\n".join(f"{name}:\n{line}" for name, line in wrong or self.lines.items())


class Input(NamedTuple):
    """A source of a picture: its stream, and the events of each partition."""

    stream: Stream[Any]
    built: Observable[Any]
    partitions: Mapping[int, Sequence[Event]]


def run_marbles(picture: str, build: Build | None = None, *, operators_for: OperatorsFor | None = None) -> MarbleOutcome:
    """Run a pipeline over the records of an event-time diagram, and compare what comes with what is shown.

    Args:
        picture: The diagram; see the module.
        build: Makes the pipeline of the sources, given by their names; for a picture without an operator in brackets.
        operators_for: Makes the operators of what stands in the brackets.

    Raises:
        ValueError: If the text is no such picture, or it is not said what to run.
    """
    parts = read_parts(picture)
    if (parts.operator is None) == (build is None):
        raise ValueError("expected an operator in brackets, or a function that builds the pipeline, and not both")
    above, below = _sorted_out(parts, build)
    inputs = dict(_inputs(above))
    stream = _built(inputs, parts, build, operators_for)
    followed = any(isinstance(what, OnNext) and _brings_time(what.value) for what in _notifications(inputs))
    streams = {name: stream if i == 0 else getattr(stream, name) for i, name in enumerate(below)}
    width = max(len(row.drawn) for row in (*above.values(), *below.values()))
    came = Show(inputs, streams, parts.unit, by_clock=not followed).play(width)
    return MarbleOutcome({name: _outcome(row, came[name]) for name, row in below.items()})


def _sorted_out(parts: Parts, build: Build | None) -> tuple[Mapping[str, Row], Mapping[str, Row]]:
    """Inputs and outputs; without brackets, the function's parameters are the inputs."""
    if build is None:
        return parts.above, parts.below
    code = getattr(build, "__code__", None)
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    above = {name: row for name, row in parts.above.items() if _NAME.sub(r"\1", name) in names}
    below = {name: row for name, row in parts.above.items() if name not in above}
    if not above or not below:
        raise ValueError(f"expected a line for each parameter of the function, {names}, and one for the result: {[*parts.above]}")
    return above, below


def _inputs(rows: Mapping[str, Row]) -> Iterator[tuple[str, Input]]:
    """The sources of a picture, by name."""
    by_name: dict[str, dict[int, Row]] = {}
    for label, row in rows.items():
        found = _NAME.match(label)
        assert found is not None
        by_name.setdefault(found[1], {})[int(found[2] or 0)] = row
    for name, partitions in by_name.items():
        disorder = [float(found[1]) for row in partitions.values() if (found := _DISORDER.search(row.legend))]
        events = {partition: _events(row) for partition, row in partitions.items()}
        values = [what.value for part in events.values() for _, what in part if isinstance(what, OnNext)]
        keyed = any(isinstance(value, Marble) and value.key is not None for value in values)
        stream = _by_hand(name, max(disorder, default=0.0))
        built = stream.pipe(ops.key_by(_key_of), ops.map(_value_of)) if keyed else stream.pipe(ops.map(_value_of))
        yield name, Input(stream, built, events)


def _events(row: Row) -> list[Event]:
    legend = read_legend(_DISORDER.sub("", row.legend), _marble)
    return cast("list[Event]", parse(row.drawn, lookup=legend))


def _marble(text: str) -> Any:
    """What a name in an input or output stands for."""
    found = _MARBLE.match(text)
    assert found is not None
    key, body, time = found[1], found[2], None if found[3] is None else float(found[3])
    if body in _WORDS:
        return Act(body)
    if not body:
        return Act("watermark", time or 0.0)
    value = read_value(body)
    return value if key is None and time is None else Marble(value, time, key)


def _brings_time(value: Any) -> bool:
    return isinstance(value, Act) or (isinstance(value, Marble) and value.time is not None)


def _notifications(inputs: Mapping[str, Input]) -> Iterator[Notification[Any]]:
    return (what for one in inputs.values() for events in one.partitions.values() for _, what in events)


def _by_hand(name: str, out_of_orderness: float) -> Stream[Any]:
    """A source of marbles."""
    feed = ByHand(name)
    stamping = Stamping(None, bounded(out_of_orderness), None, by_clock=True)
    make = lambda: Source(feed, None, stamping, None)  # noqa: E731  # a value among values
    return source_stream(Operation("marbles", make, {"name": name}, ends=feed, sides=("errors",)))


class ByHand(NamedTuple):
    """The blueprint of a source that is fed by hand."""

    id: str
    weakness: str | None = None
    live: bool = False
    finish: bool = True
    topic: str | None = None
    idle_after: float | None = None
    fetch: int = 1

    def chunks(self, broker: Any, positions: Any, *, first: Any, saved: Any) -> Any:
        """Nothing reads it."""
        raise NotImplementedError


def _key_of(marble: Any) -> Any:
    return marble.key if isinstance(marble, Marble) else None


def _value_of(marble: Any) -> Any:
    return marble.value if isinstance(marble, Marble) else marble


def _built(inputs: Mapping[str, Input], parts: Parts, build: Build | None, operators_for: OperatorsFor | None) -> Stream[Any]:
    streams = {name: one.built for name, one in inputs.items()}
    if build is not None:
        return build(**streams)
    if operators_for is None or parts.operator is None:
        raise ValueError("a picture with an operator in brackets needs operators_for")
    source, *_ = streams.values()
    return cast("Stream[Any]", source.pipe(*operators_for(parts.operator, streams)))


class Show:
    """A picture being played."""

    def __init__(self, inputs: Mapping[str, Input], streams: Mapping[str, Stream[Any]], unit: float, *, by_clock: bool) -> None:
        self.inputs, self.streams, self.unit, self.by_clock = inputs, streams, unit, by_clock
        self.drive = Drive(*streams.values(), start=0.0)
        self.open = {name: set(one.partitions) for name, one in inputs.items()}
        self.failed: Event | None = None

    def play(self, width: int) -> dict[str, list[Event]]:
        """What comes on each line, when."""
        events = [
            (at, name, partition, what)
            for name, one in self.inputs.items()
            for partition, part in one.partitions.items()
            for at, what in part
        ]
        events.sort(key=lambda event: event[0])  # stable: at one time in the order of the lines
        try:
            for at, name, partition, what in events:
                self.advance(at)
                self.act(name, partition, what)
            self.advance(width)
        except RxStreamsError as error:
            self.failed = self.drive.clock.now / self.unit, OnError(error)
        return {name: list(self.came(stream)) for name, stream in self.streams.items()}

    def advance(self, at: float) -> None:
        """Let the clock come to a place, and time with it where that follows the clock.

        It stops a millisecond behind each place, too: there time has passed what stands in it, and what waits for that comes.
        """
        while (now := self.drive.clock.now) < at * self.unit - 1e-9:
            stop = min(now + self.unit, at * self.unit)
            for moment in sorted({min(now + _TICK, stop), stop}):
                self.drive.advance(moment - self.drive.clock.now)
                for name, one in self.inputs.items() if self.by_clock else ():
                    if self.open[name]:
                        self.drive.watermark(self.drive.clock.now, source=one.stream)

    def act(self, name: str, partition: int, what: Notification[Any]) -> None:
        """Do what a marble says."""
        stream = self.inputs[name].stream
        if isinstance(what, OnError):
            raise ValueError("an input of event-time marbles cannot fail: in a run, brokers do")
        if isinstance(what, OnCompleted):
            self.open[name].discard(partition)
            if self.open[name]:
                self.drive.idle(partition, source=stream)
            else:
                self.drive.end(stream)
            return
        marble = cast("OnNext[Any]", what).value
        if not isinstance(marble, Act):
            at = marble.time if isinstance(marble, Marble) and marble.time is not None else self.drive.clock.now
            self.drive.feed(marble, source=stream, partition=partition, at=float(at))
        elif marble.word == "watermark":
            self.drive.watermark(marble.time, source=stream)
        elif marble.word == "idle":
            self.idle(name, partition)
        else:
            getattr(self.drive, marble.word)()

    def idle(self, name: str, partition: int) -> None:
        """Set a partition aside."""
        stream = self.inputs[name].stream
        times = self.drive.source(name).times
        everybody = {*times.idle, partition} >= set(self.inputs[name].partitions)
        self.drive.idle(partition, all_partitions=everybody, source=stream)

    def came(self, stream: Stream[Any]) -> Iterator[Event]:
        """What came out of a stream, when; its end, or the error that ended all."""
        index = self.drive.watched.index(stream)
        for (value, time, key), moment in zip(self.drive.results[index], self.drive.moments[index], strict=True):
            seconds = None if time is None else time / 1000
            yield moment / self.unit, OnNext(Came(value, seconds, None if key == "unkeyed" else original(key)))
        end = self.drive.ends[index]
        if self.failed is not None:
            yield self.failed
        elif end is not None:
            yield end / self.unit, OnCompleted()


def _outcome(row: Row, came: list[Event]) -> Outcome:
    legend = read_legend(row.legend, _marble)
    return Outcome(cast("list[Event]", parse(row.drawn, lookup=legend)), came, legend)
