"""Tries follow each other without a wait; what is waited is a function's result, which tests look at."""

from collections.abc import Iterator

import pytest
import stamina


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Have stamina not wait."""
    with stamina.set_testing(True, attempts=100_000):
        yield
