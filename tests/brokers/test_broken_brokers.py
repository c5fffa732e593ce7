"""The contract suite finds every way in which a broker is broken here on purpose."""

import asyncio
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from rxstreams.brokers import Commit, Fetched, Put, Record, TableRead
from rxstreams.brokers.columns import Columns
from rxstreams.brokers.memory import MemoryBroker, MemoryTask
from rxstreams.errors import FencedError, MissingTopicError
from rxstreams.testing.brokers import BrokerContract, Storage


class IgnoresTheFence(MemoryBroker):
    """Ignores the fence."""

    def _fence(self, task: MemoryTask) -> None:
        pass


class ChecksTheFenceTooLate(MemoryBroker):
    """Checks the fence too late."""

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        for topic, records in commit.outputs.items():
            await self.append(topic, records)
        await super()._apply(task, replace(commit, outputs={}))


class AsksNobodyForNothing(MemoryBroker):
    """Asks nobody for nothing."""

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        if commit != Commit():
            await super()._apply(task, commit)


class FencesTheWholeApp(MemoryBroker):
    """Fences the whole app."""

    async def open(self, app: str, task: str, /, *, instance: str) -> MemoryTask:
        for name, other in self._store.tasks:
            if name == app:
                generation, owner = self._store.tasks[name, other]
                self._store.tasks[name, other] = (generation + 1, owner)
        return await super().open(app, task, instance=instance)


class ForgetsOffsets(MemoryBroker):
    """Forgets offsets."""

    def _move(self, app: str, offsets: Mapping[tuple[str, int], int]) -> None:
        pass


class MixesAppsOffsets(MemoryBroker):
    """Mixes apps offsets."""

    def _move(self, app: str, offsets: Mapping[tuple[str, int], int]) -> None:
        super()._move("everybody", offsets)

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        return await super().committed("everybody")


class ForgetsPuts(MemoryBroker):
    """Forgets puts."""

    def _put(self, puts: Sequence[Put]) -> None:
        pass


class ForgetsOutputs(MemoryBroker):
    """Forgets outputs."""

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        for topic in commit.outputs:
            await self.create_topic(topic)
        await super()._apply(task, replace(commit, outputs={}))


class ShowsOutputsBeforePuts(MemoryBroker):
    """Shows outputs before puts."""

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        await super()._apply(task, Commit(commit.outputs))
        await asyncio.sleep(0)
        await super()._apply(task, replace(commit, outputs={}))


class ShowsOffsetsFirst(MemoryBroker):
    """Shows offsets first."""

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        await super()._apply(task, Commit(offsets=commit.offsets))
        await asyncio.sleep(0)
        await super()._apply(task, replace(commit, offsets={}))


class LosesAConcurrentAppend(MemoryBroker):
    """Loses a concurrent append."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        ends = [log.end for log in self._store.topics[topic].partitions]
        placed = await super().append(topic, records)
        await asyncio.sleep(0)
        for log, end in zip(self._store.topics[topic].partitions, ends, strict=True):
            if log.end > end + len(records):
                log.values[-1] = None
        return placed


class AcknowledgesEarly(MemoryBroker):
    """Acknowledges early."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        await self.create_topic(topic)
        first = self._store.topics[topic].partitions[0].end
        self._later = asyncio.ensure_future(super().append(topic, records))
        return [(0, first + i) for i in range(len(records))]


