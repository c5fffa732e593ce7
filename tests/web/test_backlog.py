"""A bound on what a reader has not taken in: when posts are refused, for how long, and what is said of it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from rxstreams.brokers.contract import Commit, Record, Retention
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import BrokerError, ConfigError
from rxstreams.web import Backlog

TOPIC = "orders"


class Counting(MemoryBroker):
    """A broker that counts how often it is asked, and fails or hangs as told."""

    asked = 0
    problem: Exception | None = None
    hangs: asyncio.Event | None = None

    async def committed(self, app: str, /) -> dict[tuple[str, int], int]:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.problem is not None:
            raise self.problem
        return await super().committed(app)


class Shop:
    """A topic with a bound, a reader of it, and a clock that stands still."""

    def __init__(self, max_records: int) -> None:
        self.broker, self.now = Counting(), 100.0
        self.backlog = Backlog("till", max_records=max_records, clock=lambda: self.now)

    async def open(self) -> "Shop":
        await self.broker.start()
        await self.broker.create_topic(TOPIC)
        self.backlog.start(self.broker, TOPIC)
        return self

    async def post(self, count: int = 1) -> list[int | None]:
        """Append what is let in; the answers."""
        answers = []
        for _ in range(count):
            answers.append(await self.backlog.admit())
            if answers[-1] is None:
                await self.broker.append(TOPIC, [Record(b"1")])
        return answers

    async def read(self, to: int, after: float = 1.0) -> None:
        """Commit what the reader has read, and let time pass."""
        task = await self.broker.open("till", "0", instance="test")
        await task.commit(Commit(offsets={(TOPIC, 0): to}))
        self.now += after


@pytest.mark.asyncio
async def test_exactly_as_many_are_let_in_as_the_bound_says() -> None:
    """Between two looks at the broker what is let in is counted; a reader that has never committed has read nothing."""
    shop = await Shop(5).open()
    assert await shop.post(7) == [None] * 5 + [1, 1]
    assert (shop.broker.asked, await shop.backlog.unread()) == (1, 5)


@pytest.mark.asyncio
async def test_posts_are_let_in_again_when_a_tenth_is_read() -> None:
    """One record less than the bound is not enough; one line in the log tells the beginning, and one the end."""
    with capture_logs() as lines:
        shop = await Shop(20).open()
        await shop.post(21)
        await shop.read(1, after=3.0)
        assert await shop.post() == [3]
        await shop.read(2, after=3.0)
        assert await shop.post(3) == [None, None, 1]
    where = {"topic": TOPIC, "reader": "till"}
    full = {"event": "backlog full, posts are refused", "log_level": "warning", "unread": 20, **where}
    room = {"event": "backlog has room, posts are let in", "log_level": "info", "seconds": 6.0, **where}
    assert lines == [full, room, full]


RATES = [
    (500, 10.0, 10),  # 900 must go in all
    (100, 10.0, 60),  # 90 s at that rate
    (999, 10.0, 1),
    (0, 10.0, 10),  # nothing is read: as long again as it has lasted
    (0, 400.0, 60),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("read", "seconds", "said"), RATES)
async def test_a_client_is_told_how_long_it_takes_at_the_rate_so_far(read: int, seconds: float, said: int) -> None:
    """From 1 s to 60 s, until the unread are a tenth below the bound."""
    shop = await Shop(1000).open()
    await shop.broker.append(TOPIC, [Record(b"1")] * 1900)
    assert await shop.post() == [1]
    await shop.read(read, after=seconds)
    assert await shop.post() == [said]


@pytest.mark.asyncio
async def test_the_broker_is_asked_four_times_a_second_however_many_post() -> None:
    """The first of many asks, also where they come at once, and then nobody for a quarter of a second."""
    shop = await Shop(10_000).open()
    assert await asyncio.gather(*(shop.backlog.admit() for _ in range(100))) == [None] * 100
    assert shop.broker.asked == 1
    for _ in range(16):
        shop.now += 0.0625
        await shop.post(10)
        await asyncio.sleep(0)
    assert shop.broker.asked == 5


@pytest.mark.asyncio
async def test_a_post_does_not_wait_while_the_last_look_is_believed() -> None:
    """A broker that answers slowly holds up no post of a busy intake, and is not asked again until it has answered."""
    shop = await Shop(10).open()
    assert await shop.post() == [None]
    shop.broker.hangs = asyncio.Event()
    for _ in range(3):
        shop.now += 0.5
        assert await shop.post(3) == [None] * 3
        await asyncio.sleep(0)
    assert (shop.broker.asked, shop.backlog.why) == (2, None)
    shop.broker.hangs.set()


@pytest.mark.asyncio
async def test_posts_are_let_in_while_the_backlog_is_not_known() -> None:
    """Also where it was full before; the reason is kept for whoever asks, and told once."""
    shop = await Shop(5).open()
    await shop.post(6)
    assert shop.backlog.full
    shop.broker.problem = BrokerError("not allowed to describe the group")
    with capture_logs() as lines:
        for _ in range(3):
            shop.now += 3.0
            assert await shop.post(20) == [None] * 20
    assert (shop.backlog.why, shop.backlog.full) == ("not allowed to describe the group", False)
    assert [line["event"] for line in lines] == ["backlog unknown, posts are let in"]
    shop.broker.problem = None
    shop.now += 3.0
    assert await shop.post() == [1]
    assert shop.backlog.why is None


@pytest.mark.asyncio
async def test_a_broker_that_does_not_answer_in_time_is_one_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A post waits for it so long, and is let in."""
    monkeypatch.setattr("rxstreams.web.backlog._PATIENCE", 0.01)
    shop = await Shop(5).open()
    shop.broker.hangs = asyncio.Event()
    assert await shop.post() == [None]
    assert shop.backlog.why == "what till has read of orders was not told within 0.01 s"
    with pytest.raises(BrokerError, match="not told within"):
        await shop.backlog.unread()


@pytest.mark.asyncio
async def test_what_retention_has_deleted_is_not_unread() -> None:
    """A reader that has never committed begins at the earliest record that is kept."""
    clock = iter(range(10**6))
    shop = Shop(5)
    shop.broker._clock = lambda: float(next(clock))
    await shop.open()
    await shop.broker.create_topic(TOPIC, retention=Retention(max_age=1.0))
    await shop.broker.append(TOPIC, [Record(b"1", None, 0)] * 9)
    await shop.broker.retain()
    assert await shop.backlog.unread() == 0
    assert await shop.post() == [None]


def test_a_bound_of_nothing_is_refused() -> None:
    """Where nobody could post."""
    with pytest.raises(ConfigError, match=r"Backlog\('till'\): max_records must be at least 1, got 0"):
        Backlog("till", max_records=0)
