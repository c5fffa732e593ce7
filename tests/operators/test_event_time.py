"""event_time: time begins anew, whatever the source's was; what cannot be read meets the policy, and time never goes back."""

import asyncio
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx

import rxstreams
from rxstreams import Skip, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import TimestampError
from tests.laws.harness import Drive, End, Event, Rec, lines, run
from tests.runtime.faulty import got, put

NOW = 1_700_000_000_000
"""In milliseconds."""


class Alarm:
    """A keyed operator that tells each record's time, and when a second has passed since."""

    def open(self) -> int:
        """Nothing to keep."""
        return 0

    def process(self, state: int, key: Any, value: Any, time: int, ctx: Any) -> None:
        """Tell, and set a timer."""
        ctx.emit(("seen", value, time, ctx.watermark))
        ctx.set_timer(time + 1000)

    def on_timer(self, state: int, key: Any, time: int, ctx: Any) -> None:
        """Tell."""
        ctx.emit(("due", time, ctx.watermark))


def records(*values: Any) -> list[Event]:
    """Return records whose source's times have nothing to do with their values."""
    return [Rec("a", 0, value, 2 * NOW + i) for i, value in enumerate(values)]


def test_times_and_watermarks_are_the_operators_own() -> None:
    """Records are seen at the times in their values, and timers fire by them, not by the source's, under any cuts."""
    source = lines(out_of_orderness=0.0)
    stream = source.pipe(ops.event_time(lambda x: NOW + x, out_of_orderness=0.5), ops.process(Alarm()))
    other = source.pipe(ops.process(Alarm()))  # which reads the source's own
    events = [*records(0, 400, 1200, 900, 2100), End("a")]
    expected = run(events, stream, other)
    assert expected.values[0][:4] == [
        ("seen", 0, NOW, rxstreams.watermarks.START),
        ("seen", 400, NOW + 400, NOW - 500),
        ("seen", 1200, NOW + 1200, NOW - 100),
        ("seen", 900, NOW + 900, NOW + 700),
    ]
    assert [value[1] - NOW for value in expected.values[0] if value[0] == "due"] == [1000, 1400, 1900, 2200, 3100]
    for cuts in ([], [2], [1, 4]):
        assert run(events, stream, other, cuts=cuts) == expected


def test_time_begins_anew_behind_a_foreign_operator() -> None:
    """What RxPY's operators give has the clock's time; with event_time it has that of its values again."""
    stream = lines().pipe(rx.map(lambda x: x + 1), ops.event_time(lambda x: NOW + x), ops.process(Alarm()))
    assert [value[:3] for value in run([*records(1, 2), End("a")], stream).values[0][:2]] == [
        ("seen", 2, NOW + 2),
        ("seen", 3, NOW + 3),
    ]
    assert [value[:2] for value in run([*records(1, 2), End("a")], stream).values[0][2:]] == [
        ("due", NOW + 1002),
        ("due", NOW + 1003),
    ]


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        ("2026-01-16T10:00:00", "naive datetime.*time zone"),
        ("yesterday", "expected an ISO 8601 time"),
        (None, "expected an aware datetime"),
    ],
)
def test_a_record_without_a_readable_time_meets_the_policy(at: Any, problem: str) -> None:
    """Its neighbours go on, it is counted, and the message names the operator and the remedy."""
    events = [*records({"at": NOW}, {"at": at}, {}, {"at": NOW + 5}), End("a")]
    outcome = run(events, lines().pipe(ops.event_time("at", on_error=Skip())), cuts=[])
    assert [(value["at"], time) for value, time, _ in outcome.results[0]] == [(NOW, NOW), (NOW + 5, NOW + 5)]
    assert len(outcome.lost) == 2
    with pytest.raises(TimestampError, match=rf"event_time.*{problem}"):
        run(events, lines().pipe(ops.event_time("at")), cuts=[])


def test_time_does_not_go_back_after_a_restart() -> None:
    """A record that was late before a restart is late after it, and no timer fires twice."""
    drive = Drive(lines().pipe(ops.event_time(lambda x: NOW + x), ops.process(Alarm())))
    drive.feed(records(0, 5000))
    drive.commit()
    drive.crash()
    drive.feed(records(100), offset=2)
    came = [value for value, _, _ in drive.results[0]]
    assert came[-2:] == [("seen", 100, NOW + 100, NOW + 5000), ("due", NOW + 1100, NOW + 5000)]
    assert [value[1] - NOW for value in came if value[0] == "due"] == [1000, 1100]


def test_in_a_subscription_times_are_those_of_the_values() -> None:
    """Keyed operators behind it see them there too; a value without one ends the subscription."""
    came: list[Any] = []
    errors: list[Exception] = []
    reactivex.of(1, 1500).pipe(ops.event_time(lambda x: NOW + x), ops.process(Alarm())).subscribe(came.append)
    assert [value[:2] for value in came] == [("seen", 1), ("seen", 1500), ("due", NOW + 1001), ("due", NOW + 2500)]
    reactivex.of("x").pipe(ops.event_time(lambda x: x), ops.process(Alarm())).subscribe(came.append, errors.append)
    assert "ISO 8601" in str(errors[0])


def test_a_run_carries_event_time_over_its_restart() -> None:
    """On a broker: the second start has the first one's watermark, so a timer of the first fires once."""

    async def main() -> None:
        broker = MemoryBroker()
        source = rxstreams.from_topic("in", int, until="end", finish=False)
        stream = source.pipe(
            ops.event_time(lambda x: NOW + x), ops.process(Alarm()), ops.map(lambda x: x[:2]), ops.to_topic("out")
        )
        for part in ((0, 1200), (50, 3000)):
            await put(broker, part)
            async with rxstreams.start(stream, app="app", broker=broker) as running:
                await running.wait()
        due = [value[1] - NOW for value in await got(broker) if value[0] == "due"]
        assert due == [1000, 1050, 2200]

    asyncio.run(main())
