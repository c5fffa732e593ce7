"""Event-time marbles: what a diagram says is done, what comes is compared, and a failure is read at a glance."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest
from reactivex.notification import OnError

import rxstreams as rxs
from rxstreams import Stream, aggregates as agg, operators as ops
from rxstreams.pictures.marbles import pictures_of, read_picture
from rxstreams.testing import run_marbles
from tests.pictures.test_marbles import FURTHER, WITHOUT_PICTURE
from tests.vocabulary.families import operators_for

Marbles = Callable[[str, Callable[..., Stream[Any]]], None]


def counts(orders: Stream[Any]) -> Stream[Any]:
    """Count per minute."""
    return orders.pipe(ops.windowed(rxs.tumbling(60), n=agg.count()))


def test_a_record_has_the_event_time_that_its_marble_says(marbles: Marbles) -> None:
    """Windows go by it; the order in which the records are handled is that of the diagram, and its end closes all."""
    marbles(
        """
        orders   -a-b--c---d-|        a=1@10 b=2@50 c=3@40 d=4@65   out_of_orderness=15
        result   ------------(x,y,|)  x=(start=0, n=3)@59.999 y=(start=60000, n=1)
        """,
        counts,
    )


def test_the_watermark_follows_the_records_minus_their_disorder(marbles: Marbles) -> None:
    """The record at 75 moves it to 60, which closes the first minute at once."""
    marbles(
        """
        orders   -a-b--c---d--   a=1@10 b=2@50 c=3@40 d=4@75   out_of_orderness=15
        result   ----------x--   x=(start=0, n=3)
        """,
        counts,
    )


def test_a_watermark_can_be_moved_by_hand(marbles: Marbles) -> None:
    """Without a record; what comes behind it is late."""
    marbles(
        """
        orders   -a--W--b-|     a=1@10 W=@60 b=2@59
        result   ----x----|     x=(start=0, n=1)
        late     -------l-|     l=(record=2, by=1.0)
        """,
        counts,
    )


def test_partitions_have_watermarks_of_their_own(marbles: Marbles) -> None:
    """The silent one holds time, until it is idle; when both are, the clock goes on."""
    marbles(
        """
        orders[0]   -a--c--------   a=1@10 c=3@70
        orders[1]   --b------I---   b=2@30 I=idle
        result      ---------x---   x=(start=0, n=2)
        """,
        counts,
    )
    marbles(
        """
        orders   -a-I-----------  a=1@2 I=idle
        result   ----------x----  x=(start=0, n=1)
        """,
        lambda orders: orders.pipe(ops.windowed(rxs.tumbling(10), n=agg.count())),
    )


def test_records_and_results_can_have_keys(marbles: Marbles) -> None:
    """A slash behind the key; it is compared where it is shown."""
    marbles(
        """
        orders   -a-b-c--|           a=ann/1@10 b=bob/2@20 c=ann/3@30
        result   --------(x,y,|)     x=ann/(key="ann", total=4) y=bob/(total=2)
        """,
        lambda orders: orders.pipe(ops.windowed(rxs.tumbling(60), total=agg.sum())),
    )


def test_a_crash_takes_back_what_was_not_committed_and_brings_it_again(marbles: Marbles) -> None:
    """The result that came before the crash comes again with it, once."""
    marbles(
        """
        orders   -a-C-b-c--X--d-|     a=1@10 b=2@20 c=3@61 d=4@62 C=commit X=crash
        result   ----------x----(y,|)  x=(start=0, n=2) y=(start=60000, n=2)
        """,
        counts,
    )


def test_several_inputs_are_told_apart_by_their_names(marbles: Marbles) -> None:
    """The function's parameters are the inputs; its result is the first other line."""
    marbles(
        """
        payments   ---b--|       b=2
        orders     -a---c|       a=1 c=3
        merged     -x-y-z|       x=1@1 y=2@3 z=3@5
        """,
        lambda orders, payments: orders.pipe(ops.merge(payments)),
    )


