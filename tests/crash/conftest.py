"""No process outlives the test that started it."""

from collections.abc import Iterator

import pytest

from tests.crash.processes import reap


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    reap()
