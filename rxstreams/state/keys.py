"""Keys: what ``key_by`` takes, how it is kept so that 1 and True never mix, and the bytes that stand for it.

Python's dicts take 1, True and an IntEnum's 1 for one key. So a key is kept as its *internal* key: strings, bytes, integers,
None, UUIDs and tuples of exactly these are themselves; bools, enum members, and tuples that hold such, are ``Tagged``.

``encode_key`` never changes: key groups and saved state depend on it. One letter says the kind, then

    n None   t True   f False   s UTF-8   b the bytes   i big-endian two's complement, no byte more than needed
    u the UUID's 16 bytes   ( each element, its encoding preceded by its length in 4 bytes, big-endian
    e as ( of an enum's module, qualified name, and the member's name (or a flag combination's value)
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum
from functools import lru_cache, total_ordering
from itertools import chain
from struct import Struct
from typing import Any
from uuid import UUID
from zlib import crc32

from rxstreams.errors import StateCodecError
from rxstreams.state.classes import enum_member, enum_parts

__all__ = [
    "BadKeyError",
    "Ordered",
    "Tagged",
    "decode_key",
    "encode_key",
    "internal",
    "internal_all",
    "key_group",
    "key_groups",
    "ordered",
    "original",
    "topic_key",
    "topic_keys",
]

_PLAIN = frozenset({str, bytes, int, type(None), UUID})


class BadKeyError(StateCodecError):
    """Raised when a key is of no kind that ``key_by`` takes.

    Attributes:
        index: Which key of the batch it was.
    """

    index: int = 0


class Tagged:
    """A key that Python would mix with another one; equal to another only if their encodings are."""

    __slots__ = ("code", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.code = encode_key(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tagged) and self.code == other.code

    def __hash__(self) -> int:
        return hash(self.code)

    def __repr__(self) -> str:
        return repr(self.value)


def internal(key: Any) -> Hashable:
    """The key under which the state of ``key`` is kept.

    Raises:
        BadKeyError: If it is no str, bytes, int, bool, None, enum member, UUID, or tuple of these.
    """
    kind = type(key)
    if kind in _PLAIN or (kind is tuple and _plain_tuple(key)):
        return key  # type: ignore[no-any-return]  # its type is one of _PLAIN
    return key if kind is Tagged else Tagged(key)


def _plain_tuple(key: tuple[Any, ...]) -> bool:
    return all(type(part) in _PLAIN or (type(part) is tuple and _plain_tuple(part)) for part in key)


def internal_all(keys: list[Any]) -> list[Hashable]:
    """``internal`` of a whole batch; the list itself where nothing needs a tag (20 ns a key).

    Raises:
        BadKeyError: For the first key that is none, with its ``index``.
    """
    kinds = set(map(type, keys))
    if kinds <= _PLAIN or (kinds == {tuple} and _PLAIN.issuperset(map(type, chain.from_iterable(keys)))):
        return keys
    done: list[Hashable] = []
    try:
        done.extend(map(internal, keys))
    except BadKeyError as error:
        error.index = len(done)
        raise
    return done


def original(key: Hashable) -> Any:
    """The user's key of an internal key."""
    return key.value if type(key) is Tagged else key


def encode_key(key: Any) -> bytes:
    """The bytes that stand for a key, internal or original, in every process and version; see the module's first lines.

    Raises:
        BadKeyError: If it is of no kind that is a key.
    """
    encoder = _ENCODERS.get(type(key))
    if encoder is not None:
        return encoder(key)
    if isinstance(key, Enum):
        return _encode_enum(key)
    raise BadKeyError(
        f"a key must be a str, bytes, int, bool, None, enum member, UUID, or a tuple of these; got {key!r}, "
        f"a {type(key).__module__}.{type(key).__qualname__}. Make one of these of it, such as str(key)"
    )


_length = Struct(">I").pack


