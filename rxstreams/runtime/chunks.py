"""Chunks: one key group's saved state as table rows, and back.

A group's state is a *snapshot* and the *deltas* written since, each a blob of

    [[operator, coded, keys, states, deleted keys], ...]      packed by ``state.codec``

where ``coded`` says whether keys are as they are (0), flat tuples of such (1), or what ``encode_key`` writes (2). What is of a
space (``state.spaces``) has three more: the space, the keys' ordinals, and whether all that was there before is gone. A blob is
cut into parts below the broker's record limit. A row is one part: ``{group}/s/{part}`` of the snapshot, ``{group}/d/{i}`` of the
deltas, counted from the snapshot on. Before its piece of the blob stands a header: the format version, the *generation* (how many
snapshots the group has had; what an older one left behind is ignored), the part, the number of parts, and a checksum
that covers the row's key too.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Protocol
from zlib import crc32

from rxstreams.errors import FormatError, StateCodecError
from rxstreams.state.codec import FORMAT, StateCodec, dumps, loads
from rxstreams.state.keys import decode_key, encode_key, original
from rxstreams.state.spaces import KNOWN, Spaces

__all__ = [
    "HEADER_BYTES",
    "Column",
    "Stateful",
    "blob_of",
    "column",
    "cut_up",
    "read_group",
    "read_row",
    "row_key",
    "set_states",
    "unpacked",
]

_HEADER = struct.Struct(">BQIII")
HEADER_BYTES = _HEADER.size
_PLAIN_KEYS = frozenset({str, bytes, int, type(None)})
_AS_IS, _TUPLES, _CODED = range(3)
_KEYS: tuple[Callable[[list[Any]], Iterable[Any]], ...] = (iter, partial(map, tuple), partial(map, decode_key))


class Stateful(Protocol):
    """A node of the running graph, as far as saving it goes."""

    identity: str
    """What its state is saved under."""
    states: dict[Any, Any]
    """All its memory, by internal key."""
    dirty: set[Any]
    """Keys whose state changed since the last cut; one that is not in ``states`` was deleted. ``cut`` empties this very set."""
    spaces: Spaces[Any] | None
    """Memory that is freed in layers, if it has any, beside ``states``."""
    codec: StateCodec


def _check_format(row: str, found: int) -> None:
    if found != FORMAT:
        raise FormatError(
            f"saved state, row {row!r} has format {found}; this rxstreams reads format {FORMAT}. Run the version that wrote it, "
            "or start under another app name to begin anew"
        )


def row_key(group: int, kind: str, index: int) -> bytes:
    """The key of a row: kind ``s`` is a part of the snapshot, ``d`` a delta or a part of one."""
    return f"{group}/{kind}/{index}".encode()


def cut_up(blob: bytes, generation: int, limit: int, row: Callable[[int], bytes]) -> list[tuple[bytes, bytes]]:
    """The rows that hold ``blob``, none for an empty one; ``row`` gives the key of each part."""
    pieces = [(row(part), blob[at : at + limit]) for part, at in enumerate(range(0, len(blob), limit))]
    count = len(pieces)
    return [
        (key, _HEADER.pack(FORMAT, generation, part, count, crc32(piece, crc32(key))) + piece)
        for part, (key, piece) in enumerate(pieces)
    ]


class _Piece(NamedTuple):
    row: bytes
    part: int
    parts: int
    body: bytes


def read_row(table: Mapping[bytes, bytes], row: bytes) -> bytes:
    """The content of a row that stands for itself.

    Raises:
        FormatError: If it is damaged, or of another format.
    """
    return _piece(table, row, 0).body


def _piece(table: Mapping[bytes, bytes], row: bytes, generation: int) -> _Piece:
    value = table.get(row)
    if value is None:
        raise FormatError(
            f"saved state lacks the row {row.decode()!r}, which its position record lists; restore the table from a copy"
        )
    if value:
        _check_format(row.decode(), value[0])
    if len(value) < _HEADER.size:
        raise FormatError(f"saved state, row {row.decode()!r} is cut off")
    _, found, part, parts, checksum = _HEADER.unpack_from(value)
    body = value[_HEADER.size :]
    if found != generation:
        raise FormatError(f"saved state, row {row.decode()!r} is of generation {found}, its position record lists {generation}")
    if crc32(body, crc32(row)) != checksum:
        raise FormatError(f"saved state, row {row.decode()!r} is damaged: its checksum does not match")
    return _Piece(row, part, parts, body)


def _blobs(pieces: Iterable[_Piece]) -> Iterator[tuple[bytes, bytes]]:
    """Each blob with the key of its first row."""
    open_: list[_Piece] = []
    for piece in pieces:
        open_.append(piece)
        if piece.part != len(open_) - 1 or piece.parts != open_[0].parts:
            raise FormatError(f"saved state, row {piece.row.decode()!r} is part {piece.part} of {piece.parts}, out of place")
        if len(open_) == piece.parts:
            yield open_[0].row, b"".join(part.body for part in open_)
            open_ = []
    if open_:
        raise FormatError(f"saved state, row {open_[0].row.decode()!r}: parts are missing")


class Column(NamedTuple):
    """One operator's part of a blob: of its plain states, or of one space."""

    keys: list[Any]
    values: list[Any]
    """The state of each key."""
    deleted: list[Any]
    """Of plain states only."""
    ordinals: array[int] | None = None
    """Of a space: its keys' ordinals."""
    reset: bool = False
    """Of a space: whether what was there before is gone."""

    def empty(self) -> Column:
        """A column of the same kind without keys."""
        return Column([], [], [], None if self.ordinals is None else array("q"), self.reset)


