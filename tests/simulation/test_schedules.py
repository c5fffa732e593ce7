"""Schedules on the simulated broker, the first half: whatever goes wrong, all comes out once and in order.

A failure names its seed, and the command that replays it. The other half is in ``test_more_schedules``, so that two processes
share them.
"""

import pytest

from tests.simulation.checking import check_injected, checked

SEEDS = range(150)
CHUNK = 10

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_whatever_goes_wrong_comes_out_as_if_nothing_had(first: int) -> None:
    """Topics, state, views, offsets and position records are exact in each of ten schedules of 10,000 records."""
    for seed in range(first, first + CHUNK):
        checked(seed)


def test_all_that_can_go_wrong_did() -> None:
    """Over these schedules every kind of fault befell every call that it can befall, and instances ended in every way."""
    check_injected(SEEDS)
