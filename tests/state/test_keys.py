"""Keys never mix, and their bytes never change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag, StrEnum
from typing import Any, NamedTuple
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import given, strategies as st

from rxstreams.errors import StateCodecError
from rxstreams.state.keys import (
    BadKeyError,
    Tagged,
    decode_key,
    encode_key,
    internal,
    internal_all,
    key_group,
    key_groups,
    original,
    topic_key,
)


class Number(IntEnum):
    """Equal to 1."""

    ONE = 1


class Other(IntEnum):
    """Equal to 1 as well."""

    ONE = 1


class Word(StrEnum):
    """Equal to 'a'."""

    A = "a"


class Thing(Enum):
    """Its value has no encoding."""

    X = object()


class Bits(IntFlag):
    """Members that combine."""

    A = 1
    B = 2


class Pair(NamedTuple):
    """A tuple with a class."""

    a: int


@dataclass(frozen=True)
class Value:
    """Hashable, and no key."""

    a: int


class Name(str):
    """A str with a class."""


SIMPLE = st.one_of(
    st.text(st.characters()),
    st.binary(),
    st.integers(),
    st.integers(0, 2),
    st.booleans(),
    st.none(),
    st.uuids(),
    st.sampled_from([*Number, *Other, *Word, *Thing, *Bits, Bits.A | Bits.B, Bits(0), "1", "a", b"a", ""]),
)
KEYS = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)


def shape(key: Any) -> Any:
    """What a key is, told apart by types as well."""
    return (tuple, *map(shape, key)) if type(key) is tuple else (type(key), key if isinstance(key, Enum) else repr(key))


@given(KEYS, KEYS)
def test_keys_are_one_only_if_type_and_value_are(a: Any, b: Any) -> None:
    """Internal keys are equal, encodings are equal, and the keys are the same thing: all or none."""
    same = shape(a) == shape(b)
    assert (internal(a) == internal(b)) is same
    assert (encode_key(a) == encode_key(b)) is same
    assert len({internal(a), internal(b)}) == (1 if same else 2)


@given(KEYS)
def test_a_key_comes_back_from_its_internal_key_and_its_bytes(key: Any) -> None:
    """internal, original, encode_key and decode_key agree."""
    kept = internal(key)
    assert original(kept) is key
    assert internal(kept) == kept
    assert encode_key(kept) == encode_key(key)
    assert decode_key(encode_key(key)) == kept
    assert shape(original(decode_key(encode_key(key)))) == shape(key)


@given(st.lists(KEYS, max_size=20), st.integers(1, 200))
def test_a_batch_is_what_its_keys_are_one_by_one(keys: list[Any], groups: int) -> None:
    """The quick ways change nothing."""
    assert internal_all(keys) == list(map(internal, keys))
    assert key_groups(internal_all(keys), groups) == [key_group(internal(key), groups) for key in keys]
    texts = [key for key in keys if type(key) is str]
    assert key_groups(texts, groups) == [crc32(encode_key(key)) % groups for key in texts]


def test_plain_batches_are_returned_as_they_are() -> None:
    """No copy where nothing needs a tag."""
    for keys in (["a", 1, None], [("a", 1), (b"b", None)]):
        assert internal_all(keys) is keys
    assert repr(internal_all([True, ("a", Number.ONE)])) == "[True, ('a', <Number.ONE: 1>)]"


@pytest.mark.parametrize(
    "bad", [1.0, float("nan"), [1], {"a": 1}, {1}, Value(1), Pair(1), Name("a"), (1, (2, 3.0)), object(), b"".join, bytearray()]
)
def test_other_keys_are_refused_with_their_place_in_the_batch(bad: Any) -> None:
    """What could mix or change is no key; the message says what is."""
    with pytest.raises(BadKeyError, match="a key must be a str") as caught:
        internal_all(["a", True, bad, 1.5])
    assert caught.value.index == 2
    with pytest.raises(StateCodecError):
        encode_key(bad)


def test_members_of_an_enum_inside_a_function_are_refused() -> None:
    """After a restart nothing could find it."""

    class Local(Enum):
        A = 1

    with pytest.raises(StateCodecError, match="inside a function"):
        internal(Local.A)


GOLDEN: list[tuple[Any, bytes, int]] = [
    (None, b"n", 18),
    (True, b"t", 40),
    (False, b"f", 32),
    ("", b"s", 11),
    ("user-1", b"suser-1", 63),
    ("é", b"s\xc3\xa9", 26),
    ("\ud800", b"s\xed\xa0\x80", 20),
    (b"\x00a", b"b\x00a", 18),
    (0, b"i\x00", 17),
    (-1, b"i\xff", 28),
    (127, b"i\x7f", 60),
    (128, b"i\x00\x80", 29),
    (-128, b"i\x80", 49),
    (2**64, b"i\x01" + bytes(8), 15),
    (UUID(int=1), b"u" + bytes(15) + b"\x01", 20),
    ((), b"(", 55),
    (("a", 1), b"(\x00\x00\x00\x02sa\x00\x00\x00\x02i\x01", 40),
    ((True, (None,)), b"(\x00\x00\x00\x01t\x00\x00\x00\x06(\x00\x00\x00\x01n", 6),
]


@pytest.mark.parametrize(("key", "code", "group"), GOLDEN)
def test_encodings_and_groups_are_what_they_were(key: Any, code: bytes, group: int) -> None:
    """Saved state depends on these for ever."""
    assert encode_key(key) == code
    assert key_group(internal(key), 64) == group


def test_an_enum_s_encoding_is_module_name_and_member() -> None:
    """Values do not count, so reordering auto() members loses nothing."""
    module = Number.__module__.encode()
    parts = [b"s" + module, b"sNumber", b"sONE"]
    assert encode_key(Number.ONE) == b"e" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


@given(st.binary(max_size=20))
def test_damaged_bytes_are_refused(code: bytes) -> None:
    """A key or a StateCodecError, nothing else."""
    try:
        decode_key(code)
    except StateCodecError:
        pass


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("é", b"\xc3\xa9"),
        (b"a", b"a"),
        (None, None),
        (-5, b"-5"),
        (True, b"t"),
        (("a",), b"(\x00\x00\x00\x02sa"),
        (Tagged(False), b"f"),
    ],
)
def test_record_keys_on_topics_are_what_others_would_write(key: Any, raw: bytes | None) -> None:
    """Text as UTF-8, integers in decimal; what has no usual form is encoded."""
    assert topic_key(key) == raw
