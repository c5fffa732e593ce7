"""A record at which something raises meets its policy: those before and after it pass, and nothing of it stays."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx

from rxstreams import DeadLetter, Retry, Skip, Stop, Stream, aggregates as agg, operators as ops
from rxstreams.errors import DecodeError, EncodeError, GraphError, OperatorError, Policy, SinkError, StateCodecError
from rxstreams.runtime.failures import Failure
from tests.laws.harness import Drive, End, Event, Rec, lines, random_cuts, run, run_with_crashes

VALUES = [3, 0, 4, 0, 0, 5, 1, 0]
GOOD = [value for value in VALUES if value]
EVENTS: list[Event] = [*(Rec("a", 0, value, i * 1000) for i, value in enumerate(VALUES)), End("a")]
CUTS: list[list[int]] = [[], [1], [2, 4], [1, 2, 3, 4, 5, 6, 7]]


class Careless:
    """A keyed operator that changes its state, its timers and its output before it raises."""

    def open(self) -> list[int]:
        """No values yet."""
        return []

    def process(self, state: list[int], key: Any, value: int, time: int, ctx: Any) -> None:
        """Raise at 0, when everything has been touched."""
        state.append(value)
        ctx.emit(list(state))
        ctx.set_timer(time + 100_000)
        if value == 0:
            ctx.forget()
            ctx.set_timer(time + 50_000)
            raise ValueError("zero")

    def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
        """Tell what is left."""
        ctx.emit(("due", time, list(state)))


def no_zero(x: Any) -> Any:
    """Raise at 0."""
    if x == 0:
        raise ValueError("zero")
    return x


STAGES: dict[str, Callable[[Policy | None], Any]] = {
    "map": lambda p: ops.map(no_zero, on_error=p),
    "filter": lambda p: ops.filter(no_zero, on_error=p),
    "flat_map": lambda p: ops.flat_map(lambda x: (no_zero(y) for y in (x + 1, x)), on_error=p),
    "flat_map to an Observable": lambda p: ops.flat_map(lambda x: reactivex.of(x + 1, x).pipe(rx.map(no_zero)), on_error=p),
    "scan": lambda p: ops.scan(lambda total, x: total + no_zero(x), 0, on_error=p),
    "reduce": lambda p: ops.reduce(lambda total, x: total + no_zero(x), 0, on_error=p),
    "distinct": lambda p: ops.distinct(no_zero, on_error=p),
    "key_by": lambda p: ops.key_by(lambda x: no_zero(x) % 2, on_error=p),
    "key_by a bad key": lambda p: ops.key_by(lambda x: x or 1.5, on_error=p),
    "aggregate": lambda p: ops.aggregate(n=agg.count(), total=agg.sum(no_zero), on_error=p),
    "aggregate a later one": lambda p: ops.aggregate(
        n=agg.count(), total=agg.sum(), text=agg.min(lambda x: "zero" if x == 0 else x), on_error=p
    ),
    "process": lambda p: ops.process(Careless(), on_error=p),
    "to_topic": lambda p: ops.to_topic("out", encode=lambda x: b"%d" % no_zero(x), on_error=p),
    "to_topic not bytes": lambda p: ops.to_topic("out", encode=lambda x: b"%d" % x if x else "text", on_error=p),
    "to_callable": lambda p: ops.to_callable(no_zero, on_error=p),
    "StopIteration": lambda p: ops.map(lambda x: x if x else next(iter([])), on_error=p),
}
KINDS = {"to_topic": EncodeError, "to_topic not bytes": EncodeError, "to_callable": SinkError}


def before(stage: str) -> Stream[Any]:
    """Return what stands before a stage: a key, for those that keep something by key."""
    return (
        lines().pipe(ops.map(lambda x: x), ops.key_by(lambda x: 0)) if stage == "process" else lines().pipe(ops.map(lambda x: x))
    )


@pytest.mark.parametrize("stage", STAGES)
def test_skip_leaves_out_the_failing_records_only(stage: str) -> None:
    """With Skip the results, outputs and state are those of the other records alone; each failure is counted."""
    rest = [one for one in EVENTS if not (isinstance(one, Rec) and one.value == 0)]
    expected = run(rest, before(stage).pipe(STAGES[stage](None)))
    for cuts in CUTS:
        for policy, on_run in ((Skip(), Stop()), (None, Skip())):
            outcome = run(EVENTS, before(stage).pipe(STAGES[stage](policy)), cuts=cuts, policy=on_run)
            assert outcome.values == expected.values
            assert outcome.outputs == expected.outputs
            assert outcome.states == expected.states
            assert len(outcome.lost) == 4


@pytest.mark.parametrize("stage", STAGES)
def test_stop_stops_at_the_failing_record(stage: str) -> None:
    """With Stop the run fails with an error that says stage, source, offset and value; nothing of the epoch is committed."""
    for cuts in CUTS:
        drive = Drive(before(stage).pipe(STAGES[stage](None)))
        with pytest.raises(KINDS.get(stage, OperatorError)) as caught:
            drive.feed(EVENTS, cuts)
        assert caught.value.stage.split("(")[0] == stage.split(maxsplit=1)[0].replace("StopIteration", "map")
        if stage not in ("process", "to_topic", "to_topic not bytes"):
            assert "between offsets" in str(caught.value) or "offset 1" in str(caught.value)
        assert caught.value.cause is not None


@pytest.mark.parametrize("stage", STAGES)
def test_dead_letters_hold_the_original_record(stage: str) -> None:
    """The dead letter has the bytes, key and headers of the source's record, however far away the stage, and where it failed."""
    far = before(stage).pipe(ops.filter(lambda x: x != 4), ops.flat_map(lambda x: [x]), ops.merge())
    for cuts in CUTS:
        outcome = run(EVENTS, far.pipe(STAGES[stage](DeadLetter("dead"))), cuts=cuts)
        letters = outcome.outputs["dead"]
        assert [letter.value for letter in letters] == [b"0"] * 4
        assert {letter.key for letter in letters} == {b"k"}
        headers = [dict(letter.headers) for letter in letters]
        assert [one["trace"] for one in headers] == [one["rxs.offset"] for one in headers] == [b"1", b"3", b"4", b"7"]
        assert {one["rxs.partition"] for one in headers} == {b"0"}
        assert {one["rxs.topic"] for one in headers} == {b"a"}
        assert {one["rxs.attempts"] for one in headers} == {b"1"}
        assert all(
            one["rxs.stage"].decode().split("(")[0] == stage.split(maxsplit=1)[0].replace("StopIteration", "map")
            for one in headers
        )