class AppendsTwice(MemoryBroker):
    """Appends twice."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        await super().append(topic, records)
        return await super().append(topic, records)


class BelievesThatOffsetsAreDense(MemoryBroker):
    """Believes that offsets are dense."""

    async def read(self, topic: str, partition: int, offset: int, /, **limits: int) -> Fetched:
        fetched = await super().read(topic, partition, offset, **limits)
        return replace(fetched, offsets=range(offset, offset + len(fetched.values)), next_offset=offset + len(fetched.values))


class StandsStillAtAGap(MemoryBroker):
    """Stands still at a gap."""

    async def read(self, topic: str, partition: int, offset: int, /, **limits: int) -> Fetched:
        fetched = await super().read(topic, partition, offset, **limits)
        return fetched if fetched.values else replace(fetched, next_offset=offset)


class IgnoresMaxRecords(MemoryBroker):
    """Ignores max records."""

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        return await super().read(topic, partition, offset, max_records=10_000, max_bytes=max_bytes)


class GetsStuckAtALargeRecord(MemoryBroker):
    """Gets stuck at a large record."""

    async def read(self, topic: str, partition: int, offset: int, /, *, max_records: int, max_bytes: int = 8_000_000) -> Fetched:
        fetched = await super().read(topic, partition, offset, max_records=max_records, max_bytes=max_bytes)
        if sum(len(value or b"") for value in fetched.values) <= max_bytes:
            return fetched
        return replace(fetched, offsets=[], values=[], timestamps=[], keys=None, headers=None, next_offset=offset)


class DropsHeaders(MemoryBroker):
    """Drops headers."""

    async def read(self, topic: str, partition: int, offset: int, /, **limits: int) -> Fetched:
        return replace(await super().read(topic, partition, offset, **limits), headers=None)


class ReadsTombstonesAsEmpty(MemoryBroker):
    """Reads tombstones as empty."""

    async def read(self, topic: str, partition: int, offset: int, /, **limits: int) -> Fetched:
        fetched = await super().read(topic, partition, offset, **limits)
        return replace(fetched, values=[value or b"" for value in fetched.values])


class StampsWithItsOwnClock(MemoryBroker):
    """Stamps with its own clock."""

    def _extend(self, topic: str, columns: Columns) -> list[tuple[int, int]]:
        return super()._extend(topic, structs.replace(columns, timestamps=array("q", [self._now_ms()]) * len(columns.values)))


class NeverWakes(MemoryBroker):
    """Never wakes."""

    async def wait(self, positions: Mapping[tuple[str, int], int], /, *, timeout: float) -> None:
        await asyncio.sleep(timeout)


class WakesForAppendsOnly(MemoryBroker):
    """Wakes for appends only."""

    async def _apply(self, task: MemoryTask, commit: Commit) -> None:
        waiting, self._store.waiting = self._store.waiting, set()
        await super()._apply(task, commit)
        self._store.waiting = waiting


class ReversesRecords(MemoryBroker):
    """Reverses records."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        return await super().append(topic, records[::-1])


class SpreadsAKeyOverPartitions(MemoryBroker):
    """Spreads a key over partitions."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        logs = self._store.topics[topic].partitions
        logs.append(logs.pop(0))
        try:
            return await super().append(topic, records)
        finally:
            self._turn = 1 - getattr(self, "_turn", 0)
            if self._turn:
                logs.insert(0, logs.pop())


class PutsEverythingIntoOnePartition(MemoryBroker):
    """Puts everything into one partition."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        self._keyless = iter(lambda: 0, 1)  # type: ignore[assignment]
        return await super().append(topic, records)


class MakesTopicsByReading(MemoryBroker):
    """Makes topics by reading."""

    async def read(self, topic: str, partition: int, offset: int, /, **limits: int) -> Fetched:
        try:
            return await super().read(topic, partition, offset, **limits)
        except MissingTopicError:
            return Fetched(topic, partition, [], [], None, [], None, offset)


class SearchesTimesAsIfSorted(MemoryBroker):
    """Searches times as if sorted."""

    async def offsets_at(self, topic: str, timestamp: int, /) -> list[int]:
        logs = self._store.topics[topic].partitions
        return [next((at for at, stamp in zip(log.offsets, log.timestamps) if stamp > timestamp), log.end) for log in logs]


class DeletesUnreadRecords(MemoryBroker):
    """Deletes unread records."""

    async def retain(self) -> None:
        for name in self._store.topics:
            for log in self._store.topics[name].partitions:
                log.drop(max(0, len(log.offsets) - 1))


class RetainsEverything(MemoryBroker):
    """Retains everything."""

    def _retain(self, name: str) -> None:
        pass


class ForgetsDeletions(MemoryBroker):
    """Forgets deletions."""

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        version, rows = await super().read_table(table, after=after)
        return TableRead(version, [row for row in rows if row[1] is not None])


class ReturnsDeletedRows(MemoryBroker):
    """Returns deleted rows."""

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        version, rows = await super().read_table(table, after=after)
        return TableRead(version, rows if after else [*rows, (b"deleted", None)])


class ReadsTheWholeTable(MemoryBroker):
    """Reads the whole table."""

    async def read_table(self, table: str, /, *, after: int = 0) -> TableRead:
        return await super().read_table(table)


class StoresWhateverComes(MemoryBroker):
    """Stores whatever comes."""

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        return await super().append(topic, [Record(b"anything") for _ in records])


