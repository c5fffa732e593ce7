"""Operators, by family. Those with an Rx name mean exactly what Rx means; all go into ``pipe`` beside RxPY's own."""

from rxstreams.operators.aggregating import aggregate
from rxstreams.operators.buffering import buffer_with_count, buffer_with_time, buffer_with_time_or_count
from rxstreams.operators.combining import combine_latest, merge, with_latest_from
from rxstreams.operators.dedup import distinct
from rxstreams.operators.delaying import delay, timeout
from rxstreams.operators.folding import reduce, scan
from rxstreams.operators.keyed import key_by
from rxstreams.operators.lining import concat, start_with, zip
from rxstreams.operators.mapping import do_action, filter, filter_indexed, flat_map, map, map_indexed
from rxstreams.operators.neighbours import distinct_until_changed, pairwise
from rxstreams.operators.processing import process
from rxstreams.operators.sharing import group_by, partition, share
from rxstreams.operators.sinks import to_callable, to_topic, to_view
from rxstreams.operators.taking import first, last, skip, skip_while, take, take_last, take_while
from rxstreams.operators.timing import debounce, sample, throttle_first
from rxstreams.operators.totals import average, count, max, min, sum, to_list
from rxstreams.stream.blueprint import fluent as _fluent

__all__ = [
    "aggregate",
    "average",
    "buffer_with_count",
    "buffer_with_time",
    "buffer_with_time_or_count",
    "combine_latest",
    "concat",
    "count",
    "debounce",
    "delay",
    "distinct",
    "distinct_until_changed",
    "do_action",
    "filter",
    "filter_indexed",
    "first",
    "flat_map",
    "group_by",
    "key_by",
    "last",
    "map",
    "map_indexed",
    "max",
    "merge",
    "min",
    "pairwise",
    "partition",
    "process",
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
    "with_latest_from",
    "zip",
]

for _name in __all__:
    _fluent(_name, globals()[_name])
