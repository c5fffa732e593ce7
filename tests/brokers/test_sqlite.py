"""What is SQLite's own: shared commits, rows of many records, retention, deletions."""

import asyncio
from array import array
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from rxstreams.brokers import Commit, Put, Record, Retention
from rxstreams.brokers.columns import Columns
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.brokers.sqlite import SqliteBroker
from rxstreams.brokers.sqlite.log import Batch, Known
from rxstreams.brokers.sqlite.writer import Call, Stale
from rxstreams.errors import (
    BrokerError,
    ConfigError,
    FencedError,
)
from tests.brokers.files import query, running, values


@pytest.mark.asyncio
async def test_concurrent_appends_share_commits(path: Path) -> None:
    """A thousand appends that wait together take a few transactions, and a few rows."""
    async with running(path) as broker:
        before = broker.transactions
        await asyncio.gather(*(broker.append("t", [Record(b"%d" % i)]) for i in range(1_000)))
        assert broker.transactions - before <= 10
        assert len(await values(broker, "t")) == 1_000
        assert query(path, "SELECT count(*) <= 10 FROM batches") == [(1,)]


@pytest.mark.asyncio
async def test_a_refused_commit_spares_those_that_share_its_transaction(path: Path) -> None:
    """A fenced task fails alone: appends and other tasks' commits of the same transaction are written."""
    async with running(path) as broker:
        old = await broker.open("app", "0", instance="old")
        new = await broker.open("app", "0", instance="new")
        commits = (old.commit(Commit({"t": [Record(b"old")]})), new.commit(Commit({"t": [Record(b"new")]})))
        outcomes = await asyncio.gather(*commits, broker.append("t", [Record(b"own")]), return_exceptions=True)
        assert isinstance(outcomes[0], FencedError)
        assert str(outcomes[0]).count("old") == str(outcomes[0]).count("(new)") == 1
        assert sorted(value or b"" for value in await values(broker, "t")) == [b"new", b"own"]


@pytest.mark.asyncio
async def test_an_abandoned_append_leaves_the_others_their_positions(path: Path) -> None:
    """Cancelling who waits for an append neither loses the record nor shifts what others are told."""
    async with running(path) as broker:
        appends = [asyncio.ensure_future(broker.append("t", [Record(b"%d" % i)])) for i in range(20)]
        await asyncio.sleep(0)
        for append in appends[::3]:
            append.cancel()
        kept = [await append for append in appends if not append.cancelling()]
        found = dict(enumerate(await values(broker, "t")))
    assert [found[offset] for ((_, offset),) in kept] == [b"%d" % i for i in range(20) if i % 3]


@pytest.mark.asyncio
async def test_a_row_is_decoded_once_for_many_small_reads(path: Path) -> None:
    """Reading 100 records at a time out of rows of 1,000 takes each row from the file once."""
    async with running(path) as broker:
        await broker.append("t", [Record(b"%d" % i) for i in range(3_000)])
        selects: list[str] = []
        assert broker._reader is not None

        def trace(cursor: object, sql: str, bindings: object) -> bool:
            selects.append(sql)
            return True

        broker._reader.set_exec_trace(trace)
        at, found = 0, list[bytes | None]()
        while at < 3_000:
            fetched = await broker.read("t", 0, at, max_records=100)
            found += fetched.values
            at = fetched.next_offset
        broker._reader.set_exec_trace(None)
    assert found == [b"%d" % i for i in range(3_000)]
    assert sum("FROM batches" in sql for sql in selects) <= 4


@pytest.mark.asyncio
async def test_large_appends_become_rows_that_fit(path: Path) -> None:
    """Neither many nor large records make a row beyond its limits; a record alone may be as large as it likes."""
    async with running(path) as broker:
        await broker.append("many", [Record(b"")] * 2_500)
        await broker.append("large", [Record(bytes(1_500_000))] * 5 + [Record(bytes(9_000_000))])
        assert [len(value or b"") for value in await values(broker, "large")] == [1_500_000] * 5 + [9_000_000]
    assert query(path, "SELECT max(next_offset - first_offset) FROM batches") == [(1_000,)]
    assert query(path, "SELECT count(*) FROM batches WHERE bytes > 4000000") == [(1,)]


