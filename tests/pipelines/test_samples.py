"""The demos over the mission's example, over files, and over the shop's topic."""

import asyncio
import inspect
import json
import re
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

import rxstreams as rxs
from pipelines import (
    analytics,
    counting,
    deduplication,
    demo,
    event_time,
    joining,
    running_totals,
    shop,
    transformation,
    windowing,
)
from pipelines.records import NewOrder, NewPayment, Order, Payment, complete
from rxstreams import operators as ops
from rxstreams.brokers import Record
from tests.pipelines.conftest import ROOT, Modules

COUNTING = """\
Total orders: 0
Total orders: 1
Total orders: 2
Total orders: 3
{ "totalOrders": 3, "totalRevenue": 450 }
"""
RUNNING_TOTALS = """\
Running Total: 100, Avg: 100
Running Total: 600, Avg: 300
Running Total: 800, Avg: 267
"""
TRANSFORMATION = "Total high-value orders (VND): 84,000,000\n"
WINDOWING = """\
Window [0-60s]: 30 orders, $3000
Window [60-120s]: 30 orders, $3000
Hopping [-50-10s]: 5 orders, $500
Hopping [-40-20s]: 10 orders, $1000
Hopping [-30-30s]: 15 orders, $1500
Hopping [-20-40s]: 20 orders, $2000
Hopping [-10-50s]: 25 orders, $2500
Hopping [0-60s]: 30 orders, $3000
Hopping [10-70s]: 30 orders, $3000
Hopping [20-80s]: 30 orders, $3000
Hopping [30-90s]: 30 orders, $3000
Hopping [40-100s]: 30 orders, $3000
Hopping [50-110s]: 30 orders, $3000
Hopping [60-120s]: 30 orders, $3000
Hopping [70-130s]: 25 orders, $2500
Hopping [80-140s]: 20 orders, $2000
Hopping [90-150s]: 15 orders, $1500
Hopping [100-160s]: 10 orders, $1000
Hopping [110-170s]: 5 orders, $500
"""
EVENT_TIME = """\
order-1: event time 2026-01-16T10:00:00Z, processing time 2026-01-16T10:00:05Z, Lag: 5000ms
order-2: event time 2026-01-16T09:59:00Z, processing time 2026-01-16T10:00:10Z, Lag: 70000ms
order-3: event time 2026-01-16T10:02:00Z, processing time 2026-01-16T10:02:01Z, Lag: 1000ms
Window [09:59:00-10:00:00Z]: 1 order, $200
Window [10:00:00-10:01:00Z]: 1 order, $100
order-4: event time 2026-01-16T09:59:30Z, processing time 2026-01-16T10:02:02Z, Lag: 152000ms
Late: order-4, 90 s behind the watermark
Window [10:02:00-10:03:00Z]: 1 order, $300
"""
JOINING = """\
Enriched: {id: order-1, amount: 100, paymentId: pay-1}
Enriched: {id: order-2, amount: 250.50, paymentId: pay-2}
Enriched: {id: order-3, amount: 75, paymentId: null}
Enriched: {id: order-4, amount: 20, paymentId: pay-4}
"""
DEDUPLICATION = """\
Processing order-123
Duplicate detected: order-123
Processing order-456
Processing order-123
"""
FRAUD = """\
FRAUD ALERT: User user-1 has 3 failed payments in 5 min
"""
MISSION = {
    "counting": COUNTING,
    "running_totals": RUNNING_TOTALS,
    "transformation": TRANSFORMATION,
    "windowing": WINDOWING,
    "event_time": EVENT_TIME,
    "joining": JOINING,
    "deduplication": DEDUPLICATION,
    "fraud": FRAUD,
}


@pytest.mark.parametrize("module", MISSION)
def test_sample_prints_the_lines_of_the_mission(modules: Modules, module: str) -> None:
    """``--sample`` prints the mission's lines, and leaves no file behind and nothing in the log."""
    status, output, log = modules.run(module, "--sample")
    assert (status, output, log) == (0, MISSION[module], "")
    assert list(modules.folder.iterdir()) == []


OTHER = {
    "counting": 'Total orders: 0\nTotal orders: 1\nTotal orders: 2\n{ "totalOrders": 2, "totalRevenue": 1650.5 }\n',
    "running_totals": "Running Total: 150.50, Avg: 151\nRunning Total: 1650.50, Avg: 825\n",
    "transformation": "Total high-value orders (VND): 36,000,000\n",
}


