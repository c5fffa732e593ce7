"""The state codec: values come back as what they were, or are refused where they are made."""

from __future__ import annotations

import sys
import types
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from rxstreams.errors import StateCodecError
from rxstreams.state.codec import PLAIN, TAGGED, dumps, loads, pack, typed


class Colour(Enum):
    """Members by string and by tuple."""

    RED = "red"
    BLUE = ("b", 1)


class Level(IntEnum):
    """Equal to an int."""

    LOW = 1


class Text(StrEnum):
    """Equal to a str."""

    A = "a"


class Flag(IntFlag):
    """Members that combine."""

    X = 1
    Y = 2


class Point(NamedTuple):
    """A tuple with a class."""

    x: Any
    y: Any = 0


class Order(msgspec.Struct):
    """A Struct as users write them."""

    id: str
    items: list[Any] = []
    extra: Any = None


class Normalised(msgspec.Struct):
    """A Struct whose construction changes it."""

    n: int

    def __post_init__(self) -> None:
        self.n += 1


@dataclass(frozen=True, slots=True)
class Frozen:
    """A dataclass that cannot be set."""

    a: Any
    b: list[Any] = field(default_factory=list)


@dataclass
class Open:
    """A dataclass with a field outside __init__ and a cache."""

    a: Any
    seen: int = field(default=0, init=False)

    @cached_property
    def heavy(self) -> int:
        """Computed once."""
        return 1


@dataclass
class BadDict(dict):
    """A dataclass and a dict at once."""

    a: int = 0


