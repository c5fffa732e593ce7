"""process: timers by the clock, saved like those of event time; and what an operator calls late."""

from typing import Any

from rxstreams import Skip, operators as ops
from rxstreams.watermarks import Late
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines, run

NOW = 1_700_000_000_000
"""The clock of the harness, in milliseconds."""


class Quiet:
    """Tells when nothing has come for ten seconds of the clock."""

    def open(self) -> list[int]:
        """The timer that is set."""
        return [0]

    def process(self, state: list[int], key: Any, value: Any, time: int, ctx: Any) -> None:
        """Move the timer."""
        ctx.clear_clock_timer(state[0])
        state[0] = ctx.clock + 10_000
        ctx.set_clock_timer(state[0])

    def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
        """There are none of event time."""
        raise AssertionError

    def on_clock(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
        """Tell, and free the key."""
        ctx.emit((key, time - NOW))
        ctx.forget()


def records(*values: int) -> list[Event]:
    """Records at the beginning of time."""
    return [Rec("a", 0, value, 0) for value in values]


def quiet() -> Any:
    """The operator, per value."""
    return lines().pipe(ops.key_by(lambda x: x), ops.process(Quiet()))


def test_a_clock_timer_fires_when_the_clock_comes_to_it() -> None:
    """Whatever event time says; cleared and set anew it fires once, and its key is freed."""
    drive = Drive(quiet())
    drive.feed([*records(1, 2), Tick(6), *records(1), Tick(3.9)])
    assert drive.results[0] == []
    drive.feed([Tick(0.1)])
    assert [(value, time - NOW) for value, time, _ in drive.results[0]] == [((2, 10_000), 10_000)]
    drive.feed([Tick(100)])
    assert [value for value, _, _ in drive.results[0]] == [(2, 10_000), (1, 16_000)]
    (node,) = [vertex.node for vertex in drive.graph.stateful]
    assert node.states == {}


def test_clock_timers_are_saved_and_fire_late_after_a_crash() -> None:
    """One that came due while nothing ran fires at the restart, once."""
    drive = Drive(quiet())
    drive.feed(records(1))
    drive.commit()
    drive.clock.now += 60
    drive.crash()
    drive.feed([Tick(0)])
    drive.commit()
    drive.crash()
    drive.feed([Tick(60)])
    assert [value for value, _, _ in drive.results[0]] == [(1, 10_000)]


def test_the_end_of_the_input_does_not_wait_for_the_clock() -> None:
    """Event time is over then; the clock goes on, and nobody listens."""
    drive = Drive(quiet())
    drive.feed([*records(1), End("a")])
    assert drive.graph.complete
    assert not drive.graph.timers
    drive.feed([Tick(60)])
    assert drive.results[0] == []


def test_a_clock_timer_without_a_method_is_refused() -> None:
    """At the record that sets it, with the name of the method; the policy decides."""

    class Silent(Quiet):
        on_clock = None  # type: ignore[assignment]

    stream = lines().pipe(ops.process(Silent(), on_error=Skip()))
    outcome = run([*records(1), End("a")], stream)
    assert "has no method on_clock()" in outcome.lost[0]


def test_a_failing_call_takes_its_clock_timers_back() -> None:
    """As it does those of event time, and what it called late."""

    class Failing(Quiet):
        def process(self, state: list[int], key: Any, value: Any, time: int, ctx: Any) -> None:
            super().process(state, key, value, time, ctx)
            ctx.late(value)
            if value == 2:
                raise ValueError

    stream = lines().pipe(ops.key_by(lambda x: x % 1), ops.process(Failing(), on_error=Skip()))
    drive = Drive(stream, stream.late)
    drive.feed([*records(1), Tick(1), *records(2), Tick(9)])
    assert [value for value, _, _ in drive.results[0]] == [(0, 10_000)]
    assert len(drive.results[1]) == 1


def test_what_an_operator_calls_late_is_a_stream() -> None:
    """With how far it was behind the watermark."""

    class Strict:
        def open(self) -> int:
            return 0

        def process(self, state: int, key: Any, value: Any, time: int, ctx: Any) -> None:
            (ctx.late if time < ctx.watermark else ctx.emit)(value)
            ctx.forget()

        def on_timer(self, state: int, key: Any, time: int, ctx: Any) -> None:
            raise AssertionError

    stream = lines(out_of_orderness=1.0).pipe(ops.process(Strict()))
    events = [Rec("a", 0, 1, 5000), Rec("a", 0, 2, 3500), Rec("a", 0, 3, 4000), End("a")]
    assert run(events, stream, stream.late).values == [[1, 3], [Late(2, 0.5)]]
