"""The catalogue of operators: what their docstrings say about each, as a table, and as the page ``docs/operators.md``.

python -m rxstreams.pictures.catalogue > docs/operators.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import overload

import msgspec

from rxstreams import operators
from rxstreams.pictures.marbles import pictures_of

__all__ = ["OperatorRow", "OperatorTable", "page", "table_of_operators"]

LINES = ("Shape", "Time", "Holds", "Bounded by", "Ends", "Depends on", "Names")
"""What an operator's docstring says, in this order; ``Depends on`` only where the result does."""

_LINE = re.compile(rf"^({'|'.join(LINES)}): ((?:.+\n?)+?)(?=^(?:{'|'.join(LINES)}): |^$|\Z)", re.MULTILINE)
_NAMES = re.compile(r"RxJS (.+), RxPY (.+), Kafka Streams (.+)")


class OperatorRow(msgspec.Struct, frozen=True):
    """What there is to know of an operator.

    Attributes:
        name: In ``rxstreams.operators``.
        family: The module that it is in.
        summary: What it does, in a sentence.
        pictures: Its marble pictures.
        shape: What comes out of what goes in: how many, in which order, with which keys.
        time: The event time of its results.
        holds: What it remembers.
        bounded_by: What bounds that.
        ends: When it ends, and how.
        depends_on: ``"interleaving"`` or ``"clock"`` where the result depends on it; None where it follows from the input.
        rxjs: Its name in RxJS; "—" if there is none.
        rxpy: Its name in RxPY.
        kafka_streams: Its name in Kafka Streams' DSL.
    """

    name: str
    family: str
    summary: str
    pictures: tuple[str, ...]
    shape: str
    time: str
    holds: str
    bounded_by: str
    ends: str
    depends_on: str | None
    rxjs: str
    rxpy: str
    kafka_streams: str


class OperatorTable(Sequence[OperatorRow]):
    """All operators, by name; a notebook shows it as a table, ``table["map"]`` is one row."""

    def __init__(self, rows: Sequence[OperatorRow]) -> None:
        self._rows = {row.name: row for row in rows}

    @overload
    def __getitem__(self, which: int | str) -> OperatorRow: ...
    @overload
    def __getitem__(self, which: slice) -> OperatorTable: ...
    def __getitem__(self, which: int | str | slice) -> OperatorRow | OperatorTable:
        if isinstance(which, str):
            return self._rows[which]
        rows = list(self._rows.values())
        return OperatorTable(rows[which]) if isinstance(which, slice) else rows[which]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[OperatorRow]:
        return iter(self._rows.values())

    def _cells(self) -> list[tuple[str, ...]]:
        """The columns that fit side by side, with their heads."""
        head = ("operator", "output time", "holds", "bounded by", "depends on")
        return [head, *((row.name, row.time, row.holds, row.bounded_by, row.depends_on or "") for row in self)]

    def __repr__(self) -> str:
        return f"<{len(self)} operators: {', '.join(self._rows)}>"

    def __str__(self) -> str:
        blocks = []
        for row in self:
            told = {"time": row.time, "holds": row.holds, "bounded by": row.bounded_by, "ends": row.ends}
            lines = [f"{row.name}: {row.summary}", *row.pictures[:1], *(f"    {key}: {text}" for key, text in told.items())]
            blocks.append("\n".join([*lines, *([f"    depends on: {row.depends_on}"] if row.depends_on else [])]))
        return "\n\n".join(blocks)

    def _repr_markdown_(self) -> str:
        return _markdown(self._cells())

    def _repr_html_(self) -> str:
        head, *rows = ([escape(cell).replace("``", "") for cell in row] for row in self._cells())
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><thead><tr>{''.join(f'<th>{cell}</th>' for cell in head)}</tr></thead><tbody>{body}</tbody></table>"


def table_of_operators() -> OperatorTable:
    """Every operator of ours: its picture, the time of its results, what it holds and what bounds that, and its other names.

    It is read from the operators' docstrings, whose pictures are run by the tests.
    """
    return OperatorTable([_row(name) for name in operators.__all__])


def _row(name: str) -> OperatorRow:
    function = getattr(operators, name)
    text = inspect.getdoc(function) or ""
    told = {label: " ".join(said.split()) for label, said in _LINE.findall(text)}
    names = _NAMES.fullmatch(told["Names"])
    if names is None:
        raise ValueError(f"{name}: expected 'RxJS …, RxPY …, Kafka Streams …' after 'Names:', got {told['Names']!r}")
    return OperatorRow(
        name,
        function.__module__.rpartition(".")[2],
        " ".join(text.partition("\n\n")[0].split()),
        tuple(pictures_of(text)),
        told["Shape"],
        told["Time"],
        told["Holds"],
        told["Bounded by"],
        told["Ends"],
        told.get("Depends on"),
        *names.groups(),
    )


def page(table: OperatorTable) -> str:
    """The catalogue as a page of Markdown."""
    names = [("RxJS", "RxPY", "rxstreams", "Kafka Streams")]
    names += [(row.rxjs, row.rxpy, f"``{row.name}``", row.kafka_streams) for row in table]
    head, *rows = table._cells()
    overview = [head, *((f"[``{cells[0]}``](#{cells[0]})", *cells[1:]) for cells in rows)]
    parts = [
        "# Operators",
        "Made from the operators' docstrings by `make docs`; the tests run every picture. A character is a second, `|` the end, "
        "`#` an error; above the brackets stand the inputs, below them what comes out.",
        "An operator that bears RxPY's name means what RxPY means. *Depends on* says where a result does not follow from the "
        "input alone: from how sources interleave, or from the clock; such an operator gives each result once after a crash, "
        "not the same result.",
        _markdown(overview),
        "## Names elsewhere",
        _markdown(names),
        *(_section(row) for row in table),
    ]
    return _spoken("\n\n".join(parts)) + "\n"


def _section(row: OperatorRow) -> str:
    told = {
        "Shape": row.shape,
        "Output time": row.time,
        "Holds": row.holds,
        "Bounded by": row.bounded_by,
        "Ends": row.ends,
        "Depends on": row.depends_on,
    }
    lines = "\n".join(f"- **{label}**: {text}" for label, text in told.items() if text)
    pictures = [f"```text\n{inspect.cleandoc(picture)}\n```" for picture in row.pictures]
    return "\n\n".join([f"## {row.name}", row.summary, *pictures, lines])


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def _spoken(text: str) -> str:
    """Docstrings quote code by two backticks, Markdown by one."""
    return re.sub(r"``([^`]+)``", r"`\1`", text)
