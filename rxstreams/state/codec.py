"""State values to bytes and back: msgpack, with tags for everything that msgpack alone would change.

A list or dict of numbers, strings and bytes is msgpack as it is. Anything else becomes an extension: a one-byte code from
``_KINDS`` and a payload that is msgpack again. Codes are never reused; ``FORMAT`` counts changes that older readers misread.

Structs, dataclasses, NamedTuples and enum members are written by name (``classes``). What is shared between two places comes
back as two equal values; an aware datetime with its zone if that is a ``timezone`` or a ``ZoneInfo``, else with its offset.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from rxstreams.errors import StateCodecError
from rxstreams.state.classes import enum_member, enum_parts, field_names, make_object, misfit, no_field, object_parts

__all__ = ["FORMAT", "PLAIN", "TAGGED", "StateCodec", "dumps", "loads", "pack", "typed"]

FORMAT = 1
"""The version of everything that state/ writes; saved state of another version is refused."""

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_STR = frozenset({str})
_MAX_DEPTH = 100


# Kinds: what becomes an extension. `take` gives parts that pack() can pack; `make` gets them back.


class _Kind(NamedTuple):
    code: int
    take: Callable[[Any], Any]
    make: Callable[[Any], Any]


def _zone(zone: tzinfo | None, offset: timedelta | None) -> str | int | None:
    if zone is None:
        return None
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    if offset is None:
        raise StateCodecError(f"time zone {zone!r} has no offset here and no name; use a timezone or a ZoneInfo")
    return offset // timedelta(microseconds=1)


def _zoned(zone: str | int | None) -> tzinfo | None:
    if zone is None:
        return None
    return ZoneInfo(zone) if isinstance(zone, str) else timezone(timedelta(microseconds=zone))


def _clock_parts(value: datetime | time) -> str | list[Any]:
    if not value.fold and (value.tzinfo is None or type(value.tzinfo) is timezone):
        return value.isoformat()  # says it all
    return [value.replace(tzinfo=None).isoformat(), value.fold, _zone(value.tzinfo, value.utcoffset())]


def _clock(cls: Any, parts: Any) -> Any:
    if isinstance(parts, str):
        return cls.fromisoformat(parts)
    text, fold, zone = parts
    return cls.fromisoformat(text).replace(fold=fold, tzinfo=_zoned(zone))


def _counter(counts: dict[Any, Any]) -> Counter[Any]:
    made: Counter[Any] = Counter()
    dict.update(made, counts)
    return made


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


_KINDS: dict[type, _Kind] = {
    tuple: _Kind(1, list, tuple),
    set: _Kind(2, list, set),
    frozenset: _Kind(3, list, frozenset),
    dict: _Kind(4, lambda value: [list(value), list(value.values())], lambda parts: dict(zip(*parts, strict=True))),
    object: _Kind(5, object_parts, lambda parts: make_object(*parts)),
    Enum: _Kind(6, enum_parts, lambda parts: enum_member(*parts)),
    datetime: _Kind(7, _clock_parts, partial(_clock, datetime)),
    date: _Kind(8, date.isoformat, date.fromisoformat),
    time: _Kind(9, _clock_parts, partial(_clock, time)),
    timedelta: _Kind(10, lambda value: [value.days, value.seconds, value.microseconds], lambda parts: timedelta(*parts)),
    Decimal: _Kind(11, str, Decimal),
    UUID: _Kind(12, lambda value: value.bytes, lambda raw: UUID(bytes=raw)),
    int: _Kind(13, _int_bytes, partial(int.from_bytes, byteorder="big", signed=True)),
    complex: _Kind(14, lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    bytearray: _Kind(15, bytes, bytearray),
    deque: _Kind(16, lambda value: [value.maxlen, list(value)], lambda parts: deque(parts[1], parts[0])),
    str: _Kind(17, lambda value: value.encode("utf-8", "surrogatepass"), lambda raw: raw.decode("utf-8", "surrogatepass")),
    msgspec.UnsetType: _Kind(18, lambda value: None, lambda raw: msgspec.UNSET),
    Counter: _Kind(19, dict, _counter),
    OrderedDict: _Kind(20, dict, OrderedDict),
}
_MAKE = {kind.code: kind.make for kind in _KINDS.values()}


@lru_cache(maxsize=1024)
def _kind(cls: Any) -> _Kind:
    found = _KINDS.get(cls)
    if found is not None and cls is not object:
        return found
    if issubclass(cls, Enum):
        return _KINDS[Enum]
    if field_names(cls) is not None:
        return _KINDS[object]
    raise StateCodecError(
        f"a {cls.__module__}.{cls.__qualname__} cannot be kept as state; use numbers, strings, bytes, lists, dicts, tuples, "
        "sets, dates and times, Decimals, UUIDs, enums, or a Struct, dataclass or NamedTuple of these"
    )


# Packing.


def pack(value: Any) -> Any:
    """``value`` as something that msgpack writes without changing it; lists and dicts of scalars are returned as they are.

    Raises:
        StateCodecError: If that cannot be done, naming the type and where in ``value`` it is.
    """
    try:
        return _pack(value, 0)
    except StateCodecError as error:
        where, reason = _locate(value, error)
        raise StateCodecError(f"state at {where}: {reason}") from None


def _pack(value: Any, depth: int) -> Any:
    cls: Any = type(value)
    if cls in _SCALARS:
        return value
    if depth > _MAX_DEPTH:
        raise StateCodecError(f"more than {_MAX_DEPTH} levels deep, or containing itself; state must be a tree of values")
    if cls is list:
        if _SCALARS.issuperset(map(type, value)):
            return value
        return [element if type(element) in _SCALARS else _pack(element, depth + 1) for element in value]
    if cls is dict and _STR.issuperset(map(type, value)):
        if _SCALARS.issuperset(map(type, value.values())):
            return value
        return {key: element if type(element) in _SCALARS else _pack(element, depth + 1) for key, element in value.items()}
    kind = _kind(cls)
    parts = kind.take(value)
    return Ext(kind.code, dumps(parts if type(parts) in _SCALARS else _pack(parts, depth + 1)))


def _locate(value: Any, error: StateCodecError) -> tuple[str, StateCodecError]:
    """The path to the first part of ``value`` that cannot be packed, and why; walked only after packing has failed."""
    path = "$"
    for _ in range(_MAX_DEPTH + 1):
        for step, part in _parts(value):
            try:
                _pack(part, 0)
            except StateCodecError as deeper:
                path, value, error = path + step, part, deeper
                break
        else:
            break
    return path, error


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    cls: Any = type(value)
    names = field_names(cls)
    if isinstance(value, dict):
        yield from ((f"{{key {key!r}}}", key) for key in value)
        yield from ((f"[{key!r}]", element) for key, element in value.items())
    elif names is not None:
        yield from ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))
    elif isinstance(value, list | tuple | deque):
        yield from ((f"[{index}]", element) for index, element in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f"{{{element!r}}}", element) for element in value)


# Bytes.

_encode = msgspec.msgpack.Encoder().encode


def dumps(packed: Any) -> bytes:
    """Bytes of what ``pack`` returned.

    Raises:
        StateCodecError: If it holds something that msgpack does not know.
    """
    try:
        return _encode(packed)
    except (OverflowError, UnicodeEncodeError):
        return _encode(_scrub(packed))  # rare, so packing does not look for it: integers beyond 64 bits, lone surrogates
    except (TypeError, ValueError, RecursionError) as error:
        raise StateCodecError(f"state that was declared as plain numbers, strings, lists and dicts is not: {error}") from error


def _scrub(packed: Any) -> Any:
    if isinstance(packed, list | tuple):
        return [_scrub(element) for element in packed]
    if isinstance(packed, dict):
        keys, values = [_scrub(key) for key in packed], [_scrub(element) for element in packed.values()]
        if _STR.issuperset(map(type, keys)):
            return dict(zip(keys, values, strict=True))
        return Ext(_KINDS[dict].code, _encode([keys, values]))
    try:
        _encode(packed)
    except (OverflowError, UnicodeEncodeError):
        kind = _KINDS[type(packed)]
        return Ext(kind.code, _encode(kind.take(packed)))
    return packed


def _unpack(code: int, data: memoryview) -> Any:
    make = _MAKE.get(code)
    if make is None:
        raise StateCodecError(f"saved state has a value of the unknown kind {code}; a newer rxstreams wrote it")
    return make(_decode(data))


_decode = msgspec.msgpack.Decoder(ext_hook=_unpack).decode


def loads(data: bytes | memoryview) -> Any:
    """The value that ``dumps(pack(value))`` wrote.

    Raises:
        StateCodecError: If the bytes are damaged, or hold an object whose class has changed too much or is not imported.
    """
    try:
        return _decode(data)
    except StateCodecError:
        raise
    except Exception as error:
        raise StateCodecError(f"saved state cannot be read: {error}") from error


# What an operator declares about its states.


class StateCodec(msgspec.Struct, frozen=True):
    """How one operator's states become msgpack and come back, beyond what ``dumps`` and ``loads`` do."""

    pack: Callable[[Any], Any] | None = None
    """What to do before ``dumps``; None where states are numbers, strings, bytes, and lists and str-keyed dicts of these."""
    unpack: Callable[[Any], Any] | None = None
    """What to do after ``loads``; None for nothing."""

    def pack_all(self, states: list[Any]) -> list[Any]:
        """``pack`` of each state; the list itself where all are scalars or lists of scalars."""
        return states if self.pack is None or _are_plain(states) else list(map(self.pack, states))

    def check(self, value: Any) -> None:
        """Raise at the record what would otherwise fail at the commit.

        Raises:
            StateCodecError: If ``value`` cannot be kept as state.
        """
        packed = self.pack(value) if self.pack else value
        if self.unpack is not None:
            self.unpack(packed)


