"""Operators, by family. Those with an Rx name mean exactly what Rx means; all go into ``pipe`` beside RxPY's own."""

from rxstreams.operators.aggregating import aggregate
from rxstreams.operators.buffering import buffer_with_count, buffer_with_time
from rxstreams.operators.combining import combine_latest, merge
from rxstreams.operators.dedup import distinct
from rxstreams.operators.folding import reduce, scan
from rxstreams.operators.keyed import key_by
from rxstreams.operators.mapping import filter, flat_map, map
from rxstreams.operators.processing import process
from rxstreams.operators.sinks import to_callable, to_topic, to_view
from rxstreams.operators.taking import take
from rxstreams.stream.blueprint import fluent as _fluent

__all__ = [
    "aggregate",
    "buffer_with_count",
    "buffer_with_time",
    "combine_latest",
    "distinct",
    "filter",
    "flat_map",
    "key_by",
    "map",
    "merge",
    "process",
    "reduce",
    "scan",
    "take",
    "to_callable",
    "to_topic",
    "to_view",
]

for _name in __all__:
    _fluent(_name, globals()[_name])
