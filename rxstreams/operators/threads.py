"""in_thread: a function that blocks, as a coroutine function."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from rxstreams.errors import ConfigError
from rxstreams.operators.arguments import is_async

__all__ = ["in_thread"]

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(function: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Make a coroutine function of one that blocks: each call is made in a thread, and the pipeline goes on meanwhile.

    For ``map_async``, ``enrich``, ``to_callable`` and their like, whose ``concurrency`` says how many calls there are at a time;
    of all together there are as many as asyncio's executor has threads. A thread cannot be cancelled: after a ``timeout``, or
    when the run has stopped, its call goes on, and what it returns is dropped.

    Args:
        function: What blocks: a client of a database, a computation in C that lets other threads run.

    Raises:
        ConfigError: If it is no function, or a coroutine function already.

    Source: ``asyncio.to_thread``.
    """
    if not callable(function):
        raise ConfigError(f"in_thread(function): expected a function, got {function!r}")
    if is_async(function):
        raise ConfigError(f"in_thread(function): {function!r} is a coroutine function, which needs no thread; use it as it is")

    @functools.wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        return await asyncio.to_thread(_called, function, args, kwargs)

    return call


def _called(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call it; a StopIteration would never get out of the thread, as no future takes one."""
    try:
        return function(*args, **kwargs)
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error
