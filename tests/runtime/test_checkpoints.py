"""Saved state: whatever is changed, cut and restored, nothing is lost, and the table stays small."""

from __future__ import annotations

import random
import re
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

import rxstreams.errors
from rxstreams.brokers.contract import Put
from rxstreams.errors import ConfigError, FormatError, StateCodecError, StateError, TopologyError
from rxstreams.runtime.checkpoints import Checkpoints, saved_topology
from rxstreams.runtime.position import GroupRecord, OperatorRecord, Position
from rxstreams.state.codec import PLAIN, TAGGED, StateCodec, typed
from rxstreams.state.keys import internal, key_group
from rxstreams.state.spaces import Spaces


class Row(msgspec.Struct):
    """A state that is declared down to its fields."""

    n: int
    note: str | None = None


class Node:
    """A stateful node, bare."""

    def __init__(self, identity: str, codec: StateCodec = TAGGED) -> None:
        self.identity = identity
        self.states: dict[Any, Any] = {}
        self.dirty: set[Any] = set()
        self.spaces = Spaces()
        self.codec = codec

    def put(self, key: Any, state: Any) -> None:
        """Set one key's state."""
        self.states[key] = state
        self.dirty.add(key)

    def drop(self, key: Any) -> None:
        """Free one key's state."""
        self.states.pop(key, None)
        self.dirty.add(key)

    def put_in(self, space: int, key: Any, state: Any) -> None:
        """Set one key's state in a space."""
        self.spaces.open(space)[key] = state

    @property
    def in_spaces(self) -> dict[int, list[tuple[Any, Any]]]:
        """What is in the spaces, in order."""
        return {space: list(states.items()) for space, states in self.spaces.states.items() if states}


Table = dict[bytes, bytes]


def apply(table: Table, puts: list[Put]) -> None:
    """What a broker does with a commit's puts."""
    assert len({put.key for put in puts}) == len(puts)
    for put in puts:
        assert put.table == "state"
        if put.value is None:
            del table[put.key]  # a deletion of what is not there would be a mistake
        else:
            table[put.key] = put.value


def saving(*nodes: Node, **options: Any) -> Checkpoints:
    """Checkpoints of these nodes."""
    return Checkpoints(nodes, table="state", **options)


def epoch(checkpoints: Checkpoints, table: Table, number: int = 0) -> int:
    """Cut, commit and promote; the bytes that were written."""
    puts = checkpoints.cut(Position(epoch=number))
    apply(table, puts)
    checkpoints.promote()
    return sum(len(put.value or b"") for put in puts)


def restored(table: Table, *like: Node, **options: Any) -> tuple[Checkpoints, list[Node]]:
    """Fresh nodes with the saved states, from the rows in reverse order."""
    nodes = [Node(node.identity, node.codec) for node in like]
    checkpoints = saving(*nodes, **options)
    assert checkpoints.restore(list(table.items())[::-1]) is not None
    assert not any(node.dirty for node in nodes)
    return checkpoints, nodes


KEYS = st.sampled_from([internal(key) for key in (*"abcdefghij", 1, True, None, b"a", ("a", 1), ("a", True), 2**70, "\ud800")])
STATES = st.one_of(
    st.integers(),
    st.lists(st.integers()),
    st.dictionaries(st.integers(), st.text(), max_size=3),
    st.tuples(st.text(), st.floats(allow_nan=False)),
    st.binary(min_size=900, max_size=3000),
)
CHANGE = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 2), KEYS, STATES),
    st.tuples(st.just("drop"), st.integers(0, 2), KEYS, st.none()),
    st.tuples(st.just("put in"), st.integers(0, 1), KEYS, st.tuples(st.integers(0, 2), STATES)),
    st.tuples(st.just("free"), st.integers(0, 1), st.none(), st.tuples(st.integers(0, 2))),
    st.tuples(st.sampled_from(["cut", "restart"]), st.none(), st.none(), st.none()),
)


