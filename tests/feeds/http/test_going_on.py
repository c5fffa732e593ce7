"""Feeds that a server can be asked to continue: whatever happens to connections and runs, each item comes once."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, OperatorError
from tests.feeds.http.logs import PROTOCOLS, after, begin, item, log, numbers, stream
from tests.feeds.http.servers import Asked, every, serving
from tests.runtime.faulty import got

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("protocol", "cut"),
    [("sse", b'id: 5\ndata: {"n"'), ("sse", b"id: 77\n"), ("sse", b'data: {"n": 5}\n'), ("ndjson", b'{"n": 5}')],
)
async def test_a_connection_that_breaks_off_in_the_middle_of_an_item_is_taken_up_after_the_last_whole_one(
    protocol: str, cut: bytes
) -> None:
    """Three items and a piece in each connection: the piece is no item, and its item comes whole with the next connection."""
    async with serving(log(protocol, 10, each=3, cut=cut)) as server:
        assert await every(stream(protocol, server.url(), until="end")) == numbers(*range(10))
        assert [after(asked) for asked in server.asked] == [0, 3, 6, 9]


@each_protocol
@pytest.mark.asyncio
async def test_a_response_that_ends_is_asked_for_again(protocol: str) -> None:
    """Without ``until`` the server's end is not the stream's: it is asked for what comes next."""

    async def two_at_a_time(asked: Asked) -> None:
        await begin(protocol, asked)
        await asked.send(*(item(protocol, n) for n in range(after(asked), after(asked) + 2)))
        await asked.end()

    async with serving(two_at_a_time) as server:
        assert await every(stream(protocol, server.url()).pipe(ops.take(5))) == numbers(*range(5))
        assert [after(asked) for asked in server.asked] == [0, 2, 4]


async def run_that_fails_at(n: int, url: str, protocol: str, broker: MemoryBroker, **options: Any) -> None:
    """Run twice: the first run fails at item ``n``, after commits of what came before."""
    failed = list[int]()

    def fail_once(one: Any) -> Any:
        if one["n"] == n and not failed:
            failed.append(n)
            raise RuntimeError("not now")
        return one

    for _ in range(2):
        items = stream(protocol, url, until="end", capacity=2, name="log", **options).pipe(
            ops.map(fail_once), ops.to_topic("out")
        )
        with suppress(OperatorError):
            async with rxs.start(items, app="log", broker=broker, commit_interval=1e-9) as running:
                await running.wait()
    assert failed == [n]


@each_protocol
@pytest.mark.asyncio
async def test_a_run_that_is_started_again_goes_on_after_what_it_committed(protocol: str) -> None:
    """Killed in the middle of what came together, it asks for what comes after its last commit, and each item counts once."""
    broker = MemoryBroker()
    async with serving(log(protocol, 12)) as server:
        await run_that_fails_at(7, server.url(), protocol, broker)
        assert await got(broker) == numbers(*range(12))
        once, again = map(after, server.asked)
        assert (once, again in (2, 4, 6)) == (0, True)


@each_protocol
@pytest.mark.asyncio
@pytest.mark.parametrize("finish", [False, True])
async def test_a_feed_that_does_not_finish_goes_on_with_a_later_start(protocol: str, finish: bool) -> None:
    """A job that runs now and then stops where the server ends, and a later one takes what came since; else it is the end."""
    broker = MemoryBroker()
    for size in (3, 5, 5, 9):
        async with serving(log(protocol, size)) as server:
            items = stream(protocol, server.url(), until="end", finish=finish, name="job").pipe(ops.to_topic("out"))
            async with rxs.start(items, app="job", broker=broker) as running:
                await running.wait()
    assert await got(broker) == numbers(*range(3 if finish else 9))


@pytest.mark.asyncio
async def test_two_feeds_that_differ_in_the_query_only_need_names() -> None:
    """Built in another order, each would go on where the other was; two that read the same may, as it is the same place."""
    both = [stream("sse", f"http://127.0.0.1:9/feed?key={key}").pipe(ops.to_topic("out")) for key in "ab"]
    with pytest.raises(
        ConfigError, match=r"two feeds are saved under 'sse:http://127\.0\.0\.1:9/feed'.*give each a name="
    ) as raised:
        async with rxs.start(*both, app="two", broker=MemoryBroker()):
            pass
    assert "key" not in str(raised.value)
    async with serving(log("sse", 2)) as server:
        named = [stream("sse", server.url(f"/feed?{key}"), until="end", name=key).pipe(ops.to_topic(key)) for key in "ab"]
        same = [stream("sse", server.url(), until="end").pipe(ops.to_topic(out)) for out in "cd"]
        broker = MemoryBroker()
        async with rxs.start(*named, *same, app="four", broker=broker) as running:
            await running.wait()
        assert [await got(broker, topic) for topic in "abcd"] == [numbers(0, 1)] * 4


@each_protocol
@pytest.mark.asyncio
async def test_a_run_with_a_feed_that_goes_on_promises_exactly_once(protocol: str) -> None:
    """It is its weakest link that a run's guarantee names, and this one is none."""
    async with (
        serving(log(protocol, 3)) as server,
        rxs.start(stream(protocol, server.url()).pipe(ops.to_topic("out")), app="strong", broker=MemoryBroker()) as running,
    ):
        assert running.guarantee.level == "exactly_once"


@pytest.mark.asyncio
async def test_without_resume_a_feed_of_lines_says_that_it_cannot_go_on() -> None:
    """The guarantee names the feed, and the argument that would mend it."""
    async with (
        serving(log("ndjson", 3)) as server,
        rxs.start(
            stream("ndjson", server.url(), resume=None).pipe(ops.to_topic("out")), app="weak", broker=MemoryBroker()
        ) as running,
    ):
        assert running.guarantee.level == "at_most_once"
        assert "cannot be asked to go on where it was (resume=)" in running.guarantee.because


@each_protocol
@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(8))
async def test_whatever_goes_wrong_each_item_comes_once_and_in_order(protocol: str, seed: int) -> None:
    """A server that fails, cuts anywhere, sends byte by byte, and goes back where there are ids; runs that fail anywhere."""
    chance, size = random.Random(seed), 200

    async def answer(asked: Asked) -> None:
        if chance.random() < 0.2:
            await asked.answer(b"", chance.choice([500, 503, 429]), {"retry-after": "0"})
            return
        start = max(0, after(asked) - (chance.randrange(6) if protocol == "sse" else 0))
        sent = b"".join(item(protocol, n) for n in range(start, size))
        whole = chance.random() < 0.2
        if not whole:
            sent = sent[: chance.randrange(3000)]
        await begin(protocol, asked)
        while sent:
            at = chance.choice([1, 7, 100, 5000])
            await asked.send(sent[:at])
            sent = sent[at:]
        if whole:
            await asked.end()

    def fail_now_and_then(one: Any) -> Any:
        if chance.random() < 0.005:
            raise RuntimeError("now and then")
        return one

    broker, finished = MemoryBroker(), False
    async with serving(answer) as server:
        while not finished:
            items = stream(protocol, server.url(), until="end", capacity=chance.choice([1, 3, 1024]), name="log")
            with suppress(OperatorError):
                out = items.pipe(ops.map(fail_now_and_then), ops.to_topic("out"))
                async with rxs.start(out, app="log", broker=broker, commit_interval=chance.choice([1e-9, 60.0])) as running:
                    await running.wait()
                    finished = True
    assert await got(broker) == numbers(*range(size))
