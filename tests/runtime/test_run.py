"""The run on a memory broker: what it goes on from, what it refuses to start with, what it tells and shows."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers import Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import FormatError
from rxstreams.runtime.checkpoints import Checkpoints
from rxstreams.runtime.position import Position
from rxstreams.state.codec import TAGGED
from tests.runtime.faulty import got, put, until

ROOT = Path(__file__).parents[2]
Build = Callable[[rxs.Stream[int]], rxs.Stream[Any]]


async def ran(broker: MemoryBroker, *streams: rxs.Stream[Any], app: str = "app", **options: Any) -> rxs.Running:
    """A run to the end of its input."""
    async with rxs.start(*streams, app=app, broker=broker, **options) as running:
        await running.wait()
    return running


def numbers(*, finish: bool = False, topic: str = "in") -> rxs.Stream[int]:
    """The numbers that are in a topic now; the next start goes on."""
    return rxs.from_topic(topic, int, until="end", finish=finish)


def sums(source: rxs.Stream[int], **options: Any) -> rxs.Stream[Any]:
    """Running sums of numbers, into the topic ``out``."""
    return source.pipe(ops.scan(lambda total, n: total + n, 0, **options), ops.to_topic("out"))


@pytest.mark.asyncio
async def test_a_run_goes_on_from_its_last_commit() -> None:
    """State, positions and results of three runs are those of one; offsets are committed under the app's name."""
    broker = MemoryBroker()
    for part in (range(10), range(10, 300), range(300, 1000)):
        await put(broker, part)
        running = await ran(broker, sums(numbers()))
        assert running.statistics.records == len(part)
        assert await broker.committed("app") == {("in", 0): part.stop}
    assert await got(broker) == [n * (n + 1) // 2 for n in range(1000)]
    assert (await broker.apps(), running.finished) == (["app"], False)


@pytest.mark.asyncio
async def test_a_run_goes_on_from_the_last_of_several_commits() -> None:
    """Each commit builds on what those before it wrote of other keys, and a restart on all."""
    broker = MemoryBroker()
    await broker.create_topic("in")
    sent = 0
    for _ in range(3):
        counts = rxs.from_topic("in", int).pipe(ops.key_by(lambda n: n), ops.aggregate(n=agg.count()), ops.to_view("counts"))
        async with rxs.start(counts, app="app", broker=broker, commit_interval=1e-9) as running:
            for _ in range(5):
                await put(broker, range(sent, sent + 20))
                sent += 20
                await until(lambda running=running, sent=sent: sum(row.n for row in running.view("counts").values()) == sent)  # type: ignore[misc]
            assert running.statistics.epochs >= 5


@pytest.mark.asyncio
async def test_apps_do_not_see_each_other() -> None:
    """Two apps read one topic, each from its start, with state and offsets of its own."""
    broker = MemoryBroker()
    await put(broker, range(10))
    await ran(broker, sums(numbers()), app="one")
    await put(broker, range(10, 20))
    await ran(broker, sums(numbers()), app="two")
    assert await got(broker) == [n * (n + 1) // 2 for n in [*range(10), *range(20)]]
    assert (await broker.committed("one"), await broker.committed("two")) == ({("in", 0): 10}, {("in", 0): 20})


@pytest.mark.asyncio
async def test_a_finished_app_stays_finished() -> None:
    """Once the end is committed a later start reads nothing more, says so, and still shows the views."""
    broker = MemoryBroker()
    await put(broker, range(10))

    def build() -> rxs.Stream[Any]:
        return numbers(finish=True).pipe(ops.reduce(lambda a, b: a + b), ops.to_view("sum"), ops.to_topic("out"))

    assert (await ran(broker, build())).finished
    await put(broker, range(10))
    version = (await broker.read_table("app.state")).version
    with capture_logs() as lines:
        running = await ran(broker, build())
    assert (await broker.read_table("app.state")).version == version
    assert (running.finished, running.statistics.records, dict(running.view("sum"))) == (True, 0, {None: 45})
    assert [("finished" in line["event"], line["app"]) for line in lines] == [(True, "app")]
    assert await got(broker) == [45]


@pytest.mark.asyncio
async def test_take_that_is_over_completes_the_run() -> None:
    """take(n) ends a run whose input never does, over restarts, and a later start says that it is finished."""
    broker = MemoryBroker()

    def build() -> rxs.Stream[Any]:
        return rxs.from_topic("in", int).pipe(ops.take(15), ops.to_topic("out"))

    await put(broker, range(10))
    async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
        await until(lambda: running.statistics.epochs == 1)
    assert not running.finished
    await put(broker, range(10, 30))
    assert (await ran(broker, build())).finished
    assert await got(broker) == list(range(15))
    with capture_logs() as lines:
        assert (await ran(broker, build())).finished
    assert ["finished" in line["event"] for line in lines] == [True]
    assert await got(broker) == list(range(15))


@pytest.mark.asyncio
async def test_a_branch_that_has_ended_stays_ended_while_others_go_on() -> None:
    """After a restart nothing passes a take that was over, and what its end made is not made again."""
    broker = MemoryBroker()

    def build() -> list[rxs.Stream[Any]]:
        source = numbers()
        first = source.pipe(ops.take(3), ops.reduce(lambda a, b: a + b), ops.to_topic("first"))
        return [first, source.pipe(ops.to_topic("out"))]

    for part in (range(10), range(10, 20)):
        await put(broker, part)
        await ran(broker, *build())
    assert (await got(broker, "first"), await got(broker)) == ([3], list(range(20)))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (sums, lambda s: s.pipe(ops.to_topic("out")), [r"saved, but not in the pipeline: topic:in/scan"]),
        (lambda s: s.pipe(ops.take(50)), lambda s: s.pipe(ops.take(60)), ['take{"count": "50"}', 'now take{"count": "60"}']),
        (sums, lambda s: sums(numbers(topic="other")), ["not in the pipeline: topic:in ", "not saved: topic:other"]),
        (
            lambda s: s.pipe(ops.distinct(), ops.scan(lambda a, b: a + b)),
            lambda s: s.pipe(ops.scan(lambda a, b: a + b)),
            ["not in the pipeline: topic:in/distinct/scan", "not saved: topic:in/scan"],
        ),
        (
            lambda s: s.pipe(ops.aggregate(n=agg.count())),
            lambda s: s.pipe(ops.aggregate(n=agg.sum(lambda x: x))),
            ["saved as aggregate", "but now aggregate"],
        ),
    ],
    ids=["removed", "parameter", "source", "moved", "aggregate"],
)
@pytest.mark.asyncio
async def test_saved_state_that_does_not_fit_stops_the_start(before: Build, after: Build, says: list[str]) -> None:
    """A removed, moved or redefined operator is named with what is there instead and what to do; nothing was changed."""
    broker = MemoryBroker()
    await put(broker, range(10))
    await ran(broker, before(numbers()))
    saved, offsets = (await broker.read_table("app.state")).rows, await broker.committed("app")
    with pytest.raises(rxs.errors.TopologyError, match="start under another app name") as caught:
        await ran(broker, after(numbers()))
    assert [text for text in says if text not in str(caught.value)] == []
    assert ((await broker.read_table("app.state")).rows, await broker.committed("app")) == (saved, offsets)
    assert not (await ran(broker, before(numbers()))).finished


