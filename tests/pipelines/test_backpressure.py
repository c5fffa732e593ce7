"""Demo 6: what a full buffer does to a producer, over the example and over the shop's topic."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

import rxstreams as rxs
from pipelines.records import NewOrder, complete
from rxstreams.brokers import Record
from tests.pipelines.conftest import Modules

PAUSE = "Backpressure! Pausing producer..."
TABLE = """\
policy       delivered  lost     time
block              100     0  100.0 s
drop_oldest         15    85   15.0 s
drop_newest         15    85   15.0 s
latest              15    85   15.0 s
fail                 1    99    0.6 s
"""


def mission() -> Iterator[str]:
    """All hundred events, and a pause each time that five wait: after 0, 5, 10, …, as long as there are more than fit."""
    for number in range(100):
        yield f"Processed: {{id: {number}}}"
        if number % 5 == 0 and number < 95:
            yield PAUSE


def test_sample_prints_the_lines_of_the_mission(modules: Modules) -> None:
    """Each event once, in order; the producer is paused after the first, and whenever the buffer was empty and is full again."""
    status, output, errors = modules.run("backpressure", "--sample")
    assert (status, output.splitlines(), errors) == (0, list(mission()), "")
    assert output.index("{id: 0}") < output.index(PAUSE) < output.index("{id: 5}") < output.rindex(PAUSE)


@pytest.mark.parametrize(
    ("policy", "taken"),
    [("drop_oldest", [0, 6, 16, 26, 36, 46]), ("drop_newest", [0, 1, 2, 3, 4, 5]), ("latest", [0, 6, 17, 28, 39, 50])],
)
def test_a_policy_ends_with_a_table_of_all(modules: Modules, policy: str, taken: list[int]) -> None:
    """What the consumer gets of the first seconds is what the policy says; the table tells what each delivers and loses."""
    status, output, errors = modules.run("backpressure", "--overflow", policy)
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    came = [line for line in lines if line.startswith("Processed")]
    assert came[:6] == [f"Processed: {{id: {number}}}" for number in taken]
    assert f"Backpressure! {policy}..." in lines
    assert output.endswith(TABLE)


def test_a_policy_that_there_is_not_is_refused(modules: Modules) -> None:
    """The message names those that there are."""
    status, output, errors = modules.run("backpressure", "--overflow", "wait")
    assert status == 2
    assert "drop_oldest" in output + errors


@pytest.mark.asyncio
async def test_a_slow_consumer_of_a_thousand_orders_pauses(modules: Modules) -> None:
    """On the shop's topic: it says that it pauses, takes orders in turn, and goes on after a kill with what was not committed."""
    broker = rxs.connect(modules.broker)
    await broker.start()
    orders = [complete(NewOrder(id=f"order-{n}", amount=1)) for n in range(1000)]
    await broker.append("orders", [Record(msgspec.json.encode(order)) for order in orders])
    await broker.stop()
    lines: list[str] = []
    for most in (3, 5):
        process = modules.start("backpressure", "--live")
        assert process.stdout is not None
        while sum(line.startswith("Processed") for line in lines) < most:
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, process.communicate()[1]
            lines.append(line.strip())
        process.kill()
        process.wait()
    taken = [line for line in lines if line.startswith("Processed")]
    assert lines[0] == "Backpressure detected, pausing..."
    assert taken[:3] == ["Processed: order-0", "Processed: order-1", "Processed: order-2"]
    assert taken[3] in ("Processed: order-1", "Processed: order-2", "Processed: order-3")
    assert int(taken[4].partition("-")[2]) == int(taken[3].partition("-")[2]) + 1