class Sub(str):
    """A str with a class."""


ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(seconds=-1)), ZoneInfo("Europe/Berlin")]
)
ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(allow_nan=False),
    st.text(st.characters()),
    st.binary(),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=ZONES),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.complex_numbers(allow_nan=False),
    st.binary().map(bytearray),
    st.sampled_from(
        [*Colour, *Level, *Text, *Flag, Flag.X | Flag.Y, Flag(0), msgspec.UNSET, "\ud800", 2**63, 2**64, -(2**63) - 1]
    ),
)
HASHABLE = st.recursive(
    ATOMS.filter(lambda v: v.__hash__ is not None),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Everything that holds other values."""
    lists = st.lists(inner, max_size=4)
    return st.one_of(
        lists,
        lists.map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.dictionaries(HASHABLE, inner, max_size=3).map(OrderedDict),
        st.dictionaries(HASHABLE, st.integers(), max_size=3).map(Counter),
        st.sets(HASHABLE, max_size=3),
        st.builds(deque, lists, st.none() | st.integers(0, 5)),
        st.builds(Point, inner, inner),
        st.builds(Order, st.text(), lists, inner),
        st.builds(Frozen, inner, lists),
        st.builds(Open, inner),
    )


VALUES = st.recursive(ATOMS, containers, max_leaves=12)


def same(a: Any, b: Any) -> bool:
    """Equal all the way down, types included (1 == True == 1.0 to Python)."""
    if type(a) is not type(b) or (a != b and not isinstance(a, list | tuple | dict | deque)):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items()))
    if isinstance(a, list | tuple | deque):
        return len(a) == len(b) and getattr(a, "maxlen", 0) == getattr(b, "maxlen", 0) and all(map(same, a, b))
    if isinstance(a, set | frozenset):
        return sorted(map(repr, map(deep, a))) == sorted(map(repr, map(deep, b)))
    if isinstance(a, datetime | time):
        return repr(a) == repr(b) and a.fold == b.fold
    if isinstance(a, Order):
        return all(same(getattr(a, f), getattr(b, f)) for f in a.__struct_fields__)
    if isinstance(a, Frozen | Open):
        return all(same(getattr(a, f), getattr(b, f)) for f in a.__dataclass_fields__)
    return repr(a) == repr(b) if isinstance(a, float | complex | Decimal) else True


def deep(value: Any) -> Any:
    """Sets in a settled order, for comparing by repr."""
    if isinstance(value, frozenset):
        return sorted(map(repr, map(deep, value)))
    return tuple(map(deep, value)) if type(value) is tuple else value


def through(value: Any) -> Any:
    """Saved and read again."""
    return loads(dumps(pack(value)))


@given(VALUES)
@settings(max_examples=400, deadline=None)
def test_every_value_comes_back_as_what_it_was(value: Any) -> None:
    """Values and their types survive, at every depth."""
    assert same(through(value), value)


@pytest.mark.parametrize(
    "value", [float("inf"), -float("inf"), -0.0, Decimal("-0"), Decimal("NaN"), Decimal("1E+9999"), True, 1, 1.0]
)
def test_special_numbers_keep_their_repr(value: Any) -> None:
    """What == cannot tell apart is told apart by the codec."""
    assert repr(through(value)) == repr(value)
    assert repr(through([value])) == repr([value])


def test_nan_comes_back_as_nan() -> None:
    """NaN needs no tag."""
    assert repr(through([float("nan")])) == "[nan]"


def test_fold_and_zone_survive() -> None:
    """The second 02:30 of an autumn night is still the second."""
    value = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    assert same(through(value), value)
    assert through(value).tzinfo is value.tzinfo


def test_struct_with_post_init_keeps_its_saved_fields() -> None:
    """What __post_init__ did once is not done again."""
    assert through(Normalised(1)).n == 2


def test_dataclass_fields_outside_init_survive_and_caches_do_not() -> None:
    """init=False fields are state; a cached_property is computed anew."""
    value = Open(1)
    value.seen = 7
    assert value.heavy == 1
    back = through(value)
    assert (back.a, back.seen, "heavy" in vars(back)) == (1, 7, False)


def test_scalars_and_lists_of_scalars_are_packed_as_they_are() -> None:
    """The cheap cases are not copied."""
    for value in (1, "a", [1, 2.0, None], {"a": 1, "b": b"x"}):
        assert pack(value) is value
    states = [[1, 2.0], [3, 4.0]]
    assert TAGGED.pack_all(states) is states


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (object(), ["$", "builtins.object"]),
        (Order("a", [1, 2, object()]), ["$.items[2]", "builtins.object"]),
        ({"a": {("k", 1): [lambda: 1]}}, ["$['a'][('k', 1)][0]", "function"]),
        ({Sub("a"): 1}, ["{key 'a'}", "Sub"]),
        (BadDict(1), ["BadDict"]),
        ([1, Sub("x")], ["$[1]", "Sub"]),
        (msgspec.Raw(b"1"), ["Raw"]),
        ({1: memoryview(b"")}, ["memoryview"]),
        (ValueError("x"), ["ValueError"]),
        (int, ["type"]),
    ],
)
def test_what_cannot_be_kept_is_refused_with_type_and_place(value: Any, says: list[str]) -> None:
    """The message names the type and the path to it."""
    with pytest.raises(StateCodecError) as caught:
        TAGGED.check(value)
    for part in says:
        assert part in str(caught.value)


def test_classes_inside_functions_and_undeclared_attributes_are_refused() -> None:
    """Both would be lost, so both fail at the record."""

    @dataclass
    class Local:
        a: int

    with pytest.raises(StateCodecError, match="inside a function"):
        pack([Local(1)])
    value = Open(1)
    value.other = 2  # type: ignore[attr-defined]  # on purpose
    with pytest.raises(StateCodecError, match=r"Open\.other"):
        pack(value)


def test_values_that_contain_themselves_or_are_too_deep_are_refused() -> None:
    """No RecursionError escapes; what is accepted can be read back."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(StateCodecError, match="deep"):
        pack(loop)
    for wrap in (lambda v: (v,), lambda v: {1: v}, lambda v: [v, {}], lambda v: Order("a", [], v)):
        value: Any = 1
        for depth in range(400):
            try:
                packed = dumps(pack(value))
            except StateCodecError:
                assert depth > 30
                break
            assert type(loads(packed)) is type(value)
            value = wrap(value)
        else:
            raise AssertionError("never refused")


def module(monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> types.ModuleType:
    """A module that is imported, as its file says now."""
    made = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, made)
    exec(code, made.__dict__)
    return made


HEAD = "import msgspec\nfrom dataclasses import dataclass\nfrom typing import NamedTuple\nfrom enum import Enum\n"
KINDS = ["class A(msgspec.Struct):\n", "@dataclass\nclass A:\n", "class A(NamedTuple):\n"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_gained_a_field_with_a_default_reads_old_state(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The new field takes its default."""
    old = dumps(pack(module(monkeypatch, "shop_a", HEAD + kind + "    x: int\n").A(1)))
    new = module(monkeypatch, "shop_a", HEAD + kind + "    x: int\n    y: int = 7\n")
    assert loads(old) == new.A(1, 7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", ["    x: int\n    z: int\n", "    z: int = 1\n"])
def test_a_field_that_vanished_or_has_no_default_is_named(monkeypatch: pytest.MonkeyPatch, kind: str, body: str) -> None:
    """Nothing is dropped or made up; class and field stand in the message."""
    old = dumps(pack(module(monkeypatch, "shop_b", HEAD + kind + "    x: int\n").A(1)))
    module(monkeypatch, "shop_b", HEAD + kind + body)
    with pytest.raises(StateCodecError, match=r"shop_b\.A.*['\"`][xz]['\"`]"):
        loads(old)


def test_typed_structs_are_as_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way has the same rules."""
    code = HEAD + "from datetime import datetime\n"
    first = module(monkeypatch, "shop_c", code + KINDS[0] + "    x: int\n    t: datetime\n")
    value = first.A(2**70, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))))
    old = dumps(typed(first.A).pack(value))  # type: ignore[misc]  # it has one
    assert typed(first.A) is not TAGGED
    back = typed(first.A).unpack(loads(old))  # type: ignore[misc]  # it has one
    assert back == value
    assert back.t.utcoffset() == timedelta(hours=2)
    grown = module(monkeypatch, "shop_c", code + KINDS[0] + "    x: int\n    t: datetime\n    y: int = 7\n")
    assert typed(grown.A).unpack(loads(old)).y == 7  # type: ignore[misc]  # it has one
    shrunk = module(monkeypatch, "shop_c", code + KINDS[0] + "    t: datetime\n")
    with pytest.raises(StateCodecError, match="'x'"):
        typed(shrunk.A).unpack(loads(old))  # type: ignore[misc]  # it has one
    with pytest.raises(StateCodecError, match="declared as A"):
        typed(first.A).check(1)
    with pytest.raises(StateCodecError, match="does not fit"):
        typed(first.A).check(first.A("not an int", value.t))


