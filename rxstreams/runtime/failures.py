"""What is known of a record that could not be handled, and the dead letter that is written of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from rxstreams.batch import Batch
from rxstreams.brokers.contract import Header, Record
from rxstreams.errors import RecordError
from rxstreams.feeds.files.stretches import PLACE

if TYPE_CHECKING:
    from rxstreams.runtime.vertices import Vertex

__all__ = ["Failure", "explain"]

SHOWN = 200


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that could not be handled, as ``stream.errors`` has it.

    Attributes:
        stage: The operator, source or sink.
        error: What it is reported as; ``error.cause`` is what was raised.
        value: What the stage was given.
        attempts: How often it was tried.
        source: The source's id, and the record's partition and offset there; None where no single record is behind it.
        original: The record's bytes as they came, where there were bytes.
        key: The record's key as it came.
        headers: The record's headers as they came.
    """

    stage: str
    error: RecordError
    value: Any
    attempts: int
    source: tuple[str, int, int] | None
    original: bytes | None
    key: bytes | None = None
    headers: tuple[Header, ...] = ()

    def dead_letter(self) -> Record:
        """The original bytes (else the value as JSON, else as text), with where and why in headers ``rxs.…``."""
        where = self.source or ("", -1, -1)
        told = {
            "rxs.topic": where[0].removeprefix("topic:"),
            "rxs.partition": str(where[1]),
            "rxs.offset": str(where[2]),
            "rxs.stage": self.stage,
            "rxs.error": str(self.error),
            "rxs.attempts": str(self.attempts),
        }
        headers = tuple((name, text.encode()) for name, text in told.items())
        return Record(
            self.original if self.original is not None else _bytes(self.value), self.key, None, (*self.headers, *headers)
        )


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return bytes(value)
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return repr(value).encode()


def explain(vertex: Vertex, error: Exception, batch: Batch, index: int, attempts: int) -> Failure:
    """All that is known of record ``index`` of a batch at which ``error`` was raised."""
    value = batch.values[index]
    pushed = vertex.graph.pushed
    at: float | None = None
    if batch.order is not None:
        at = batch.order[index]
    elif not vertex.inputs:
        at = index  # where nobody asks for order numbers no policy leaves out records, so a source's are those of the chunk
    source = original = key = None
    headers: tuple[Header, ...] = ()
    if pushed is not None:
        name, chunk = pushed
        if at is not None and at % 1 < 0.5 and at < len(chunk.values):  # at a half and beyond is what a timer made
            at = int(at)
            source = (name, chunk.partition, chunk.offsets[at])
            raw = chunk.values[at]
            original = bytes(raw) if isinstance(raw, bytes) else None  # of its subclasses brokers take none
            key = chunk.keys[at] if chunk.keys else None
            headers = chunk.headers[at] if chunk.headers else ()
    tried = f", after {attempts} attempts" if attempts > 1 else ""
    place = dict(headers).get(PLACE)
    where = _where(pushed, source) + (f", {place.decode()}" if place else "")
    problem = f"{type(error).__name__}: {error}; {where}, value {_brief(value)}{tried}"
    if isinstance(error, RecordError):
        return Failure(vertex.title, error, value, attempts, source, original, key, headers)
    return Failure(
        vertex.title, vertex.node.error_type(vertex.title, problem, error), value, attempts, source, original, key, headers
    )


def _where(pushed: Any, source: tuple[str, int, int] | None) -> str:
    if source is not None:
        return f"at {source[0]}, partition {source[1]}, offset {source[2]}"
    if pushed is None:
        return "at a timer or the end of the input"
    name, chunk = pushed
    return f"between offsets {chunk.offsets[0]} and {chunk.offsets[-1]} of {name}, partition {chunk.partition}"


def _brief(value: Any) -> str:
    text = repr(value[:SHOWN] if isinstance(value, bytes | str) else value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