def _are_plain(states: Iterable[Any]) -> bool:
    kinds = set(map(type, states))
    return kinds <= _SCALARS or (kinds == {list} and _SCALARS.issuperset(map(type, chain.from_iterable(states))))


PLAIN = StateCodec()
"""For states that an operator makes itself, of numbers, strings, bytes, lists and str-keyed dicts: nothing is looked at."""

TAGGED = StateCodec(pack)
"""For states that hold users' values: everything that can be kept comes back as what it was."""


def typed(declared: Any) -> StateCodec:
    """The quickest codec for states that are exactly of the type ``declared``, as a decoder with that type makes them.

    Structs that are declared down to numbers, strings, datetimes and the like are written by msgspec at C speed, five times as
    fast as ``TAGGED``; an aware datetime in them keeps its offset, not its zone's name. For any other type it is ``TAGGED``.
    """
    from rxstreams.state.shapes import is_closed  # describing a pipeline needs no look into types

    if not isinstance(declared, type) or not issubclass(declared, msgspec.Struct) or not is_closed(declared):
        return TAGGED
    names = frozenset(declared.__struct_encode_fields__)
    return StateCodec(partial(_to_builtins, declared), partial(_from_builtins, declared, names))


def _to_builtins(cls: type, value: Any) -> Any:
    if type(value) is not cls:
        raise StateCodecError(f"state at $: declared as {cls.__qualname__}, got a {type(value).__qualname__}: {value!r}")
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def _from_builtins(cls: type, names: frozenset[str], raw: Any) -> Any:
    gone = raw.keys() - names
    if gone:
        raise no_field(cls, min(gone))
    try:
        return msgspec.convert(raw, cls)
    except msgspec.ValidationError as error:
        raise misfit(cls, error) from error
