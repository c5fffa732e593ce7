"""One thing goes wrong, at each await in turn: a process dies there, or sleeps while another one goes on."""

import pytest

from rxstreams.testing.brokers import Odds
from tests.simulation.schedules import Schedule, hushed, told

QUIET = Odds(refused=0.0, gone=0.0, late=0.0, lost=0.0, most_records=100)
RECORDS = 600
AWAITS = 80
"""More than an instance needs to begin, and to commit its first epochs."""

pytestmark = pytest.mark.timeout(120)


async def dies(schedule: Schedule, at: int) -> None:
    """An instance dies at an await; others go on."""
    await schedule.fill([0] * len(schedule.given.partitions))
    process = schedule.begin()
    process.broker.die_at(at)
    await schedule.gone(process)
    await schedule.come_to_end()


async def sleeps(schedule: Schedule, at: int) -> None:
    """An instance falls asleep at an await; another one takes over and commits, and both work when the sleeper wakes."""
    left = [len(records) // 2 for records in schedule.given.partitions]
    await schedule.fill(left)
    older = schedule.begin()
    older.broker.sleep_at(at, 3.0)
    await older.broker.asleep.wait()
    newer = schedule.begin()
    await schedule.produce(left)
    await schedule.one_left(older, newer, works_on=6.0)
    await schedule.come_to_end()


@pytest.mark.parametrize("fate", [dies, sleeps])
def test_each_await_is_a_good_place_for_it(fate) -> None:  # type: ignore[no-untyped-def]  # one of the two above
    """Everything is exact, wherever it happens; and it did happen at calls of every kind that an instance makes."""
    where: set[str] = set()
    for at in range(1, AWAITS + 1):
        schedule = Schedule(0, odds=QUIET, records=RECORDS)
        with hushed():
            done = told(schedule, fate(schedule, at))
        assert done.wrong == [], f"at await {at}: {done.log[-1:]}"
        where |= {one.call for one in done.log if one.kind in ("dies", "asleep")}
    assert where >= {"start", "open", "read_table", "committed", "create_topic", "start_offsets", "read", "commit", "wait"}
