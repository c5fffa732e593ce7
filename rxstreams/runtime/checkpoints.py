"""Saved state: what an epoch writes of it, and how it comes back. The same for every broker.

Keys fall into groups; a group's rows are written by ``chunks``. The row ``position`` lists every group and the rows that make it
up: what it lists must be there, or nothing is restored.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import compress
from typing import Any, NamedTuple

import msgspec

from rxstreams.brokers.contract import Put
from rxstreams.errors import ConfigError, FormatError, TopologyError
from rxstreams.runtime.chunks import (
    HEADER_BYTES,
    Column,
    Stateful,
    blob_of,
    column,
    cut_up,
    read_group,
    read_row,
    row_key,
    set_states,
    unpacked,
)
from rxstreams.runtime.position import GroupRecord, Position
from rxstreams.state.codec import FORMAT
from rxstreams.state.keys import key_groups
from rxstreams.state.spaces import KNOWN

__all__ = ["Checkpoints", "Stateful", "saved_topology"]

_POSITION = b"position"
_LEAST_BYTES = 1_000
_LEAST_LOG = 1_000_000
_LEAST = 1_000
"""Bytes that a row must be allowed to have."""
_KEY_BYTES = 40
"""What a row's key has at most."""
_POSITION_BYTES = 2_000  # about what a position record takes; it tells the log's size, so it cannot know its own


def saved_topology(rows: Iterable[tuple[bytes, bytes | None]]) -> Position | None:
    """The position record among a table's rows; None if the table is empty.

    Raises:
        FormatError: If it is of another format version, damaged, or missing while there is saved state.
    """
    return _position(_latest(rows))


