"""Every marble picture in the docstrings of operators is what the operator does."""

from textwrap import dedent

import pytest

import rxstreams
from rxstreams import operators
from rxstreams.pictures.marbles import Outcome, pictures_of
from tests.vocabulary.families import FAMILIES, outcome_of

WITHOUT_PICTURE = {
    "process": "what it emits is the user's own operator's affair, and an expression in brackets cannot hold a class",
    "to_callable": "it passes values on unchanged; what it is for happens outside",
    "to_topic": "it passes values on unchanged, and works in a run only",
    "to_view": "it passes values on unchanged, and works in a run only",
}


def run(picture: str) -> Outcome:
    """Run one picture."""
    return outcome_of(dedent(picture))


@pytest.mark.parametrize("name", sorted(set(operators.__all__) - WITHOUT_PICTURE.keys()))
def test_an_operator_does_what_its_picture_shows(name: str) -> None:
    """An operator that deals in values has a marble picture, and each result in it comes at the time at which it stands."""
    pictures = pictures_of(getattr(operators, name).__doc__)
    assert pictures, f"{name} has no marble picture in its docstring"
    for picture in pictures:
        assert f"{name}(" in picture
        outcome = run(picture)
        assert outcome.holds, f"\n{picture}\n{outcome}"


def test_what_makes_a_stream_of_several_does_what_its_picture_shows() -> None:
    """`latest_by_key` is no operator; its picture, with streams that have keys, is like theirs."""
    (picture,) = pictures_of(rxstreams.latest_by_key.__doc__)
    keyed = "orders.pipe(key_by(bool))", "payments.pipe(key_by(bool))"
    assert "rxs.latest_by_key(order=orders, payment=payments)" in picture
    outcome = run(
        picture.replace("[ rxs.", "[ lambda orders: rxs.").replace(
            "order=orders, payment=payments", "order={}, payment={}".format(*keyed)
        )
    )
    assert outcome.holds, f"\n{picture}\n{outcome}"


FURTHER = [(name, picture) for family in FAMILIES for name, pictures in family.PICTURES.items() for picture in pictures]


@pytest.mark.parametrize(("name", "picture"), FURTHER, ids=[f"{name}-{i}" for i, (name, _) in enumerate(FURTHER)])
def test_an_operator_does_what_its_further_pictures_show(name: str, picture: str) -> None:
    """Empty inputs, single values, errors, early ends, values at once: each as its picture shows."""
    assert f"{name}(" in picture
    outcome = run(picture)
    assert outcome.holds, f"\n{picture}\n{outcome}"


def test_operators_without_a_picture_are_few_and_known() -> None:
    """The list of operators without a picture is no longer than need be."""
    assert set(operators.__all__) >= WITHOUT_PICTURE.keys()
    assert [name for name in WITHOUT_PICTURE if pictures_of(getattr(operators, name).__doc__)] == []


WRONG = {
    "a value": "-a--b--d-|          a=10 b=20 d=31",
    "a time": "-a---b-c-|          a=10 b=20 c=30",
    "a value too many": "-a--b--c-(d,|)      a=10 b=20 c=30 d=40",
    "a value too few": "-a--b----|          a=10 b=20",
    "the time of the end": "-a--b--c-|          a=10 b=20 c=30".replace("c-|", "c--|"),
    "no end": "-a--b--c--          a=10 b=20 c=30",
    "an error": "-a--b--c-#          a=10 b=20 c=30",
    "a letter without a value": "-a--b--c-|          a=10 b=20",
    "a row": "-a--b--c-|          a=10 b=20 c=(n=30)",
}


@pytest.mark.parametrize("result", WRONG.values(), ids=WRONG)
def test_a_picture_fails_when_it_shows_something_else(result: str) -> None:
    """A picture that is wrong in one place does not hold."""
    picture = f"orders   -1--2--3-|\n         [ map(lambda x: x * 10) ]\nresult   {result}"
    assert not run(picture).holds


def test_a_failure_shows_both_diagrams_and_where_they_part() -> None:
    """A failure is read at a glance: both lines below each other, the values, the first difference."""
    outcome = run("""
        orders   -1--2--3-|
                 [ filter(lambda x: x > 1), map(lambda x: [x]) ]
        result   ----a---b|          a=[2] b=[3]
    """)
    assert str(outcome).splitlines() == [
        "shown    ----a---b|",
        "actual   ----a--b-|",
        "where    a=[2] b=[3]",
        "apart    [3] at 8 is shown, and came [3] at 7",
    ]


def test_a_failure_names_values_that_the_picture_does_not_know() -> None:
    """A value that came instead gets a letter of its own; what came at once stands in a group."""
    outcome = run("""
        orders   -1---2-----#
                 [ flat_map(lambda x: [x, -x]) ]
        result   -(a,b)-----|        a=1 b=2
    """)
    assert str(outcome).splitlines() == [
        "shown    -(a,b)-----|",
        "actual   -(a,c)(b,d)#",
        "where    a=1 b=2 c=-1 d=-2",
        "apart    2 at 1 is shown, and came -1 at 1",
    ]


def test_a_character_is_as_long_as_the_picture_says() -> None:
    """Where a character is ten seconds, an operator's thirty seconds are three characters."""
    assert run("""
        orders   -1-2---3---|                    one character = ten seconds
                 [ buffer_with_time(40) ]
        result   ----a---b--(c,|)                a=[1,2], b=[3], c=[]
    """).holds


def test_inputs_may_have_named_values() -> None:
    """An input's values may be more than digits; a row in the result is compared by the fields that it shows."""
    assert run("""
        orders   -a--b--a-|                  a={"user": "ann", "x": 1}  b={"user": "bob", "x": 5}
                 [ key_by("user"), aggregate(n=agg.count(), sum=agg.sum("x")) ]
        result   -p--q--r-|                  p=(key="ann", n=1)  q=(key="bob", sum=5)  r=(key="ann", n=2, sum=2)
    """).holds


@pytest.mark.parametrize(
    "picture",
    [
        "",
        "[ take(1) ]",
        "orders -1-|\nresult -1-|",
        "orders -1-|\n[ take(1) ]",
        "[ take(1) ]\nresult -1-|",
        "orders -1-|\n[ take(1) ]\nresult ???",
    ],
)
def test_a_text_is_refused_when_it_is_no_picture(picture: str) -> None:
    """What lacks inputs, operator or result is an error, not a picture that holds."""
    with pytest.raises(ValueError, match="expected lines of marbles"):
        run(picture)
