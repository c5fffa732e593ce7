"""detect: what is refused when a pattern is built, what comes too late or too much, what is open, drawn and kept."""

import asyncio
from typing import Any

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import DeadLetter, Skip, Stop, aggregates as agg, operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, OperatorError, StateCodecError, TopologyError
from rxstreams.patterns import Match, Pattern, no_skip, past_last, stage, to_first, to_last, to_next
from rxstreams.testing import virtually
from tests.laws.harness import Drive, End, Rec, lines, run
from tests.vocabulary.patterning import NAMES

a, b, c, d = (NAMES[letter] for letter in "abcd")


def came(events: str, *, key: str = "k", apart: float = 1.0) -> list[Any]:
    """Events as text, so many seconds apart, the first at second 1."""
    return [Rec("a", 0, {"key": key, "e": e}, round((i * apart + 1) * 1000)) for i, e in enumerate(events.split())]


def text(letters: str, name: str | None = None, **options: Any) -> Pattern:
    """A stage of events that begin with one of these letters."""
    return stage(name or letters, lambda value: value["e"][0] in letters, **options)


def look(pattern: Pattern, skip: Any = no_skip, **options: Any) -> rxs.Stream[Any]:
    """The operator over these events."""
    return lines("a", out_of_orderness=options.pop("delay", 0.0)).pipe(
        ops.key_by("key"), ops.detect(pattern, skip=skip, **options)
    )


def as_text(match: Match) -> str:
    """A match's events, one after the other."""
    return " ".join(event["e"] for several in match.events.values() for event in several)


def found(pattern: Pattern, events: str, skip: Any = no_skip) -> list[str]:
    """What comes out, in order."""
    return [as_text(match) for match in run([*came(events), End("a")], look(pattern, skip), cuts=()).values[0]]


A, B, C, D = (text(letter) for letter in "abcd")


# Flink's documented examples; docs/patterns.md has their pictures, which tests run, too.


@pytest.mark.parametrize(
    ("pattern", "events", "expected"),
    [
        (A.next(B), "a c b1 b2", []),
        (A.followed_by(B), "a c b1 b2", ["a b1"]),
        (A.followed_by_any(B), "a c b1 b2", ["a b1", "a b2"]),
        (A.followed_by_any(B.one_or_more().consecutive()).followed_by(C), "a b1 d1 b2 d2 b3 c", ["a b1 c", "a b2 c", "a b3 c"]),
        (
            A.followed_by_any(B.one_or_more()).followed_by(C),
            "a b1 d1 b2 d2 b3 c",
            ["a b1 b2 b3 c", "a b1 b2 c", "a b1 c", "a b2 b3 c", "a b2 c", "a b3 c"],
        ),
        (
            A.followed_by_any(B.one_or_more().combinations()).followed_by(C),
            "a b1 d1 b2 d2 b3 c",
            ["a b1 b2 b3 c", "a b1 b2 c", "a b1 b3 c", "a b1 c", "a b2 b3 c", "a b2 c", "a b3 c"],
        ),
        (
            C.followed_by(A.one_or_more().consecutive()).followed_by(B),
            "c d a1 a2 a3 d a4 b",
            ["c a1 a2 a3 b", "c a1 a2 b", "c a1 b"],
        ),
        (
            C.followed_by(A.one_or_more()).followed_by(B),
            "c d a1 a2 a3 d a4 b",
            ["c a1 a2 a3 a4 b", "c a1 a2 a3 b", "c a1 a2 b", "c a1 b"],
        ),
        (
            C.followed_by(A.one_or_more().combinations()).followed_by(B),
            "c d a1 a2 a3 d a4 b",
            ["c a1 a2 a3 a4 b", "c a1 a2 a3 b", "c a1 a2 a4 b", "c a1 a2 b", "c a1 a3 a4 b", "c a1 a3 b", "c a1 a4 b", "c a1 b"],
        ),
        (A.one_or_more().until(lambda value: value["e"] == "b"), "a1 c a2 b a3", ["a1", "a1 a2", "a2", "a3"]),
        (A.followed_by(B.one_or_more()), "a b1 b2 b3", ["a b1", "a b1 b2", "a b1 b2 b3"]),
    ],
    ids=str,
)
def test_flinks_examples_of_contiguity_and_quantifiers(pattern: Pattern, events: str, expected: list[str]) -> None:
    """The matches that its page has for these events."""
    assert sorted(found(pattern, events)) == expected