@given(st.lists(CHANGE, max_size=60), st.sampled_from([1, 3, 64]), st.sampled_from([1_000, 900_000]))
@settings(max_examples=300, deadline=None)
def test_what_is_restored_is_what_was_cut_whatever_came_before(changes: list[Any], groups: int, limit: int) -> None:
    """After each cut the table restores to exactly the states; a restart in between changes nothing."""
    nodes = [Node("a"), Node("b"), Node("c", typed(Row))]
    options = {"key_groups": groups, "max_chunk_bytes": limit}
    checkpoints, table = saving(*nodes, **options), {}
    for number, (what, index, key, state) in enumerate([*changes, ("restart", None, None, None)]):
        if what == "put":
            nodes[index].put(key, Row(number) if index == 2 else state)
        elif what == "drop":
            nodes[index].drop(key)
        elif what == "put in":
            nodes[index].put_in(state[0], key, state[1])
        elif what == "free":
            nodes[index].spaces.drop(state[0])
        else:
            epoch(checkpoints, table, number)
            assert all(len(value) <= limit for row, value in table.items() if row != b"position")
            again, back = restored(table, *nodes, **options)
            assert [node.states for node in back] == [node.states for node in nodes]
            assert [node.in_spaces for node in back] == [node.in_spaces for node in nodes]
            if what == "restart":
                checkpoints, nodes = again, back


