"""The pytest plugin: the fixtures ``marbles`` and ``virtually``, wherever rxstreams is installed."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

from rxstreams.stream import Stream
from rxstreams.testing.marbles import run_marbles
from rxstreams.testing.virtual import virtually as run_virtually

__all__ = ["marbles", "virtually"]


@pytest.fixture
def marbles() -> Callable[[str, Callable[..., Stream[Any]]], None]:
    """Compare an event-time diagram with what a pipeline does: ``marbles(picture, lambda orders: orders.pipe(…))``.

    The function's parameters are the inputs, by name; see ``rxstreams.testing.marbles`` for what a diagram says. A failure
    prints what was expected and what came as two diagrams below each other, and names the first difference.
    """

    def check(picture: str, build: Callable[..., Stream[Any]]) -> None:
        __tracebackhide__ = True
        outcome = run_marbles(dedent(picture), build)
        if not outcome.holds:
            pytest.fail(
                f"the pipeline does something else than the diagram shows\n{dedent(picture).strip()}\n\n{outcome}", pytrace=False
            )

    return check


@pytest.fixture
def virtually() -> Callable[..., Any]:
    """Run a coroutine on a loop whose time is not waited for: ``virtually(main())``."""
    return run_virtually