@pytest.mark.parametrize(
    "stage", ["map", "filter", "flat_map", "scan", "distinct", "key_by", "aggregate", "process", "to_topic", "to_callable"]
)
def test_retry_tries_the_record_again_and_then_does_the_rest(stage: str) -> None:
    """A function that fails twice and then works loses nothing; one that never works has used up its attempts."""
    expected = run(EVENTS, before(stage).pipe(STAGES_OF_ANY[stage](lambda x: x, None)))
    for cuts in CUTS:
        tries: dict[int, int] = {}

        def flaky(x: Any, tries: dict[int, int] = tries) -> Any:
            tries[x] = tries.get(x, 0) + 1
            if x == 4 and tries[x] <= 2:
                raise ConnectionError("busy")
            return x

        outcome = run(EVENTS, before(stage).pipe(STAGES_OF_ANY[stage](flaky, Retry(2))), cuts=cuts)
        assert (outcome.values, outcome.outputs, outcome.states) == (expected.values, expected.outputs, expected.states)

        attempts: list[int] = []

        def hopeless(x: Any, attempts: list[int] = attempts) -> Any:
            if x == 4:
                attempts.append(x)
                raise ConnectionError("busy")
            return x

        outcome = run(EVENTS, before(stage).pipe(STAGES_OF_ANY[stage](hopeless, Retry(3, then=DeadLetter("dead")))), cuts=cuts)
        assert len(attempts) == 4
        assert [dict(letter.headers)["rxs.attempts"] for letter in outcome.outputs["dead"]] == [b"4"]
        with pytest.raises((OperatorError, EncodeError, SinkError), match="after 2 attempts"):
            run(EVENTS, before(stage).pipe(STAGES_OF_ANY[stage](hopeless, Retry(1))), cuts=cuts)