def test_a_failure_shows_two_aligned_diagrams_and_the_first_difference() -> None:
    """Expected and got, line by line, with what the letters stand for."""
    outcome = run_marbles(
        dedent("""
        orders   -a--W--b-|     a=1@10 W=@60 b=2@59
        result   -----x---|     x=(start=0, n=2)
        late     -------l-|     l=(record=2, by=1.0)
        """),
        counts,
    )
    assert not outcome.holds
    assert str(outcome).splitlines() == [
        "result:",
        "shown    -----x---|",
        "actual   ----a----|",
        "where    x=(start=0, n=2) a=Windowed(key=None, start=0, end=60000, "
        "pane=Pane(timing='on time', number=0, last=True), n=1)@59.999",
        "apart    (start=0, n=2) at 5 is shown, and came Windowed(key=None, start=0, end=60000, "
        "pane=Pane(timing='on time', number=0, last=True), n=1)@59.999 at 4",
    ]


def test_a_failure_fails_the_test_with_the_diagram() -> None:
    """The fixture's failure has the diagram and what came."""
    from rxstreams.testing.plugin import marbles as fixture

    check = fixture.__wrapped__()
    with pytest.raises(pytest.fail.Exception, match=r"(?s)something else than the diagram shows.*orders.*shown.*actual.*apart"):
        check("orders   -a-|   a=1\nresult   -x-|   x=2", lambda orders: orders.pipe(ops.map(lambda x: x)))


WRONG = {
    "a value": "----x----|   x=(start=0, n=2)",
    "a place": "---x-----|   x=(start=0, n=1)",
    "a time": "----x----|   x=(start=0, n=1)@60",
    "a key": "----x----|   x=ann/(start=0, n=1)",
    "a result too many": "----x---y|   x=(start=0, n=1) y=(start=0, n=1)",
    "a result too few": "---------|",
    "no end": "----x-----   x=(start=0, n=1)",
}


@pytest.mark.parametrize("result", WRONG.values(), ids=WRONG)
def test_a_diagram_that_is_wrong_in_one_place_does_not_hold(result: str) -> None:
    """Values, places, times, keys, how many and the end are compared."""
    right = "orders   -a--W----|   a=1@10 W=@60\nresult   ----x----|   x=(start=0, n=1)@59.999"
    assert run_marbles(right, counts).holds
    assert not run_marbles(f"{right.splitlines()[0]}\nresult   {result}", counts).holds


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("orders -a-|", "one for the result"),
        ("result -a-|", "a line for each parameter"),
        ("orders -a-|\n[ take(1) ]\nresult -a-|", "and not both"),
        ("orders ???", "expected lines of marbles"),
        ("orders -#\nresult -#", "cannot fail"),
    ],
)
def test_a_text_is_refused_when_it_is_no_diagram(picture: str, words: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match=words):
        run_marbles(picture, counts)


def test_a_pipeline_that_fails_ends_with_an_error(marbles: Marbles) -> None:
    """As a cross, where the record stands that did it."""
    marbles(
        """
        orders   -a-b-c-|   a=1 b=0 c=2
        result   -x-#       x=6
        """,
        lambda orders: orders.pipe(ops.map(lambda x: 6 // x)),
    )


# The pictures of the operators, once more.

WITH_PICTURE = sorted(set(ops.__all__) - WITHOUT_PICTURE.keys())
DOCUMENTED = [(name, dedent(picture)) for name in WITH_PICTURE for picture in pictures_of(getattr(ops, name).__doc__)]
OTHERWISE_IN_A_RUN = {
    "group_by": "a run refuses it: its groups are Observables that come as values",
    "concat": "a run makes each stream once, and so reads the second one before its turn",
}


def _fails(picture: str) -> bool:
    lines = read_picture(picture).inputs.values()
    return any(isinstance(what, OnError) for line in lines for _, what in line.events)


CASES = [
    (name, picture)
    for name, picture in (*DOCUMENTED, *FURTHER)
    if name not in OTHERWISE_IN_A_RUN and not _fails(picture)
    if "max_concurrent" not in picture  # a run refuses that
    if "from_iterable" not in picture  # which nobody reads here
    if "asyncio." not in picture  # what calls needs a loop; tests/operators/test_pictures_in_a_run.py has one
]


@pytest.mark.parametrize(("name", "picture"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_an_operators_picture_is_what_a_run_does(name: str, picture: str) -> None:
    """Driven as a run, on its clock: each result at its place."""
    outcome = run_marbles(picture, operators_for=operators_for)
    assert outcome.holds, f"\n{picture}\n{outcome}"
