"""Which declared types msgspec writes and reads without loss, so that no value of theirs needs a look."""

from __future__ import annotations

import msgspec
from msgspec import inspect as shapes

__all__ = ["is_closed"]

_CLOSED = (shapes.BoolType, shapes.IntType, shapes.FloatType, shapes.StrType, shapes.BytesType, shapes.NoneType)
_CLOSED_TEXT = (shapes.DateTimeType, shapes.DateType, shapes.UUIDType, shapes.DecimalType)


def is_closed(cls: type[msgspec.Struct]) -> bool:
    """Whether a Struct has only fields that msgspec writes and reads without loss."""
    try:
        shape = shapes.type_info(cls)
    except (NameError, TypeError):
        return False  # annotations that exist only for type checkers
    return isinstance(shape, shapes.StructType) and not shape.array_like and all(_closed(field.type) for field in shape.fields)


def _closed(shape: shapes.Type) -> bool:
    """Whether msgspec writes and reads this type without loss. A nested Struct is not: one that lost a field reads in silence."""
    if isinstance(shape, shapes.UnionType):
        rest = [part for part in shape.types if not isinstance(part, shapes.NoneType)]
        return len(rest) == 1 and _closed(rest[0])
    if isinstance(shape, shapes.ListType):
        return _closed(shape.item_type)
    if isinstance(shape, shapes.DictType):
        return isinstance(shape.key_type, shapes.StrType) and _closed(shape.value_type)
    return isinstance(shape, (*_CLOSED, *_CLOSED_TEXT))