def _encode_int(key: int) -> bytes:
    return b"i" + key.to_bytes((key + (key < 0)).bit_length() // 8 + 1, "big", signed=True)


def _encode_parts(parts: Iterable[Any]) -> bytes:
    pieces: list[bytes] = []
    for part in parts:
        code = encode_key(part)
        pieces += (_length(len(code)), code)
    return b"".join(pieces)


@lru_cache(maxsize=4096, typed=True)
def _encode_enum(member: Enum) -> bytes:
    return b"e" + _encode_parts(enum_parts(member))


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: lambda key: b"s" + key.encode("utf-8", "surrogatepass"),
    bytes: lambda key: b"b" + key,
    int: _encode_int,
    type(None): lambda key: b"n",
    bool: lambda key: b"t" if key else b"f",
    UUID: lambda key: b"u" + key.bytes,
    tuple: lambda key: b"(" + _encode_parts(key),
    Tagged: lambda key: key.code,
}


def decode_key(code: bytes) -> Hashable:
    """The internal key that ``encode_key`` wrote.

    Raises:
        StateCodecError: If the bytes stand for no key, or for an enum member that is gone.
    """
    return internal(_decode(code))


def _decode(code: bytes) -> Any:
    decoder = _DECODERS.get(code[:1])
    if decoder is None:
        raise StateCodecError(f"the bytes {code[:40]!r} stand for no key: damaged, or of a newer rxstreams")
    try:
        return decoder(code[1:])
    except (ValueError, TypeError) as error:
        raise StateCodecError(f"the bytes {code[:40]!r} stand for no key: {error}") from error


def _decode_parts(body: bytes) -> list[Any]:
    parts, at = [], 0
    while at < len(body):
        end = at + 4 + int.from_bytes(body[at : at + 4], "big")
        if end > len(body):
            raise ValueError("cut off")
        parts.append(_decode(body[at + 4 : end]))
        at = end
    return parts


_DECODERS: dict[bytes, Callable[[bytes], Any]] = {
    b"s": lambda body: body.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"i": lambda body: int.from_bytes(body, "big", signed=True),
    b"n": lambda body: None,
    b"t": lambda body: True,
    b"f": lambda body: False,
    b"u": lambda body: UUID(bytes=body),
    b"(": lambda body: tuple(_decode_parts(body)),
    b"e": lambda body: enum_member(*_decode_parts(body)),
}


@total_ordering
class Ordered:
    """A key that is no text, with an order among all keys: that of their encodings, as which texts stand anyway."""

    __slots__ = ("code", "key")

    def __init__(self, key: Hashable) -> None:
        self.key, self.code = key, encode_key(key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ordered) and self.code == other.code

    def __lt__(self, other: Any) -> bool:
        return self.code < (other.code if isinstance(other, Ordered) else encode_key(other))

    def __hash__(self) -> int:
        return hash(self.code)


def ordered(key: Hashable) -> Any:
    """What stands for an internal key where keys of all kinds must be sorted: texts as they are, others as ``Ordered``."""
    return key if type(key) is str else Ordered(key)


def topic_key(key: Any) -> bytes | None:
    """What stands on a topic as the record's key: text as UTF-8, integers in decimal, bytes and None as they are.

    Every other key stands there as ``encode_key`` writes it.
    """
    value = original(key)
    if value is None or type(value) is bytes:
        return value
    if type(value) is int:
        return b"%d" % value
    return value.encode("utf-8", "surrogatepass") if type(value) is str else encode_key(value)


def topic_keys(keys: Sequence[Any] | None) -> list[bytes | None] | None:
    """``topic_key`` of each internal key; None where there are none."""
    if keys is None:
        return None
    if set(map(type, keys)) == {str}:
        return [key.encode("utf-8", "surrogatepass") for key in keys]
    return list(map(topic_key, keys))


_STR_SEED = crc32(b"s")


def key_group(key: Hashable, groups: int) -> int:
    """The key group of an internal key: ``crc32(encode_key(key)) % groups``."""
    return crc32(encode_key(key)) % groups


def key_groups(keys: list[Any], groups: int) -> list[int]:
    """``key_group`` of many keys."""
    if set(map(type, keys)) == {str}:
        try:
            return [crc32(key.encode(), _STR_SEED) % groups for key in keys]
        except UnicodeEncodeError:
            pass  # lone surrogates take the slower way
    return [crc32(encode_key(key)) % groups for key in keys]
