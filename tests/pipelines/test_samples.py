"""The demos over the mission's example, over files, and over the shop's topic."""

import asyncio
import inspect
import time
from typing import Any

import pytest

import rxstreams as rxs
from pipelines import analytics, counting, demo, running_totals, shop, transformation
from pipelines.records import NewOrder, complete
from rxstreams import operators as ops
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
MISSION = {"counting": COUNTING, "running_totals": RUNNING_TOTALS, "transformation": TRANSFORMATION}


@pytest.mark.parametrize("module", MISSION)
def test_sample_prints_the_lines_of_the_mission(modules: Modules, module: str) -> None:
    """``--sample`` prints the mission's lines, nothing else, and leaves no file behind."""
    assert modules.run(module, "--sample") == (0, MISSION[module], "")
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


@pytest.mark.parametrize("module", MISSION)
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


async def append(url: str, *amounts: float) -> None:
    """Put orders into the shop's topic."""
    posts = rxs.from_iterable([complete(NewOrder(amount=amount)) for amount in amounts])
    async with rxs.start(posts.pipe(ops.to_topic("orders")), app=f"till-{time.monotonic_ns()}", broker=url) as running:
        await running.wait()


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
    url = f"sqlite:///{modules.folder / 'shop.db'}"
    await append(url, 100, 200)
    first = await count_up_to(2, modules, url)
    await append(url, 150)
    assert first == 'Total orders: 0\nTotal orders: 1\nTotal orders: 2\n{ "totalOrders": 2, "totalRevenue": 300 }\n'
    second = await count_up_to(3, modules, url)
    assert second == 'Total orders: 2\nTotal orders: 3\n{ "totalOrders": 3, "totalRevenue": 450 }\n'


def test_the_shop_is_where_the_demos_look() -> None:
    """Shop, analytics and demos use one file unless they are told otherwise."""
    mains = [module.main for module in (analytics, demo, shop, counting, running_totals, transformation)]
    assert {inspect.signature(main).parameters["broker"].default for main in mains} == {"sqlite:///shop.db"}