def test_what_a_space_had_is_gone_from_the_table_when_the_space_is_freed() -> None:
    """Windows that open, grow over several commits, and close: no row is left but the position's, and a commit costs a few bytes
    a closed window, however many keys it had.
    """
    node, chosen = Node("a", PLAIN), random.Random(5)
    checkpoints, table = saving(node, key_groups=4), {}
    for number in range(200):
        for key in chosen.sample(range(1_000), 50):
            node.put_in(number // 5, f"user-{key}", [number])
        if number % 5 == 0:
            node.spaces.drop(number // 5 - 3)
        assert epoch(checkpoints, table, number) < 5_000
        assert [one.in_spaces for one in restored(table, node)[1]] == [node.in_spaces]
    for space in list(node.spaces.states):
        node.spaces.drop(space)
    epoch(checkpoints, table)
    assert [*table] == [b"position"]
    assert not any(checkpoints._members.values())


def test_a_long_run_of_small_epochs_keeps_the_table_small() -> None:
    """300 keys rewritten 2,000 times, a few at a time: rows and bytes stay near what the state takes."""
    node, chosen = Node("a", PLAIN), random.Random(5)
    checkpoints, table = saving(node), {}
    for number in range(2_000):
        for key in chosen.sample(range(300), 20):
            node.put(f"user-{key}", [number, number * 0.5])
        epoch(checkpoints, table, number)
        state = sum(record.snapshot_bytes for record in checkpoints._groups.values())
        assert len(table) <= 64 * 24
        assert sum(map(len, table.values())) <= 6 * state + 64_000
    assert restored(table, node)[1][0].states == node.states


@pytest.mark.parametrize("per_epoch", [3, 30, 300, 3_000])
def test_deltas_never_outgrow_a_few_times_the_state(per_epoch: int) -> None:
    """Even where all groups want to be written anew in the same epoch, and two an epoch would not do."""
    node, chosen = Node("a", PLAIN), random.Random(5)
    checkpoints, table = saving(node, key_groups=16), {}
    for key in range(3_000):
        node.put(f"user-{key}", [0, 0.0])
    written = 0
    for number in range(300):
        for key in chosen.sample(range(3_000), per_epoch):
            node.put(f"user-{key}", [number, 0.5])
        written += epoch(checkpoints, table, number)
        state = sum(record.snapshot_bytes for record in checkpoints._groups.values())
        assert sum(map(len, table.values())) <= 3 * state + 64_000
    assert restored(table, node)[1][0].states == node.states
    assert written <= 300 * (per_epoch * 70 + 5_000) + 3 * state


def test_an_epoch_s_work_is_bounded_while_groups_are_written_anew() -> None:
    """Writing anew takes two groups, or at most what the epoch's own deltas weigh."""
    node, chosen = Node("a", PLAIN), random.Random(5)
    checkpoints, table = saving(node), {}
    for key in range(20_000):
        node.put(f"user-{key}", [0, 0.0])
    whole = epoch(checkpoints, table)
    for number in range(200):
        for key in chosen.sample(range(20_000), 500):
            node.put(f"user-{key}", [number, 0.5])
        assert epoch(checkpoints, table, number) <= whole / 10


def test_idle_groups_are_written_anew_when_the_log_has_grown() -> None:
    """Restoring from a log starts at the oldest snapshot, so none may stay behind for ever."""
    node = Node("a")
    checkpoints, table = saving(node, key_groups=4), {}
    for key in range(100):
        node.put(key, "idle")
    busy = next(key for key in range(1_000, 2_000) if key_group(key, 4) == 0)
    for number in range(400):
        node.put(busy, random.Random(number).randbytes(50_000))
        epoch(checkpoints, table, number)
    oldest = min(record.log_at for record in checkpoints._groups.values())
    assert checkpoints._log_bytes - oldest < 2_500_000
    assert restored(table, node)[1][0].states == node.states


def test_freed_keys_cost_nothing_once_their_group_is_empty() -> None:
    """No state, no index, no row but the position's."""
    node = Node("a")
    checkpoints, table = saving(node), {}
    for key in range(2_000):
        node.put(f"user-{key}", [key, "x" * 50])
    epoch(checkpoints, table)
    for part in range(4):
        for key in range(part, 2_000, 4):
            node.drop(f"user-{key}")
        epoch(checkpoints, table)
    assert [*table] == [b"position"]
    assert len(table[b"position"]) < 2_000
    assert not any(keys for members in checkpoints._members.values() for keys in members)
    assert restored(table, node)[1][0].states == {}


def test_freed_keys_leave_the_table_and_the_index_while_others_come() -> None:
    """Keys that live for one epoch each: what is kept is what is alive."""
    node = Node("a", PLAIN)
    checkpoints, table = saving(node, key_groups=8), {}
    for number in range(1_000):
        for key in range(20):
            node.put(f"{number}-{key}", [number])
            if number:
                node.drop(f"{number - 1}-{key}")
        epoch(checkpoints, table, number)
    assert sum(len(keys) for members in checkpoints._members.values() for keys in members) < 1_000
    assert sum(map(len, table.values())) < 30_000


def test_an_idle_key_takes_less_than_400_bytes() -> None:
    """Key, state [count, sum], dict entry and index together."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        node = Node("a", PLAIN)
        checkpoints = saving(node)
        for key in range(20_000):
            node.put(f"user-{key:06d}", [1_000 + key, key * 0.5])
        checkpoints.cut(Position(epoch=1))
        checkpoints.promote()
        assert (tracemalloc.get_traced_memory()[0] - before) / 20_000 < 400
    finally:
        tracemalloc.stop()


def test_a_state_beyond_the_record_limit_is_cut_into_parts() -> None:
    """Snapshots and deltas alike; when it shrinks, the surplus rows go."""
    node = Node("a")
    checkpoints, table = saving(node, key_groups=1, max_chunk_bytes=1_000), {}
    node.put("big", random.Random(1).randbytes(10_000))
    for key in range(200):
        node.put(key, "x" * 50)
    epoch(checkpoints, table)
    node.put("big", random.Random(2).randbytes(5_500))
    epoch(checkpoints, table)
    assert {b"0/s/20", b"0/d/0", b"0/d/5"} <= set(table)
    assert max(map(len, table.values())) == 1_000
    assert restored(table, node)[1][0].states == node.states
    for key in [*node.states]:
        node.drop(key)
    node.put("small", 1)
    epoch(checkpoints, table)
    assert sorted(table) == [b"0/s/0", b"position"]


def test_what_an_older_generation_left_behind_is_ignored() -> None:
    """A delta that a snapshot has overtaken does not come back, deleted or not."""
    node = Node("a")
    checkpoints, table = saving(node, key_groups=1), {}
    for key in range(100):
        node.put(key, "old")
    epoch(checkpoints, table)
    node.put(1, "older")
    epoch(checkpoints, table)
    stale = {row: value for row, value in table.items() if row.startswith(b"0/d/")}
    for key in range(100):
        node.put(key, "new")
    epoch(checkpoints, table)
    assert stale
    assert not stale.keys() & table.keys()
    assert restored({**table, **stale}, node)[1][0].states == node.states


def small() -> tuple[Table, Node]:
    """One group with a snapshot of several parts and two deltas."""
    node = Node("a")
    checkpoints, table = saving(node, key_groups=1, max_chunk_bytes=1_000), {}
    for key in range(100):
        node.put(key, "x" * 30)
    epoch(checkpoints, table)
    for key in range(2):
        node.put(key, "y")
        epoch(checkpoints, table)
    assert {b"0/s/0", b"0/s/1", b"0/d/0", b"0/d/1", b"position"} <= set(table)
    return table, node


@pytest.mark.parametrize("row", [b"0/s/0", b"0/s/1", b"0/d/0", b"0/d/1", b"position"])
@pytest.mark.parametrize("harm", ["missing", "cut", "empty", "bit", "swapped", "format"])
def test_a_damaged_or_missing_row_is_named_and_nothing_is_restored_in_silence(row: bytes, harm: str) -> None:
    """Every row that the position lists must be there, whole and its own."""
    table, node = small()
    value = table[row]
    if harm == "missing":
        del table[row]
    else:
        other = b"0/d/0" if row != b"0/d/0" else b"0/s/1"
        broken = {
            "cut": value[:-3],
            "empty": b"",
            "bit": value[:-3] + bytes([value[-3] ^ 1]) + value[-2:],
            "swapped": table[other],
            "format": bytes([value[0] + 1]) + value[1:],
        }
        table[row] = broken[harm]
    with pytest.raises(StateError, match=re.escape(row.decode())) as caught:
        restored(table, node)
    assert isinstance(caught.value, FormatError | StateCodecError)


def test_nothing_saved_is_none_and_rows_without_a_position_are_an_error() -> None:
    """An empty table is a first start; a table without its position is not."""
    node = Node("a")
    assert saving(node).restore([]) is None
    assert saved_topology([(b"position", None)]) is None
    table, _ = small()
    del table[b"position"]
    with pytest.raises(FormatError, match="position"):
        saved_topology(table.items())


def test_states_of_an_operator_that_is_gone_stop_the_start() -> None:
    """Both sides are listed; an operator without any state left is no reason to stop."""
    gone, kept = Node("gone"), Node("kept")
    checkpoints, table = saving(gone, kept), {}
    gone.put("a", 1)
    kept.put("b", 1)
    epoch(checkpoints, table)
    with pytest.raises(TopologyError, match=r"'gone'.*'kept', 'new'"):
        restored(table, kept, Node("new"))
    gone.drop("a")
    epoch(checkpoints, table)
    assert restored(table, kept, Node("new"))[1][0].states == {"b": 1}


def test_the_position_comes_back_as_it_was_and_can_be_read_alone() -> None:
    """Everything that the runtime puts into it, and what the cut completed."""
    node = Node("a")
    checkpoints = saving(node, key_groups=8)
    position = Position(
        epoch=7,
        offsets=[("orders", "orders", 0, 12)],
        watermarks=[("orders", "orders", 0, -5)],
        topology=[OperatorRecord("a", "count")],
        finished=True,
        clock={"idle": [1, 2.5]},
        extra={"x": b"\x00"},
    )
    node.put("k", 1)
    table: Table = {}
    apply(table, checkpoints.cut(position))
    assert saved_topology(table.items()) == position == saving(node).restore(table.items())
    assert position.key_groups == 8
    assert position.groups == {
        key_group("k", 8): GroupRecord(1, 1, 0, position.groups[key_group("k", 8)].snapshot_bytes, 0, 7, 0)
    }


def test_the_number_of_key_groups_stays_what_it_was_first() -> None:
    """Another number in the configuration changes nothing for saved state."""
    node = Node("a")
    checkpoints, table = saving(node, key_groups=8), {}
    for key in range(100):
        node.put(key, key)
    epoch(checkpoints, table)
    again, nodes = restored(table, node, key_groups=64)
    assert again.key_groups == 8
    for key in range(50, 150):
        nodes[0].put(key, -key)
    epoch(again, table)
    assert restored(table, node)[1][0].states == nodes[0].states


def test_a_cut_takes_the_dirty_keys_and_keeps_the_set() -> None:
    """Work on the next epoch may begin at once; a second cut waits for the first to be committed."""
    node = Node("a")
    checkpoints, dirty = saving(node), node.dirty
    node.put("a", [1])
    puts = checkpoints.cut(Position(epoch=1))
    node.states["a"].append(2)
    node.dirty.add("a")
    assert node.dirty is dirty
    table: Table = {}
    apply(table, puts)
    assert restored(table, node)[1][0].states == {"a": [1]}
    with pytest.raises(RuntimeError, match="promote"):
        checkpoints.cut(Position(epoch=2))
    checkpoints.promote()
    epoch(checkpoints, table, 2)
    assert restored(table, node)[1][0].states == {"a": [1, 2]}


def test_an_epoch_without_changes_writes_its_position_only() -> None:
    """Offsets move on although no state did."""
    node = Node("a")
    checkpoints = saving(node)
    assert [put.key for put in checkpoints.cut(Position(epoch=1))] == [b"position"]


def test_what_cannot_be_saved_names_operator_and_key() -> None:
    """Should a state slip through the check at the record."""
    node = Node("orders/scan")
    node.put("good", 1)
    node.put("bad", [object()])
    with pytest.raises(StateCodecError, match=r"orders/scan, key 'bad'.*\$\[0\]"):
        saving(node).cut(Position(epoch=1))


def test_a_declared_type_that_no_longer_fits_names_operator_and_key() -> None:
    """The message says where."""
    node = Node("rows", typed(Row))
    node.put("a", Row(1))
    checkpoints, table = saving(node, key_groups=1), {}
    epoch(checkpoints, table)
    wrong = Node("rows", typed(msgspec.defstruct("Row", [("other", int)])))
    with pytest.raises(StateCodecError, match=r"rows, key 'a'.*'n'"):
        restored(table, wrong)


def test_progress_is_told_and_wrong_arguments_are_refused() -> None:
    """Restoring much takes a while; a start with nonsense takes none."""
    table, node = small()
    told: list[tuple[int, int]] = []
    saving(Node("a")).restore(table.items(), lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]
    with pytest.raises(ConfigError, match="'a'"):
        saving(node, Node("a"))
    with pytest.raises(ConfigError, match="key_groups"):
        saving(node, key_groups=0)


def test_nothing_evaluates_or_imports_what_is_saved() -> None:
    """No pickle, eval, exec, marshal or import by name in what reads state."""
    rooms = Path(rxstreams.errors.__file__).parent
    forbidden = re.compile(
        r"\b(pickle|marshal|shelve|importlib|__import__|eval|exec|compile)\b\s*[(.\n]|import (pickle|marshal|shelve)"
    )
    files = [*rooms.glob("state/*.py"), *rooms.glob("runtime/*.py")]
    assert len(files) >= 7
    for file in files:
        code = "\n".join(line.split("#")[0] for line in re.sub(r'""".*?"""', "", file.read_text(), flags=re.DOTALL).splitlines())
        assert not [match for match in forbidden.findall(code.replace("re.compile(", "")) if match], file.name


def test_a_commit_writes_what_changed_in_a_space_only() -> None:
    """One key of ten thousand: some bytes, not the space."""
    node = Node("a", PLAIN)
    checkpoints, table = saving(node), {}
    for key in range(10_000):
        node.put_in(1, f"user-{key}", [key])
    assert epoch(checkpoints, table) > 100_000
    node.put_in(1, "user-7", [0])
    node.put_in(1, "new", [0])
    assert epoch(checkpoints, table) < 4_000
    assert restored(table, node)[1][0].in_spaces == node.in_spaces
