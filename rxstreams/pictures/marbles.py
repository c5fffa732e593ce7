"""Marble pictures: those in operators' docstrings are read here, run on virtual time, and compared with what comes out.

    orders   -1--2--3-|
             [ map(lambda x: x * 10) ]
    result   -a--b--c-|          a=10 b=20 c=30

Above the operator stand its inputs: digits are the values. The first is what the operator is applied to, the others are known
to it by their names. A character is a second, unless the picture says ``one character = ten seconds``. What is in parentheses
comes at once, where the parenthesis opens; ``|`` is the end, ``#`` an error. A row ``a=(n=1, total=1)`` shows some of its fields.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from string import ascii_letters
from typing import Any, NamedTuple, cast

from reactivex import Observable, from_marbles
from reactivex.notification import Notification, OnError, OnNext
from reactivex.observable.marbles import parse
from reactivex.testing import TestScheduler

__all__ = [
    "Event",
    "Line",
    "Marbles",
    "Outcome",
    "Parts",
    "pictures_of",
    "read_legend",
    "read_parts",
    "read_picture",
    "read_value",
    "run_picture",
]

Event = tuple[float, Notification[Any]]
"""What happens at a time, in characters since the subscription."""

OperatorsFor = Callable[[str, Mapping[str, Observable[Any]]], Sequence[Callable[[Observable[Any]], Observable[Any]]]]
"""The operators that an expression stands for, given the picture's inputs by name."""