ROWS = B.one_or_more().consecutive().next(C)
MIXED = text("abc").next(text("bc")).next(C.one_or_more().consecutive().greedy()).next(D)


@pytest.mark.parametrize(
    ("pattern", "events", "skip", "expected"),
    [
        (ROWS, "b1 b2 b3 c", no_skip, ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (ROWS, "b1 b2 b3 c", to_next, ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (ROWS, "b1 b2 b3 c", past_last, ["b1 b2 b3 c"]),
        (ROWS, "b1 b2 b3 c", to_first("b"), ["b1 b2 b3 c", "b2 b3 c", "b3 c"]),
        (ROWS, "b1 b2 b3 c", to_last("b"), ["b1 b2 b3 c", "b3 c"]),
        (MIXED, "a b c1 c2 c3 d", no_skip, ["a b c1 c2 c3 d", "b c1 c2 c3 d", "c1 c2 c3 d"]),
        (MIXED, "a b c1 c2 c3 d", to_first("c"), ["a b c1 c2 c3 d", "c1 c2 c3 d"]),
        (A.followed_by(B.one_or_more()), "a b1 b2 b3", to_next, ["a b1"]),
    ],
    ids=str,
)
def test_flinks_examples_of_skipping(pattern: Pattern, events: str, skip: Any, expected: list[str]) -> None:
    """In the order of the first events."""
    assert found(pattern, events, skip) == expected


def test_flinks_example_of_an_iterative_condition() -> None:
    """Accept what, with the accepted ones before, has a sum below 5."""

    def affordable(value: Any, before: Any) -> bool:
        return sum(float(one["e"][1:]) for one in before.get("b", ())) + float(value["e"][1:]) < 5.0

    pattern = A.followed_by(text("b", given=affordable).one_or_more()).followed_by(C)
    assert sorted(found(pattern, "a b2 b9 b2.5 b1 c")) == ["a b2 b2.5 c", "a b2 c"]


# When.


def test_within_is_exclusive() -> None:
    """The last event is less than so long after the first."""
    for apart, expected in ((1.999, ["a b"]), (2.0, [])):
        stream = look(A.followed_by(B).within(2))
        assert [as_text(one) for one in run([*came("a b", apart=apart), End("a")], stream).values[0]] == expected


def test_events_of_one_time_go_by_arrival() -> None:
    """As they came, whatever they are."""
    assert found(A.next(B), "a") == []
    for events, expected in (("a b", ["a b"]), ("b a", [])):
        stream = look(A.next(B))
        assert [as_text(one) for one in run([*came(events, apart=0), End("a")], stream).values[0]] == expected


def test_an_event_behind_the_watermark_is_late() -> None:
    """By how much; it is in no match, also if no condition holds for it."""
    stream = look(A.followed_by(B), delay=1.0)
    events = [Rec("a", 0, {"key": "k", "e": e}, time) for e, time in (("a", 10_000), ("x", 8_900), ("b", 9_000), ("b", 11_000))]
    for policy in (Stop(), Skip()):
        matches, late = run([*events, End("a")], stream, stream.late, cuts=(), policy=policy).values
        assert [as_text(one) for one in matches] == ["a b"]
        assert [(one.record["e"], one.by) for one in late] == [("x", 0.1)]


def test_an_absence_comes_out_by_a_timer_on_a_key_without_events() -> None:
    """At the last millisecond of ``within``, when the watermark has passed it by another key's event."""
    stream = look(A.not_followed_by(B).within(5))
    drive = Drive(stream)
    drive.feed(came("a"))
    drive.feed([*came("x", key="other"), Rec("a", 0, {"key": "other", "e": "x"}, 5_999)])
    assert drive.outcome().values == [[]]
    drive.feed([Rec("a", 0, {"key": "other", "e": "x"}, 6_000)])
    [(match, time, _)] = drive.outcome().results[0]
    assert (match.key, match.start, match.end, time) == ("k", 1_000, 5_999, 5_999)


def test_a_match_waits_for_one_that_began_before_it_and_is_open() -> None:
    """Its turn comes when that one is over; by the definition of the skip strategies, which go by first events."""
    pattern = text("ab", "first").next(text("bc", "second")).followed_by(D).within(3)
    stream = look(pattern, past_last)
    drive = Drive(stream)
    drive.feed(came("a b c d"))
    assert drive.outcome().values == [[]]
    drive.feed([Rec("a", 0, {"key": "k", "e": "x"}, 6_000), End("a")])
    assert [as_text(one) for one in drive.outcome().values[0]] == ["b c d"]


def test_at_the_end_of_the_input_no_match_waits() -> None:
    """Nothing can end it any more."""
    pattern = A.times(2).combinations()
    assert found(pattern, "a1 a2 a3", to_first("a")) == ["a1 a2", "a1 a3", "a2 a3"]


# Too much, and what fails.


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (A.followed_by(B), r"key 'k', at stage 'a': more than 5 partial matches; give the pattern within"),
        (A.followed_by(text("b", given=lambda *_: True)), r"key 'k', at stage 'a': more than 5 partial matches"),
    ],
)
def test_more_partial_matches_than_the_limit_meet_the_policy(pattern: Pattern, message: str) -> None:
    """The event that would make one more; what is there stays, and goes on."""
    with pytest.raises(OperatorError, match=message):
        run([*came("a1 a2 a3 a4 a5 a6"), End("a")], look(pattern, limit=5), cuts=())
    outcome = run([*came("a1 a2 a3 a4 a5 a6 b"), End("a")], look(pattern, limit=5, on_error=DeadLetter("dead")), cuts=())
    assert len(outcome.outputs["dead"]) == len(outcome.lost) == 1
    assert [as_text(one) for one in outcome.values[0]] == [f"a{n} b" for n in range(1, 6)]


