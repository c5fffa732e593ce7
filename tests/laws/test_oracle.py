"""RxPY as an oracle: a pipeline of its operators, over the same values, gives what ours gives in a run that is cut anywhere."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import reactivex
from reactivex import Observable, operators as rx
from reactivex.subject import Subject

from rxstreams import operators as ours
from tests.laws.harness import End, Rec, lines, random_cuts, run

Step = Callable[[Any], Any]


def step(rng: random.Random, operators: Any) -> Step:
    """Return a random operator of a library, the same for both: they take the same arguments."""
    k = rng.randrange(2, 5)
    makers: list[Callable[[], Step]] = [
        lambda: operators.map(lambda x: x * k + 1),
        lambda: operators.filter(lambda x: x % k),
        lambda: operators.flat_map(lambda x: reactivex.from_iterable([x + i for i in range(x % k)])),
        lambda: operators.scan(lambda total, x: total + x),
        lambda: operators.scan(lambda total, x: total + x, k),
        lambda: operators.reduce(lambda total, x: total * 3 + x, k),
        lambda: operators.take(k * rng.choice((1, 10))),
        lambda: operators.distinct(lambda x: x % (k * 7)),
        operators.distinct,
        lambda: _compose(operators.buffer_with_count(k, rng.choice((None, 1, k, k + 2))), operators.map(sum)),
        lambda: _both(operators, lambda s: s.pipe(operators.map(lambda x: -x)), operators.merge),
        lambda: _compose(
            _both(operators, lambda s: s.pipe(operators.filter(lambda x: x % k)), operators.combine_latest), operators.map(sum)
        ),
        lambda: _compose(_both(operators, lambda s: s.pipe(operators.take(k)), operators.combine_latest), operators.map(sum)),
    ]
    return rng.choice(makers)()


def _compose(*steps: Step) -> Step:
    def build(source: Any) -> Any:
        for one in steps:
            source = one(source)
        return source

    return build


def _both(operators: Any, branch: Step, join: Callable[[Any], Step]) -> Step:
    return lambda source: join(branch(source))(source)


def theirs(values: list[int], steps: Callable[[Any], list[Step]]) -> list[Any]:
    """Return what RxPY makes of values that come one by one, each stage shared by its branches as a run shares it."""
    source: Subject[int] = Subject()
    stream: Observable[Any] = source
    shared: list[Any] = []
    for one in steps(rx):
        connectable = stream.pipe(one).pipe(rx.publish())
        shared.append(connectable)
        stream = connectable
    got: list[Any] = []
    stream.subscribe(got.append)
    for connectable in reversed(shared):
        connectable.connect()
    for value in values:
        source.on_next(value)
    source.on_completed()
    return got


@pytest.mark.parametrize("shard", range(2))
def test_a_run_gives_what_rxpy_gives(shard: int) -> None:
    """600 pipelines of one to four operators that RxPY has give under random cuts exactly RxPY's values."""
    for seed in range(shard * 300, shard * 300 + 300):
        rng = random.Random(seed)
        values = [rng.randrange(40) for _ in range(rng.choice((3, 30)))]
        length = rng.randint(1, 4)

        def steps(operators: Any, seed: int = seed, length: int = length) -> list[Step]:
            dice = random.Random(f"steps {seed}")
            return [step(dice, operators) for _ in range(length)]

        stream = _compose(*steps(ours))(lines())
        events = [*(Rec("a", 0, value, 0) for value in values), End("a")]
        outcome = run(events, stream, cuts=random_cuts(rng, len(events)), timed=rng.random() < 0.5)
        assert outcome.values == [theirs(values, steps)], f"seed {seed}"
