"""Several processes and brokers on one SQLite file, and processes that are killed."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rxstreams.brokers import Record
from tests.brokers.files import query, running, values

ROOT = Path(__file__).parents[2]


WRITER = """
    import asyncio, json, sys
    from rxstreams.brokers import Commit, Put, Record, connect

    async def main(url, name):
        broker = connect(url)
        await broker.start()
        await broker.create_topic("t", 2)
        task = await broker.open(name, "0", instance=name)
        acknowledged = []
        for turn in range(150):
            calls = [[Record(f"{name}/{turn}/{c}/{i}".encode(), name.encode()) for i in range(3)] for c in range(4)]
            for placed in await asyncio.gather(*(broker.append("t", call) for call in calls)):
                acknowledged += placed
            await task.commit(Commit({"out": [Record(f"{name}/{turn}".encode())]}, [Put("s", name.encode(), b"%d" % turn)],
                                     {("t", 0): turn}))
            await broker.read("t", 0, 0, max_records=50)
        await broker.stop()
        json.dump(acknowledged, sys.stdout)

    asyncio.run(main(*sys.argv[1:]))
"""

READER = """
    import asyncio, json, sys
    from rxstreams.brokers import connect

    async def main(url, total):
        broker = connect(url)
        await broker.start()
        await broker.create_topic("t", 2)
        at, found = [0, 0], []
        while len(found) < int(total):
            await broker.wait({("t", p): offset for p, offset in enumerate(at)}, timeout=30)
            for p in (0, 1):
                fetched = await broker.read("t", p, at[p], max_records=100)
                found += [(p, offset, value.decode()) for offset, value in zip(fetched.offsets, fetched.values)]
                at[p] = fetched.next_offset
        await broker.stop()
        json.dump(found, sys.stdout)

    asyncio.run(main(*sys.argv[1:]))
"""


def python(source: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    """Another process that runs ``source``."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(source), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finished(process: subprocess.Popen[bytes]) -> list[list[object]]:
    """What the process has printed, once it has ended well."""
    out, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors.decode()
    return json.loads(out)  # type: ignore[no-any-return]


@pytest.mark.asyncio
async def test_processes_share_a_file(path: Path) -> None:
    """Three processes write while two follow: each acknowledged record is there once, in its writer's order, for everybody."""
    names = ["ann", "bob", "cid"]
    readers = [python(READER, f"sqlite:///{path}", str(len(names) * 150 * 12)) for _ in range(2)]
    writers = [python(WRITER, f"sqlite:///{path}", name) for name in names]
    acknowledged = [tuple(position) for writer in writers for position in finished(writer)]
    seen = [finished(reader) for reader in readers]
    assert len(set(acknowledged)) == len(names) * 150 * 12
    assert sorted(map(tuple, seen[0])) == sorted(map(tuple, seen[1]))
    assert sorted((p, offset) for p, offset, _ in seen[0]) == sorted(acknowledged)
    for name in names:
        mine = [str(value).split("/") for _, _, value in seen[0] if str(value).startswith(name)]
        order = [tuple(map(int, value[1:])) for value in mine]
        assert [turn for turn, _, _ in order] == sorted(turn for turn, _, _ in order)
        assert len(set(order)) == 150 * 12
    async with running(path) as broker:
        assert sorted((await broker.read_table("s")).rows) == [(name.encode(), b"149") for name in names]
        assert len(await values(broker, "out")) == len(names) * 150
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


KILLED = """
    import asyncio, sys
    from rxstreams.brokers import Commit, Put, Record, connect

    async def main(url):
        broker = connect(url)
        await broker.start()
        task = await broker.open("app", "0", instance="killed")
        for n in range((await broker.committed("app")).get(("in", 0), 0), 100):
            await task.commit(Commit({"out": [Record(b"%d" % n)]}, [Put("s", b"n", b"%d" % n)], {("in", 0): n + 1}))

    asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["commit.before", "commit.locked", "commit.written", "commit.done"])
async def test_a_killed_process_leaves_whole_commits(path: Path, tmp_path: Path, step: str) -> None:
    """Wherever ``kill -9`` strikes, a commit is there whole or not at all, and the next process goes on."""
    log = tmp_path / "struck"
    for hit in (1, 2, 7):
        process = python(KILLED, f"sqlite:///{path}", RXSTREAMS_FAILPOINT=f"{step}:{hit}", RXSTREAMS_FAILPOINT_LOG=str(log))
        assert (process.communicate(timeout=50), process.returncode) == ((b"", b""), -9)
    assert log.read_text().split() == [step] * 3
    async with running(path) as broker:
        done = (await broker.committed("app")).get(("in", 0), 0)
        assert await values(broker, "out") == [b"%d" % n for n in range(done)]
        assert (await broker.read_table("s")).rows == [(b"n", b"%d" % (done - 1))]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


def log_of(path: Path) -> bytes:
    """SQLite's write-ahead log."""
    return Path(f"{path}-wal").read_bytes()


def leave_remains(path: Path, log: bytes) -> None:
    """Delete the file, but not its log, and begin another beside it."""
    path.unlink()
    Path(f"{path}-wal").write_bytes(log)
    Path(f"{path}.new").write_bytes(b"half a file")


@contextmanager
def another_writers_turn(path: Path) -> Iterator[None]:
    """Hold the writers' lock."""
    with Path(f"{path}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.asyncio
async def test_a_new_file_takes_nothing_from_one_that_was_there_before(path: Path) -> None:
    """What a killed process had begun, and the log of a file that was deleted, do not get into a new one."""
    async with running(path) as broker:
        await broker.append("old", [Record(b"old")])
        log = log_of(path)
    leave_remains(path, log)
    async with running(path) as broker:
        assert await broker.topics() == {}
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.asyncio
async def test_writers_take_turns_by_the_lock_file(path: Path) -> None:
    """While another holds the lock nothing is written, and reading goes on; then the append goes through."""
    async with running(path) as broker:
        await broker.append("t", [Record(b"1")])
        with another_writers_turn(path):
            waiting = asyncio.ensure_future(broker.append("t", [Record(b"2")]))
            assert not (await asyncio.wait([waiting], timeout=0.05))[0]
            assert await values(broker, "t") == [b"1"]
        await waiting
        assert await values(broker, "t") == [b"1", b"2"]


@pytest.mark.asyncio
async def test_brokers_of_one_process_share_a_file(path: Path) -> None:
    """Opening and stopping one broker leaves another's locks on the same file alone, in this process and in others."""
    async with running(path) as first:
        await first.append("t", [Record(b"0")])
        for n in range(1, 5):
            async with running(path) as second:
                await second.append("t", [Record(b"%d" % n)])
        other = python(KILLED, f"sqlite:///{path}")
        await first.append("t", [Record(b"5")])
        other.communicate(timeout=50)
        await first.append("t", [Record(b"6")])
        assert await values(first, "t") == [b"%d" % n for n in range(7)]
        assert len(await values(first, "out")) == 100
