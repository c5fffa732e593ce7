"""Where a task goes on when the broker's committed offsets, or what its topics have, are not what its state says."""

from collections.abc import Callable
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Commit, Put, Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, OffsetsError
from rxstreams.runtime.offsets import Offsets
from tests.runtime.faulty import got, put

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the broker less time to show what was committed."""
    monkeypatch.setattr(rxs.runtime.offsets, "_STALE", 0.15)


async def ran(broker: MemoryBroker, offsets: Offsets | None = None) -> list[Any]:
    """What the app has written, after it has copied all that it finds, and counted it."""
    numbers = rxs.from_topic("in", int, until="end", finish=False)
    counts = numbers.pipe(ops.aggregate(n=agg.count()), ops.to_topic("counts"))
    async with rxs.start(numbers.pipe(ops.to_topic("out")), counts, app="app", broker=broker, offsets=offsets) as running:
        await running.wait()
    return await got(broker)


async def stopped() -> MemoryBroker:
    """A broker on which the app has copied 0, 1, 2, and 3, 4 wait."""
    broker = MemoryBroker()
    await broker.start()
    await put(broker, range(3))
    assert await ran(broker) == [0, 1, 2]
    await put(broker, [3, 4])
    return broker


async def set_group(broker: MemoryBroker, offset: int) -> None:
    """Set the app's committed offset, as Kafka's tool does."""
    handle = await broker.open("app", "tool", instance="an operator")
    await handle.commit(Commit(offsets={("in", 0): offset}))


async def delete_state(broker: MemoryBroker) -> None:
    """Delete all the app's state."""
    rows = (await broker.read_table("app.state")).rows
    handle = await broker.open("app", "tool", instance="an operator")
    await handle.commit(Commit(puts=[Put("app.state", key, None) for key, _ in rows]))


async def test_an_app_goes_on_where_state_and_broker_say() -> None:
    """Which is the same place, unless somebody has meddled."""
    assert await ran(await stopped()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("offset", [1, 5])
async def test_offsets_that_somebody_has_set_stop_the_start(offset: int) -> None:
    """Whether they are before or after the state's; the message has both, and what to do."""
    broker = await stopped()
    await set_group(broker, offset)
    with pytest.raises(OffsetsError, match=rf"in\[0\]: state 3, broker {offset}\. .*offsets='ours'.*'group'.*'group-reset'"):
        await ran(broker)
    assert await got(broker) == [0, 1, 2]


@pytest.mark.parametrize(
    ("offsets", "out", "last"),
    [("ours", [0, 1, 2, 3, 4], 5), ("group", [0, 1, 2, 1, 2, 3, 4], 7), ("group-reset", [0, 1, 2, 1, 2, 3, 4], 4)],
)
async def test_an_operator_says_what_to_go_by(offsets: Offsets, out: list[int], last: int) -> None:
    """By the state; by the broker with the state kept; or by the broker with no state, so that counting begins anew."""
    broker = await stopped()
    await set_group(broker, 1)
    assert await ran(broker, offsets) == out
    assert (await got(broker, "counts"))[-1]["n"] == last
    assert await broker.committed("app") == {("in", 0): 5}
    await put(broker, [5])
    assert await ran(broker) == [*out, 5], "and then all is as if nothing had been"


async def test_state_that_is_dropped_is_deleted() -> None:
    """Also what no later record would overwrite."""
    broker = MemoryBroker()
    await put(broker, range(200))
    counts = rxs.from_topic("in", int, until="end", finish=False).pipe(ops.key_by(lambda n: n), ops.aggregate(n=agg.count()))
    for offsets, rows in ((None, 57), ("group-reset", 2)):
        async with rxs.start(counts.pipe(ops.to_view("counts")), app="app", broker=broker, offsets=offsets) as running:
            await running.wait()
        assert len((await broker.read_table("app.state")).rows) == rows, "the groups of the keys, and the position"
        await set_group(broker, 199)


class Stale(MemoryBroker):
    """A broker that at first still shows what was committed before."""

    stale = 0

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        """What is committed, or was once."""
        self.stale -= 1
        return {("in", 0): 1} if self.stale >= 0 else await super().committed(app)


async def test_what_was_committed_just_now_may_not_be_seen_yet() -> None:
    """Kafka shows a group's offsets a moment after the transaction's end; so it is asked again."""
    broker = Stale("stale")
    await put(broker, range(3))
    assert await ran(broker) == [0, 1, 2]
    broker.stale = 1
    assert await ran(broker) == [0, 1, 2]
    broker.stale = 1000
    with pytest.raises(OffsetsError, match="state 3, broker 1"):
        await ran(broker)


async def test_the_environment_may_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So no pipeline needs an option for it."""
    broker = await stopped()
    await set_group(broker, 1)
    monkeypatch.setenv("RXSTREAMS_OFFSETS", "group")
    assert await ran(broker) == [0, 1, 2, 1, 2, 3, 4]


async def test_deleted_state_stops_the_start() -> None:
    """Beginning anew would write everything twice; ``ours`` begins anew, ``group`` goes on with no state."""
    for offsets, out in {"ours": [0, 1, 2, 0, 1, 2, 3, 4], "group": [0, 1, 2, 3, 4]}.items():
        broker = await stopped()
        await delete_state(broker)
        with pytest.raises(OffsetsError, match=r"in\[0\]: state None, broker 3"):
            await ran(broker)
        assert await ran(broker, offsets) == out  # type: ignore[arg-type]  # one of them


async def test_an_unknown_choice_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError, match="expected one of check, ours, group, group-reset, earliest, got 'theirs'"):
        await ran(MemoryBroker(), "theirs")  # type: ignore[arg-type]  # on purpose


async def shortened(broker: MemoryBroker) -> None:
    """Delete records that were not read; this broker itself keeps what an app has not read, others may not."""
    await put(broker, [5])
    broker._store.topics["in"].partitions[0].drop(5)


async def made_anew(broker: MemoryBroker) -> None:
    """Delete the topic, and make it anew."""
    broker._store.topics.pop("in")
    await put(broker, [5])


@pytest.mark.parametrize(
    ("deleted", "message"),
    [
        (shortened, r"partition 0 is to be read from 3, and has 5 to 6: records were deleted before they were read"),
        (made_anew, "partition 0 is to be read from 3, and has 0 to 1: the topic was deleted, or made anew"),
    ],
)
async def test_records_that_are_gone_stop_the_start(deleted: Callable[[MemoryBroker], Any], message: str) -> None:
    """They are not passed over in silence; ``earliest`` goes on with what is there."""
    broker = await stopped()
    await deleted(broker)
    with pytest.raises(OffsetsError, match=message):
        await ran(broker)
    assert (await ran(broker, "earliest"))[-1] == 5
    await broker.append("in", [Record(b"6")])
    assert (await ran(broker))[-1] == 6


async def test_partitions_that_are_gone_stop_the_start() -> None:
    """Keys would be in other partitions than before."""
    broker = MemoryBroker()
    await broker.start()
    await broker.create_topic("in", 3)
    for n in range(3):
        await put(broker, [n])
    assert sorted(await ran(broker)) == [0, 1, 2]
    broker._store.topics.pop("in")
    await broker.create_topic("in", 2)
    with pytest.raises(OffsetsError, match="it has 2 partitions, and 3 were read before"):
        await ran(broker)
