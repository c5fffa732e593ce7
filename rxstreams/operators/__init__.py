"""Operators, by family. Those with an Rx name mean exactly what Rx means; all go into ``pipe`` beside RxPY's own.

A family is imported when one of its operators is first used.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING, Any as _Any

from rxstreams.stream.blueprint import fluent as _fluent

if _TYPE_CHECKING:
    from rxstreams.operators.aggregating import aggregate
    from rxstreams.operators.awaiting import filter_async, flat_map_async, map_async
    from rxstreams.operators.bounding import bounded, rate_limit
    from rxstreams.operators.buffering import buffer_with_count, buffer_with_time, buffer_with_time_or_count
    from rxstreams.operators.calling import to_callable
    from rxstreams.operators.combining import combine_latest, merge, with_latest_from
    from rxstreams.operators.deduplicating import dedup
    from rxstreams.operators.delaying import delay, timeout
    from rxstreams.operators.detecting import detect
    from rxstreams.operators.ending import last, take_last
    from rxstreams.operators.enriching import enrich
    from rxstreams.operators.folding import reduce, scan
    from rxstreams.operators.joins import as_of_join, interval_join, join_table
    from rxstreams.operators.keyed import key_by
    from rxstreams.operators.lining import concat, start_with, zip
    from rxstreams.operators.mapping import do_action, filter, filter_indexed, flat_map, map, map_indexed
    from rxstreams.operators.neighbours import distinct_until_changed, pairwise
    from rxstreams.operators.once import distinct
    from rxstreams.operators.processing import process
    from rxstreams.operators.sharing import group_by, partition, share
    from rxstreams.operators.sinks import to_topic, to_view
    from rxstreams.operators.taking import first, skip, skip_while, take, take_while
    from rxstreams.operators.timestamps import event_time
    from rxstreams.operators.timing import debounce, sample, throttle_first
    from rxstreams.operators.totals import average, count, max, min, sum, to_list
    from rxstreams.operators.windows import windowed

__all__ = [
    "aggregate",
    "as_of_join",
    "average",
    "bounded",
    "buffer_with_count",
    "buffer_with_time",
    "buffer_with_time_or_count",
    "combine_latest",
    "concat",
    "count",
    "debounce",
    "dedup",
    "delay",
    "detect",
    "distinct",
    "distinct_until_changed",
    "do_action",
    "enrich",
    "event_time",
    "filter",
    "filter_async",
    "filter_indexed",
    "first",
    "flat_map",
    "flat_map_async",
    "group_by",
    "interval_join",
    "join_table",
    "key_by",
    "last",
    "map",
    "map_async",
    "map_indexed",
    "max",
    "merge",
    "min",
    "pairwise",
    "partition",
    "process",
    "rate_limit",
    "reduce",
    "sample",
    "scan",
    "share",
    "skip",
    "skip_while",
    "start_with",
    "sum",
    "take",
    "take_last",
    "take_while",
    "throttle_first",
    "timeout",
    "to_callable",
    "to_list",
    "to_topic",
    "to_view",
    "windowed",
    "with_latest_from",
    "zip",
]

_FAMILIES = {
    "aggregating": ("aggregate",),
    "awaiting": ("filter_async", "flat_map_async", "map_async"),
    "bounding": ("bounded", "rate_limit"),
    "buffering": ("buffer_with_count", "buffer_with_time", "buffer_with_time_or_count"),
    "calling": ("to_callable",),
    "combining": ("combine_latest", "merge", "with_latest_from"),
    "once": ("distinct",),
    "deduplicating": ("dedup",),
    "delaying": ("delay", "timeout"),
    "detecting": ("detect",),
    "enriching": ("enrich",),
    "folding": ("reduce", "scan"),
    "joins": ("as_of_join", "interval_join", "join_table"),
    "keyed": ("key_by",),
    "lining": ("concat", "start_with", "zip"),
    "mapping": ("do_action", "filter", "filter_indexed", "flat_map", "map", "map_indexed"),
    "neighbours": ("distinct_until_changed", "pairwise"),
    "processing": ("process",),
    "sharing": ("group_by", "partition", "share"),
    "sinks": ("to_topic", "to_view"),
    "ending": ("last", "take_last"),
    "taking": ("first", "skip", "skip_while", "take", "take_while"),
    "timestamps": ("event_time",),
    "timing": ("debounce", "sample", "throttle_first"),
    "totals": ("average", "count", "max", "min", "sum", "to_list"),
    "windows": ("windowed",),
}
_FAMILY = {name: family for family, names in _FAMILIES.items() for name in names}


def __getattr__(name: str) -> _Any:
    if name not in _FAMILY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"{__name__}.{_FAMILY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


for _name in __all__:
    _fluent(_name, lambda *args, _name=_name, **kwargs: (globals().get(_name) or __getattr__(_name))(*args, **kwargs))
