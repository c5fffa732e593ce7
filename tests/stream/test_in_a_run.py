"""Streams in a run: each node once, foreign operators among ours, and what a run cannot do."""

import random
import threading
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import Subject

from rxstreams import Stream, aggregates as agg, draw, operators as ops
from rxstreams.errors import GraphError
from tests.laws.harness import Drive, End, Event, Rec, Tick, lines, random_cuts, run, run_with_crashes


def records(*values: int) -> list[Event]:
    """Return records of one source, and its end."""
    return [*(Rec("a", 0, value, i * 1000) for i, value in enumerate(values)), End("a")]


def test_a_stream_is_made_once_however_many_read_it() -> None:
    """A function before three branches is called once a record, and the branches have the same values."""
    calls: list[int] = []

    def count(x: int) -> int:
        calls.append(x)
        return x + 1

    shared = lines().pipe(ops.map(count))
    streams = [
        shared.pipe(ops.map(str)),
        shared.pipe(ops.filter(lambda x: x > 2)),
        shared.pipe(ops.merge(shared.pipe(rx.map(lambda x: -x)))),
    ]
    outcome = run(records(1, 2, 3), *streams, cuts=[])
    assert calls == [1, 2, 3]
    assert outcome.values == [["2", "3", "4"], [3, 4], [2, -2, 3, -3, 4, -4]]


def test_foreign_operators_stand_between_ours() -> None:
    """RxPY's map, filter and pairwise work in a run, and their results are in their records' places, however it is cut."""
    rng = random.Random(0)
    events = records(*(rng.randrange(20) for _ in range(60)))

    def pipeline() -> list[Stream[Any]]:
        source = lines().pipe(ops.map(lambda x: x + 1))
        foreign = source.pipe(rx.map(lambda x: x * 2), rx.filter(lambda x: x % 3), rx.pairwise(), ops.map(sum))
        return [
            foreign.pipe(ops.merge(source), ops.scan(lambda a, b: (a * 3 + b) % 1009)),
            foreign.pipe(ops.buffer_with_count(3)),
        ]

    expected = run(events, *pipeline(), timed=False)
    assert len(expected.values[0]) > 60
    for _ in range(5):
        assert run(events, *pipeline(), cuts=random_cuts(rng, 60), timed=False) == expected


def test_foreign_operators_that_end_end_in_their_place() -> None:
    """What RxPY's take and to_list emit when they end comes right after the record at which they did, under any cuts."""

    def pipeline() -> list[Stream[Any]]:
        source = lines()
        first = source.pipe(rx.take(3), rx.to_list(), ops.map(sum))
        return [
            first.pipe(ops.merge(source)),
            source.pipe(rx.to_list(), ops.map(len)),
            source.pipe(rx.last(), ops.map(lambda x: x)),
        ]

    expected = [[1, 2, 6, 3, 4, 5], [5], [5]]
    for cuts in (None, [], [2], [1, 4]):
        assert run(records(1, 2, 3, 4, 5), *pipeline(), cuts=cuts, timed=False).values == expected


def test_results_of_foreign_operators_have_no_key_and_the_clocks_time() -> None:
    """After a foreign operator a keyed operator has one key, and times are those of the clock."""
    keyed = lines().pipe(ops.key_by(lambda x: x), rx.map(lambda x: x), ops.aggregate(n=agg.count()))
    outcome = run(records(1, 2), keyed)
    assert [(row.key, row.n, time) for row, time, _ in outcome.results[0]] == [
        (None, 1, 1_700_000_000_000),
        (None, 2, 1_700_000_000_000),
    ]


