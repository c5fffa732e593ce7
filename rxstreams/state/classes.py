"""Users' classes in saved state: written by name, found again among the modules that are imported, and rebuilt.

Accepted are enums, msgspec Structs, dataclasses and NamedTuples; nothing is imported or evaluated to find them.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from enum import Enum
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from rxstreams.errors import StateCodecError

__all__ = [
    "class_name",
    "enum_member",
    "enum_parts",
    "field_names",
    "find_class",
    "make_object",
    "misfit",
    "no_field",
    "object_parts",
]

_BUILTINS = (list, dict, tuple, set, frozenset, str, bytes, int, float, BaseException)


@lru_cache(maxsize=1024)
def class_name(cls: Any) -> tuple[str, str]:
    """Module and qualified name by which ``cls`` is found again after a restart.

    Raises:
        StateCodecError: If it cannot be found by that name, because it was made inside a function.
    """
    module, qualname = cls.__module__, cls.__qualname__
    if module == "__main__":
        # The same file is `__main__` under `python -m shop.totals` and `shop.totals` where something imports it.
        module = getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", None) or module
    if "<locals>" in qualname:
        raise StateCodecError(
            f"class {module}.{qualname} is defined inside a function, so it cannot be found again; move it to a module"
        )
    find_class(module, qualname)
    return module, qualname


def find_class(module: str, qualname: str) -> type[Any]:
    """The class of that name, from the modules that are imported already.

    Raises:
        StateCodecError: If there is none.
    """
    main = sys.modules.get("__main__")
    runs_as = getattr(getattr(main, "__spec__", None), "name", None)
    found: Any = main if module == runs_as else sys.modules.get(module)
    for part in qualname.split("."):
        # vars, not getattr: a module's __getattr__ may import.
        found = getattr(found, "__dict__", {}).get(part)
    if not isinstance(found, type):
        raise StateCodecError(
            f"state holds a {module}.{qualname}, which no imported module defines under that name; define it there (or keep the "
            "old name as an alias), and import the module before the run"
        )
    return found


def enum_member(module: str, qualname: str, name: str | int) -> Enum:
    """The member of that name; an int is the value of a combination of flags.

    Raises:
        StateCodecError: If the class or its member is gone.
    """
    cls = find_class(module, qualname)
    if not issubclass(cls, Enum):
        raise StateCodecError(f"saved state holds a member of {module}.{qualname}, which is no enum now")
    try:
        member: Enum = cls[name] if isinstance(name, str) else cls(name)
    except (KeyError, ValueError) as error:
        raise StateCodecError(f"saved state holds {module}.{qualname}.{name}, which the enum no longer has; keep it") from error
    return member


def enum_parts(member: Enum) -> list[Any]:
    """What ``enum_member`` takes: names outlive reordering, values made by ``auto()`` do not."""
    named = member.name in type(member).__members__
    return [*class_name(type(member)), member.name if named else member.value]


@lru_cache(maxsize=1024)
def field_names(cls: Any) -> tuple[str, ...] | None:
    """Names of the fields of a Struct, NamedTuple or dataclass; None for any other class."""
    if issubclass(cls, msgspec.Struct):
        return tuple(cls.__struct_fields__)
    if issubclass(cls, tuple):
        return getattr(cls, "_fields", None)
    if not issubclass(cls, _BUILTINS) and dataclasses.is_dataclass(cls):
        return tuple(field.name for field in dataclasses.fields(cls))
    return None


@lru_cache(maxsize=1024)
def _reader(cls: Any) -> tuple[str, str, tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = field_names(cls) or ()
    several = attrgetter(*names) if len(names) > 1 else lambda value: tuple(getattr(value, name) for name in names)
    return *class_name(cls), names, several


def object_parts(value: Any) -> list[Any]:
    """What ``make_object`` takes: module, qualified name, and the fields by name.

    Raises:
        StateCodecError: If the value holds more than its declared fields, or less.
    """
    cls: Any = type(value)
    module, qualname, names, read = _reader(cls)
    held = getattr(value, "__dict__", None)
    if held and not held.keys() <= set(names):
        _refuse_extra(cls, held.keys() - set(names))
    try:
        return [module, qualname, dict(zip(names, read(value)))]
    except AttributeError as error:
        raise StateCodecError(f"a field of {qualname} is not set: {error}") from error


def _refuse_extra(cls: type, names: set[str]) -> None:
    for name in names:
        if not isinstance(getattr(cls, name, None), cached_property):
            raise StateCodecError(f"{cls.__name__}.{name} is no declared field, so it would be lost; declare it")


def make_object(module: str, qualname: str, values: dict[str, Any]) -> Any:
    """The object that ``object_parts`` took apart; new fields take their defaults.

    Raises:
        StateCodecError: If the class is gone, lacks a saved field, or has a new one without a default.
    """
    cls: Any = find_class(module, qualname)
    names = field_names(cls)
    if names is None:
        raise StateCodecError(f"saved state holds a {module}.{qualname}, which is no Struct, dataclass or NamedTuple now")
    gone = values.keys() - set(names)
    if gone:
        raise no_field(cls, min(gone))
    if issubclass(cls, msgspec.Struct):
        return _struct(cls, values)
    return _named_tuple(cls, values) if issubclass(cls, tuple) else _dataclass(cls, values)


def _struct(cls: type[msgspec.Struct], values: dict[str, Any]) -> Any:
    try:
        made = cls(**values)
    except Exception as error:
        raise misfit(cls, error) from error
    if hasattr(cls, "__post_init__"):
        for name, value in values.items():
            msgspec.structs.force_setattr(made, name, value)
    return made


def _named_tuple(cls: Any, values: dict[str, Any]) -> Any:
    complete = {**cls._field_defaults, **values}
    for name in cls._fields:
        if name not in complete:
            raise misfit(cls, f"no value for the field {name!r}")
    return tuple.__new__(cls, [complete[name] for name in cls._fields])


def _dataclass(cls: Any, values: dict[str, Any]) -> Any:
    made: Any = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in values:
            value = values[field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise misfit(cls, f"no value for the field {field.name!r}")
        object.__setattr__(made, field.name, value)
    return made


def no_field(cls: type, name: str) -> StateCodecError:
    """The error for a saved field that its class no longer has."""
    return misfit(cls, f"the class no longer has the field {name!r}")


def misfit(cls: type, why: object) -> StateCodecError:
    """The error for saved fields that their class no longer takes."""
    return StateCodecError(
        f"saved state does not fit {cls.__module__}.{cls.__qualname__}: {why}. Give new fields a default, and keep the saved ones"
    )
