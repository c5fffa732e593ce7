"""The facts that every broker keeps, one test each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from rxstreams.brokers.contract import Broker, Commit, Put, Record, Retention
from rxstreams.errors import CommitUnknownError, EncodeError, FencedError, MissingTopicError
from rxstreams.testing.brokers.storage import Storage, read_all

__all__ = ["BrokerContract"]


async def _values(broker: Broker, topic: str, partition: int = 0) -> list[bytes | None]:
    return [value for fetched in await read_all(broker, topic, partition) for value in fetched.values]


async def _records(broker: Broker, topic: str, partition: int = 0) -> list[tuple[int, Record]]:
    records: list[tuple[int, Record]] = []
    for fetched in await read_all(broker, topic, partition):
        size = len(fetched.values)
        columns = zip(fetched.values, fetched.keys or [None] * size, fetched.timestamps, fetched.headers or [()] * size)
        records += zip(fetched.offsets, map(Record._make, columns))
    return records


async def _raises(kind: type[Exception], doing: Awaitable[object]) -> None:
    try:
        await doing
    except kind:
        return
    raise AssertionError(f"expected {kind.__name__}")


def _numbered(prefix: str, n: int, key: bytes | None = None) -> list[Record]:
    return [Record(f"{prefix}{i}".encode(), key) for i in range(n)]


class BrokerContract:
    """What every broker does. Each method is one fact of the contract."""

    patience = 10.0
    """Seconds within which everything that is waited for has to come."""

    async def test_records_come_back_as_they_were_appended(self, storage: Storage) -> None:
        """Tombstones, empty values and keys, headers and timestamps keep apart from what is missing."""
        sent = [
            Record(b"plain", b"k", 1_700_000_000_000, (("trace", b"1"), ("trace", b"2"), ("größe", b""))),
            Record(None, b"k", 1_700_000_000_001),
            Record(b"", b"", -1),
            Record(bytes(range(256)), None, 0),
        ]
        async with storage.brokers() as (broker, other):
            placed = await broker.append("t", sent)
            found = await _records(other, "t")
        assert found == [(offset, record) for (_, offset), record in zip(placed, sent, strict=True)]

    async def test_columns_that_no_record_has_are_none(self, storage: Storage) -> None:
        """``keys`` and ``headers`` are None where no record read has any, and a missing timestamp is the broker's clock."""
        async with storage.brokers() as (broker, _):
            placed = await broker.append("t", [Record(b"a", b"k", 1, (("h", b""),)), Record(b"b"), Record(b"c")])
            bare = await broker.read("t", 0, placed[1][1], max_records=10)
        assert (bare.keys, bare.headers) == (None, None)
        assert list(bare.values) == [b"b", b"c"]
        assert all(stamp > 1_600_000_000_000 for stamp in bare.timestamps)

    async def test_what_cannot_be_stored_is_refused_and_its_neighbours_are_kept(self, storage: Storage) -> None:
        """A value, key, timestamp or header of a wrong type fails its own append, and no other that is under way."""
        wrong = list(
            map(
                Record._make,
                [
                    ("text", None, 0, ()),
                    (b"", "key", 0, ()),
                    (b"", None, 1.5, ()),
                    (b"", None, 2**63, ()),
                    (b"", None, 0, (("h", "v"),)),
                ],
            )
        )
        async with storage.brokers() as (broker, _):
            outcomes = await asyncio.gather(
                *(broker.append("t", [Record(b"good"), record]) for record in wrong), return_exceptions=True
            )
            await broker.append("t", [Record(b"kept")])
            assert [type(outcome) for outcome in outcomes] == [EncodeError] * len(wrong)
            task = await broker.open("app", "0", instance="one")
            for put in map(Put._make, [("s", "key", b""), ("s", b"key", 1)]):
                await _raises(EncodeError, task.commit(Commit({"t": [Record(b"lost")]}, [Put("s", b"", b""), put])))
            assert await broker.read_table("s") == (0, [])
            assert await _values(broker, "t") == [b"kept"]

    async def test_an_appended_record_can_be_read_by_another_connection(self, storage: Storage) -> None:
        """Append returns when the records are there for everybody."""
        async with storage.brokers() as (broker, other):
            for i in range(20):
                ((partition, offset),) = await broker.append("t", [Record(b"%d" % i)])
                fetched = await other.read("t", partition, offset, max_records=1)
                assert (list(fetched.offsets), list(fetched.values)) == ([offset], [b"%d" % i])

    async def test_a_key_keeps_its_partition_and_order(self, storage: Storage) -> None:
        """Records of one key are in one partition, in the order of appending, whoever appended them."""
        keys = [b"key-%d" % i for i in range(20)]
        async with storage.brokers() as brokers:
            await brokers[0].create_topic("t", 4)
            for turn in range(10):
                await brokers[turn % 2].append("t", [Record(b"%d" % n, key) for n in (2 * turn, 2 * turn + 1) for key in keys])
            logs = [await _records(brokers[0], "t", partition) for partition in range(4)]
        for key in keys:
            holding = [[record.value for _, record in log if record.key == key] for log in logs]
            assert sorted(holding, key=len)[:3] == [[], [], []], f"{key!r} is in several partitions"
            assert max(holding, key=len) == [b"%d" % n for n in range(20)]
        assert sum(map(bool, logs)) > 1, "all keys are in one partition"

    async def test_records_without_a_key_are_spread_over_partitions(self, storage: Storage) -> None:
        """No partition stays empty for long, and the position that append returns is where the record is."""
        async with storage.brokers() as (broker, _):
            await broker.create_topic("t", 3)
            placed = [position for i in range(30) for position in await broker.append("t", [Record(b"%d" % i), Record(b"+")])]
            logs = [dict(await _records(broker, "t", partition)) for partition in range(3)]
        assert all(logs)
        assert [logs[partition][offset].value for partition, offset in placed[::2]] == [b"%d" % i for i in range(30)]

    async def test_concurrent_appends_lose_and_mix_nothing(self, storage: Storage) -> None:
        """Each append's records are there once, in order, at the positions that it was told."""
        async with storage.brokers() as brokers:
            await brokers[0].create_topic("t", 2)
            calls = [_numbered(f"{i}:", 5, b"%d" % i) for i in range(60)]
            placed = await asyncio.gather(*(brokers[i % 2].append("t", call) for i, call in enumerate(calls)))
            found = {(p, offset): record.value for p in (0, 1) for offset, record in await _records(brokers[1], "t", p)}
        assert len(found) == 300
        for call, where in zip(calls, placed, strict=True):
            assert [found[position] for position in where] == [record.value for record in call]
            assert where == sorted(where)

    async def test_a_million_records_come_back_in_order(self, storage: Storage) -> None:
        """Nothing is lost, doubled or swapped over many appends and reads of other sizes."""
        async with storage.brokers() as (broker, other):
            for start in range(0, 1_000_000, 1_000):
                await broker.append("t", [Record(b"%d" % i) for i in range(start, start + 1_000)])
            at = due = 0
            while (fetched := await other.read("t", 0, at, max_records=768)).values:
                assert list(fetched.values) == [b"%d" % i for i in range(due, due + len(fetched.values))]
                at, due = fetched.next_offset, due + len(fetched.values)
        assert due == 1_000_000

    async def test_reading_goes_on_from_any_offset_over_gaps(self, storage: Storage) -> None:
        """Offsets need not be dense: reading from a gap finds the next record, and ``next_offset`` passes a gap at the end."""
        async with storage.brokers() as (broker, _):
            placed: list[int] = []
            for i in range(4):
                placed += [offset for _, offset in await broker.append("t", _numbered(f"{i}-", 3))]
                if storage.gap is not None:
                    await storage.gap(broker, "t", 0)
            (end,) = await broker.end_offsets("t")
            for start in range(end):
                for max_records in (1, 4, 100):
                    read = await read_all(broker, "t", start=start, max_records=max_records)
                    assert [offset for fetched in read for offset in fetched.offsets] == [at for at in placed if at >= start]
            beyond = await broker.read("t", 0, end, max_records=1)
            assert (list(beyond.values), beyond.next_offset) == ([], end)

    async def test_reading_is_limited_by_records_and_bytes(self, storage: Storage) -> None:
        """At most ``max_records``; about ``max_bytes``; a record larger than that comes all the same, alone."""
        async with storage.brokers() as (broker, _):
            await broker.append("t", [Record(bytes(1_000))] * 10 + [Record(bytes(50_000)), Record(b"last")])
            few = await broker.read("t", 0, 0, max_records=3)
            small = await broker.read("t", 0, 0, max_records=100, max_bytes=4_500)
            large = await broker.read("t", 0, (await broker.end_offsets("t"))[0] - 2, max_records=100, max_bytes=10)
            sizes = [len(fetched.values) for fetched in await read_all(broker, "t", max_records=5)]
            for _ in range(10):
                await broker.append("rows", [Record(bytes(1_000))])
            rows = await broker.read("rows", 0, 0, max_records=100, max_bytes=4_500)
        assert len(few.values) == 3
        assert 1 <= len(rows.values) <= 5
        assert 1 <= len(small.values) <= 5
        assert len(large.values) == 1
        assert sum(sizes) == 12

    async def test_offsets_at_finds_the_first_record_of_a_time(self, storage: Storage) -> None:
        """Per partition the first record, in log order, that is not before the time; the end where there is none."""
        async with storage.brokers() as (broker, _):
            stamps = [1_700_000_000_000 + delta for delta in (10, 30, 20, 40)]
            offsets = [(await broker.append("t", [Record(b"", None, stamp)]))[0][1] for stamp in stamps]
            found = [(await broker.offsets_at("t", 1_700_000_000_000 + delta))[0] for delta in (0, 10, 15, 31, 40, 41)]
            (end,) = await broker.end_offsets("t")
        assert found == [offsets[0], offsets[0], offsets[1], offsets[3], offsets[3], end]

    async def test_start_and_end_offsets_bound_the_log(self, storage: Storage) -> None:
        """An empty partition's start is its end; the end is beyond every record, and an early offset reads from the start."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("t", 2)
            assert await broker.start_offsets("t") == await broker.end_offsets("t")
            placed = await broker.append("t", _numbered("", 3, b"key"))
            partition = placed[0][0]
            start, end = await other.start_offsets("t"), await other.end_offsets("t")
            assert start[partition] <= placed[0][1]
            assert end[partition] > placed[-1][1]
            assert start[1 - partition] == end[1 - partition]
            assert list((await other.read("t", partition, -5, max_records=9)).values) == [b"0", b"1", b"2"]

    async def test_a_missing_topic_is_said_to_be_missing(self, storage: Storage) -> None:
        """Reading and asking for offsets raise; appending makes the topic; partitions are added and never taken away."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("there", 2)
            for asking in (broker.start_offsets, broker.end_offsets):
                await _raises(MissingTopicError, asking("missing"))
            await _raises(MissingTopicError, broker.offsets_at("missing", 0))
            await _raises(MissingTopicError, broker.read("missing", 0, 0, max_records=1))
            await _raises(MissingTopicError, broker.read("there", 2, 0, max_records=1))
            await broker.append("made", [Record(b"")])
            await other.create_topic("there", 3)
            await broker.create_topic("there", 1)
            assert await broker.topics() == await other.topics() == {"there": 3, "made": 1}
            assert list((await broker.read("there", 2, 0, max_records=1)).values) == []

    async def test_a_topic_that_grew_elsewhere_is_written_to_in_full(self, storage: Storage) -> None:
        """A connection that knew fewer partitions puts a key where every other connection puts it."""
        async with storage.brokers() as (broker, other):
            await broker.append("t", [Record(b"")])
            await other.create_topic("t", 8)
            records = [Record(b"", b"key-%d" % i) for i in range(50)]
            here, there = await broker.append("t", records), await other.append("t", records)
            assert [partition for partition, _ in here] == [partition for partition, _ in there]
            assert len(await broker.end_offsets("t")) == 8

    async def test_a_commit_writes_outputs_puts_and_offsets(self, storage: Storage) -> None:
        """All three are there for another connection once the commit returns; missing topics are made."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("in", 4)
            task = await broker.open("app", "0", instance="one")
            outputs = {"out": [Record(b"1", b"k"), Record(b"2", b"k")], "more": [Record(b"3")]}
            await task.commit(Commit(outputs, [Put("table", b"a", b"1")], {("in", 0): 7, ("in", 1): 9}))
            await task.commit(Commit(offsets={("in", 1): 10}))
            assert (await _values(other, "out"), await _values(other, "more")) == ([b"1", b"2"], [b"3"])
            assert (await other.read_table("table")).rows == [(b"a", b"1")]
            assert await other.committed("app") == {("in", 0): 7, ("in", 1): 10}
            assert (await other.apps(), await other.committed("nobody")) == (["app"], {})

    async def test_a_fenced_commit_writes_nothing(self, storage: Storage) -> None:
        """When a newer instance has opened the task, none of the three parts of an older one's commit is written."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("in", 4)
            old = await broker.open("app", "0", instance="old")
            await old.commit(Commit({"out": [Record(b"old")]}, [Put("table", b"k", b"old")], {("in", 0): 1}))
            new = await other.open("app", "0", instance="new")
            late = Commit({"out": [Record(b"late")]}, [Put("table", b"k", b"late")], {("in", 0): 2})
            await _raises(FencedError, old.commit(late))
            assert await _state(broker) == ([b"old"], {b"k": b"old"}, {("in", 0): 1})
            await new.commit(Commit({"out": [Record(b"new")]}, [Put("table", b"k", b"new")], {("in", 0): 3}))
            await _raises(FencedError, old.commit(late))
            assert await _state(other) == ([b"old", b"new"], {b"k": b"new"}, {("in", 0): 3})

    async def test_a_fenced_commit_of_nothing_is_refused_too(self, storage: Storage) -> None:
        """So an idle instance learns that it was fenced; a commit of nothing by the owner changes nothing."""
        async with storage.brokers() as (broker, other):
            old = await broker.open("app", "0", instance="old")
            await old.commit(Commit())
            new = await other.open("app", "0", instance="new")
            await _raises(FencedError, old.commit(Commit()))
            await new.commit(Commit())
            assert await broker.committed("app") == {}

    async def test_tasks_and_apps_fence_only_themselves(self, storage: Storage) -> None:
        """Another task of the app, or another app, goes on committing; each app has its own offsets."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("in", 4)
            first = await broker.open("a", "0", instance="1")
            second = await other.open("a", "1", instance="2")
            third = await other.open("b", "0", instance="3")
            for handle, offset in ((first, 1), (second, 2), (third, 3)):
                await handle.commit(Commit(offsets={("in", offset): offset}))
            await second.close()
            await second.close()
            assert await broker.committed("a") == {("in", 1): 1, ("in", 2): 2}
            assert (await broker.committed("b"), await broker.apps()) == ({("in", 3): 3}, ["a", "b"])

    async def test_a_reader_never_sees_part_of_a_commit(self, storage: Storage) -> None:
        """Whatever part of a commit a reader sees first, the other parts are there when it looks next."""
        commits = 40
        async with storage.brokers() as (broker, other):
            await broker.create_topic("in", 4)
            task = await broker.open("app", "0", instance="one")
            await broker.create_topic("out")

            async def commit() -> None:
                for n in range(1, commits + 1):
                    await task.commit(Commit({"out": [Record(b"%d" % n)]}, [Put("table", b"n", b"%d" % n)], {("in", 0): n}))

            async def look(parts: Sequence[Callable[[], Awaitable[int]]]) -> None:
                seen = 0
                while seen < commits:
                    for part in parts:
                        found = await part()
                        assert found >= seen, f"{part.__name__}: commit {found}, but commit {seen} was seen already"
                        seen = found
                    await asyncio.sleep(0)

            async def outputs() -> int:
                return len(await _values(other, "out"))

            async def table() -> int:
                return int(dict((await other.read_table("table")).rows).get(b"n") or 0)

            async def offsets() -> int:
                return (await other.committed("app")).get(("in", 0), 0)

            orders = [(outputs, table, offsets), (offsets, outputs, table), (table, offsets, outputs)]
            await asyncio.wait_for(asyncio.gather(commit(), *map(look, orders)), self.patience)

    async def test_after_a_lost_reply_the_store_has_the_whole_commit_or_none_of_it(self, storage: Storage) -> None:
        """Who did not hear of its commit opens the task anew, and finds by the committed offset what to repeat."""
        async with storage.brokers() as (broker, _):
            await broker.create_topic("in", 4)
            for lost_at in (2, 5):
                task = await broker.open("app", "0", instance=f"loses the reply to {lost_at}")
                with suppress(CommitUnknownError):
                    await _count_up(broker, task.commit, lost_at)
            task = await broker.open("app", "0", instance="finishes")
            await _count_up(broker, task.commit, None)
            assert await _state(broker) == ([b"%d" % n for n in range(8)], {b"n": b"7"}, {("in", 0): 8})

    async def test_a_table_is_read_by_what_changed(self, storage: Storage) -> None:
        """Versions grow with each commit that changes the table; ``after`` gives the changes since, deletions among them."""
        async with storage.brokers() as (broker, other):
            task = await broker.open("app", "0", instance="one")
            assert await other.read_table("t") == (0, [])
            await task.commit(
                Commit(puts=[Put("t", b"a", b"1"), Put("t", b"b", b""), Put("t", b"c", b"1"), Put("t", b"c", b"2")])
            )
            first = await other.read_table("t")
            assert sorted(first.rows) == [(b"a", b"1"), (b"b", b""), (b"c", b"2")]
            await task.commit(Commit(puts=[Put("t", b"a", None), Put("t", b"d", b"4"), Put("else", b"a", b"1")]))
            second = await other.read_table("t", after=first.version)
            assert second.version > first.version > 0
            assert sorted(second.rows, key=lambda row: row[0]) == [(b"a", None), (b"d", b"4")]
            assert await other.read_table("t", after=second.version) == (second.version, [])
            assert dict((await other.read_table("t")).rows) == {b"b": b"", b"c": b"2", b"d": b"4"}

    async def test_a_row_that_was_deleted_can_come_back(self, storage: Storage) -> None:
        """A deletion that a follower has not read yet gives way to the newer value; deleting what is not there is nothing."""
        async with storage.brokers() as (broker, other):
            task = await broker.open("app", "0", instance="one")
            await task.commit(Commit(puts=[Put("t", b"a", b"1"), Put("t", b"b", b"1")]))
            version = (await other.read_table("t")).version
            await task.commit(Commit(puts=[Put("t", b"a", None), Put("t", b"b", None), Put("t", b"never", None)]))
            await task.commit(Commit(puts=[Put("t", b"a", b"2")]))
            changes = dict((await other.read_table("t", after=version)).rows)
            assert (changes.pop(b"a"), changes.pop(b"b"), changes.get(b"never")) == (b"2", None, None)
            assert (await other.read_table("t")).rows == [(b"a", b"2")]

    async def test_waiting_ends_when_a_record_comes(self, storage: Storage) -> None:
        """An append and a commit wake who waits for their topic, on this and on every other connection."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("t", 2)
            task = await broker.open("app", "0", instance="one")
            ends = await broker.end_offsets("t")
            for come in (lambda: broker.append("t", [Record(b"1")]), lambda: task.commit(Commit({"t": [Record(b"2")]}))):
                ends = await broker.end_offsets("t")
                waiting = asyncio.gather(*(self._until_there(b, "t", ends) for b in (broker, other)))
                for _ in range(10):
                    await asyncio.sleep(0)
                await come()
                await asyncio.wait_for(waiting, self.patience)

    async def _until_there(self, broker: Broker, topic: str, ends: Sequence[int]) -> None:
        # Being woken early is allowed; waiting out a timeout longer than the test's patience is not.
        while await broker.end_offsets(topic) == list(ends):
            await broker.wait({(topic, partition): end for partition, end in enumerate(ends)}, timeout=10 * self.patience)

    async def test_waiting_for_what_is_there_or_never_comes(self, storage: Storage) -> None:
        """Waiting returns at once for a record that is there, and after its timeout for one that does not come."""
        async with storage.brokers() as (broker, _):
            await broker.append("t", [Record(b"1")])
            await asyncio.wait_for(broker.wait({("t", 0): 0}, timeout=10 * self.patience), self.patience)
            (end,) = await broker.end_offsets("t")
            await asyncio.wait_for(broker.wait({("t", 0): end, ("missing", 0): 0}, timeout=0.01), self.patience)

    async def test_retention_keeps_what_a_registered_app_has_not_read(self, storage: Storage) -> None:
        """However little may be kept: a record goes only when every app with offsets for its topic has passed it."""
        async with storage.brokers() as (broker, other):
            await broker.create_topic("t", retention=Retention(max_bytes=1))
            for name, offset in (("slow", 0), ("fast", 0)):
                task = await broker.open(name, "0", instance=name)
                await task.commit(Commit(offsets={("t", 0): offset}))
            placed = [(await broker.append("t", [Record(b"%d" % i)]))[0][1] for i in range(10)]
            await (await broker.open("fast", "0", instance="on")).commit(Commit(offsets={("t", 0): placed[-1] + 1}))
            await (await other.open("slow", "0", instance="on")).commit(Commit(offsets={("t", 0): placed[6]}))
            if storage.retain is not None:
                await storage.retain(broker)
                assert await other.start_offsets("t") == [placed[6]]
            unread = await read_all(other, "t", start=placed[6])
        assert [value for fetched in unread for value in fetched.values] == [b"6", b"7", b"8", b"9"]

    async def test_a_broker_stops_twice(self, storage: Storage) -> None:
        """Stopping waits for appends under way and may be repeated; what was acknowledged is there for who comes next."""
        async with storage.brokers() as (broker, _):
            appends = asyncio.gather(*(broker.append("t", [Record(b"%d" % i)]) for i in range(10)))
            await asyncio.sleep(0)
            await broker.stop()
            await broker.stop()
            assert len(await appends) == 10
            assert len(await _values(await storage.broker(), "t")) == 10


async def _state(broker: Broker) -> tuple[list[bytes | None], dict[bytes, bytes | None], dict[tuple[str, int], int]]:
    return await _values(broker, "out"), dict((await broker.read_table("table")).rows), await broker.committed("app")


async def _count_up(broker: Broker, commit: Callable[[Commit], Awaitable[None]], lost_at: int | None) -> None:
    for n in range((await broker.committed("app")).get(("in", 0), 0), 8):
        await commit(Commit({"out": [Record(b"%d" % n)]}, [Put("table", b"n", b"%d" % n)], {("in", 0): n + 1}))
        if n == lost_at:
            raise CommitUnknownError("the reply was lost")
