"""A thousand schedules more, for ``make soak``."""

import pytest

from tests.simulation.checking import check_injected, checked

SEEDS = range(1_000, 2_000)
CHUNK = 50

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("first", SEEDS[::CHUNK])
def test_whatever_goes_wrong_comes_out_as_if_nothing_had(first: int) -> None:
    """Topics, state, views, offsets and position records are exact in each of fifty schedules of 10,000 records."""
    for seed in range(first, first + CHUNK):
        checked(seed)


def test_all_that_can_go_wrong_did() -> None:
    """Over these schedules every kind of fault befell every call that it can befall, and instances ended in every way."""
    check_injected(SEEDS)
