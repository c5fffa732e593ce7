"""``kill -9`` of a real process on SQLite, at every named step of the epoch and at random: nothing is lost or doubled."""

import os
import random
import subprocess
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.brokers.files import query
from tests.crash.processes import ended, event, fill, keys_of, offsets, on, start, topic, until
from tests.crash.worker import COUNTER, GAP, Event

RECORDS = 240_000
BEFORE_WORK = ("acquire.opened", "acquire.restored")
AT_WORK = (
    "epoch.polled",
    "epoch.pushed",
    "epoch.cut",
    "commit.before",
    "commit.locked",
    "commit.written",
    "commit.done",
    "epoch.committed",
    "epoch.promoted",
)
IN_FLIGHT = 110
NAMED = 4


class Killing:
    """One pipeline that is begun again after every kill, and what is known of the kills."""

    def __init__(self, folder: Path) -> None:
        self.file, self.counter, self.log = folder / "shop.db", folder / "seen", folder / "struck"
        self.counter.write_bytes(bytes(COUNTER.size))
        self.where: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.random = random.Random(20_260_116)

    def begin(self, *, delay: float = 0.0002, **environment: str) -> subprocess.Popen[str]:
        """Start the pipeline, its counter at 0."""
        self.counter.write_bytes(bytes(COUNTER.size))
        return start("everything", f"sqlite:///{self.file}", self.counter, delay, **environment)

    def seen(self) -> int:
        """How many records the last process has begun to work on."""
        return int(COUNTER.unpack(self.counter.read_bytes())[0])

    def note(self, step: str, process: subprocess.Popen[str]) -> None:
        """Count a kill; it hit records in flight if the process had begun on some (the last run shows that more were left)."""
        ended(process, -9)
        self.where[step] += 1
        self.in_flight[step] += self.seen() > 0

    def at_step(self, step: str, hit: int) -> None:
        """Let it die at the ``hit``-th time that it comes to a step."""
        process = self.begin(RXSTREAMS_FAILPOINT=f"{step}:{hit}", RXSTREAMS_FAILPOINT_LOG=str(self.log))
        self.note(step, process)

    def at_random(self) -> None:
        """Kill it at some time after it has begun on a record."""
        process = self.begin()
        until(self.seen)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0.0, 0.15))
        process.kill()
        self.note("at random", process)

    def table(self) -> str:
        """Where the kills fell."""
        lines = [f"{step:18} {self.where[step]:5} {self.in_flight[step]:10}" for step in self.where]
        return "\n".join(
            ["step               kills  in flight", *lines, f"{'':18} {self.where.total():5} {self.in_flight.total():10}"]
        )


# One run of about a hundred kills serves all tests here (a file is one worker's: `make test`).
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killing:
    """The pipeline after all the kills, and after it was let to its end."""
    killing = Killing(tmp_path_factory.mktemp("kill9"))
    fill(killing.file, RECORDS)
    for step in BEFORE_WORK * 3:
        killing.at_step(step, 1)
    for step in AT_WORK:
        hit = 1
        while killing.in_flight[step] < NAMED:
            before = killing.in_flight[step]
            killing.at_step(step, hit)
            # A start itself commits: it opens the task and creates topics. These hits come before the work begins.
            hit += 1 if killing.in_flight[step] > before else 2
    while killing.in_flight.total() < IN_FLIGHT:
        killing.at_random()
    _, errors = ended(killing.begin(delay=0))
    assert killing.seen() > 0, "the input was exhausted before the last kill"
    print(f"\n{killing.table()}\nthe last run had {killing.seen():,} of {RECORDS:,} records left\n{errors.splitlines()[0]}")
    return killing


@pytest.fixture(scope="module")
def order(killed: Killing) -> list[Event]:
    """The records that passed the filter, in the order in which they were committed: ``out`` has it."""
    return [event(part, seq) for part, seq in topic(killed.file, "out")]