def column(states: Mapping[Any, Any], keys: list[Any]) -> Column:
    """The keys with their states as they are now, and those of them that have none any more."""
    try:
        return Column(keys, list(map(states.__getitem__, keys)), [])  # looks each key up once: that is what a cut of many costs
    except KeyError:
        live = [key for key in keys if key in states]
        return Column(live, list(map(states.__getitem__, live)), [key for key in keys if key not in states])


def blob_of(parts: Iterable[tuple[Stateful, int | None, Column]]) -> bytes:
    """The blob of one group, of columns with the operator and space that each is of; empty if they are."""
    entries = [_entry(node, space, part) for node, space, part in parts if part.keys or part.deleted or part.reset]
    return dumps(entries) if entries else b""


def _entry(node: Stateful, space: int | None, part: Column) -> list[Any]:
    coded, keys, deleted = _coded_keys(part.keys, part.deleted)
    entry = [node.identity, coded, keys, _packed(node, part), deleted]
    return entry if part.ordinals is None else [*entry, space, part.ordinals.tolist(), part.reset]


def _coded_keys(keys: list[Any], deleted: list[Any]) -> tuple[int, list[Any], list[Any]]:
    kinds = {*map(type, keys), *map(type, deleted)}
    if kinds <= _PLAIN_KEYS:
        return _AS_IS, keys, deleted
    if kinds == {tuple} and _PLAIN_KEYS.issuperset(map(type, chain(*keys, *deleted))):
        return _TUPLES, keys, deleted
    return _CODED, list(map(encode_key, keys)), list(map(encode_key, deleted))


def _packed(node: Stateful, part: Column) -> list[Any]:
    try:
        return node.codec.pack_all(part.values)
    except StateCodecError:
        for key, value in zip(part.keys, part.values, strict=True):
            try:
                node.codec.check(value)
            except StateCodecError as error:
                raise StateCodecError(f"{node.identity}, key {original(key)!r}: {error}") from error
        raise


Place = tuple[str, int | None]
"""An operator's identity, and the space; None for its plain states."""


def read_group(table: Mapping[bytes, bytes], group: int, generation: int, parts: int, deltas: int) -> dict[Place, dict[Any, Any]]:
    """The packed states of a group by place and key, after its snapshot and its deltas; of a space, (ordinal, packed state).

    Raises:
        FormatError: If a row is missing, damaged, out of place, or of another format or generation.
        StateCodecError: If a row's content cannot be read.
    """
    states: dict[Place, dict[Any, Any]] = {}
    for kind, rows in (("s", parts), ("d", deltas)):
        for row, blob in _blobs(_piece(table, row_key(group, kind, index), generation) for index in range(rows)):
            try:
                _replay(blob, states)
            except (StateCodecError, TypeError, ValueError, LookupError) as error:
                raise StateCodecError(f"saved state, row {row.decode()!r}: {error}") from error
    return states


def _replay(blob: bytes, states: dict[Place, dict[Any, Any]]) -> None:
    for identity, coded, keys, values, deleted, *spaced in loads(blob):
        if spaced:
            _replay_space(states, (identity, spaced[0]), zip(_KEYS[coded](keys), values, spaced[1], strict=True), reset=spaced[2])
            continue
        known = states.setdefault((identity, None), {})
        known.update(zip(_KEYS[coded](keys), values, strict=True))
        for key in _KEYS[coded](deleted):
            known.pop(key, None)


def _replay_space(states: dict[Place, dict[Any, Any]], place: Place, changes: Iterable[Any], *, reset: bool) -> None:
    known = {} if reset else states.get(place, {})
    for key, value, ordinal in changes:
        known[key] = known[key][0] if ordinal == KNOWN else ordinal, value
    states[place] = known
    if not known:
        del states[place]


def set_states(node: Stateful, saved: dict[Any, Any]) -> None:
    """Give ``node`` the packed states that ``read_group`` returned for it.

    Raises:
        StateCodecError: If one does not fit what the operator declares.
    """
    node.states.update(saved if node.codec.unpack is None else {key: unpacked(node, key, one) for key, one in saved.items()})


def unpacked(node: Stateful, key: Any, packed: Any) -> Any:
    """A state as it was saved.

    Raises:
        StateCodecError: If it does not fit what the operator declares.
    """
    if node.codec.unpack is None:
        return packed
    try:
        return node.codec.unpack(packed)
    except (StateCodecError, TypeError, ValueError, AttributeError) as error:
        raise StateCodecError(f"saved state of {node.identity}, key {original(key)!r}: {error}") from error
