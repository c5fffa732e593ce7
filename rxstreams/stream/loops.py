"""Loops made to measure: the statements of several operators, or of fields and aggregates, as one Python loop.

A list between two operators costs more than the operators, and ``attrgetter`` twice what ``value.amount`` does; a loop of the
very statements that a careful hand would have written has neither. (The technique is Spark's whole-stage code generation, after
Neumann, "Efficiently Compiling Efficient Query Plans", VLDB 2011.)

The code consists of this package's own templates. Of a user's it takes names of fields only, and only if they are identifiers;
functions are bound to names of ours.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from types import MappingProxyType
from typing import Any, Protocol

__all__ = ["Clock", "Follower", "Loop", "column_reader", "define", "indented", "single"]


def define(name: str, code: str, names: dict[str, Any]) -> Any:
    """The function ``name`` that ``code`` defines, which sees ``names``."""
    exec(compile(code, f"<rxstreams {name}>", "exec"), names)  # see the module's docstring
    return names[name]


def indented(lines: Sequence[str], depth: int) -> str:
    """Lines of code at a depth."""
    return "\n".join("    " * depth + line for line in lines)


class Follower(Protocol):
    """An operator in a loop that has something to do when time comes to some point.

    Attributes:
        fused: Set when it is in a loop.
    """

    fused: bool

    @property
    def next_time(self) -> int:
        """The watermark (ms) at which it has something to do next."""
        ...

    def reach(self, mark: int) -> None:
        """The watermark has come to ``mark``."""
        ...


class Clock(Protocol):
    """Event time in a loop; its function then is of (records, values, keys, times, stamps, high, due, limit), and gives ``high``.

    Attributes:
        stamped: Whether each record's time stands in ``stamps``.
        followers: The operators that go by it.
    """

    stamped: bool
    followers: list[Follower]

    def mark(self, high: int) -> int:
        """The watermark (ms) when the greatest time so far is ``high``."""
        ...

    def due(self) -> int:
        """The greatest time at which an operator in the loop has something to do."""
        ...

    def lead(self, follower: Follower, others: Callable[[], int] | None) -> None:
        """Have the follower told when the watermark comes to its next time; ``others`` is how far its other inputs have."""
        ...


class Loop:
    """One loop over records that operators join, each with statements on the record's ``value`` and ``key``.

    Attributes:
        lines: The statements; ``continue`` leaves a record out.
        before, behind: Statements before and behind the loop.
        closed: Whether the last operator passes nothing on, so that no value is collected.
        keyed: Whether ``key`` is set.
        timed: Whether results' times are wanted.
        mapping: Whether ``value`` is a dict (None: not known).
        fields: The types of the value's fields, as far as its decoder has seen to them.
        port: Which input of the operator that joins next these records are.
        after: What to do after each push.
        names: What the code sees.
        clock: Where the loop reads each record's ``time``: it also keeps ``high``, the greatest so far, and ``due``, the one at
            which something has to be done.
    """

    def __init__(
        self, *, mapping: bool | None, clock: Clock | None = None, fields: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.mapping, self.clock, self.fields = mapping, clock, fields
        self.lines: list[str] = []
        self.before: list[str] = []
        self.behind: list[str] = []
        self.after: list[Callable[[], None]] = []
        self.closed = self.keyed = self.timed = False
        self.port = 0
        self.names: dict[str, Any] = {}

    def bind(self, thing: Any) -> str:
        """A name for ``thing`` in the code."""
        name = f"_{len(self.names)}"
        self.names[name] = thing
        return name

    def call(self, function: Callable[[Any], Any]) -> None:
        """Replace the value by a function of it; of what kind it is then, nobody knows."""
        self.lines.append(f"value = {self.bind(function)}(value)")
        self.mapping, self.fields = None, {}

    def is_a(self, field: Any, kind: type) -> bool:
        """Whether what ``read`` reads is known to be of just this type."""
        return isinstance(field, str) and self.fields.get(field) is kind

    def read(self, field: str | Callable[[Any], Any] | None) -> str:
        """The expression for a field of the value."""
        if field is None:
            return "value"
        if isinstance(field, str):
            found = None if self.mapping is None else expression("value", field, mapping=self.mapping)
            if found is not None:
                return found
            return f"{self.bind(lambda value: value[field] if isinstance(value, dict) else attrgetter(field)(value))}(value)"
        return f"{self.bind(field)}(value)"

    def function(self) -> Callable[..., Any]:
        """The function of (records, values to append to, keys to append to); with a clock it has more, see ``Clock``."""
        lines = list(self.lines)
        if not self.closed:
            lines.append("append(value)")
            lines += ["append_key(key)"] if self.keyed else []
            lines += ["append_time(time)"] if self.timed else []
        bound = "".join(f", {name}={name}" for name in self.names)  # as locals they are found quicker than as globals
        code = f"""
def loop(records, values, keys{"" if self.clock is None else ", times, stamps, high, due, limit"}{bound}):
    append, append_key = values.append, keys.append
    {"append_time = times.append" if self.timed else ""}
{indented(self.before, 1)}
    for {"value, time in zip(records, stamps)" if self.clock is not None and self.clock.stamped else "value in records"}:
{indented(lines, 2)}
{indented(self.behind, 1)}
    {"" if self.clock is None else "return high"}
"""
        return define("loop", code, self.names)  # type: ignore[no-any-return]  # it is what the code defines


def single(loop: Loop, stopped: Any, emit: Callable[[Any], None], fail: Callable[[Exception], None]) -> Callable[[Any], None]:
    """The loop's statements for one value: what they raise goes to ``fail``, what they let through to ``emit``.

    Args:
        loop: An operator's statements, which set no key.
        stopped: Has ``is_stopped``; then the value goes nowhere.
        emit: What it raises is not the operator's business, and passes through.
        fail: Told of what a user's function raises.
    """
    names = tuple(loop.names)
    lines = tuple(line.replace("continue", "return") for line in loop.lines)
    return _single(names, lines)(stopped, emit, fail, *loop.names.values())  # type: ignore[no-any-return]  # made there


@lru_cache(maxsize=256)
def _single(names: tuple[str, ...], lines: tuple[str, ...]) -> Callable[..., Any]:
    code = f"""
def bind({", ".join(("stopped", "emit", "fail", *names))}):
    def one(value):
        if stopped.is_stopped:
            return
        try:
{indented(lines, 3)}
        except Exception as error:
            fail(error)
            return
        emit(value)
    return one
"""
    return define("bind", code, {})  # type: ignore[no-any-return]  # it is what the code defines


def expression(value: str, field: str, *, mapping: bool) -> str | None:
    """The expression that reads a field of ``value``; None for a name that must not become code."""
    if mapping:
        return f"{value}[{field!r}]"
    parts = field.split(".")
    return f"{value}.{field}" if all(part.isidentifier() and not keyword.iskeyword(part) for part in parts) else None


@lru_cache(maxsize=1024)
def column_reader(field: str, mapping: bool) -> Callable[[Sequence[Any]], list[Any]]:  # a cache's key
    """A function that reads ``field`` of every value: objects' attribute, or mappings' item."""
    read = expression("value", field, mapping=mapping)
    if read is None:
        get = itemgetter(field) if mapping else attrgetter(field)
        return lambda values: list(map(get, values))
    return define("column", f"def column(values):\n    return [{read} for value in values]", {})  # type: ignore[no-any-return]