def test_every_step_was_hit_while_records_were_in_flight(killed: Killing) -> None:
    """At least 100 kills hit records in flight, every named step three times, and the log says the same as the count."""
    assert Counter(killed.log.read_text().split()) == killed.where - Counter({"at random": killed.where["at random"]})
    assert killed.in_flight.total() >= 100
    assert {step: killed.where[step] >= 3 for step in BEFORE_WORK} == dict.fromkeys(BEFORE_WORK, True)
    assert {step: killed.in_flight[step] >= 3 for step in AT_WORK} == dict.fromkeys(AT_WORK, True)


def test_each_output_is_there_once_and_in_order(killed: Killing, order: list[Event]) -> None:
    """Of each partition every record that passes the filter is in ``out`` once, in its order; the offsets are the ends."""
    expected = [seq for seq in range(RECORDS // 2) if seq % 10 != 3]
    parts = [key.decode() for key in keys_of(2)]
    assert {part: [event.seq for event in order if event.part == part] for part in parts} == dict.fromkeys(parts, expected)
    assert len(order) == 2 * len(expected)
    assert offsets(killed.file, "everything") == {("in", 0): RECORDS // 2, ("in", 1): RECORDS // 2}


def test_views_equal_a_recount(killed: Killing, order: list[Event]) -> None:
    """The published view has, per user, what counting the input again gives."""
    amounts: dict[str, list[int]] = {}
    for one in order:
        amounts.setdefault(one.user, []).append(one.amount)
    rows = {user: {"key": user, "n": len(a), "total": sum(a), "least": min(a), "most": max(a)} for user, a in amounts.items()}

    async def read(broker: Any) -> list[Any]:
        return [msgspec.json.decode(value) for _, value in (await broker.read_table("everything.view.totals")).rows]

    assert {row["key"]: row for row in on(killed.file, read)} == rows


def test_folds_went_on_where_they_were(killed: Killing, order: list[Event]) -> None:
    """scan, buffer_with_count and distinct give what folding the records in their committed order gives."""
    digests, digest = [], 7
    for one in order:
        digest = (digest * 31 + one.amount) % 1_000_003
        digests.append(digest)
    assert topic(killed.file, "digests") == digests
    assert topic(killed.file, "sevens") == [[one.amount for one in order[at : at + 7]] for at in range(0, len(order), 7)]
    assert topic(killed.file, "users") == list(dict.fromkeys(one.user for one in order))


def test_branches_that_meet_again_keep_the_source_s_order(killed: Killing, order: list[Event]) -> None:
    """The diamond has each record once from either branch, in the source's order, whatever process worked on it."""
    both = [[label, one.part, one.seq] for one in order for label in ("each", "even") if label == "each" or one.seq % 2 == 0]
    assert topic(killed.file, "diamond") == both


def test_timers_fired_once(killed: Killing, order: list[Event]) -> None:
    """Every session is told once, and every record is in one: timers are saved and restored with their state.

    Until the second partition has had its first records, the first one alone says how far time has come, so there sessions are
    cut short; no record is missing in them either.
    """
    found, expected = topic(killed.file, "sessions"), list(sessions(order))
    assert records_of(found) == records_of(expected)
    settled = event("", 5_000).at * 1000
    assert sorted(one for one in found if one[2] > settled) == sorted(one for one in expected if one[2] > settled)


def records_of(told: list[list[Any]]) -> Counter[str]:
    """How many records each user's sessions have."""
    total = Counter[str]()
    for user, records, _, _ in told:
        total[user] += records
    return total


def sessions(order: list[Event]) -> Iterator[list[Any]]:
    """Each user's records, cut where they pause."""
    times: dict[str, list[int]] = {}
    for one in order:
        times.setdefault(one.user, []).append(one.at * 1000)
    for user, stamps in times.items():
        open_ = deque[int]()
        for stamp in [*stamps, stamps[-1] + GAP]:
            if open_ and stamp >= open_[-1] + GAP:
                yield [user, len(open_), open_[0], open_[-1]]
                open_.clear()
            open_.append(stamp)


def test_the_file_is_whole(killed: Killing) -> None:
    """SQLite's own check finds nothing, and the state's deltas have not outgrown the state."""
    assert query(killed.file, "PRAGMA integrity_check") == [("ok",)]
    assert os.path.getsize(killed.file) < 100_000_000