@pytest.mark.parametrize("module", OTHER)
def test_input_replaces_the_example(modules: Modules, module: str) -> None:
    """Other amounts give other lines; an order may be whole or its amount alone."""
    order = '{"id": "o1", "userId": "u1", "amount": 1500, "timestamp": "2026-01-16T10:00:00Z"}'
    (modules.folder / "orders.ndjson").write_text(f'{{"amount": 150.5}}\n\n{order}\n')
    assert modules.run(module, "--input", "orders.ndjson") == (0, OTHER[module], "")


def posted(*orders: dict[str, Any]) -> str:
    """A file's orders, one a line."""
    return "".join(json.dumps(order) + "\n" for order in orders)


def test_windows_count_the_seconds_from_the_first_minute_of_the_input(modules: Modules) -> None:
    """An order every 5 s for 3 minutes makes 12 in each; wherever in the file and the day they begin, and whatever they cost."""
    start = datetime(2026, 3, 31, 23, 58, tzinfo=UTC)
    orders = [{"amount": 10.5, "timestamp": (start + timedelta(seconds=at)).isoformat()} for at in range(0, 180, 5)]
    orders[0], orders[1] = orders[1], orders[0]
    (modules.folder / "orders.ndjson").write_text(posted(*orders, {"amount": 1, "timestamp": "2026-04-30T00:00:30+02:00"}))
    status, output, log = modules.run("windowing", "--input", "orders.ndjson", "--every", "60")
    assert (status, log) == (0, "")
    minutes = [f"[{at}-{at + 60}s]: 12 orders, $126\n" for at in (0, 60, 120)] + ["[2498520-2498580s]: 1 order, $1\n"]
    assert output == "".join(f"{kind} {minute}" for kind in ("Window", "Hopping") for minute in minutes)


def test_windows_may_be_of_another_length(modules: Modules) -> None:
    """``--size`` and ``--every`` are theirs, in seconds; lengths that make no windows are refused."""
    orders = [{"amount": 100, "timestamp": f"2026-01-16T10:00:00.{tenth}Z"} for tenth in (0, 2, 6)]
    (modules.folder / "orders.ndjson").write_text(posted(*orders))
    status, output, log = modules.run("windowing", "--input", "orders.ndjson", "--size", "0.5", "--every", "0.25")
    assert (status, log) == (0, "")
    assert output.splitlines() == [
        "Window [0-0.5s]: 2 orders, $200",
        "Window [0.5-1s]: 1 order, $100",
        "Hopping [-0.25-0.25s]: 2 orders, $200",
        "Hopping [0-0.5s]: 2 orders, $200",
        "Hopping [0.25-0.75s]: 1 order, $100",
        "Hopping [0.5-1s]: 1 order, $100",
    ]
    status, output, log = modules.run("windowing", "--sample", "--size", "10", "--every", "20")
    assert (status, output) == (1, "")
    assert "hopping(every): expected at most the size, 10 s" in log


def test_event_time_of_other_orders_gives_other_lines(modules: Modules) -> None:
    """The watermark is a minute behind the newest order; an order that comes behind it counts as long as its minute is open."""
    times = ["10:00:30", "09:59:40", "10:01:10", "10:00:59", "10:02:30", "10:00:00"]
    orders = [
        {"id": f"o{n}", "amount": 10**n, "timestamp": f"2026-01-16T{time}Z", "handledAt": f"2026-01-16T12:03:0{n}.5+02:00"}
        for n, time in enumerate(times)
    ]
    (modules.folder / "orders.ndjson").write_text(posted(*orders))
    status, output, _ = modules.run("event_time", "--input", "orders.ndjson")
    assert status == 0
    lines = output.splitlines()
    assert [line for line in lines if "Lag" not in line] == [
        "Window [09:59:00-10:00:00Z]: 1 order, $10",
        "Window [10:00:00-10:01:00Z]: 2 orders, $1001",
        "Late: o5, 90 s behind the watermark",
        "Window [10:01:00-10:02:00Z]: 1 order, $100",
        "Window [10:02:00-10:03:00Z]: 1 order, $10000",
    ]
    assert lines[0] == "o0: event time 2026-01-16T10:00:30Z, processing time 2026-01-16T10:03:00Z, Lag: 150500ms"