class Keeps:
    """A keyed operator of one function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def open(self) -> list[int]:
        """Nothing yet."""
        return []

    def process(self, state: list[int], key: Any, value: int, time: int, ctx: Any) -> None:
        """Add, call, emit."""
        state.append(value)
        ctx.emit((self.function(value), len(state)))

    def on_timer(self, *_: Any) -> None:
        """Do nothing."""


STAGES_OF_ANY: dict[str, Callable[[Callable[[Any], Any], Policy | None], Any]] = {
    "map": lambda f, p: ops.map(f, on_error=p),
    "filter": lambda f, p: ops.filter(f, on_error=p),
    "flat_map": lambda f, p: ops.flat_map(lambda x: [f(x), x], on_error=p),
    "scan": lambda f, p: ops.scan(lambda total, x: total * 2 + f(x), 1, on_error=p),
    "distinct": lambda f, p: ops.distinct(f, on_error=p),
    "key_by": lambda f, p: ops.key_by(f, on_error=p),
    "aggregate": lambda f, p: ops.aggregate(n=agg.count(), total=agg.sum(f), on_error=p),
    "process": lambda f, p: ops.process(Keeps(f), on_error=p),
    "to_topic": lambda f, p: ops.to_topic("out", encode=lambda x: b"%d" % f(x), on_error=p),
    "to_callable": lambda f, p: ops.to_callable(f, on_error=p),
}


def test_errors_stream_carries_what_was_let_go() -> None:
    """`stream.errors` has each failure in its place among the results, as many as there are dead letters."""

    def pipeline() -> Stream[Any]:
        mapped = lines().pipe(ops.map(no_zero, on_error=DeadLetter("dead")))
        shown = mapped.errors.pipe(ops.map(lambda failure: (failure.stage, failure.value, failure.source, failure.original)))
        return mapped.pipe(ops.merge(shown))

    one = [("map(mapper=no_zero)", 0, ("a", 0, at), b"0") for at in (1, 3, 4, 7)]
    for cuts in CUTS:
        outcome = run(EVENTS, pipeline(), cuts=cuts)
        assert outcome.values == [[3, one[0], 4, one[1], one[2], 5, 1, one[3]]]
        assert len(outcome.outputs["dead"]) == 4


def test_bad_bytes_meet_the_sources_policy() -> None:
    """Bytes that do not decode are let go at the source, their neighbours untouched, and its `errors` have them."""
    events = [Rec("a", 0, value, 0) for value in (1, b"{", 2, b"", b"nul", 3)]
    for cuts in ([], [1, 3], [1, 2, 3, 4, 5]):
        source = lines(on_error=DeadLetter("dead"))
        outcome = run(events, source.pipe(ops.map(lambda x: x)), source.errors.pipe(ops.map(_told)), cuts=cuts)
        assert outcome.values == [[1, 2, 3], [(DecodeError, b"{", 1), (DecodeError, b"", 3), (DecodeError, b"nul", 4)]]
        assert [letter.value for letter in outcome.outputs["dead"]] == [b"{", b"", b"nul"]


def _told(failure: Failure) -> Any:
    assert failure.source is not None
    return type(failure.error), failure.original, failure.source[2]


def test_failures_in_a_diamond_keep_the_order_of_the_rest() -> None:
    """Branches that lose different records meet again in the source's order, under any cuts and crashes."""
    rng = random.Random(1)
    events: list[Event] = [*(Rec("a", 0, rng.randrange(9), i) for i in range(120)), End("a")]

    def fail_at(*values: int) -> Callable[[int], int]:
        def check(x: int) -> int:
            if x in values:
                raise ValueError(x)
            return x

        return check

    def pipeline() -> list[Stream[Any]]:
        source = lines()
        left = source.pipe(ops.map(fail_at(1, 2), on_error=Skip()), ops.scan(lambda a, b: fail_at(5)(b) + a, 0, on_error=Skip()))
        right = source.pipe(ops.flat_map(lambda x: [fail_at(2, 3)(x)] * 2, on_error=DeadLetter("dead")))
        errors = right.errors.pipe(ops.map(lambda failure: str(failure.value)))
        return [left.pipe(ops.merge(right, errors), ops.buffer_with_count(3)), left.pipe(ops.combine_latest(right))]

    expected = run(events, *pipeline())
    for _ in range(5):
        assert run(events, *pipeline(), cuts=random_cuts(rng, 120)) == expected
        assert run_with_crashes(events, *pipeline(), rng=rng) == expected


def test_failures_in_the_middle_show_no_cuts() -> None:
    """Chains of failing stages under Skip are the same however they are cut, and wherever they crash."""
    for seed in range(40):
        rng = random.Random(seed)
        events: list[Event] = [*(Rec("a", 0, rng.randrange(4), i * 100) for i in range(60)), End("a")]
        names = rng.sample([name for name in STAGES if name != "reduce" and not name.startswith("to_topic")], 3)

        def pipeline(names: list[str] = names) -> Stream[Any]:
            stream = lines()
            for name in names:
                stream = stream.pipe(ops.map(_small), STAGES[name](None))
            return stream

        expected = run(events, pipeline(), policy=Skip())
        assert run(events, pipeline(), policy=Skip(), cuts=random_cuts(rng, 60)) == expected
        assert run_with_crashes(events, pipeline(), policy=Skip(), rng=rng) == expected