def test_more_matches_at_once_than_the_limit_meet_the_policy() -> None:
    """And the event that would complete them is as if it had not come."""
    pattern = A.followed_by_any(A2).followed_by(B).within(100)
    events = "a1 a2 a3 a4 a5 a6 b c"
    with pytest.raises(OperatorError, match=r"at stage 'b': more than 12 matches at once"):
        run([*came(events), End("a")], look(pattern, limit=12), cuts=())


A2 = text("a", "again")


def test_what_is_over_does_not_count_for_the_limit() -> None:
    """It is let go of first."""
    events = [Rec("a", 0, {"key": "k", "e": "a"}, 1000 * i) for i in range(1, 400)]
    outcome = run(events, look(A.followed_by(B).within(3), limit=5), cuts=())
    assert outcome.lost == []


@pytest.mark.parametrize("policy", [Skip(), DeadLetter("dead")])
def test_an_event_at_which_a_condition_raises_meets_its_policy(policy: Any) -> None:
    """One on the event, when it comes; one on the events before, when it is its turn. The others go on."""
    bad = stage("bad", lambda value: 1 / (value["e"] != "x"))
    later = text("b", given=lambda value, before: 1 / (value["e"] != "b0"))
    for pattern, events in ((bad.next(B), "a x b"), (A.followed_by(later), "a b0 b1")):
        outcome = run([*came(events), End("a")], look(pattern, on_error=policy), cuts=())
        assert [as_text(one) for one in outcome.values[0]] == ["a " + events.split()[-1]]
        assert len(outcome.lost) == 1
        assert "ZeroDivisionError" in outcome.lost[0]
        with pytest.raises(OperatorError, match=r"detect\(.*ZeroDivisionError"):
            run(came(events), look(pattern))


def test_an_event_that_cannot_be_saved_fails_when_it_comes() -> None:
    """As it may have to wait for a commit."""
    stream = lines("a").pipe(ops.map(lambda one: iter([one])), ops.detect(stage("any")))
    with pytest.raises(StateCodecError, match="list_iterator"):
        run(came("a"), stream)