def test_orders_and_payments_of_a_file_are_joined_within_other_bounds(modules: Modules) -> None:
    """Which line is which its ``orderId`` tells; a payment that failed pays nothing, and a bad line is reported."""
    lines = [
        {"id": "a", "amount": 1, "timestamp": "2026-01-16T10:00:00Z"},
        {"orderId": "a", "paymentId": "p", "timestamp": "2026-01-16T10:00:10Z"},
        {"orderId": "a", "paymentId": "q", "timestamp": "2026-01-16T10:00:11Z"},
        {"id": "b", "amount": 2, "timestamp": "2026-01-16T10:00:00Z"},
        {"orderId": "b", "paymentId": "r", "status": "failed", "timestamp": "2026-01-16T10:00:01Z"},
    ]
    (modules.folder / "shop.ndjson").write_text(posted(*lines))
    pair, alone = "Enriched: {id: a, amount: 1, paymentId: p}\n", "Enriched: {id: b, amount: 2, paymentId: null}\n"
    assert modules.run("joining", "--input", "shop.ndjson", "--within", "10") == (0, pair + alone, "")
    assert modules.run("joining", "--input", "shop.ndjson", "--within", "10", "--how", "inner") == (0, pair, "")
    (modules.folder / "bad.ndjson").write_text(posted({"orderId": ""}))
    status, output, errors = modules.run("joining", "--input", "bad.ndjson")
    assert (status, output) == (1, "")
    assert 'bad.ndjson:1: expected an order such as {"amount": 100} or a payment such as {"orderId": "order-1"}; got' in errors


def test_an_order_without_a_payment_comes_out_after_five_minutes_of_event_time() -> None:
    """In virtual time: not a moment before, though nothing else comes."""
    orders, payments = rxs.from_topic("orders", Order, timestamp="timestamp"), rxs.from_topic("payments", Payment)
    drive = rxs.testing.drive(joining.build(orders, payments).pipe(ops.map(joining.line)))
    made = datetime(2026, 1, 16, 10, tzinfo=UTC)
    drive.feed({"id": "order-1", "userId": "u", "amount": 100, "timestamp": made.isoformat()}, source="orders")
    for seconds in (299, 300):
        for topic in ("orders", "payments"):
            drive.watermark(made + timedelta(seconds=seconds), source=topic)
        assert drive.values() == []
    for topic in ("orders", "payments"):
        drive.watermark(made + timedelta(seconds=300.001), source=topic)
    assert drive.values() == ["Enriched: {id: order-1, amount: 100, paymentId: null}"]


def test_orders_of_a_file_are_told_apart_within_another_time(modules: Modules) -> None:
    """An id is new when its time to live is over, to the millisecond; what comes too late to tell is said to be so."""
    times = ["10:00:00", "10:00:09.999", "10:00:10", "10:00:40", "10:00:30"]
    orders = [{"id": "a", "amount": 1, "timestamp": f"2026-01-16T{time}Z"} for time in times]
    (modules.folder / "orders.ndjson").write_text(posted(*orders) + '{"id": "a"}\n')
    status, output, errors = modules.run("deduplication", "--input", "orders.ndjson", "--ttl", "10")
    assert output.splitlines() == [
        "Processing a",
        "Duplicate detected: a",
        "Processing a",
        "Processing a",
        "Too late to tell: a, 10 s behind the watermark",
    ]
    assert status == 1
    assert errors.startswith('orders.ndjson:6: expected an order such as {"amount": 100}; got b\'{"id": "a"}\': ')
    assert errors.count("\n") == 1


async def lines_up_to(process: Any, last: str) -> list[str]:
    """What a process prints up to this line; what bounds the wait is the test's timeout."""
    lines: list[str] = []
    while not lines or lines[-1] != last:
        lines.append((await asyncio.to_thread(process.stdout.readline)).rstrip())
        assert lines[-1], process.communicate()
    return lines