def _small(x: Any) -> int:
    if isinstance(x, list | tuple):
        return len(x) % 3
    return x % 5 if isinstance(x, int) else int(x.n) % 4


class FailsAtTimers:
    """A keyed operator whose timers raise at odd times."""

    def open(self) -> list[int]:
        """Fired so far."""
        return []

    def process(self, state: list[int], key: Any, value: int, time: int, ctx: Any) -> None:
        """Have a timer at the value."""
        ctx.set_timer(value)

    def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
        """Raise when everything has been touched."""
        state.append(time)
        ctx.emit(list(state))
        if time % 2:
            ctx.set_timer(time + 10_001)
            raise ValueError("odd")


def test_a_failing_timer_leaves_no_trace_and_the_others_fire() -> None:
    """With Skip a timer that raises is let go alone; with Stop it stops the run; Retry tries the timer, not the record."""
    events: list[Event] = [
        *(Rec("a", 0, value, time) for value, time in ((500, 0), (501, 0), (502, 0), (0, 9000), (7, 9000))),
        End("a"),
    ]
    for cuts in ([], [1, 2, 3, 4]):
        stream = lines().pipe(ops.process(FailsAtTimers(), on_error=Retry(2, then=Skip())))
        outcome = run(events, stream, cuts=cuts)
        assert outcome.values == [[[0], [0, 500], [0, 500, 502]]] or outcome.values == [[[500], [500, 502], [500, 502, 0]]]
        assert len(outcome.lost) == 2
        assert all("after 3 attempts" in text for text in outcome.lost)
        with pytest.raises(OperatorError, match="odd"):
            run(events, lines().pipe(ops.process(FailsAtTimers(), on_error=Retry(1))), cuts=cuts)


def test_graph_errors_are_no_records_fault() -> None:
    """What no other record would do better stops the run whatever the policy: awaitables and endless Observables of flat_map."""

    async def wait() -> None:
        """Never awaited."""

    for function in (lambda x: wait(), lambda x: reactivex.never(), lambda x: lines()):
        with pytest.raises(GraphError, match="flat_map returned"):
            run(EVENTS, lines().pipe(ops.flat_map(function, on_error=Skip())))


@pytest.mark.parametrize(
    "operator",
    [
        ops.scan(lambda total, x: lambda: x, 0),
        ops.buffer_with_count(20),
        ops.combine_latest(lines("b")),
        ops.reduce(lambda total, x: [lambda: x], []),
        ops.to_view("v"),
    ],
    ids=["scan", "buffer_with_count", "combine_latest", "reduce", "to_view"],
)
def test_state_that_cannot_be_saved_fails_at_its_batch(operator: Any) -> None:
    """A function as state fails when it is made, not at the commit, and the error names the operator."""
    drive = Drive(lines().pipe(ops.map(lambda x: lambda: x), operator))
    with pytest.raises(StateCodecError, match=r"scan|buffer_with_count|combine_latest|reduce|to_view"):
        drive.feed(EVENTS[:2])


@pytest.mark.parametrize(
    "key", [None, lambda n: f"k{n % 3}", lambda n: n % 3, lambda n: (n % 2, "x"), lambda n: n if n % 2 else f"ü{n}"]
)
def test_to_topic_writes_the_same_by_columns_and_record_by_record(key: Any) -> None:
    """Whatever the keys and values are; a value that cannot be encoded is let go in both ways, and its neighbours are not."""
    made = [{"n": 0}, None, "x", b"bytes", 1.5, object(), [1], "y", ("z",), 2**70, {"n": 9}]
    numbers = lines("a")
    keyed = numbers if key is None else numbers.pipe(ops.key_by(key))
    results = keyed.pipe(ops.map(lambda n: made[n]))
    ways = [
        results.pipe(ops.filter(lambda value: not isinstance(value, bytes)), ops.to_topic("columns", on_error=Skip())),
        results.pipe(ops.to_topic("mixed", on_error=Skip())),
        results.pipe(ops.to_topic("records", headers=lambda _: (), on_error=Skip())),
    ]
    drive = Drive(*ways)
    drive.feed([Rec("a", 0, n, 1_000 + n) for n in range(len(made))], cuts=())
    drive.commit()
    assert drive.outputs["mixed"] == drive.outputs["records"]
    assert [record.value for record in drive.outputs["records"]].count(b"bytes") == 1
    assert drive.outputs["columns"] == [record for record in drive.outputs["records"] if record.value != b"bytes"]
