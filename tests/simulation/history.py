"""The broker behind the simulated network: it checks of each commit that it goes one step on from the last."""

from rxstreams.brokers import Commit
from rxstreams.brokers.memory import MemoryBroker, MemoryTask
from rxstreams.runtime.checkpoints import saved_topology
from tests.simulation.app import STATE, VIEW


class History(MemoryBroker):
    """A memory broker with gaps between offsets, whose one app has one task.

    Attributes:
        epoch: Of the last position record.
        wrong: What commits did that they must not.
        shown: Every (key, value) of the published view that was committed.
    """

    def __init__(self) -> None:
        super().__init__(sparse=True)
        self.epoch = 0
        self.offsets: dict[tuple[str, int], int] = {}
        self.wrong: list[str] = []
        self.shown: set[tuple[bytes, bytes | None]] = set()

    async def open(self, app: str, task: str, /, *, instance: str) -> MemoryTask:
        """Open a task whose commits are looked at."""
        handle = await super().open(app, task, instance=instance)
        make = handle.commit

        async def commit(change: Commit, /) -> None:
            await make(change)
            self.look(change, instance)

        handle.commit = commit  # type: ignore[method-assign]
        return handle

    def look(self, change: Commit, instance: str) -> None:
        """Take in a commit that took place."""
        self.shown.update((put.key, put.value) for put in change.puts if put.table == VIEW)
        position = saved_topology((put.key, put.value) for put in change.puts if put.table == STATE and put.key == b"position")
        if position is None:
            if change.outputs or change.puts or change.offsets:
                self.wrong.append(f"{instance} committed something without a position record")
            return
        if position.epoch != self.epoch + 1:
            self.wrong.append(f"{instance} committed epoch {position.epoch} after epoch {self.epoch}")
        if {(topic, partition): offset for _, topic, partition, offset in position.offsets} != change.offsets:
            self.wrong.append(f"{instance} committed {change.offsets} with the position {position.offsets}")
        back = {one: (self.offsets[one], offset) for one, offset in change.offsets.items() if offset < self.offsets.get(one, 0)}
        if back:
            self.wrong.append(f"{instance} went back in epoch {position.epoch} (from, to): {back}")
        self.epoch = position.epoch
        self.offsets.update(change.offsets)