async def killed(process: Any, url: str, app: str, **offsets: int) -> None:
    """Kill a process with -9, when it has committed its topics up to these offsets."""
    broker, wanted = rxs.connect(url), {(topic, 0): offset for topic, offset in offsets.items()}
    await broker.start()
    deadline = time.monotonic() + 20
    while await broker.committed(app) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    await broker.stop()
    process.kill()
    assert process.wait() == -9


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_a_duplicate_is_one_still_after_the_process_was_killed(modules: Modules) -> None:
    """Killed with -9 when the first order was committed; the second process knows it, and what is new."""
    url = modules.broker

    async def send(*ids: str) -> None:
        await put(url, *(complete(NewOrder(id=identity, amount=1)) for identity in ids))

    await send("order-123")
    first = modules.start("deduplication")
    assert await lines_up_to(first, "Processing order-123") == ["Processing order-123"]
    await killed(first, url, "deduplication", orders=1)
    await send("order-123", "order-456")
    second = modules.start("deduplication")
    assert await lines_up_to(second, "Processing order-456") == ["Duplicate detected: order-123", "Processing order-456"]


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_joining_follows_the_topics_and_waits_for_payments_still_after_it_was_killed(modules: Modules) -> None:
    """The second process joins the orders that the first one had; when time has gone on, one without a payment comes out."""
    # Of now, so that the clock, which time goes by when nothing comes, is not past the five minutes on a slow machine.
    url, made = modules.broker, datetime.now(UTC)

    async def order(number: int, seconds: float = 0) -> None:
        at = made + timedelta(seconds=seconds)
        await put(url, complete(NewOrder(id=f"order-{number}", amount=100, timestamp=at)))

    async def payment(number: int, seconds: float = 0) -> None:
        at = made + timedelta(seconds=seconds)
        paid = NewPayment(order_id=f"order-{number}", payment_id=f"pay-{number}", timestamp=at)
        await put(url, complete(paid), topic="payments")

    def enriched(number: int, payment: str) -> str:
        return f"Enriched: {{id: order-{number}, amount: 100, paymentId: {payment}}}"

    await order(1)
    await order(2)
    await payment(3)
    first = modules.start("joining")
    await killed(first, url, "joining", orders=2, payments=1)
    assert first.communicate()[0] == ""
    second = modules.start("joining")
    await payment(1)
    assert await lines_up_to(second, enriched(1, "pay-1")) == [enriched(1, "pay-1")]
    await order(3)
    assert await lines_up_to(second, enriched(3, "pay-3")) == [enriched(3, "pay-3")]
    await payment(4, 310)
    await order(4, 310)
    assert second.stdout is not None
    last = [(await asyncio.to_thread(second.stdout.readline)).rstrip() for _ in range(2)]
    assert sorted(last) == [enriched(2, "null"), enriched(4, "pay-4")]
    second.terminate()
    assert (await asyncio.to_thread(modules.end, second), second.returncode) == ("", 0)


def test_an_order_without_another_time_is_handled_as_it_is_read(modules: Modules) -> None:
    """Then the lag is by the clock."""
    made = datetime.now(UTC) - timedelta(seconds=7)
    (modules.folder / "orders.ndjson").write_text(posted({"id": "o1", "amount": 1, "timestamp": made.isoformat()}))
    output = modules.run("event_time", "--input", "orders.ndjson")[1]
    found = re.search(r"^o1: .* Lag: (\d+)ms$", output, re.MULTILINE)
    assert found
    assert 7000 <= int(found[1]) < 60_000


def test_a_bad_line_of_input_is_reported_and_leaves_the_others_alone(modules: Modules) -> None:
    """The report names file, line, what was expected and what came; the status is 1, and the good lines are processed."""
    bad = ["{", '{"amount": -1}', '{"amount": "5"}', "{}", "[" * 5000, '{"amount": 1e999}', '{"amount": 1, "id": "\ud800"}']
    lines = ['{"amount": 100}', *bad, '{"amount": 500}']
    (modules.folder / "orders.ndjson").write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    status, output, errors = modules.run("running_totals", "--input", "orders.ndjson")
    assert (status, output) == (1, "Running Total: 100, Avg: 100\nRunning Total: 600, Avg: 300\n")
    reports = errors.splitlines()
    assert [report.split(": ")[0] for report in reports] == [f"orders.ndjson:{number}" for number in range(2, 9)]
    assert reports[1] == (
        'orders.ndjson:3: expected an order such as {"amount": 100}; got b\'{"amount": -1}\': Expected `int` >= 0 - at `$.amount`'
    )


def test_input_that_is_missing_is_an_error(modules: Modules) -> None:
    """A file that does not exist is named."""
    status, output, errors = modules.run("counting", "--input", "nowhere.ndjson")
    assert status == 2
    assert output == ""
    assert "nowhere.ndjson" in errors


