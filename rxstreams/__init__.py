"""Reactive stream processing: RxPY's operators, event time and keyed state, exactly once, on asyncio.

    errors       the error tree, and the policies that answer a failing record
    batch        what travels on the edges: parallel columns of records
    watermarks   event time: how it is read, and how far it has come
    stream       Stream, and what operators are made of
    aggregates   count, sum, mean, min, max
    state        keyed state: keys, timers, codec
    operators    by family: mapping, combining, keyed, buffering, dedup, sinks
    brokers      where topics, tables and offsets live: memory, sqlite
    feeds        sources: topics, iterables
    views        queryable results
    runtime      the run: graph, task, epochs, checkpoints
    pictures     graphs and marble diagrams as text
    testing      the brokers' contract as tests

A room imports only rooms above it. Import operators as ``from rxstreams import operators as ops`` and aggregates as
``from rxstreams import aggregates as agg``.
"""

from rxstreams import aggregates, operators
from rxstreams.brokers import connect
from rxstreams.errors import (
    BrokerError,
    ConfigError,
    DeadLetter,
    FencedError,
    Retry,
    RxStreamsError,
    Skip,
    StateError,
    Stop,
    TopologyError,
)
from rxstreams.feeds import from_async_iterable, from_iterable, from_topic
from rxstreams.pictures import Picture, draw
from rxstreams.runtime import Failure, Running, run, start
from rxstreams.state.keyed import Context, KeyedOperator
from rxstreams.stream import Operator, Stream
from rxstreams.views import PublishedView, View, view

__version__ = "0.1.0"

__all__ = [
    "BrokerError",
    "ConfigError",
    "Context",
    "DeadLetter",
    "Failure",
    "FencedError",
    "KeyedOperator",
    "Operator",
    "Picture",
    "PublishedView",
    "Retry",
    "Running",
    "RxStreamsError",
    "Skip",
    "StateError",
    "Stop",
    "Stream",
    "TopologyError",
    "View",
    "aggregates",
    "connect",
    "draw",
    "from_async_iterable",
    "from_iterable",
    "from_topic",
    "operators",
    "run",
    "start",
    "view",
]