def _latest(rows: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    return {key: value for key, value in dict(rows).items() if value is not None}


def _position(table: Mapping[bytes, bytes]) -> Position | None:
    if not table:
        return None
    try:
        return msgspec.msgpack.decode(read_row(table, _POSITION), type=Position)
    except msgspec.MsgspecError as error:
        raise FormatError(f"saved state, row 'position' cannot be read: {error}") from error


Slot = tuple[int, int | None]
"""Where a key stands: the index of its node, and its space; None for the node's plain states."""
Columns = dict[Slot, Column]


class _Write(NamedTuple):
    """What a cut wrote of one group, to be remembered when it is committed."""

    record: GroupRecord
    members: Columns
    anew: bool


class Checkpoints:
    """The saved state of one task: writes what changed since the last cut, and keeps what there is to read small.

    An epoch writes a delta per group with dirty keys. A group whose deltas outweigh its snapshot (and 1 kB), and the group with
    the oldest snapshot once the log has grown beyond 4 x the state (and 1 MB), are written anew: two in an epoch, or as many as
    weigh no more than the epoch's deltas. A delta that would cover most of its group is written as a snapshot at once.

    Holds, besides the states: per group, operator and space a list of its keys; 8 to 16 bytes a key.

    Args:
        nodes: Every stateful node of the graph.
        table: The broker's table.
        key_groups: How many groups; what was saved with another number keeps that.
        max_chunk_bytes: Bytes of a row beyond which it is cut into parts.
    """

    def __init__(self, nodes: Iterable[Stateful], *, table: str, key_groups: int = 64, max_chunk_bytes: int = 900_000) -> None:
        self._nodes = list(nodes)
        identities = [node.identity for node in self._nodes]
        twice = sorted({name for name in identities if identities.count(name) > 1})
        if twice:
            raise ConfigError(f"two stateful operators have the identity {twice[0]!r}; give them different names")
        if key_groups < 1 or max_chunk_bytes < _LEAST:
            raise ConfigError(f"expected key_groups ≥ 1 and max_chunk_bytes ≥ {_LEAST}, got {key_groups} and {max_chunk_bytes}")
        self.key_groups = key_groups
        self._table = table
        self._limit = max_chunk_bytes - HEADER_BYTES
        self._groups: dict[int, GroupRecord] = {}
        self._members: dict[int, Columns] = {}
        self._log_bytes = 0
        self._pending: tuple[dict[int, _Write], int] | None = None

    def bound(self, record_limit: int | None) -> None:
        """Make rows no larger than the broker takes.

        Raises:
            ConfigError: If that is too little for a row.
        """
        if record_limit is not None:
            if record_limit < _LEAST:
                raise ConfigError(f"table {self._table!r} takes records of {record_limit} bytes; state needs at least {_LEAST}")
            self._limit = min(self._limit, record_limit - _KEY_BYTES - HEADER_BYTES)

    # Reading.

    def restore(
        self, rows: Iterable[tuple[bytes, bytes | None]], progress: Callable[[int, int], None] | None = None
    ) -> Position | None:
        """Fill the nodes' states with what was saved; None if nothing was.

        Args:
            rows: The table's rows, in any order (of several with one key, the last counts).
            progress: Called with (groups done, groups in all).

        Raises:
            FormatError: If it is of another format version, or not whole.
            StateCodecError: If a state cannot be read, naming the row, or the operator and key.
            TopologyError: If some of it belongs to an operator that is not among the nodes.
        """
        table = _latest(rows)
        position = _position(table)
        if position is None:
            return None
        self.key_groups, self._groups, self._log_bytes = position.key_groups, dict(position.groups), position.log_bytes
        unknown: set[str] = set()
        spaces: dict[Slot, list[tuple[int, Any, Any]]] = {}
        for done, (group, record) in enumerate(position.groups.items(), 1):
            unknown |= self._fill(group, record, table, spaces)
            if progress is not None:
                progress(done, len(position.groups))
        if unknown:
            raise self._unknown(unknown)
        for (index, space), entries in spaces.items():
            held = self._nodes[index].spaces
            assert held is not None
            assert space is not None
            held.restore(space, entries)
        return position

    def _fill(
        self, group: int, record: GroupRecord, table: Mapping[bytes, bytes], spaces: dict[Slot, list[tuple[int, Any, Any]]]
    ) -> set[str]:
        """Give the nodes their states of one group, but those of spaces, which all groups share; return whose are nobody's."""
        saved = read_group(table, group, record.generation, record.parts, record.deltas)
        members: Columns = {}
        for index, node in enumerate(self._nodes):
            mine = [space for identity, space in saved if identity == node.identity]
            for space in mine:
                found = saved.pop((node.identity, space))
                if space is None:
                    members[index, None] = Column(list(found), [], [])
                    set_states(node, found)
                    continue
                ordinals = array("q", [ordinal for ordinal, _ in found.values()])
                members[index, space] = Column(list(found), [], [], ordinals)
                entries = spaces.setdefault((index, space), [])
                entries += [(ordinal, key, unpacked(node, key, packed)) for key, (ordinal, packed) in found.items()]
            node.dirty.clear()
        self._members[group] = members
        return {identity for (identity, _), states in saved.items() if states}

    def _unknown(self, saved: set[str]) -> TopologyError:
        return TopologyError(
            f"saved state of {', '.join(map(repr, sorted(saved)))} fits no operator of this pipeline, which has "
            f"{', '.join(repr(node.identity) for node in self._nodes) or 'none'}. Give an operator that was renamed or moved "
            "its old identity by name=, or start under another app name to begin anew"
        )

    # Writing.

    def cut(self, position: Position) -> list[Put]:
        """What this epoch writes: the dirty keys of every node, and ``position``, which it completes.

        The nodes' dirty sets are emptied. Call ``promote`` when it is committed; if that fails, drop this and the nodes.

        Raises:
            StateCodecError: If a state cannot be encoded, naming the operator and key.
            RuntimeError: If the last cut was not promoted.
        """
        if self._pending is not None:
            raise RuntimeError("cut() before promote(): the last cut has not been committed, or this should have been dropped")
        changed = self._changed()
        puts: list[Put] = []
        deltas: dict[int, bytes] = {}
        writes: dict[int, _Write] = {}
        for group, change in changed.items():
            if self._covers(group, change):
                writes[group] = self._snapshot(group, change, position.epoch, puts)
            else:
                deltas[group] = self._blob(change)
        for group in self._overdue(deltas, writes):
            deltas.pop(group, None)
            writes[group] = self._snapshot(group, changed.get(group), position.epoch, puts)
        for group, blob in deltas.items():
            writes[group] = self._delta(group, changed[group], blob, puts)
        return self._finish(position, writes, puts)

    @property
    def saved_bytes(self) -> int:
        """What the last cut leaves in the table: snapshots, and the changes since."""
        writes = {} if self._pending is None else self._pending[0]
        records = {**self._groups, **{group: write.record for group, write in writes.items()}}
        return sum(record.snapshot_bytes + record.delta_bytes for record in records.values())

    def _blob(self, columns: Columns) -> bytes:
        return blob_of((self._nodes[index], space, part) for (index, space), part in columns.items())

    def _changed(self) -> dict[int, Columns]:
        """Per group, columns of what changed."""
        changed: dict[int, Columns] = {}
        for index, node in enumerate(self._nodes):
            change = column(node.states, list(node.dirty))
            node.dirty.clear()
            self._spread((index, None), change, changed)
            if node.spaces is None:
                continue
            for space in node.spaces.take_dropped():
                for group, members in self._members.items():
                    if (index, space) in members:
                        changed.setdefault(group, {})[index, space] = Column([], [], [], array("q"), reset=True)
            for one in node.spaces.take_changes():
                self._spread((index, one.space), Column(one.keys, one.states, [], one.ordinals), changed)
        return changed

    def _spread(self, slot: Slot, change: Column, changed: dict[int, Columns]) -> None:
        """Put each of a slot's changes to those of its key's group."""
        for part, group in self._by_group(change):
            columns = changed.setdefault(group, {})
            if slot in columns:  # dropped, and begun anew
                part = part._replace(reset=True)
            columns[slot] = part

    def _by_group(self, change: Column) -> Iterator[tuple[Column, int]]:
        parts = [change.empty() for _ in range(self.key_groups)]
        keys, values, deleted, ordinals, _ = zip(*parts)
        of = key_groups(change.keys, self.key_groups)
        for key, value, group in zip(change.keys, change.values, of):
            keys[group].append(key)
            values[group].append(value)
        for ordinal, group in zip(change.ordinals or (), of):
            ordinals[group].append(ordinal)
        for key, group in zip(change.deleted, key_groups(change.deleted, self.key_groups)):
            deleted[group].append(key)
        return ((part, group) for group, part in enumerate(parts) if part.keys or part.deleted)

    def _covers(self, group: int, change: Columns) -> bool:
        """Whether a snapshot costs no more than twice the delta, or there is nothing left to keep."""
        members = self._members.get(group, {})
        live = sum(len(part.keys) for part in change.values())
        if not live:
            self._drop_freed(members)
        gone = sum(len(part.deleted) + (len(members[slot].keys) if part.reset else 0) for slot, part in change.items())
        return 2 * (live + gone) >= sum(len(part.keys) for part in members.values())

    def _drop_freed(self, members: Columns) -> None:
        """Take freed keys off the lists' ends: a group without any is found out at a cost that freeing has paid for."""
        for (index, space), part in members.items():
            while space is None and part.keys and part.keys[-1] not in self._nodes[index].states:
                part.keys.pop()

    def _overdue(self, deltas: Mapping[int, bytes], written: Mapping[int, _Write]) -> list[int]:
        """The groups to write anew, those with the most to gain first."""
        budget = sum(map(len, deltas.values()))
        gains: dict[int, int] = {}
        for group, record in self._groups.items():
            weight = record.delta_bytes + len(deltas.get(group, b""))
            if group not in written and weight > max(record.snapshot_bytes, _LEAST_BYTES):
                gains[group] = weight - record.snapshot_bytes
        chosen: list[int] = []
        for group in sorted(gains, key=gains.__getitem__, reverse=True):
            budget -= self._groups[group].snapshot_bytes
            if len(chosen) >= 2 and budget < 0:
                break
            chosen.append(group)
        if len(chosen) < 2:
            chosen += [group for group in self._oldest() if group not in chosen and group not in written]
        return chosen

    def _oldest(self) -> list[int]:
        """The group whose snapshot makes the log to read too long, if one does."""
        kept = {group: record for group, record in self._groups.items() if record.parts}
        if not kept:
            return []
        oldest = min(kept, key=lambda group: kept[group].log_at)
        state = sum(record.snapshot_bytes for record in kept.values())
        return [oldest] if self._log_bytes - kept[oldest].log_at > 4 * state + _LEAST_LOG else []

    def _snapshot(self, group: int, change: Columns | None, epoch: int, puts: list[Put]) -> _Write:
        old = self._groups.get(group, GroupRecord())
        members, change = self._members.get(group, {}), change or {}
        columns = {slot: self._whole(slot, members.get(slot), change.get(slot)) for slot in {**members, **change}}
        blob = self._blob(columns)
        rows = cut_up(blob, old.generation + 1, self._limit, lambda part: row_key(group, "s", part))
        puts.extend(Put(self._table, *row) for row in rows)
        puts.extend(Put(self._table, row_key(group, "s", part), None) for part in range(len(rows), old.parts))
        puts.extend(Put(self._table, row_key(group, "d", index), None) for index in range(old.deltas))
        record = GroupRecord(old.generation + 1, len(rows), 0, len(blob), 0, epoch, self._log_bytes)
        kept = {slot: part._replace(values=[]) for slot, part in columns.items() if part.keys}
        return _Write(record, kept, anew=True)

    def _whole(self, slot: Slot, known: Column | None, change: Column | None) -> Column:
        """All that there is in a slot, of the keys that were known and those that are new."""
        index, space = slot
        if space is None:
            keys = [key for part in (known, change) if part is not None for key in part.keys]
            return column(self._nodes[index].states, list(dict.fromkeys(keys)))._replace(deleted=[])
        whole = Column([], [], [], array("q"))
        if known is not None and not (change is not None and change.reset):
            _remember(whole, known)
        if change is not None:
            _remember(whole, change)
        spaces = self._nodes[index].spaces
        assert spaces is not None
        states = spaces.states[space] if whole.keys else {}
        return whole._replace(values=[states[key] for key in whole.keys])

    def _delta(self, group: int, change: Columns, blob: bytes, puts: list[Put]) -> _Write:
        old = self._groups[group]
        rows = cut_up(blob, old.generation, self._limit, lambda part: row_key(group, "d", old.deltas + part))
        puts.extend(Put(self._table, *row) for row in rows)
        record = msgspec.structs.replace(old, deltas=old.deltas + len(rows), delta_bytes=old.delta_bytes + len(blob))
        return _Write(record, change, anew=False)

    def _finish(self, position: Position, writes: dict[int, _Write], puts: list[Put]) -> list[Put]:
        position.format, position.key_groups = FORMAT, self.key_groups
        position.groups = {**self._groups, **{group: write.record for group, write in writes.items()}}
        position.log_bytes = self._log_bytes + _POSITION_BYTES + sum(len(put.value or b"") for put in puts)
        encoded = msgspec.msgpack.encode(position)
        puts.extend(Put(self._table, *row) for row in cut_up(encoded, 0, len(encoded), lambda part: _POSITION))
        self._pending = writes, position.log_bytes
        return puts

    def promote(self) -> None:
        """The last cut is committed: remember what it wrote."""
        if self._pending is None:
            return
        writes, self._log_bytes = self._pending
        self._pending = None
        for group, write in writes.items():
            self._groups[group] = write.record
            if write.anew:
                self._members[group] = write.members
                continue
            members = self._members[group]
            for slot, part in write.members.items():
                if part.reset:
                    del members[slot]
                if part.keys:
                    _remember(members.setdefault(slot, part.empty()._replace(reset=False)), part)


def _remember(members: Column, change: Column) -> None:
    """Add the keys that are new; a plain state's key may be there already, and is left out by the next snapshot."""
    if members.ordinals is None or change.ordinals is None:
        members.keys.extend(change.keys)
        return
    new = [ordinal != KNOWN for ordinal in change.ordinals]
    members.keys.extend(compress(change.keys, new))
    members.ordinals.extend(compress(change.ordinals, new))
