"""Cases for the operators of one family (patterns): pictures, wrong arguments, random instances."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from rxstreams import Stream, operators as ops, patterns
from rxstreams.patterns import Match, Pattern, no_skip, past_last, stage, to_first, to_next
from tests.vocabulary.values import Make, number, waiting


def _starts(letters: str) -> Pattern:
    return stage(letters, lambda event: event[0] in letters)


def as_text(match: Match) -> str:
    """A match's events, one after the other."""
    return " ".join(event for several in match.events.values() for event in several)


NAMES: dict[str, Any] = {
    **{name: getattr(patterns, name) for name in patterns.__all__},
    **{letters: _starts(letters) for letters in ("a", "b", "c", "d", "bc", "abc")},
    "told": ops.map(as_text),
}
"""What pictures of patterns use: stages of events that begin with a letter, and a match as text."""

odd = "stage('odd', lambda x: x % 2)"
even = "stage('even', lambda x: x % 2 == 0)"
PICTURES: dict[str, list[str]] = {
    "detect": [
        f"orders   -|\n[ detect({odd}) ]\nresult   -|",
        f"orders   -1-2-|\n[ detect({odd}.next({even})), map(lambda match: match.events) ]\n"
        "result   ---a-|   a={'odd': [1], 'even': [2]}",
        f"orders   -1-3-2-|\n[ detect({odd}.one_or_more().next({even}), skip=past_last), map(lambda match: match.events) ]\n"
        "result   -----a-|   a={'odd': [1, 3], 'even': [2]}",
        f"orders   -1---|\n[ detect({odd}.not_followed_by({even}).within(2)), map(lambda match: match.events) ]\n"
        "result   ---a-|   a={'odd': [1]}",
        f"orders   -1-#\n[ detect({odd}), map(lambda match: match.events) ]\nresult   -a-#   a={{'odd': [1]}}",
    ],
}
"""Further pictures: one character is a second."""

_ONE = stage("one", bool)
_TWO = stage("two", bool)
ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {
    "detect": [
        (lambda: ops.detect(7), r"detect\(pattern\): expected a pattern, as .*stage.* got 7"),  # type: ignore[arg-type]
        (lambda: ops.detect(_ONE, skip="past_last"), r"detect\(skip\): expected no_skip, .* got 'past_last'"),  # type: ignore[arg-type]
        (
            lambda: ops.detect(_ONE, skip=to_first("two")),
            r"detect\(skip\): to_first\('two'\), but the pattern's events are of 'one'",
        ),
        (lambda: ops.detect(_ONE, limit=0), r"detect\(limit\)"),
        (lambda: ops.detect(_ONE, on_error="skip"), r"detect: on_error"),  # type: ignore[arg-type]
        (lambda: ops.detect(_ONE, name=""), r"detect\(name\)"),
        (lambda: ops.detect(_ONE.optional()), r"one.optional\(\): all of it may be left out"),
        (lambda: ops.detect(_ONE.not_followed_by(_TWO)), r"ends with what must not follow, but until when\? Say within"),
        (lambda: ops.detect(stage("a", waiting)), r"stage\('a', where\): a coroutine function"),
    ],
}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {"detect": lambda: ops.detect(_ONE)}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {}
"""Arguments of those that RxPY's Observable has as methods."""


def _detect(rng: random.Random, s: Stream[Any]) -> Stream[Any]:
    m = rng.choice((2, 3, 5))
    first, second = (stage(f"s{i}", lambda x, i=i: number(x) % m == i % m) for i in range(2))
    pattern = rng.choice(
        (
            first.followed_by(second).within(2),
            first.times(2).next(second).within(3),
            first.one_or_more().consecutive().followed_by(second).within(1),
            first.not_followed_by(second).within(0.7),
            first.times(3).within(5),
        )
    )
    found = s.pipe(ops.detect(pattern, skip=rng.choice((no_skip, to_next, past_last))))
    return found.pipe(ops.map(lambda match: sum(number(one) for several in match.events.values() for one in several)))


GENERATORS: dict[str, Make] = {"detect": _detect}
"""A random instance of each operator."""