@pytest.mark.parametrize("module", [*MISSION, "backpressure"])
def test_a_demo_fits_a_screen_and_shares_nothing(module: str) -> None:
    """A demo has 80 lines at most, and imports of pipelines only the records and the runner of samples."""
    text = (ROOT / "pipelines" / f"{module}.py").read_text()
    assert len(text.splitlines()) <= 80
    shared = {line.split()[1] for line in text.splitlines() if line.startswith("from pipelines")}
    assert shared == {"pipelines.records", "pipelines.sampling"}


def test_build_is_a_stream_that_can_be_subscribed() -> None:
    """Each build() describes a pipeline that runs without a broker too."""

    def of(build: Any, *amounts: float) -> list[Any]:
        seen: list[Any] = []
        build(rxs.from_iterable([complete(NewOrder(amount=amount)) for amount in amounts])).subscribe(seen.append)
        return seen

    assert [row.totalRevenue for row in of(counting.build, 100, 200)] == [100, 300]
    assert [(row.least, row.greatest) for row in of(running_totals.build, 5, 3, 9)] == [(5, 5), (3, 5), (3, 9)]
    assert of(transformation.build, 1000, 1001, 2000) == [24_024_000, 72_024_000]


def test_windows_of_build_go_by_the_time_of_its_stream() -> None:
    """Which minute an order is in is for the stream to say that build() is given; live, a window's line has the clock."""
    made = [datetime(2026, 1, 16, 17, minute, 59, tzinfo=timezone(timedelta(hours=7))) for minute in (0, 0, 1)]
    orders = [complete(NewOrder(amount=amount, timestamp=time)) for amount, time in zip((100, 0.25, 200), made, strict=True)]
    minutes: list[Any] = []
    windowing.build(rxs.from_iterable(orders, timestamp="timestamp"))[0].subscribe(minutes.append)
    assert [windowing.by_clock("Window", minute) for minute in minutes] == [
        "Window [10:00:00-10:01:00Z]: 2 orders, $100.25",
        "Window [10:01:00-10:02:00Z]: 1 order, $200",
    ]


async def append(url: str, *amounts: float) -> None:
    """Put orders into the shop's topic."""
    await put(url, *(complete(NewOrder(amount=amount)) for amount in amounts))


async def put(url: str, *records: Any, topic: str = "orders") -> None:
    """Put these records there, or into another topic."""
    broker = rxs.connect(url)
    await broker.start()
    await broker.append(topic, [Record(msgspec.json.encode(one)) for one in records])
    await broker.stop()


async def count_up_to(count: int, modules: Modules, url: str) -> str:
    """Run the counting demo until it has counted, and saved, that many orders; return what it printed."""
    process = modules.start("counting")
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1] != f"Total orders: {count}\n":
        lines.append(await asyncio.to_thread(process.stdout.readline))
        assert lines[-1], process.communicate()
    deadline = time.monotonic() + 20
    while (await counting.analytics(url))["totalOrders"] < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    process.terminate()
    lines.append(await asyncio.to_thread(modules.end, process))
    assert process.returncode == 0
    return "".join(lines)


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_counting_follows_the_topic_and_goes_on_after_a_restart(modules: Modules) -> None:
    """It prints each order of the shop's topic as it comes, ends with status 0 on SIGTERM, and restarts from its totals."""
    url = modules.broker
    await append(url, 100, 200)
    first = await count_up_to(2, modules, url)
    await append(url, 150)
    assert first == 'Total orders: 0\nTotal orders: 1\nTotal orders: 2\n{ "totalOrders": 2, "totalRevenue": 300 }\n'
    second = await count_up_to(3, modules, url)
    assert second == 'Total orders: 2\nTotal orders: 3\n{ "totalOrders": 3, "totalRevenue": 450 }\n'


def test_the_shop_is_where_the_demos_look() -> None:
    """Shop, analytics and demos use one file unless they are told otherwise."""
    modules = (
        analytics,
        deduplication,
        demo,
        joining,
        shop,
        counting,
        event_time,
        running_totals,
        transformation,
        windowing,
    )
    mains = [module.main for module in modules]
    assert {inspect.signature(main).parameters["broker"].default for main in mains} == {"sqlite:///shop.db"}
