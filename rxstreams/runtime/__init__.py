"""The run: graph, task, epochs, checkpoints, supervision, signals."""

from rxstreams.runtime.explaining import TimeExplanation, explain_time
from rxstreams.runtime.failures import Failure
from rxstreams.runtime.guarantee import Guarantee
from rxstreams.runtime.running import EXIT_FAILED, EXIT_FENCED, Running, run, start
from rxstreams.runtime.settings import Statistics

__all__ = [
    "EXIT_FAILED",
    "EXIT_FENCED",
    "Failure",
    "Guarantee",
    "Running",
    "Statistics",
    "TimeExplanation",
    "explain_time",
    "run",
    "start",
]
