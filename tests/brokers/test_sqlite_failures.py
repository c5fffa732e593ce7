"""SQLite files on full disks, damaged files, and commits of unknown outcome."""

import asyncio
import os
import resource
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from rxstreams.brokers import Commit, Put, Record
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.errors import (
    CommitUnknownError,
    StorageDamagedError,
    StorageFullError,
)
from tests.brokers.files import filled, query, running, values


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    directory.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@contextmanager
def small_files() -> Iterator[None]:
    """A limit on the size of each file that this process writes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def fill_up(broker: SqliteBroker) -> int:
    """Commit until there is no room; how many commits there are."""
    task = await broker.open("app", "0", instance="one")
    for n in range(1_000):
        try:
            await task.commit(Commit({"t": [Record(os.urandom(20_000))]}, [Put("s", b"n", b"%d" % n)], {("in", 0): n}))
        except StorageFullError:
            return n
    raise AssertionError("it was never full")


async def check_whole(broker: SqliteBroker, commits: int) -> None:
    """All of these commits are readable, and nothing of another."""
    assert len(await values(broker, "t")) == commits
    assert (await broker.read_table("s")).rows == [(b"n", b"%d" % (commits - 1))]
    assert await broker.committed("app") == {("in", 0): commits - 1}


@pytest.mark.asyncio
async def test_a_full_disk_keeps_what_is_committed(tmp_path: Path) -> None:
    """The commit that finds no room is rolled back whole; what is there can be read, now and by the next process."""
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(200_000))
        async with running(disk / "broker.db") as broker:
            commits = await fill_up(broker)
            await check_whole(broker, commits)
            with pytest.raises(StorageFullError, match="free space"):
                await broker.append("t", [Record(os.urandom(100_000))])
            ballast.unlink()
            await broker.append("other", [Record(b"room again")])
        async with running(disk / "broker.db") as broker:
            await check_whole(broker, commits)
            assert await values(broker, "other") == [b"room again"]


@pytest.mark.asyncio
async def test_a_quota_is_a_full_disk(path: Path) -> None:
    """SQLite calls a file size limit an I/O error; it is told apart, and nothing of the commit is written."""
    async with running(path) as broker:
        with small_files():
            commits = await fill_up(broker)
            await check_whole(broker, commits)
        await broker.append("other", [Record(b"room again")])
        await check_whole(broker, commits)


def truncate(path: Path) -> None:
    """Cut the file in the middle of a page."""
    os.truncate(path, path.stat().st_size // 2 - 100)


def cut_to_the_header(path: Path) -> None:
    """Leave less than a page."""
    os.truncate(path, 150)


def overwrite(path: Path) -> None:
    """Leave garbage of the same size."""
    path.write_bytes(b"garbage " * (path.stat().st_size // 8))


def overwrite_pages(path: Path) -> None:
    """Leave the first page and garbage after it."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))


def flip_in_values(path: Path) -> None:
    """Change bytes that SQLite itself does not check."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"value 7", b"valve 7").replace(b"vvvvvvvv", b"vvvvvvvw"))


@pytest.mark.asyncio
@pytest.mark.parametrize("damage", [truncate, cut_to_the_header, overwrite, overwrite_pages, flip_in_values])
async def test_a_damaged_file_is_said_to_be_damaged(path: Path, damage: Callable[[Path], None]) -> None:
    """Opening or the first use of what is damaged raises, names the file or the place, and says what to do."""
    await filled(path)
    damage(path)

    async def use(reading: Callable[[SqliteBroker], Awaitable[object]]) -> None:
        async with running(path) as broker:
            await reading(broker)

    for reading in (lambda broker: values(broker, "t"), lambda broker: broker.read_table("s")):
        with pytest.raises(StorageDamagedError, match="backup"):
            await use(reading)


def overwrite_a_page(path: Path, seed: int) -> None:
    """Leave garbage where some page after the first was."""
    pages = path.stat().st_size // 8192
    with path.open("r+b") as file:
        file.seek((seed * 7919 % (pages - 1) + 1) * 8192)
        file.write(bytes((i * 31 + seed) % 256 for i in range(8192)))


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(12))
async def test_any_damaged_page_raises_or_does_no_harm(path: Path, seed: int) -> None:
    """Whatever page is overwritten: an error of ours or the true records, never a crash and never other records."""
    await filled(path, 20_000)
    overwrite_a_page(path, seed)
    try:
        async with running(path) as broker:
            assert await values(broker, "t") == [b"value %d" % i for i in range(20_000)]
    except StorageDamagedError:
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("CREATE TABLE theirs (a)", "another program's"),
        ("CREATE TABLE theirs (a); PRAGMA application_id = 0x72787331; PRAGMA user_version = 2", "format 2"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(path: Path, change: str, message: str) -> None:
    """Another program's database, or a newer format, is named as such; its bytes stay as they were."""
    query(path, change)
    before = path.read_bytes()
    with pytest.raises(StorageDamagedError, match=message):
        asyncio.run(SqliteBroker(path).start())
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["broker.db", "broker.db.lock"]


@pytest.mark.asyncio
async def test_an_error_at_the_commit_itself_leaves_its_outcome_open(path: Path) -> None:
    """An I/O error while SQLite commits raises CommitUnknownError for all who shared the transaction; the broker goes on."""

    class FailingOnce:
        def __init__(self, database: apsw.Connection) -> None:
            self._database = database

        def __getattr__(self, name: str) -> object:
            return getattr(self._database, name)

        def execute(self, sql: str, *arguments: object) -> object:
            if sql == "COMMIT":
                broker._writer._database = self._database
                raise apsw.IOError("disk I/O error")
            return self._database.execute(sql, *arguments)  # type: ignore[arg-type]

    async with running(path) as broker:
        task = await broker.open("app", "0", instance="one")
        broker._writer._database = FailingOnce(broker._writer._database)  # type: ignore[assignment]
        with pytest.raises(CommitUnknownError):
            await task.commit(Commit({"t": [Record(b"lost")]}))
        await task.commit(Commit({"t": [Record(b"kept")]}))
        assert await values(broker, "t") == [b"kept"]