@pytest.mark.parametrize("declared", [int, list[int], Order, Frozen, Any, tuple[int, str], "Order"])
def test_types_that_msgspec_alone_would_change_are_tagged(declared: Any) -> None:
    """Only closed Structs take the quick way."""
    assert typed(declared) is TAGGED


def test_a_script_s_classes_are_found_under_their_module_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """State of ``python -m shop.totals`` is read by a run that imports shop.totals, and the other way round."""
    main = types.ModuleType("__main__")
    main.__spec__ = types.SimpleNamespace(name="shop.totals")  # type: ignore[assignment]  # all that is read of it
    exec(HEAD + "class A(msgspec.Struct):\n    x: int\n", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    raw = dumps(pack(main.A(1)))
    assert b"shop.totals" in raw
    assert b"__main__" not in raw
    assert type(loads(raw)) is main.A
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))
    imported = module(monkeypatch, "shop.totals", HEAD + "class A(msgspec.Struct):\n    x: int\n")
    assert type(loads(raw)) is imported.A


@pytest.mark.parametrize(
    ("place", "name"),
    [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen"), ("xml.dom.minidom", "Document"), ("os", "path.join")],
)
def test_saved_names_of_other_things_are_refused_and_nothing_is_imported(place: str, name: str) -> None:
    """Only Structs, dataclasses, NamedTuples and enums of imported modules are made."""
    known = set(sys.modules)
    for code in (5, 6):
        parts = [place, name, {"args": "true"} if code == 5 else "RED"]
        with pytest.raises(StateCodecError):
            loads(dumps(msgspec.msgpack.Ext(code, dumps(parts))))
    assert set(sys.modules) == known


def test_a_module_s_getattr_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy modules import in their __getattr__."""
    module(monkeypatch, "lazy_a", "def __getattr__(name):\n    raise AssertionError(name)\n")
    with pytest.raises(StateCodecError, match=r"lazy_a\.A"):
        loads(dumps(msgspec.msgpack.Ext(5, dumps(["lazy_a", "A", {}]))))


@given(st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_raise_nothing_else(data: bytes) -> None:
    """Whatever the bytes, the answer is a value or a StateCodecError."""
    try:
        loads(data)
    except StateCodecError:
        pass


def test_gone_members_and_unknown_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An enum that lost a member, and a kind of a later version."""
    raw = dumps(pack(module(monkeypatch, "shop_d", HEAD + "class E(Enum):\n    A = 1\n    B = 2\n").E.B))
    swapped = module(monkeypatch, "shop_d", HEAD + "class E(Enum):\n    B = 1\n    A = 2\n")
    assert loads(raw) is swapped.E.B
    module(monkeypatch, "shop_d", HEAD + "class E(Enum):\n    A = 1\n")
    with pytest.raises(StateCodecError, match=r"shop_d\.E\.B"):
        loads(raw)
    with pytest.raises(StateCodecError, match="newer"):
        loads(dumps(msgspec.msgpack.Ext(99, b"")))


def test_plain_states_beyond_msgpack_s_integers_survive_and_others_are_refused() -> None:
    """A sum that outgrows 64 bits is no reason to fail at the commit."""
    assert loads(dumps([2**70, {"\ud800": "\udfff", "a": -(2**90)}])) == [2**70, {"\ud800": "\udfff", "a": -(2**90)}]
    assert PLAIN.pack_all([1]) == [1]
    with pytest.raises(StateCodecError, match="plain"):
        dumps([object()])


GOLDEN = [
    ("c706019301a1619102", (1, "a", [2])),
    ("d5029101", {1}),
    ("d60391c40178", frozenset({b"x"})),
    ("c70704929201c0920203", {1: 2, None: 3}),
    ("c71b07ba323032362d30312d30325430333a30343a30352e303030303036", datetime(2026, 1, 2, 3, 4, 5, 6)),  # noqa: DTZ001  # naive ones are state too
    ("c71a07b9323032362d30312d30325430303a30303a30302d30323a3030", datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-2)))),
    (
        "c7240793b3323032362d30312d30325430303a30303a303000ad4575726f70652f4265726c696e",
        datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    ),
    ("c70b08aa323032362d30312d3032", date(2026, 1, 2)),
    ("c70909a830333a30343a3030", time(3, 4)),
    ("d60a93ff0506", timedelta(-1, 5, 6)),
    ("c7050ba4312e3530", Decimal("1.50")),
    ("c7120cc41000000000000000000000000000000005", UUID(int=5)),
    ("c70b0dc409400000000000000000", 2**70),
    ("c7130e92cb3ff0000000000000cb4000000000000000", 1 + 2j),
    ("c7030fc40178", bytearray(b"x")),
    ("d61092039101", deque([1], 3)),
    ("d412c0", msgspec.UNSET),
    ("d61381a16101", Counter(a=1)),
    ("d61481a16101", OrderedDict(a=1)),
    ("c70511c403edb080", "\udc00"),
]


@pytest.mark.parametrize(("raw", "value"), GOLDEN)
def test_the_format_is_what_it_was(raw: str, value: Any) -> None:
    """Bytes that version 1 wrote are read, and written, for as long as FORMAT is 1."""
    assert dumps(pack(value)).hex() == raw
    assert same(loads(bytes.fromhex(raw)), value)


def test_a_million_small_states_are_cheap() -> None:
    """Sizes: a pair of numbers takes less than 16 bytes."""
    assert len(dumps(TAGGED.pack_all([[5, 2.5]] * 100))) < 1600
