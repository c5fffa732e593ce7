"""What calls gives what a plain operator gives: under random latencies, orders, capacities, policies, commits and crashes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import Skip, operators as ops
from rxstreams.errors import RxStreamsError
from rxstreams.testing import virtually
from tests.runtime.faulty import FaultyBroker, got, put

RECORDS = 150
SEEDS = 40


class Crash(Exception):
    """The process is gone, as far as the run can tell."""


class Crashing(FaultyBroker):
    """A broker that crashes the run at some commits, before they happen or after."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(self.commit_or_crash)
        self.rng, self.crashes = rng, 0

    async def commit_or_crash(self, n: int, make: Callable[[], Any]) -> None:
        """Crash at up to four commits."""
        crash = self.crashes < 4 and self.rng.random() < 0.3
        if not crash or self.rng.random() < 0.5:
            await make()
        if crash:
            self.crashes += 1
            raise Crash


def operator_and_oracle(rng: random.Random) -> tuple[Callable[[], Any], Callable[[int], list[Any]], bool]:
    """A random operator that calls, what it gives for a value, and whether its results keep the order of all records."""
    ordered: Any = rng.choice((True, False, "by_key"))
    latency = rng.choice((0.0, 0.001, 0.05, 0.4))
    concurrency = rng.choice((1, 2, 7, 30))
    jitter = random.Random(rng.random())
    options: dict[str, Any] = {
        "concurrency": concurrency,
        "ordered": ordered,
        "capacity": rng.choice((1, 3, 2 * concurrency, None)),
        "name": "calls",
    }
    bad = rng.choice((1000, 9))
    if bad == 9:
        options["on_error"] = Skip()

    async def call(value: int) -> int:
        if latency:
            await asyncio.sleep(jitter.expovariate(1 / latency))
        if value % bad == bad - 1:
            raise LookupError(value)
        return value * 10

    async def several(value: int) -> list[int]:
        return [await call(value)] * (value % 3)

    async def one_by_one(value: int) -> Any:
        for n in await several(value):
            yield n

    async def some(value: int) -> Any:
        return (await call(value)) % 20

    async def batch(keys: list[int]) -> list[int]:
        return [await call(key) for key in keys]

    fine = lambda value: value % bad != bad - 1  # noqa: E731  # used five times
    kinds: list[tuple[Callable[[], Any], Callable[[int], list[Any]]]] = [
        (lambda: ops.map_async(call, **options), lambda n: [n * 10] if fine(n) else []),
        (lambda: ops.filter_async(some, **options), lambda n: [n] if fine(n) and n * 10 % 20 else []),
        (lambda: ops.flat_map_async(several, **options), lambda n: [n * 10] * (n % 3) if fine(n) else []),
        (lambda: ops.flat_map_async(one_by_one, **options), lambda n: [n * 10] * (n % 3) if fine(n) else []),
        (lambda: ops.enrich(call, key=int, **options), lambda n: [[n, n * 10]] if fine(n) else []),
    ]
    if bad == 1000:
        kinds.append((lambda: ops.enrich(batch, key=int, batch=rng.choice((1, 5)), **options), lambda n: [[n, n * 10]]))
    make, oracle = rng.choice(kinds)
    return make, oracle, ordered is True


async def crashing_run(rng: random.Random, make: Callable[[], Any]) -> tuple[list[Any], int]:
    """What a run over a topic writes, from crash to crash, with edges and a second caller around."""
    broker, loop = Crashing(rng), asyncio.get_running_loop()
    await put(broker, range(RECORDS))
    wait = rng.choice((0.0, 0.01))

    async def pass_on(value: Any) -> Any:
        await asyncio.sleep(wait)
        return value

    def build() -> rxs.Stream[Any]:
        keyed = rxs.from_topic("in", int, until="end", max_ahead=None).pipe(ops.key_by(lambda n: n % 4))
        edge = ops.bounded(rng_capacity, name="edge")
        return keyed.pipe(edge, make(), ops.map_async(pass_on, concurrency=2, capacity=3, name="next"), ops.to_topic("out"))

    rng_capacity = rng.choice((1, 4, 500))
    for _ in range(6):
        try:
            async with rxs.start(build(), app="app", broker=broker, commit_interval=0.02, clock=loop.time) as running:
                await running.wait()
            break
        except Crash:
            continue
        except RxStreamsError as error:
            raise AssertionError(str(error)) from error
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
    return await got(broker), broker.crashes


@pytest.mark.parametrize("seed", range(SEEDS))
def test_calls_give_what_a_plain_operator_gives_whatever_crashes(seed: int) -> None:
    """Each result once, per key in order where that was asked for, in the order of all records with `ordered=True`."""
    rng = random.Random(f"calls {seed}")
    make, oracle, in_order = operator_and_oracle(rng)
    came, crashes = virtually(crashing_run(rng, make))
    expected = [result for n in range(RECORDS) for result in oracle(n)]
    if in_order:
        assert came == expected
    else:
        assert Counter(map(repr, came)) == Counter(map(repr, expected))
    assert crashes <= 4
    _crashes[seed] = crashes


_crashes: dict[int, int] = {}


def test_the_runs_do_crash() -> None:
    """Most of the runs above have crashed, so that what is saved has been restored."""
    assert len(_crashes) == SEEDS
    assert sum(n > 0 for n in _crashes.values()) > SEEDS * 0.6