# What is said of it.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: stage("", bool), r"stage\(name\): expected a name, got ''"),
        (lambda: stage("a", 3), r"stage\('a', where\): expected a function of the event, got 3"),  # type: ignore[arg-type]
        (lambda: a.next(3), r"a.next: expected a pattern, as stage\('name', condition\) makes one, got 3"),  # type: ignore[arg-type]
        (lambda: a.next(b).followed_by(a), r"a.next\(b\).followed_by: two stages have the name 'a'"),
        (lambda: a.not_next(a), r"a.not_next: two stages have the name 'a'"),
        (lambda: a.times(0), r"a.times\(least\): expected an integer from 1 to 1000, got 0; for none, optional\(\)"),
        (lambda: a.times(3, 2), r"a.times: expected most ≥ least, got 3 and 2"),
        (lambda: a.times(2).times(2), r"said already how often it comes"),
        (lambda: a.optional().optional(), r"it may be left out already"),
        (a.greedy, r"a.greedy: expected a pattern that may come more or less often"),
        (lambda: a.next(b).one_or_more().greedy(), r"expected a repeated stage"),
        (a.consecutive, r"a.consecutive: expected a pattern that comes several times"),
        (lambda: a.times(2).consecutive().combinations(), r"it is consecutive, or in combinations, not both"),
        (lambda: a.times(2).until(bool), r"until: expected a pattern without a bound, as one_or_more\(\) makes it"),
        (lambda: a.one_or_more().until(3), r"until\(stop\): expected a function of the event, got 3"),  # type: ignore[arg-type]
        (lambda: a.within(0), r"a.within: expected more than 0.0 seconds, got 0"),
        (lambda: a.within(1).within(2), r"within\(\) is of the whole pattern; say it last, and once"),
        (lambda: a.within(1).next(b), r"within\(\) is of the whole pattern; say it last, and once"),
        (lambda: a.next(b.within(1)), r"within\(\) is of the whole pattern; say it last, and once"),
        (lambda: a.next(b.optional()).not_followed_by(c), r"b.optional\(\) may be left out, so that it is not sure from when on"),
        (lambda: a.not_followed_by(b).next(c.optional()), r"c.optional\(\) may be left out, so that there is no end to"),
        (lambda: a.not_followed_by(b.times(2)), r"a.not_followed_by: expected one stage, got b.times\(2\)"),
        (lambda: a.not_followed_by(b).times(2), r"it ends with what must not follow; expected a pattern that ends with an event"),
        (lambda: a.optional().next(b.optional()).times(2), r"all of it may be left out"),
        (lambda: to_first(""), r"to_first\(stage\): expected a stage's name, got ''"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_when_it_is_built(build: Any, message: str) -> None:
    """With what was expected, and what came."""
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize(
    "written",
    [
        "a",
        "a.next(b)",
        "a.followed_by(b.times(2, 3).greedy()).next(c).within(5)",
        "a.not_next(b).not_followed_by(c).followed_by_any(d)",
        "(a.next(b)).times(2).consecutive()",
        "(a.next(b)).optional().next(c.one_or_more().until(…))",
        "a.times_or_more(2).combinations().optional().next(b)",
    ],
)
def test_a_pattern_is_shown_as_it_is_written(written: str) -> None:
    """So that it can be read in the graph, and in messages."""
    names = {"a": a, "b": b, "c": c, "d": d}
    assert repr(eval(written.replace("…", "bool"), names)) == written


def test_draw_shows_the_automaton() -> None:
    """What is waited for after each event, and what ends the waiting."""
    picture = rxs.draw(a.followed_by(b.one_or_more().greedy()).not_followed_by(d).next(c.times(2)).within(5))
    assert str(picture).splitlines() == [
        "a.followed_by(b.one_or_more().greedy()).not_followed_by(d).next(c.times(2)).within(5)",
        "begins with a",
        "a: followed by b",
        "b: followed by b; next c 1, no b or d before",
        "c 1: followed by c 2",
        "c 2: a match",
    ]
    assert "    p1 --> p2: next, no b or d before" in picture.mermaid
    assert "[*] --> p0" in picture.mermaid
    assert "when time is over" in rxs.draw(a.not_followed_by(b).within(1)).mermaid


def test_a_run_tells_what_a_key_has_open() -> None:
    """The partial matches, with the events that they have; of another stream the message says what was expected."""
    broker = MemoryBroker()

    async def main() -> None:
        await broker.start()
        values = [msgspec.json.encode(one.value) for one in came("a1 a2 b x")]
        await broker.append("events", [Record(value, b"", 1000 * i) for i, value in enumerate(values, 1)])
        keyed = rxs.from_topic("events", dict).pipe(ops.key_by("key"))
        found = keyed.pipe(ops.detect(A.followed_by(B).followed_by(C)))
        async with rxs.start(found, app="app", broker=broker) as running:
            while not running.partial_matches(found, "k"):  # noqa: ASYNC110  # there is nothing to await
                await asyncio.sleep(0.01)
            assert [as_text(one) for one in running.partial_matches(found, "k")] == ["a1 b", "a2 b"]
            assert running.partial_matches(found, "nobody") == []
            with pytest.raises(
                ConfigError, match=r"expected the stream that detect\(…\) of this run returned, got <Stream key_by"
            ):
                running.partial_matches(keyed, "k")

    virtually(main())


def test_another_pattern_does_not_take_over_saved_state() -> None:
    """What is open of one is nothing to another; another limit is fine."""
    broker = MemoryBroker()

    async def run_it(pattern: Pattern, **options: Any) -> None:
        source = rxs.from_topic("events", dict, until="end", finish=False).pipe(ops.key_by("key"))
        async with rxs.start(source.pipe(ops.detect(pattern, **options)), app="app", broker=broker) as running:
            await running.wait()

    async def main() -> None:
        await broker.start()
        await broker.append("events", [Record(msgspec.json.encode(one.value)) for one in came("a")])
        await run_it(A.followed_by(B))
        await run_it(A.followed_by(B), limit=7)
        with pytest.raises(TopologyError, match="detect"):
            await run_it(A.next(B))

    virtually(main())


def test_a_window_behind_has_the_matches_with_their_times() -> None:
    """None of them is late for it, though they come when the watermark has passed them."""
    found = look(A.followed_by(B).within(3))
    counted = found.pipe(ops.windowed(rxs.tumbling(4), n=agg.count()))
    matches, windows, late = run([*came("a b a b a b"), End("a")], found, counted, counted.late, cuts=()).values
    assert len(matches) == 3
    assert [(row.start, row.n) for row in windows] == [(0, 1), (4000, 2)]
    assert late == []


def test_a_match_reads_like_a_record_and_by_its_stages() -> None:
    """On a topic it is JSON; a stage that took nothing has no events."""
    match = Match("k", 1, 2, {"a": [{"e": "a"}]})
    assert (match["a"], match["b"]) == ([{"e": "a"}], [])
    assert msgspec.json.decode(msgspec.json.encode(match), type=Match) == match


def test_repetitions_of_one_key_are_linear() -> None:
    """Ten thousand events of a greedy loop are that many things kept, not the fifty million partial matches that they make."""
    stream = look(A.one_or_more().greedy().followed_by(B), past_last)
    drive = Drive(stream)
    drive.feed(came(" ".join(["a"] * 10_000), apart=0.001), cuts=())
    [states] = [store.states for store in drive.graph.stores if store.identity.endswith("detect")]
    assert states["k"].size == 9_999, "the last one waits for the watermark"
    drive.feed([Rec("a", 0, {"key": "k", "e": "b"}, 100_000), End("a")], cuts=())
    [match] = drive.outcome().values[0]
    assert len(match["a"]) == 10_000


def test_what_a_broken_match_leaves_does_not_depend_on_what_waits() -> None:
    """An event that waits already when the match breaks, or that comes after it, is the first of what is new."""
    another = Rec("a", 0, {"key": "other", "e": "x"}, 4_000)
    events = [*came("a d"), another, Rec("a", 0, {"key": "k", "e": "a"}, 4_000), End("a")]
    assert run(events, look(A.next(B)), cuts=()).states == run(events, look(A.next(B))).states
