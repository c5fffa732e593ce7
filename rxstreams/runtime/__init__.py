"""The run: graph, task, epochs, checkpoints, supervision, signals."""

from rxstreams.runtime.bounds import MemoryBounds, explain_memory
from rxstreams.runtime.edges import EdgeState
from rxstreams.runtime.explaining import TimeExplanation, explain_time
from rxstreams.runtime.failures import Failure
from rxstreams.runtime.guarantee import Guarantee
from rxstreams.runtime.health import Health
from rxstreams.runtime.lag import Lag, lag
from rxstreams.runtime.running import EXIT_FAILED, EXIT_FENCED, Running, run, start
from rxstreams.runtime.settings import Statistics

__all__ = [
    "EXIT_FAILED",
    "EXIT_FENCED",
    "EdgeState",
    "Failure",
    "Guarantee",
    "Health",
    "Lag",
    "MemoryBounds",
    "Running",
    "Statistics",
    "TimeExplanation",
    "explain_memory",
    "explain_time",
    "lag",
    "run",
    "start",
]