BROKEN: list[tuple[type[MemoryBroker], str]] = [
    (IgnoresTheFence, "a_fenced_commit_writes_nothing"),
    (ChecksTheFenceTooLate, "a_fenced_commit_writes_nothing"),
    (AsksNobodyForNothing, "a_fenced_commit_of_nothing_is_refused_too"),
    (FencesTheWholeApp, "tasks_and_apps_fence_only_themselves"),
    (ForgetsOffsets, "a_commit_writes_outputs_puts_and_offsets"),
    (ForgetsOffsets, "after_a_lost_reply_the_store_has_the_whole_commit_or_none_of_it"),
    (MixesAppsOffsets, "tasks_and_apps_fence_only_themselves"),
    (ForgetsPuts, "a_commit_writes_outputs_puts_and_offsets"),
    (ForgetsOutputs, "a_commit_writes_outputs_puts_and_offsets"),
    (ForgetsOutputs, "after_a_lost_reply_the_store_has_the_whole_commit_or_none_of_it"),
    (ShowsOutputsBeforePuts, "a_reader_never_sees_part_of_a_commit"),
    (ShowsOffsetsFirst, "a_reader_never_sees_part_of_a_commit"),
    (LosesAConcurrentAppend, "concurrent_appends_lose_and_mix_nothing"),
    (AcknowledgesEarly, "an_appended_record_can_be_read_by_another_connection"),
    (AppendsTwice, "concurrent_appends_lose_and_mix_nothing"),
    (BelievesThatOffsetsAreDense, "reading_goes_on_from_any_offset_over_gaps"),
    (StandsStillAtAGap, "reading_goes_on_from_any_offset_over_gaps"),
    (IgnoresMaxRecords, "reading_is_limited_by_records_and_bytes"),
    (GetsStuckAtALargeRecord, "reading_is_limited_by_records_and_bytes"),
    (DropsHeaders, "records_come_back_as_they_were_appended"),
    (ReadsTombstonesAsEmpty, "records_come_back_as_they_were_appended"),
    (StampsWithItsOwnClock, "records_come_back_as_they_were_appended"),
    (NeverWakes, "waiting_ends_when_a_record_comes"),
    (NeverWakes, "waiting_for_what_is_there_or_never_comes"),
    (WakesForAppendsOnly, "waiting_ends_when_a_record_comes"),
    (ReversesRecords, "a_key_keeps_its_partition_and_order"),
    (ReversesRecords, "a_million_records_come_back_in_order"),
    (SpreadsAKeyOverPartitions, "a_key_keeps_its_partition_and_order"),
    (PutsEverythingIntoOnePartition, "records_without_a_key_are_spread_over_partitions"),
    (MakesTopicsByReading, "a_missing_topic_is_said_to_be_missing"),
    (SearchesTimesAsIfSorted, "offsets_at_finds_the_first_record_of_a_time"),
    (DeletesUnreadRecords, "retention_keeps_what_a_registered_app_has_not_read"),
    (RetainsEverything, "retention_keeps_what_a_registered_app_has_not_read"),
    (ForgetsDeletions, "a_table_is_read_by_what_changed"),
    (ReturnsDeletedRows, "a_table_is_read_by_what_changed"),
    (ReadsTheWholeTable, "a_table_is_read_by_what_changed"),
    (StoresWhateverComes, "what_cannot_be_stored_is_refused_and_its_neighbours_are_kept"),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("broken", "case"), BROKEN, ids=lambda part: part if isinstance(part, str) else part.__name__)
async def test_a_broken_broker_fails_its_case(broken: type[MemoryBroker], case: str, memory: Callable[..., Storage]) -> None:
    """The case that should find this fault does, and for no reason such as a typing error in the fault."""
    contract: Any = BrokerContract()
    contract.patience = 0.2
    storage = memory(broken, sparse=case.startswith("reading_goes_on"))
    with pytest.raises((AssertionError, TimeoutError, FencedError)):
        await getattr(contract, f"test_{case}")(storage)


def test_every_case_finds_some_broken_broker() -> None:
    """No case of the suite is one that every broker passes, save for those that need what memory cannot break."""
    cases = {name.removeprefix("test_") for name in dir(BrokerContract) if name.startswith("test_")}
    assert cases - {case for _, case in BROKEN} == {
        "a_broker_stops_twice",
        "a_row_that_was_deleted_can_come_back",
        "a_topic_that_grew_elsewhere_is_written_to_in_full",
        "columns_that_no_record_has_are_none",
        "start_and_end_offsets_bound_the_log",
    }