@pytest.mark.asyncio
async def test_adding_stateless_operators_and_sinks_orphans_nothing() -> None:
    """A map before, a sink beside, another branch with state of its own: the sums go on where they were."""
    broker = MemoryBroker()
    await put(broker, range(10))
    await ran(broker, sums(numbers()))
    await put(broker, range(10, 20))
    source = numbers().pipe(ops.map(lambda n: n), ops.filter(lambda n: True), ops.to_topic("copy"))
    with capture_logs() as lines:
        await ran(broker, sums(source), source.pipe(ops.distinct(), ops.to_view("new")))
    assert await got(broker) == [n * (n + 1) // 2 for n in range(20)]
    new = {line["operator"] for line in lines if line["event"] == "new operator begins without state"}
    assert new == {"topic:in/distinct", "view:new"}


@pytest.mark.asyncio
async def test_a_named_operator_may_move() -> None:
    """With ``name=`` the state is found again wherever the operator stands."""
    broker = MemoryBroker()
    await put(broker, range(10))
    await ran(broker, sums(numbers(), name="sums"))
    await put(broker, range(10, 20))
    await ran(broker, sums(numbers().pipe(ops.distinct()), name="sums"))
    assert await got(broker) == [n * (n + 1) // 2 for n in range(20)]


@pytest.mark.asyncio
async def test_two_sources_on_one_topic_have_their_own_positions() -> None:
    """Each source goes on from its own position; the app commits the one that is behind."""
    broker = MemoryBroker()
    await put(broker, range(20))

    def build() -> list[rxs.Stream[Any]]:
        first, second = numbers(), numbers()
        return [sums(first), second.pipe(ops.take(5), ops.scan(lambda a, b: a + b), ops.to_topic("five"))]

    await ran(broker, *build())
    await put(broker, range(20, 30))
    await ran(broker, *build())
    assert await got(broker) == [n * (n + 1) // 2 for n in range(30)]
    assert await got(broker, "five") == [0, 1, 3, 6, 10]


@pytest.mark.asyncio
async def test_new_partitions_are_taken_from_their_start() -> None:
    """Partitions that a topic gets while an app runs, or between two runs, are read whole."""
    broker = MemoryBroker()
    await put(broker, range(10), key=b"a")
    async with rxs.start(
        rxs.from_topic("in", int).pipe(ops.to_topic("out")), app="app", broker=broker, commit_interval=0.001
    ) as running:
        await until(lambda: running.statistics.records == 10)
        await broker.create_topic("in", 2)
        for key in (b"a", b"b"):
            await put(broker, range(10, 20), key=key)
        await until(lambda: running.statistics.records == 30)
    await broker.create_topic("in", 5)
    for name in b"abcdefgh":
        await put(broker, range(20, 30), key=bytes([name]))
    await ran(broker, numbers().pipe(ops.to_topic("out")))
    assert sorted(await got(broker)) == sorted([*range(10), *range(10, 20), *range(10, 20), *list(range(20, 30)) * 8])
    ends = await broker.end_offsets("in")
    assert await broker.committed("app") == {("in", p): end for p, end in enumerate(ends)}


@pytest.mark.asyncio
async def test_from_iterable_resumes() -> None:
    """An iterable that gives the same items again is read on from the committed position."""
    broker = MemoryBroker()
    asked: list[int] = []

    def build(stop_at: int) -> rxs.Stream[Any]:
        def check(n: int) -> int:
            asked.append(n)
            if n == stop_at:
                raise ValueError("stop")
            return n

        return sums(rxs.from_iterable(range(5_000), name="numbers").pipe(ops.map(check)))

    with pytest.raises(rxs.RxStreamsError, match="stop"):
        await ran(broker, build(3_000), commit_interval=0.0001)
    done = len(await got(broker))
    assert 0 < done <= 3_000
    asked.clear()
    assert (await ran(broker, build(-1))).finished
    assert asked == list(range(done, 5_000))
    assert await got(broker) == [n * (n + 1) // 2 for n in range(5_000)]


@pytest.mark.asyncio
async def test_start_refuses_wrong_arguments() -> None:
    """Wrong arguments fail before anything is opened, and say what was expected."""
    stream = numbers()
    wrong: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((), {}, "at least one stream"),
        ((3,), {}, "expected streams to run, got int"),
        ((stream,), {"commit_interval": 0}, "commit_interval"),
        ((stream,), {"commit_interval": "soon"}, "commit_interval"),
        ((stream,), {"on_error": True}, "on_error"),
        ((stream,), {"on_error": rxs.Retry(3, 1.0)}, "backoff"),
        ((stream,), {"app": ""}, "app"),
        ((stream,), {"broker": "carrier-pigeon://coop"}, "unknown scheme"),
        ((stream.pipe(ops.to_view("v")), stream.pipe(ops.to_view("v"))), {}, "v'"),
    ]
    plain: dict[str, Any] = {"app": "app", "broker": MemoryBroker()}
    for streams, options, says in wrong:
        with pytest.raises(rxs.ConfigError, match=says):
            async with rxs.start(*streams, **(plain | options)):
                raise AssertionError(f"started with {options}")


@pytest.mark.asyncio
async def test_run_inside_a_loop_names_start() -> None:
    """``run`` in a notebook or a coroutine says what to use instead."""
    with pytest.raises(rxs.ConfigError, match=r"async with rxstreams\.start"):
        rxs.run(numbers(), app="app", broker="memory://")


def test_an_app_is_named_after_its_module_or_needs_a_name() -> None:
    """A script's app is the script's name; where there is no main module a name is asked for."""
    program = "import rxstreams as rxs; rxs.run(rxs.from_iterable([1]), broker='memory://')"
    nameless = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (nameless.returncode, nameless.stderr.splitlines()[-1].startswith("rxstreams.errors.ConfigError: app: ")) == (1, True)


@pytest.mark.asyncio
async def test_the_start_is_logged_in_one_line() -> None:
    """The line has the app, the graph, the broker, the guarantee, and its weakest link."""
    broker = MemoryBroker("named")
    await put(broker, range(3))
    with capture_logs() as lines:
        await ran(broker, sums(numbers()))
        await ran(broker, numbers().pipe(ops.to_callable(print)), app="calls")
        await ran(broker, rxs.from_iterable(iter([1])).pipe(ops.to_view("v")), app="once")
    shown = [(line["event"], line["app"], line["broker"], line["guarantee"]) for line in lines]
    assert shown == [
        ("running", "app", "memory://named", "exactly_once"),
        ("running", "calls", "memory://named", "at_least_once"),
        ("running", "once", "memory://named", "at_most_once"),
    ]
    assert "from_topic(name='in'" in lines[0]["graph"]
    assert lines[0]["graph"].endswith("to_topic(name='out')")
    assert ["commit" in lines[0]["because"], "to_callable(print)" in lines[1]["because"].replace("function=", "")] == [True, True]
    assert "cannot be read again" in lines[2]["because"]


class Total(msgspec.Struct):
    """A row of the published view."""

    key: str
    n: int


@pytest.mark.asyncio
async def test_a_published_view_is_read_from_elsewhere() -> None:
    """``rxs.view`` has committed rows only, by key, typed if asked, and tells what changes."""
    broker = MemoryBroker()
    words = rxs.from_topic("in", str)
    stream = words.pipe(ops.key_by(lambda w: w), ops.aggregate(n=agg.count()), ops.to_view("words", publish=True))
    async with (
        rxs.view("app", "words", broker=broker) as plain,
        rxs.view("app", "words", Total, broker=broker) as typed,
        rxs.start(stream, app="app", broker=broker, commit_interval=0.001) as running,
    ):
        assert await plain.items() == []
        changes = plain.changes()
        following = asyncio.ensure_future(anext(changes))
        await put(broker, ["a", "b", "a"])
        assert (await following)[0] in ("a", "b")
        await until(lambda: len(running.view("words")) == 2)
        assert dict(await plain.items()) == {"a": {"key": "a", "n": 2}, "b": {"key": "b", "n": 1}}
        assert (await typed.get("a"), await typed.get("c", 0)) == (Total("a", 2), 0)
        assert running.view("words")["a"].n == 2
        await put(broker, ["a"])
        await until(lambda: running.view("words")["a"].n == 3)
        assert await typed.get("a") == Total("a", 3)
        await changes.aclose()  # type: ignore[attr-defined]  # it is a generator


@pytest.mark.asyncio
async def test_views_are_there_when_start_returns() -> None:
    """After a restart the saved rows are in the view before the first record."""
    broker = MemoryBroker()
    await put(broker, range(9))

    def build() -> rxs.Stream[Any]:
        return numbers().pipe(ops.key_by(lambda n: n % 3), ops.to_view("last"))

    await ran(broker, build())
    async with rxs.start(build(), app="app", broker=broker) as running:
        assert (dict(running.view("last")), running.view("last").as_of) == ({0: 6, 1: 7, 2: 8}, 1)
        with pytest.raises(rxs.ConfigError, match="has no view 'first'; it has 'last'"):
            running.view("first")


@pytest.mark.asyncio
async def test_watermarks_go_on_where_they_were() -> None:
    """After a restart a timer that was pending fires at its time, and time does not go backwards."""

    class Late:
        """Tell each value with the watermark before it, and when a minute has passed."""

        def open(self) -> list[int]:
            return []

        def process(self, state: list[int], key: Any, value: int, time: int, ctx: Any) -> None:
            ctx.emit(["record", time, ctx.watermark])
            ctx.set_timer(time + 60_000)

        def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
            ctx.emit(["timer", time, ctx.watermark])

    broker = MemoryBroker()
    for part in ([1_000, 1_090], [1_010], [1_200]):
        await put(broker, part)
        source = rxs.from_topic("in", int, timestamp=lambda s: s, until="end", finish=False)
        await ran(broker, source.pipe(ops.process(Late()), ops.to_topic("out")))
    found = [(kind, time // 1000) for kind, time, _ in await got(broker)]
    assert found == [
        ("record", 1000),
        ("record", 1090),
        ("timer", 1060),
        ("record", 1010),
        ("timer", 1070),
        ("record", 1200),
        ("timer", 1150),
    ]
    marks = [mark for kind, _, mark in await got(broker) if kind == "record"]
    assert marks == sorted(marks)
    assert marks[2] == 1_090_000


class Counts:
    """A stateful node's memory, as checkpoints see it."""

    identity = "counts"
    codec = TAGGED
    spaces = None

    def __init__(self) -> None:
        self.states: dict[Any, Any] = {}
        self.dirty: set[Any] = set()


class Saved:
    """One key group's rows, and what they hold."""

    def __init__(self) -> None:
        self.node, self.table = Counts(), dict[bytes, bytes | None]()
        self.saving = Checkpoints([self.node], table="state", key_groups=1)

    def epoch(self, *keys: int, freed: tuple[int, ...] = ()) -> bytes | None:
        """Commit new states of some keys and the end of others; the first delta's row, if there is one."""
        self.node.states |= dict.fromkeys(keys, "x" * 50)
        for key in freed:
            del self.node.states[key]
        self.node.dirty |= {*keys, *freed}
        self.table |= {put.key: put.value for put in self.saving.cut(Position(epoch=1))}
        self.saving.promote()
        return self.table.get(b"0/d/0")

    def restored(self) -> dict[Any, Any]:
        """What a start finds."""
        found = Counts()
        assert Checkpoints([found], table="state", key_groups=1).restore(self.table.items()) is not None
        return found.states


def test_keys_that_came_and_went_between_snapshots_are_restored() -> None:
    """A key that only a delta has is in the next snapshot; one that a delta freed does not come back."""
    saved = Saved()
    saved.epoch(*range(100))
    assert saved.epoch(100, freed=(5,)) is not None
    assert saved.restored() == saved.node.states
    while saved.epoch(1) is not None:
        assert saved.restored() == saved.node.states
    assert saved.restored() == saved.node.states
    assert sorted(saved.node.states) == [n for n in range(101) if n != 5]


def test_a_row_of_an_older_generation_is_not_taken_for_a_newer_one() -> None:
    """A delta that was left behind from before the last snapshot, under the key of one that is listed, stops the start."""
    saved = Saved()
    saved.epoch(*range(100))
    older = newer = saved.epoch(1)
    while newer is None or newer == older:
        newer = saved.epoch(1)
    saved.table[b"0/d/0"] = older
    with pytest.raises(FormatError, match="generation 1, its position record lists 2"):
        saved.restored()


@pytest.mark.asyncio
async def test_what_waits_for_a_slow_call_is_not_lost() -> None:
    """Values that a coroutine sink has not taken at the end of a run are saved, and called for at the next start."""
    broker = MemoryBroker()
    called: list[int] = []
    gate = asyncio.Event()

    async def call(n: int) -> None:
        await gate.wait()
        called.append(n)

    def build() -> rxs.Stream[Any]:
        return rxs.from_topic("in", int).pipe(ops.to_callable(call, capacity=8), ops.to_topic("out"))

    await put(broker, range(100))
    async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
        await until(lambda: running.statistics.epochs > 0)
    assert (called, running.statistics.records) == ([], 8)
    gate.set()
    async with rxs.start(build(), app="app", broker=broker, commit_interval=0.001) as running:
        await until(lambda: len(called) == 100)
    assert (called, await got(broker)) == (list(range(100)), list(range(100)))


@pytest.mark.asyncio
async def test_records_of_one_topic_stay_in_order_per_partition() -> None:
    """From and to several partitions, the records of each key keep their order."""
    broker = MemoryBroker()
    await broker.create_topic("in", 3)
    pairs = [[f"k{n % 7}", n] for n in range(700)]
    await broker.append("in", [Record(msgspec.json.encode(pair), str(pair[0]).encode()) for pair in pairs])
    source = rxs.from_topic("in", list, until="end")
    await ran(broker, source.pipe(ops.key_by(lambda pair: pair[0]), ops.to_topic("out", partitions=4)))
    found = [pair for partition in range(4) for pair in await got(broker, "out", partition)]
    for name in {name for name, _ in pairs}:
        assert [n for k, n in found if k == name] == [n for k, n in pairs if k == name]
    assert sorted(found) == sorted(pairs)


@pytest.mark.asyncio
async def test_branches_that_meet_again_keep_the_source_s_order() -> None:
    """Whatever the chunks, a record's results from two branches stand together, in the order of the records."""
    broker = MemoryBroker()
    await put(broker, range(100))
    source = numbers()
    tens = source.pipe(ops.filter(lambda n: n % 10 == 0), ops.map(lambda n: ["ten", n]))
    await ran(broker, source.pipe(ops.map(lambda n: ["each", n]), ops.merge(tens), ops.to_topic("out")))
    both = [[label, n] for n in range(100) for label in ("each", "ten") if label == "each" or n % 10 == 0]
    assert await got(broker) == both


@pytest.mark.asyncio
async def test_a_record_that_fails_leaves_no_trace() -> None:
    """What aggregate and process had begun with a failing record is undone; neighbours and state are as if it had not come."""

    class Clumsy:
        """Add a number, and fail at 13 only after that."""

        def open(self) -> list[int]:
            return [0]

        def process(self, state: list[int], key: Any, value: int, time: int, ctx: Any) -> None:
            state[0] += value
            ctx.set_timer(time + value)
            ctx.emit(state[0])
            if value == 13:
                raise ValueError("thirteen")

        def on_timer(self, state: list[int], key: Any, time: int, ctx: Any) -> None:
            ctx.emit(-1)

    def read(n: int) -> int:
        if n == 13:
            raise ValueError("thirteen")
        return n

    broker = MemoryBroker()
    await put(broker, range(20))
    source = rxs.from_topic("in", int, until="end", timestamp=lambda n: 100_000)
    rows = source.pipe(
        ops.aggregate(n=agg.count(), total=agg.sum(read)), ops.map(lambda row: [row.n, row.total]), ops.to_topic("rows")
    )
    running = await ran(broker, rows, source.pipe(ops.process(Clumsy()), ops.to_topic("out")), on_error=rxs.Skip())
    kept = [n for n in range(20) if n != 13]
    sums_so_far = [sum(kept[: i + 1]) for i in range(len(kept))]
    assert await got(broker, "rows") == [[i + 1, total] for i, total in enumerate(sums_so_far)]
    found = await got(broker)
    assert ([n for n in found if n >= 0], found.count(-1)) == (sums_so_far, len(kept))
    assert running.statistics.lost == 2


@pytest.mark.asyncio
async def test_a_failing_record_is_tried_again_as_often_as_the_policy_says() -> None:
    """``Retry(2)`` calls up to three times, then does as it says; the dead letter has the record's own bytes."""
    broker = MemoryBroker()
    await broker.append("in", [Record(b" %d " % n, b"k") for n in range(6)])
    calls: list[int] = []

    def flaky(n: int) -> int:
        calls.append(n)
        if n == 4 or (n == 2 and calls.count(2) < 3):
            raise ValueError("not yet")
        return n

    policy = rxs.Retry(2, then=rxs.DeadLetter("dead"))
    await ran(broker, numbers().pipe(ops.map(flaky, on_error=policy), ops.to_topic("out")))
    assert (calls, await got(broker)) == ([0, 1, 2, 2, 2, 3, 4, 4, 4, 5], [0, 1, 2, 3, 5])
    letters = await broker.read("dead", 0, 0, max_records=10)
    assert (letters.values, letters.keys) == ([b" 4 "], [b"k"])
    assert dict((letters.headers or [()])[0])["rxs.attempts"] == b"3"


@pytest.mark.asyncio
async def test_a_function_that_raises_stop_iteration_does_not_end_a_batch() -> None:
    """StopIteration from a user's function is an error like any other: the policy decides, the rest goes on."""
    broker = MemoryBroker()
    await put(broker, range(10))

    def stop(n: int) -> int:
        if n == 3:
            raise StopIteration
        return n

    def encode(n: int) -> bytes:
        return b"%d" % stop(n)

    mapped = numbers().pipe(ops.map(stop, on_error=rxs.Skip()), ops.to_topic("out"))
    running = await ran(broker, mapped, numbers().pipe(ops.to_topic("encoded", encode=encode, on_error=rxs.Skip())))
    assert await got(broker) == await got(broker, "encoded") == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert running.statistics.lost == 2


@pytest.mark.asyncio
async def test_state_that_outgrows_its_limit_stops_the_run_before_its_commit() -> None:
    """At half of the limit the log says so, once; beyond it the run fails, names the operator, and commits nothing."""
    broker = MemoryBroker()
    keys = numbers().pipe(ops.distinct(name="seen"), ops.to_topic("out"))
    await put(broker, range(1000))
    with capture_logs() as logs:
        await ran(broker, keys, state_limit=12_000)
    told = [log for log in logs if log["event"] == "state has grown to half of its limit"]
    assert [(log["state_limit"], log["most_in"]) for log in told] == [(12_000, "'seen' with 1,000 entries")]
    await put(broker, range(1000, 9000))
    with pytest.raises(
        rxs.errors.StateError, match=r"'app': saved state has grown to [\d,]+ bytes, and state_limit is 12,000.*'seen' with"
    ):
        await ran(broker, keys, state_limit=12_000)
    assert (await broker.committed("app"), len(await got(broker))) == ({("in", 0): 1000}, 1000)
    await ran(broker, keys, state_limit=1_000_000)
    assert await got(broker) == list(range(9000))


def test_a_signal_ends_a_process_whose_loop_is_blocked() -> None:
    """What blocks the loop cannot be told to stop: the process ends when the time to stop is over, without a second signal."""
    code = """
import time
from rxstreams.runtime import running
import rxstreams as rxs
from rxstreams import operators as ops

def block(value):
    print("blocked", flush=True)
    time.sleep(3600)

running.STOP_WITHIN = 0.1
rxs.run(rxs.from_iterable([1]).pipe(ops.map(block)), app="blocked", broker="memory://")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocked\n"
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
