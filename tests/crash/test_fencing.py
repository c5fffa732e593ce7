"""Two instances at once, signals, and starts after an end: each process says what became of it, by its status and its words."""

import fcntl
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rxstreams.runtime import EXIT_FENCED
from tests.crash.processes import ended, fill, numbered, offsets, start, topic, until

RECORDS = 6_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with records in ``in``."""
    file = tmp_path / "shop.db"
    fill(file, RECORDS)
    return file


def url(path: Path) -> str:
    """The file as a broker's URL."""
    return f"sqlite:///{path}"


def begun(path: Path, at_least: int = 1) -> bool:
    """Whether the follower has committed so many records."""
    return sum(offsets(path, "follow").values()) >= at_least


def announced(worker: subprocess.Popen[str]) -> str:
    """The first line of a process's log, when it comes: the task is its own then, and restored."""
    assert worker.stderr is not None
    return worker.stderr.readline()


def logged(text: str) -> list[dict[str, Any]]:
    """The lines of a process's log."""
    return [json.loads(line) for line in text.splitlines() if line]


@contextmanager
def writers_turn(path: Path) -> Iterator[None]:
    """Hold the writers' lock, so that no commit comes through."""
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def whole(path: Path) -> None:
    """Every input's output is there once, and in order."""
    assert numbered(topic(path, "out")) == {part: list(range(RECORDS // 2)) for part in ("p4", "p0")}


def test_the_newer_of_two_instances_goes_on(path: Path) -> None:
    """The older ends with its own status and names the newer; the newer does the rest; each output is there once."""
    older = start("follow", url(path), 0.0005)
    until(lambda: begun(path))
    newer = start("follow", url(path), 0.0001)
    _, errors = ended(older, EXIT_FENCED)
    last = logged(errors)[-1]
    assert (last["event"], f"process {older.pid} on" in last["error"], f"process {newer.pid} on" in last["error"]) == (
        "fenced",
        True,
        True,
    )
    until(lambda: begun(path, RECORDS))
    newer.send_signal(signal.SIGTERM)
    ended(newer)
    whole(path)


def test_instances_that_take_over_from_each_other_again_and_again(path: Path) -> None:
    """Each of five instances is fenced by the next one, in the middle of its work; the last one ends well."""
    workers: list[subprocess.Popen[str]] = []
    for number in range(1, 6):
        workers.append(start("follow", url(path), 0.0005 if number < 5 else 0))
        assert "running" in announced(workers[-1])
        done = sum(offsets(path, "follow").values())
        until(lambda done=done: begun(path, done + 1))  # type: ignore[misc]  # a default, so that it is this one's number
    until(lambda: begun(path, RECORDS))
    workers[-1].send_signal(signal.SIGINT)
    for fenced in workers[:-1]:
        ended(fenced, EXIT_FENCED)
    ended(workers[-1])
    whole(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_epoch(path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT commit what was worked on, end with status 0, and the next start goes on from there."""
    worker = start("follow", url(path), 0.0005)
    until(lambda: begun(path))
    worker.send_signal(number)
    _, errors = ended(worker)
    assert [line["level"] for line in logged(errors)] == ["info"]
    done = topic(path, "out")
    assert 0 < len(done) < RECORDS
    worker = start("follow", url(path), 0)
    until(lambda: begun(path, RECORDS))
    worker.send_signal(number)
    ended(worker)
    whole(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(path: Path, number: signal.Signals) -> None:
    """While another process's turn keeps the last commit waiting, the second signal does not wait for it."""
    worker = start("follow", url(path), 0.0005)
    until(lambda: begun(path))
    with writers_turn(path):
        worker.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.3)
        worker.send_signal(number)
        began = time.monotonic()
        ended(worker, 128 + number)
        assert time.monotonic() - began < 2.0


def test_a_second_signal_ends_a_function_that_never_returns(path: Path) -> None:
    """A user's function that hangs holds up the first signal, but not the second."""
    worker = start("stuck", url(path))
    assert worker.stdout is not None
    assert worker.stdout.readline() == "stuck\n"
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(0.3)
    worker.send_signal(signal.SIGTERM)
    ended(worker, 128 + signal.SIGTERM, within=5)


def test_a_signal_while_the_run_is_starting(path: Path) -> None:
    """A signal that comes before the state is restored ends the process with status 0 too."""
    with writers_turn(path):
        worker = start("follow", url(path), 0)
        until(lambda: waits_for_a_lock(worker.pid))
        worker.send_signal(signal.SIGTERM)
    ended(worker)


def waits_for_a_lock(pid: int) -> bool:
    """Whether the kernel has the process in a queue for a lock."""
    return any(f" -> FLOCK  ADVISORY  WRITE {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


def test_a_commit_that_does_not_come_through_is_dropped_within_a_bound(path: Path) -> None:
    """If the last commit cannot be made, the first signal drops the epoch after ten seconds and ends with status 0."""
    worker = start("follow", url(path), 0.0005)
    until(lambda: begun(path))
    with writers_turn(path):
        worker.send_signal(signal.SIGTERM)
        _, errors = ended(worker, within=25)
    assert "the epoch was dropped" in [line["event"] for line in logged(errors)]
    worker = start("follow", url(path), 0)
    until(lambda: begun(path, RECORDS))
    worker.send_signal(signal.SIGTERM)
    ended(worker)
    whole(path)


def test_a_finished_app_says_so(path: Path) -> None:
    """Once the end of the input is committed, a start changes nothing, says why, and ends with status 0."""
    ended(start("bounded", url(path), 1))
    sevens = topic(path, "sevens")
    assert (len(sevens), sum(map(len, sevens)), len(sevens[-1])) == (858, RECORDS, 1)
    fill(path, RECORDS)
    _, errors = ended(start("bounded", url(path), 1))
    assert ["finished" in line["event"] for line in logged(errors)] == [True]
    assert topic(path, "sevens") == sevens


def test_a_run_that_only_stops_here_goes_on(path: Path) -> None:
    """With ``finish=False`` an open buffer stays open over the stop, and the next start fills it up."""
    ended(start("bounded", url(path), 0))
    assert [len(seven) for seven in topic(path, "sevens")] == [7] * (RECORDS // 7)
    fill(path, RECORDS)
    ended(start("bounded", url(path), 0))
    sevens = topic(path, "sevens")
    assert [len(seven) for seven in sevens] == [7] * (2 * RECORDS // 7)
    assert len({(tuple(seven)) for seven in sevens}) > RECORDS // 7
