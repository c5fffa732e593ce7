"""enrich: one lookup a key while its answer is fresh, together with others where the function takes several."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import Skip, operators as ops
from rxstreams.errors import OperatorError
from rxstreams.operators.enriching import Lookups
from tests.flow.driving import Served, outcome_of, virtual


def test_records_that_want_one_key_share_its_lookup() -> None:
    """A hundred records with four keys make four calls, although all of them come at once."""
    served = Served()
    came = virtual(lambda: outcome_of(range(100), ops.enrich(served, key=lambda n: n % 4)))
    assert came == [[n, n % 4 * 10] for n in range(100)]
    assert sorted(served.began) == [0, 1, 2, 3]


def test_an_answer_is_asked_for_anew_when_it_is_not_fresh_any_more() -> None:
    """`ttl` for answers, `negative_ttl` for none."""

    async def main() -> list[tuple[str, float]]:
        asked: list[tuple[str, float]] = []
        now = asyncio.get_running_loop().time

        async def find(key: str) -> str | None:
            asked.append((key, now()))
            return None if key == "no" else key.upper()

        lookups = Lookups(find, ttl=10, negative_ttl=3, max_entries=10, many=False)
        for _ in range(21):
            assert await lookups.get(["yes"]) == ["YES"]
            assert await lookups.get(["no"]) == [None]
            await asyncio.sleep(1)
        return asked

    asked = virtual(main)
    assert [time for key, time in asked if key == "yes"] == [0, 10, 20]
    assert [time for key, time in asked if key == "no"] == [0, 3, 6, 9, 12, 15, 18]


def test_the_answers_used_longest_ago_are_forgotten() -> None:
    """`max_entries` bounds what is kept."""

    async def main() -> tuple[list[int], int]:
        served = Served(takes=lambda key: 0.0)
        lookups = Lookups(served, ttl=1e9, negative_ttl=0, max_entries=3, many=False)
        for key in (1, 2, 3, 1, 4, 1, 2):
            assert await lookups.get([key]) == [key * 10]
        return served.began, len(lookups.known)

    assert virtual(main) == ([1, 2, 3, 4, 2], 3)


def test_a_function_of_several_keys_is_asked_for_those_that_wait_together() -> None:
    """With `batch=10`, different keys, each once; a mapping that lacks one, or a list with None, has no answer for it."""
    for answer in (
        lambda keys: {key: key * 10 for key in keys if key != 7},
        lambda keys: [None if key == 7 else key * 10 for key in keys],
    ):
        asked: list[list[int]] = []

        async def find(keys: list[int], answer: Any = answer, asked: Any = asked) -> Any:
            asked.append(keys)
            await asyncio.sleep(1)
            return answer(keys)

        enriched = ops.enrich(find, key=lambda n: n % 30, batch=10, concurrency=2)
        came = virtual(lambda enriched=enriched: outcome_of(range(60), enriched))  # type: ignore[misc]
        assert came == [[n, None if n % 30 == 7 else n % 30 * 10] for n in range(60)]
        assert max(map(len, asked)) == 10
        assert sorted(key for keys in asked for key in keys) == list(range(30))


@pytest.mark.parametrize("wrong", [[1, 2, 3], "abc", 5], ids=["too many", "a text", "a number"])
def test_answers_that_fit_no_keys_are_told(wrong: Any) -> None:
    """A list of another length would put answers beside the wrong records."""

    async def find(keys: list[int]) -> Any:
        return wrong

    with pytest.raises(OperatorError, match=r"enrich.*expected a mapping by key or a list of 1 answers"):
        virtual(lambda: outcome_of([1], ops.enrich(find, key=int, batch=4)))


def test_a_lookup_that_fails_fails_for_all_who_wait_and_is_not_kept() -> None:
    """They meet the policy; the next record asks again."""
    served = Served(fails=lambda key, n: n == 1)

    async def main() -> list[Any]:
        async def later() -> Any:
            for n in range(3):
                yield (n, 5)
            await asyncio.sleep(10)
            yield (3, 5)

        came: list[Any] = []
        stream = rxs.from_async_iterable(later, name="pairs").pipe(ops.enrich(served, key=lambda pair: pair[1], on_error=Skip()))
        async with rxs.start(stream.pipe(ops.to_callable(came.append)), app="app", broker="memory://") as running:
            await running.wait()
        assert running.statistics.lost == 3
        return came

    assert virtual(main) == [((3, 5), 50)]
    assert served.began == [5, 5]


def test_who_stops_waiting_takes_nobody_s_answer_away() -> None:
    """Cancelling one who shares a lookup leaves it to the others; if the one who makes it is, another makes it anew."""

    async def main() -> None:
        served = Served()
        lookups = Lookups(served, ttl=60, negative_ttl=0, max_entries=10, many=False)
        maker, one, other = (asyncio.ensure_future(lookups.get([1])) for _ in range(3))
        await asyncio.sleep(0.5)
        one.cancel()
        assert await other == [10]
        assert await maker == [10]
        maker, one = (asyncio.ensure_future(lookups.get([2])) for _ in range(2))
        await asyncio.sleep(0.5)
        maker.cancel()
        assert await one == [20]
        assert served.began == [1, 2, 2]
        assert lookups.flights == {}

    virtual(main)