def test_errors_of_foreign_operators_stop_the_run_at_once() -> None:
    """What a foreign operator fails with stops the run within the push, before a commit could take its input as done."""
    drive = Drive(lines().pipe(rx.map(lambda x: 1 // x), ops.map(str)), timed=False)
    with pytest.raises(GraphError, match=r"opaque\(Observable\): ZeroDivisionError"):
        drive.feed(records(1, 0))
    assert drive.results == [["1"]] or drive.results == [[("1", None, "unkeyed")]]


def test_foreign_timers_fire_on_the_runs_clock() -> None:
    """RxPY's delay and interval take the run's scheduler: what they emit comes between two pushes, when the clock says so."""
    delayed = lines().pipe(rx.delay(2.2), ops.map(lambda x: x * 10))
    ticks = reactivex.interval(1.0).pipe(ops.map(lambda n: ("tick", n)), ops.take(3))
    events: list[Event] = [Rec("a", 0, 1, 0), Tick(1.5), Rec("a", 0, 2, 0), Tick(1.0), Tick(5.0)]
    outcome = run(events, delayed.pipe(ops.merge(ticks)), timed=False)
    assert outcome.values == [[("tick", 0), ("tick", 1), 10, ("tick", 2), 20]]


def test_emissions_of_foreign_threads_wait_for_the_run() -> None:
    """What another thread emits is queued, and goes through the graph on the run's thread."""
    threads: list[int] = []
    done = threading.Event()
    feed = reactivex.range(0, 200).pipe(rx.observe_on(NewThreadScheduler()), rx.do_action(on_completed=done.set))
    drive = Drive(
        feed.pipe(ops.map(lambda x: threads.append(threading.get_ident()) or x), ops.scan(lambda a, b: a + b)), timed=False
    )
    drive.graph.run_posted()
    assert done.wait(10)
    drive.graph.run_posted()
    assert [value for value, _, _ in drive.results[0]] == [n * (n + 1) // 2 for n in range(200)]
    assert set(threads) == {threading.get_ident()}


def test_a_plain_observable_can_be_the_root() -> None:
    """An Observable that is no stream is subscribed to once, and its end completes the run."""
    subscribed: list[int] = []
    root = reactivex.defer(lambda _: subscribed.append(1) or reactivex.of(1, 2, 3))
    shared = root.pipe(ops.map(lambda x: x + 1))
    drive = Drive(shared.pipe(ops.reduce(lambda a, b: a + b)), shared, timed=False)
    drive.graph.run_posted()
    assert drive.graph.complete
    assert [[value for value, _, _ in one] for one in drive.results] == [[9], [2, 3, 4]]
    assert subscribed == [1]


def test_feedback_through_a_subject_comes_round() -> None:
    """A result that is fed back into a merged subject goes through the graph again, until nothing more is fed back."""
    back: Subject[int] = Subject()
    loop = lines().pipe(ops.merge(back), ops.map(lambda x: x * 2), ops.filter(lambda x: x < 50))
    drive = Drive(loop.pipe(rx.do_action(back.on_next), ops.map(lambda x: x)), timed=False)
    drive.feed(records(1, 5)[:2], [])
    assert [value for value, _, _ in drive.results[0]] == [2, 10, 4, 20, 8, 40, 16, 32]


@pytest.mark.parametrize(
    "late",
    [
        lambda source, other: source.pipe(ops.flat_map(lambda x: other)),
        lambda source, other: source.pipe(ops.flat_map(lambda x: other.pipe(rx.map(lambda y: y)))),
        lambda source, other: source.pipe(ops.map(lambda x: other.subscribe())),
        lambda source, other: source.pipe(rx.flat_map(lambda x: other), ops.map(lambda x: x)),
        lambda source, other: source.pipe(rx.take(1), rx.concat(other), ops.map(lambda x: x)),
    ],
    ids=["flat_map", "flat_map of a foreign one", "in a function", "foreign flat_map", "foreign concat"],
)
def test_streams_met_while_records_flow_are_refused(late: Any) -> None:
    """A stream that is subscribed to when the graph is made already raises, with the remedy; it never runs beside the run."""
    other: Stream[int] = lines("b").pipe(ops.map(lambda x: x))
    with pytest.raises(GraphError, match=r"while the run was under way; a run makes its graph before the first record"):
        Drive(late(lines(), other), timed=False).feed(records(1, 2))


def test_take_completes_the_run() -> None:
    """When every branch has ended by itself the graph is complete, though the source goes on; a restart knows it."""
    source = lines()
    streams = source.pipe(ops.take(2)), source.pipe(ops.map(str), ops.take(3), ops.reduce(lambda a, b: a + b))
    drive = Drive(*streams)
    drive.feed(records(1, 2, 3, 4)[:2], [])
    assert not drive.graph.complete
    drive.feed(records(1, 2, 3, 4)[2:4], [])
    assert drive.graph.complete
    drive.commit()
    drive.crash()
    assert drive.graph.complete
    assert [[value for value, _, _ in one] for one in drive.results] == [[1, 2], ["123"]]


def test_what_has_ended_says_nothing_again_after_a_restart() -> None:
    """Reduce and buffers behind an early end emit once, with crashes before and after, in diamonds too."""

    def pipeline() -> list[Stream[Any]]:
        source = lines()
        early = source.pipe(ops.take(7))
        end = early.pipe(ops.reduce(lambda a, b: a + b))
        return [
            end.pipe(ops.merge(early.pipe(ops.buffer_with_count(4), ops.map(sum)), source)),
            end.pipe(ops.combine_latest(source)),
        ]

    events = records(*range(1, 30))
    expected = run(events, *pipeline())
    assert expected.values[0].count(28) == 2
    for seed in range(30):
        assert run_with_crashes(events, *pipeline(), rng=random.Random(seed)) == expected


def test_an_operator_that_is_new_behind_an_early_end_is_told_of_it() -> None:
    """A stateful operator that has not ended by a restart, though its input has, ends then."""
    taken = lines().pipe(ops.take(2))
    drive = Drive(taken)
    drive.feed(records(1, 2, 3)[:3], [])
    drive.commit()
    table = drive.table
    drive.graph.close()
    later = Drive(taken.pipe(ops.scan(lambda a, b: a + b, name="sums"), ops.reduce(lambda a, b: a + b, 5, name="total")))
    later.table = table
    later.begin()
    assert later.graph.complete
    assert later.results == [[(5, 0, "unkeyed")]]


def _picky(x: int) -> int:
    if x % 5 == 3:
        raise ValueError(f"not {x}")
    return x * 10


@pytest.mark.parametrize("again", [rx.retry(), rx.catch(lambda error, source: source)], ids=["retry", "catch"])
def test_foreign_operators_that_subscribe_again_go_on_with_the_next_record(again: Any) -> None:
    """After an error `retry`, and `catch` with the source itself, read on where the run is, however it is cut."""

    def pipeline() -> list[Stream[Any]]:
        source = lines()
        return [source.pipe(rx.map(_picky), again, ops.map(lambda x: x + 1), ops.merge(source))]

    events = records(1, 2, 3, 4, 5, 6, 7, 9)
    expected = run(events, *pipeline(), timed=False)
    once = [11, 1, 21, 2, 3, 41, 4, 51, 5, 61, 6, 71, 7, 91, 9]
    assert expected.values == [once]
    for cuts in ([], [3], [2, 5]):
        assert run(events, *pipeline(), cuts=cuts, timed=False) == expected


def test_a_foreign_operator_cannot_subscribe_again_to_what_has_ended() -> None:
    """`repeat` would read a run's input again and again; it is refused, and says why."""
    with pytest.raises(GraphError, match=r"lines.* has ended.*repeat.*reads its input once"):
        run(records(1), lines().pipe(rx.repeat(2), ops.map(str)), timed=False)


def test_what_foreign_operators_schedule_at_once_comes_before_the_next_record() -> None:
    """`observe_on` the run's scheduler does not show how the input was cut: each value stays in its record's place."""

    def pipeline() -> list[Stream[Any]]:
        source = lines()
        hop = lambda s: reactivex.create(  # noqa: E731  # an operator that hands each value to the scheduler
            lambda observer, scheduler: s.subscribe(
                lambda x: scheduler.schedule(lambda *_: observer.on_next(x)),
                observer.on_error,
                observer.on_completed,
                scheduler=scheduler,
            )
        )
        return [source.pipe(hop, ops.map(lambda x: -x), ops.merge(source))]

    for cuts in (None, [], [2]):
        assert run(records(1, 2, 3), *pipeline(), cuts=cuts, timed=False).values == [[-1, 1, -2, 2, -3, 3]]


def test_what_subscribes_by_the_scheduler_shows_its_upstream_and_sources_keep_their_values() -> None:
    """`retry` subscribes by the scheduler, and is drawn all the same; a foreign source's values are not used up by drawing."""
    values = iter([1, 2, 3])
    stream = reactivex.from_iterable(values).pipe(rx.retry(2), ops.map(str))
    assert "lines" in str(draw(lines().pipe(rx.retry(2), ops.map(str))))
    assert "map" in str(draw(stream))
    assert list(values) == [1, 2, 3]
