"""draw shows the graph that a run would make."""

import re
from typing import Any

import pytest
import reactivex
from reactivex import operators as rx

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.errors import ConfigError
from rxstreams.pictures import draw


def diamond() -> rxs.Stream[Any]:
    """Branch a topic in two that meet again, and keep totals."""
    orders = rxs.from_topic("orders", dict)
    paid = orders.pipe(ops.filter(bool))
    return paid.pipe(
        ops.map(str), ops.merge(paid.pipe(ops.take(5))), ops.key_by("user"), ops.aggregate(n=agg.count()), ops.to_view("totals")
    )


def test_a_node_is_drawn_once_when_branches_meet_in_it() -> None:
    """As text, a diamond's branches stand below their fork, and what follows the meeting stands once."""
    assert str(draw(diamond())).splitlines() == [
        "from_topic(name='orders', type=dict)  source, topic:orders",
        "↓ filter(predicate=bool)",
        "├→ map(mapper=str)",
        "│  ↓ merge() [1]                      see below",
        "└→ take(count=5)                      state, topic:orders/take",
        "   ↓ merge() [1]",
        "   ↓ key_by(field='user')",
        "   ↓ aggregate(n='count()')           state, (topic:orders+topic:orders/take)/aggregate",
        "   ↓ to_view(name='totals')           sink, state, view:totals",
        "guarantee: exactly once: offsets, state and outputs are one commit",
    ]


def test_mermaid_has_every_node_and_edge_once() -> None:
    """As Mermaid, sources are round, sinks slanted, state has a double edge, and each edge stands once."""
    assert draw(diamond()).mermaid.splitlines() == [
        "flowchart TD",
        "    n0([\"from_topic(name='orders', type=dict)<br/>topic:orders\"])",
        '    n1["filter(predicate=bool)"]',
        '    n2["map(mapper=str)"]',
        '    n3[["take(count=5)<br/>state, topic:orders/take"]]',
        '    n4["merge()"]',
        "    n5[\"key_by(field='user')\"]",
        "    n6[[\"aggregate(n='count()')<br/>state, (topic:orders+topic:orders/take)/aggregate\"]]",
        "    n7[/\"to_view(name='totals')<br/>state, view:totals\"/]",
        "    n0 --> n1",
        "    n1 --> n2",
        "    n1 --> n3",
        "    n2 --> n4",
        "    n3 --> n4",
        "    n4 --> n5",
        "    n5 --> n6",
        "    n6 --> n7",
        '    guarantee>"exactly once: offsets, state and outputs are one commit"]',
        "    style guarantee stroke-dasharray: 4",
    ]


def test_a_side_stream_hangs_on_a_dashed_edge() -> None:
    """What goes wrong at an operator leaves it on a dashed arrow."""
    good = rxs.from_topic("orders").pipe(ops.filter(bool))
    picture = draw(good.pipe(ops.to_topic("good")), good.errors.pipe(ops.to_topic("bad")))
    assert str(picture).splitlines()[1:5] == [
        "↓ filter(predicate=bool)",
        "├→ to_topic(name='good')   sink",
        "└⇢ errors",
        "   ↓ to_topic(name='bad')  sink",
    ]
    assert re.findall(r"n\d -\.-> n\d", picture.mermaid) == ["n1 -.-> n3"]


def test_a_foreign_operator_is_drawn_with_what_it_reads() -> None:
    """Operators that are not ours are one node, which shows its real inputs and weakens the promise."""
    left, right = rxs.from_topic("left"), rxs.from_topic("right")
    picture = draw(left.pipe(rx.debounce(1.0), rx.zip(right), ops.map(str)))
    opaque = re.search(r'(n\d)\{\{"opaque\(Observable\)<br/>foreign, not saved"\}\}', picture.mermaid)
    assert opaque is not None
    assert len(re.findall(rf"n\d --> {opaque[1]}", picture.mermaid)) == 2
    assert "guarantee: at most once: opaque(Observable)" in picture.text


def test_nothing_runs_when_a_graph_is_drawn() -> None:
    """Foreign sources are let go before they have emitted, and no value goes through the graph."""
    seen: list[object] = []
    freed: list[str] = []
    source = reactivex.of(1, 2).pipe(rx.finally_action(lambda: freed.append("freed")))
    draw(source.pipe(ops.map(seen.append)), rxs.from_iterable([3]).pipe(ops.to_callable(seen.append)))
    assert (seen, freed) == ([], ["freed"])


def test_a_label_is_text_whatever_a_name_contains() -> None:
    """Quotes, angle brackets, newlines, backticks and what Mermaid reads as an entity are shown as they are."""
    name = 'a"b<i>#quot;\n`c`&amp;'
    picture = draw(rxs.from_iterable([1], name=name))
    (label,) = re.findall(r'n0\(\["(.*)"\]\)', picture.mermaid)
    assert label.endswith("<br/>iterable:a#34;b#60;i#62;#35;quot#59;<br/>#96;c#96;#38;amp#59;")
    assert picture.text.splitlines()[0].endswith('iterable:a"b<i>#quot; `c`&amp;')


def test_a_stream_is_drawn_once_when_it_is_given_twice() -> None:
    """The graph is that of the run: a stream given twice, or above another one, is one node."""
    stream = rxs.from_iterable([1], name="x").pipe(ops.map(str))
    assert str(draw(stream, stream.inputs[0], stream)) == str(draw(stream))


def test_a_notebook_gets_mermaid_and_text() -> None:
    """A picture offers itself as Mermaid, and as text where that is not known."""
    picture = draw(diamond())
    assert picture._repr_mimebundle_() == {"text/vnd.mermaid": picture.mermaid, "text/plain": str(picture)}
    assert repr(picture) == str(picture)


@pytest.mark.parametrize("streams", [(), (reactivex.of(1),), (None,)])
def test_only_streams_are_drawn(streams: tuple[Any, ...]) -> None:
    """What a run would not take is refused with a reason."""
    with pytest.raises(ConfigError, match="expected streams as"):
        draw(*streams)