_LINE = re.compile(r"(\w+(?:\[\d+\])?) +([-|#(][^ ]*)(?:  +(.*))?$")
_UNSEEN = 0.0101
"""The part of a character that cannot be drawn: a timer may be a millisecond behind the time that it waits for."""
_OPERATOR = re.compile(r"\[ (.+) \](?:  +.*)?$")
_SCALE = re.compile(r"one character = (\w+) (millisecond|second|minute|hour|day)s?\b")
_VALUE = re.compile(r"(\w+) ?= ?(.+?)(?=,? +\w+ ?= ?|$)")
_WORDS = {word: n for n, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1)}
_UNITS = {"millisecond": 0.001, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a picture shows, and what its operator does; ``str(outcome)`` is both, one above the other."""

    shown: Sequence[Event]
    actual: Sequence[Event]
    names: Mapping[str | float, Any]

    @property
    def holds(self) -> bool:
        """Whether the operator does what the picture shows, at the times at which it does."""
        return len(self.shown) == len(self.actual) and all(map(_same, self.shown, self.actual))

    def __str__(self) -> str:
        names = dict(self.names)
        lines = [f"shown    {_drawn(self.shown, names)}", f"actual   {_drawn(self.actual, names)}"]
        used = [f"{name}={value!r}" for name, value in names.items()]
        return "\n".join([*lines, f"where    {' '.join(used)}", f"apart    {self._difference()}"])

    def _difference(self) -> str:
        for shown, actual in zip(self.shown, self.actual, strict=False):
            if not _same(shown, actual):
                return f"{_told(shown)} is shown, and came {_told(actual)}"
        longer = max(self.shown, self.actual, key=len)
        rest = longer[min(len(self.shown), len(self.actual)) :]
        return f"{_told(rest[0])} {'did not come' if longer is self.shown else 'is not shown'}" if rest else "nothing"


def pictures_of(docstring: str) -> list[str]:
    """The marble pictures in a docstring: paragraphs that have an operator in brackets."""
    paragraphs = re.split(r"\n\s*\n", docstring)
    return [one for one in paragraphs if any(_OPERATOR.match(line.strip()) for line in one.splitlines())]


def run_picture(picture: str, operators_for: OperatorsFor) -> Outcome:
    """Run the operator in a picture on the picture's inputs, on virtual time, for as long as the picture is wide.

    Raises:
        ValueError: If the text is no such picture.
    """
    marbles = read_picture(picture)
    sources = {name: from_marbles(line.drawn, timespan=marbles.unit, lookup=line.values) for name, line in marbles.inputs.items()}
    source, *_ = sources.values()
    operators = operators_for(marbles.operator, sources)
    width = max(len(line.drawn) for line in [marbles.result, *marbles.inputs.values()])
    observer = TestScheduler().start(lambda: source.pipe(*operators), disposed=200 + (width - 0.5) * marbles.unit)
    actual = [((one.time - 200) / marbles.unit, cast("Notification[Any]", one.value)) for one in observer.messages]
    return Outcome(marbles.result.events, actual, marbles.result.values)


class Line(NamedTuple):
    """A line of marbles, and the values that its letters stand for."""

    drawn: str
    values: Mapping[str | float, Any]

    @property
    def events(self) -> Sequence[Event]:
        """What happens on it."""
        return cast("list[Event]", parse(self.drawn, lookup=dict(self.values)))


class Marbles(NamedTuple):
    """A picture, read: its inputs by name, what stands in the brackets, what comes out, and the seconds of a character."""

    inputs: Mapping[str, Line]
    operator: str
    result: Line
    unit: float


def read_picture(picture: str) -> Marbles:
    """Take a picture apart.

    Raises:
        ValueError: If the text is no such picture.
    """
    parts = read_parts(picture)
    if not parts.above or parts.operator is None or len(parts.below) != 1:
        raise ValueError(f"expected lines of marbles, an operator as in [ map(f) ], and a line with the result, got:\n{picture}")
    values = {name: Line(row.drawn, read_legend(row.legend, read_value)) for name, row in {**parts.above, **parts.below}.items()}
    (result,) = parts.below
    return Marbles({name: values[name] for name in parts.above}, parts.operator, values[result], parts.unit)


class Row(NamedTuple):
    """A line of marbles, and what stands beside it."""

    drawn: str
    legend: str


class Parts(NamedTuple):
    """A picture's lines by name, above and below the operator (all above without one), and the seconds of a character."""

    above: Mapping[str, Row]
    operator: str | None
    below: Mapping[str, Row]
    unit: float


def read_parts(picture: str) -> Parts:
    """A picture's lines.

    Raises:
        ValueError: If one is neither a line of marbles nor an operator in brackets.
    """
    lines = [line.strip() for line in picture.splitlines() if line.strip()]
    rows = [_LINE.match(line) for line in lines]
    brackets = [_OPERATOR.match(line) for line in lines]
    at = next((i for i, bracket in enumerate(brackets) if bracket), len(lines))
    if not lines or not all(row or i == at for i, row in enumerate(rows)):
        raise ValueError(f"expected lines of marbles, an operator as in [ map(f) ], and lines with the results, got:\n{picture}")
    drawn = [[(row[1], Row(row[2], row[3] or "")) for row in part if row] for part in (rows[:at], rows[at:])]
    bracket = brackets[at] if at < len(lines) else None
    return Parts(dict(drawn[0]), bracket[1] if bracket else None, dict(drawn[1]), _unit(picture))


def _unit(picture: str) -> float:
    scale = _SCALE.search(picture)
    if scale is None:
        return 1.0
    return (int(scale[1]) if scale[1].isdigit() else _WORDS[scale[1]]) * _UNITS[scale[2]]


def read_legend(text: str, read: Callable[[str], Any]) -> dict[str | float, Any]:
    """What the end of a line names, each read by ``read``."""
    text = _SCALE.sub("", text).strip()
    depth = 0
    masked = ""  # what stands in brackets, where commas and = do not count
    for character in text:
        depth -= character in ")]}"
        masked += "_" if depth else character
        depth += character in "([{"
    return {found[1]: read(text[found.start(2) : found.end(2)]) for found in _VALUE.finditer(masked)}


def read_value(text: str) -> Any:
    """A Python literal, or a row of which some fields are shown, such as ``(n=1, total=1)``."""
    if not re.match(r"\(\w+ ?=", text):
        return ast.literal_eval(text)
    call = ast.parse(f"row{text}", mode="eval").body
    assert isinstance(call, ast.Call)
    return _Fields({str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords})


class _Fields(dict[str, Any]):  # noqa: PLW1641  # a dict has no hash either
    """Some fields of a row, and equal to any row that has them."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Fields):
            return dict.__eq__(self, other)
        return all(hasattr(other, name) and getattr(other, name) == value for name, value in self.items())

    def __repr__(self) -> str:
        return f"({', '.join(f'{name}={value!r}' for name, value in self.items())})"


def _same(shown: Event, actual: Event) -> bool:
    (time, one), (at, other) = shown, actual
    if abs(time - at) > _UNSEEN:
        return False
    if isinstance(one, OnNext) and isinstance(other, OnNext):
        return bool(one.value == other.value)
    return type(one) is type(other)  # one error is as good as another


def _told(event: Event) -> str:
    time, what = event
    if isinstance(what, OnNext):
        return f"{what.value!r} at {time:g}"
    return f"an error ({what.exception!r}) at {time:g}" if isinstance(what, OnError) else f"the end at {time:g}"


def _drawn(events: Sequence[Event], names: dict[str | float, Any]) -> str:
    """A line of marbles; values without a name get one. What has no room in its place moves to the right."""
    line = ""
    for time, together in groupby(events, key=lambda event: event[0]):
        marks = [_mark(what, names) for _, what in together]
        line = line.ljust(round(time), "-") + (f"({','.join(marks)})" if len(marks) > 1 else marks[0])
    return line


def _mark(what: Notification[Any], names: dict[str | float, Any]) -> str:
    if not isinstance(what, OnNext):
        return "#" if isinstance(what, OnError) else "|"
    for name, value in names.items():
        if value == what.value:
            return str(name)
    name = next((letter for letter in ascii_letters if letter not in names), "?")
    names[name] = what.value
    return name