@pytest.mark.asyncio
async def test_retention_by_age_and_size(path: Path) -> None:
    """Old records go, and the oldest of too many; a topic without retention, or with the file's default, keeps to that."""
    now = [1_700_000_000.0]
    async with running(path, retention=Retention(max_age=60.0), clock=lambda: now[0]) as broker:
        await broker.create_topic("small", retention=Retention(max_bytes=3_500))
        await broker.create_topic("all", retention=Retention())
        for _ in range(5):
            for topic in ("aged", "small", "all"):
                await broker.append(topic, [Record(bytes(1_000))])
            now[0] += 20
        await broker.retain()
        starts = {topic: (await broker.start_offsets(topic))[0] for topic in ("aged", "small", "all")}
        assert starts == {"aged": 2, "small": 2, "all": 0}
        now[0] += 1_000
        await broker.retain()
        assert await broker.start_offsets("aged") == await broker.end_offsets("aged") == [5]
        nothing = await broker.read("aged", 0, 0, max_records=10)
        assert (list(nothing.values), nothing.next_offset) == ([], 5)
        assert (await broker.append("aged", [Record(b"next")])) == [(0, 5)]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "make", [lambda path, clock: SqliteBroker(path, clock=clock), lambda path, clock: MemoryBroker(clock=clock)]
)
async def test_deletions_are_kept_only_for_who_may_have_read_the_row(path: Path, make: Callable[..., SqliteBroker]) -> None:
    """Rows that come and go unread leave nothing; a deletion that a follower needs stays for an hour."""
    now = [1_700_000_000.0]
    broker = make(path, lambda: now[0])
    await broker.start()
    task = await broker.open("app", "0", instance="one")
    await task.commit(Commit(puts=[Put("t", b"followed", b"")]))
    version = (await broker.read_table("t")).version
    for i in range(500):
        await task.commit(Commit(puts=[Put("t", b"%d" % i, b""), Put("t", b"%d" % (i - 1), None)]))
    await task.commit(Commit(puts=[Put("t", b"followed", None)]))
    kept = (await broker.read_table("t", after=version)).rows
    assert {(b"followed", None), (b"499", b"")} <= set(kept)
    assert len(kept) <= 110
    now[0] += 3_599
    await broker.retain()
    assert (b"followed", None) in (await broker.read_table("t", after=version)).rows
    now[0] += 2
    await broker.retain()
    assert (await broker.read_table("t", after=version)).rows == [(b"499", b"")]
    await broker.stop()


@pytest.mark.asyncio
async def test_a_row_that_came_back_outlives_its_deletion(path: Path) -> None:
    """Forgetting old deletions spares a row that was deleted once and written again."""
    now = [1_700_000_000.0]
    async with running(path, clock=lambda: now[0]) as broker:
        task = await broker.open("app", "0", instance="one")
        for value in (b"1", None, b"2"):
            await task.commit(Commit(puts=[Put("t", b"k", value)]))
            await broker.read_table("t")
        now[0] += 7_200
        await broker.retain()
        assert (await broker.read_table("t")).rows == [(b"k", b"2")]


@pytest.mark.asyncio
async def test_a_change_that_is_stale_is_prepared_anew(path: Path) -> None:
    """A topic that gets partitions between encoding and writing is noticed inside the transaction."""
    async with running(path) as broker:
        await broker.create_topic("t", 1)
        database = broker._writer._database
        batch = Batch("t", Columns([b"v"], array("q", [0]), [b"k"]), 0, Known(Retention()))
        batch.prepare(database)
        await broker.create_topic("t", 4)
        with pytest.raises(Stale):
            batch.write(database)
        assert await broker.end_offsets("t") == [0, 0, 0, 0]

        class StaleOnce(Call[None]):
            prepared = 0

            def prepare(self, database: apsw.Connection) -> None:
                self.prepared += 1
                if self.prepared == 2:
                    self._function = lambda database: None

        def stale(database: apsw.Connection) -> None:
            raise Stale

        change = StaleOnce(stale)
        await broker._writer.write(change)
        assert change.prepared == 2


@pytest.mark.asyncio
async def test_a_commit_is_flushed_to_the_disk(path: Path) -> None:
    """SQLite flushes at each commit, and readers need no lock: what was acknowledged survives a loss of power."""
    async with running(path) as broker:
        pragmas = [
            broker._writer._database.execute(f"PRAGMA {name}").get for name in ("synchronous", "journal_mode", "locking_mode")
        ]
    assert pragmas == [2, "wal", "normal"]


@pytest.mark.asyncio
async def test_paths_that_cannot_be_a_file(tmp_path: Path) -> None:
    """A missing directory and a directory are told apart, and an empty file is a new broker."""
    with pytest.raises(ConfigError, match="directory does not exist"):
        await SqliteBroker(tmp_path / "missing" / "broker.db").start()
    with pytest.raises(ConfigError, match="is a directory"):
        await SqliteBroker(tmp_path).start()
    (tmp_path / "empty.db").touch()
    async with running(tmp_path / "empty.db") as broker:
        await broker.append("t", [Record(b"")])


@pytest.mark.asyncio
async def test_a_broker_that_is_not_running_says_so(path: Path) -> None:
    """Using it before start or after stop raises instead of waiting for ever; a closed task cannot commit."""
    broker = SqliteBroker(path)
    for _ in range(2):
        with pytest.raises(BrokerError, match="not running"):
            await broker.append("t", [Record(b"")])
        with pytest.raises(BrokerError, match="not running"):
            await broker.topics()
        if _ == 0:
            await broker.start()
            task = await broker.open("app", "0", instance="one")
            await task.close()
            with pytest.raises(BrokerError, match="closed"):
                await task.commit(Commit())
            await broker.stop()
