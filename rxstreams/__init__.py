"""Reactive stream processing: RxPY's operators, event time and keyed state, exactly once, on asyncio.

    errors       the error tree, and the policies that answer a failing record
    log          what a run says, on standard error
    batch        what travels on the edges: parallel columns of records
    watermarks   event time: how it is read, and how far it has come
    windows      how event time is cut, when results are emitted, and what a result is
    patterns     which events, in which order, make a match
    stream       Stream, and what operators are made of
    aggregates   count, sum, mean, variance, top, …: mergeable accumulators
    state        keyed state: keys, timers, codec
    operators    by family: mapping, folding, taking, combining, keyed, windows, joins, dedup, patterns, flow, sinks
    brokers      where topics, tables and offsets live: memory, sqlite
    feeds        sources: topics, iterables, files, HTTP feeds
    views        queryable results
    runtime      the run: graph, task, epochs, checkpoints
    pictures     graphs and marble diagrams as text
    web          posts and webhooks that become records, and health
    testing      event-time marbles, a pipeline driven by hand, virtual time, the brokers' contract as tests

A room imports only rooms above it. Most rooms, and the families of operators, are imported when they are first used. Import
operators as ``from rxstreams import operators as ops`` and aggregates as ``from rxstreams import aggregates as agg``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rxstreams import aggregates, operators
from rxstreams.errors import (
    BrokerError,
    ConfigError,
    DeadLetter,
    Retry,
    RxStreamsError,
    Skip,
    Stop,
)
from rxstreams.stream import Stream
from rxstreams.windows import Windowed, calendar, counting, hopping, session, sliding, tumbling

if TYPE_CHECKING:
    from rxstreams import testing
    from rxstreams.brokers import connect
    from rxstreams.feeds import (
        from_async_iterable,
        from_files,
        from_iterable,
        from_ndjson,
        from_poll,
        from_sse,
        from_topic,
        from_websocket,
    )
    from rxstreams.operators.joins.tables import latest_by_key, table
    from rxstreams.operators.threads import in_thread
    from rxstreams.pictures import draw
    from rxstreams.runtime import Running, explain_memory, explain_time, lag, run, start
    from rxstreams.state.keyed import KeyedOperator
    from rxstreams.views import View, view

__version__ = "0.1.0"

__all__ = [
    "BrokerError",
    "ConfigError",
    "DeadLetter",
    "KeyedOperator",
    "Retry",
    "Running",
    "RxStreamsError",
    "Skip",
    "Stop",
    "Stream",
    "View",
    "Windowed",
    "aggregates",
    "calendar",
    "connect",
    "counting",
    "draw",
    "explain_memory",
    "explain_time",
    "from_async_iterable",
    "from_files",
    "from_iterable",
    "from_ndjson",
    "from_poll",
    "from_sse",
    "from_topic",
    "from_websocket",
    "hopping",
    "in_thread",
    "lag",
    "latest_by_key",
    "operators",
    "run",
    "session",
    "sliding",
    "start",
    "table",
    "testing",
    "tumbling",
    "view",
]

_LATER = {
    "connect": "rxstreams.brokers",
    **dict.fromkeys(
        (
            "from_async_iterable",
            "from_files",
            "from_iterable",
            "from_ndjson",
            "from_poll",
            "from_sse",
            "from_topic",
            "from_websocket",
        ),
        "rxstreams.feeds",
    ),
    **dict.fromkeys(("latest_by_key", "table"), "rxstreams.operators.joins.tables"),
    "in_thread": "rxstreams.operators.threads",
    "KeyedOperator": "rxstreams.state.keyed",
    "draw": "rxstreams.pictures",
    **dict.fromkeys(("Running", "explain_memory", "explain_time", "lag", "run", "start"), "rxstreams.runtime"),
    **dict.fromkeys(("View", "view"), "rxstreams.views"),
}


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module("rxstreams.testing")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
