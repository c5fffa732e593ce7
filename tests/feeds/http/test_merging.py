"""Several urls as one feed: each goes on by itself, and holds time back as far as it should."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import pytest

import rxstreams as rxs
from rxstreams import aggregates as agg, operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, OperatorError
from rxstreams.feeds.http import from_poll, from_sse
from rxstreams.feeds.http.merging import Silence
from rxstreams.feeds.source import Chunk
from tests.feeds.http.logs import PROTOCOLS, after, begin, log, numbers, stream
from tests.feeds.http.servers import Asked, Server, every, first, serving
from tests.runtime.faulty import got

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def urls(server: Server, *paths: str) -> list[str]:
    """Urls of a server."""
    return [server.url(path) for path in paths]


def by_path(items: list[Any]) -> dict[str, list[int]]:
    """The numbers of items by where they came from."""
    found: dict[str, list[int]] = {}
    for one in items:
        found.setdefault(one["path"], []).append(one["n"])
    return found


async def answer(asked: Asked) -> None:
    """Twelve numbered events, each with the path that it came from."""
    await asked.begin(headers={"content-type": "text/event-stream"})
    for n in range(after(asked), 12):
        await asked.send(
            b"id: %d\ndata: %b\n\n" % (n, msgspec.json.encode({"path": asked.path + asked.query.get("q", ""), "n": n}))
        )
    await asked.end()


@pytest.mark.asyncio
async def test_the_items_of_several_urls_come_in_the_order_of_each() -> None:
    """All of them, until all have ended."""
    async with serving(answer) as server:
        items = await every(from_sse(urls(server, "/a", "/b", "/c"), until="end"))
    assert by_path(items) == {path: list(range(12)) for path in ("/a", "/b", "/c")}


@pytest.mark.asyncio
async def test_each_url_goes_on_by_its_own_cursor_after_a_restart() -> None:
    """Also where they differ in their query only, and when they are given in another order."""
    broker, failed = MemoryBroker(), list[int]()

    def fail_once(one: Any) -> Any:
        if one["n"] == 7 and not failed:
            failed.append(7)
            raise RuntimeError("not now")
        return one

    async with serving(answer) as server:
        places = urls(server, "/a", "/b?q=1", "/b?q=2")
        for run in range(2):
            given = [places[1], places[2], places[0]] if run else places
            items = from_sse(given, until="end", capacity=2, name="all").pipe(ops.map(fail_once), ops.to_topic("out"))
            with suppress(OperatorError):
                async with rxs.start(items, app="all", broker=broker, commit_interval=1e-9) as running:
                    await running.wait()
        assert by_path(await got(broker)) == {path: list(range(12)) for path in ("/a", "/b1", "/b2")}
        assert any(after(asked) > 0 for asked in server.asked[3:])


@each_protocol
@pytest.mark.asyncio
async def test_a_url_that_is_down_does_not_keep_the_others(protocol: str) -> None:
    """Theirs come, while it is tried; what it has comes when it is back."""
    up, tried = asyncio.Event(), 0

    async def shaky(asked: Asked) -> None:
        nonlocal tried
        if asked.path == "/down" and not up.is_set():
            tried += 1
            return
        await log(protocol, 3)(asked)

    async with serving(shaky) as server:
        found: list[Any] = []
        async with aclosing(aiter(stream(protocol, urls(server, "/down", "/up"), until="end"))) as values:  # type: ignore[type-var]  # a generator
            async for value in values:
                found.append(value)
                if len(found) == 3:
                    assert tried > 0
                    up.set()
        assert found == numbers(0, 1, 2, 0, 1, 2)


@pytest.mark.asyncio
async def test_a_url_without_items_does_not_hold_time_back_for_ever() -> None:
    """After ``idle_after`` windows close by what the other one says; until then they wait for it."""

    async def quiet(asked: Asked) -> None:
        await begin("sse", asked)
        if asked.path == "/quiet":
            await asked.send(b'id: 0\ndata: {"at": 1000000000000}\n\n')
        else:
            await asked.send(*(b'id: %d\ndata: {"at": %d}\n\n' % (n, 1_000_000_000_000 + n * 30_000) for n in range(10)))
        await asked.gone()

    async with serving(quiet) as server:
        feed = from_sse(urls(server, "/quiet", "/loud"), timestamp="at", idle_after=0.05, advance_when_idle=False)
        counts = feed.pipe(ops.windowed(rxs.tumbling(60), n=agg.count()), ops.map(lambda one: one.n), ops.to_topic("out"))
        broker = MemoryBroker()
        await broker.create_topic("out")
        async with rxs.start(counts, app="quiet", broker=broker):
            while len(found := await got(broker)) < 4:
                await broker.wait({("out", 0): len(found)}, timeout=0.01)
        assert found[:4] == [2, 2, 2, 2]


async def told(chunks: list[Chunk | None], after: float | None = 0.02) -> list[Any]:
    """What is told of a partition that gives these chunks, a while of silence where one is None."""
    silence = Silence(after or 0.02, 1)

    async def part() -> Any:
        for chunk in chunks:
            if chunk is None:
                await asyncio.sleep(0.1)
            else:
                yield chunk

    async with aclosing(silence.told(0, 5, part())) as found:
        return [(one.news, one.next_offset) async for one in found]


def test_a_partition_is_told_to_be_idle_once_for_each_silence() -> None:
    """With its own offset, and not while there is something; in virtual time."""
    chunk, other = Chunk(0, ["a"], [5], 6), Chunk(0, ["b"], [6], 7)
    assert rxs.testing.virtually(told([None, chunk, None, None, other])) == [
        ("all idle", 5), (None, 6), ("all idle", 6), (None, 7),
    ]  # fmt: skip
    assert rxs.testing.virtually(told([None, chunk, None], after=0.3)) == [(None, 6)]


def test_all_are_idle_when_the_last_of_them_is() -> None:
    """Until then only some are."""

    async def both() -> list[Any]:
        silence = Silence(1.0, 2)

        async def part() -> Any:
            await asyncio.sleep(100)
            yield

        async def news(partition: int) -> Any:
            async with aclosing(silence.told(partition, 0, part())) as found:
                return (await anext(found)).news

        return [await news(0), await news(1)]

    assert rxs.testing.virtually(both()) == ["idle", "all idle"]


def test_wrong_urls_are_told_when_built() -> None:
    """None at all, one twice, one that is none."""
    for given, message in (
        ([], "expected a url or a list of urls"),
        (["http://a/", "http://a/"], "one of them twice"),
        (["http://a/", 3], "expected a url or a list of urls"),
        (["http://a/", "ftp://b/"], r"expected http://… or https://… with a host, got 'ftp://b/'"),
        ("http:///x", "with a host"),
        ("http://a:99999/", "with a host"),
        ("http://a/ b", "with a host"),
        ("localhost:80/x?token=secret", "got 'localhost:80/x'"),
        ("htp://ann:secret@a/x", "got 'a/x'"),
    ):
        with pytest.raises(ConfigError, match=message) as raised:
            from_sse(given)  # type: ignore[arg-type]  # on purpose
        assert "secret" not in str(raised.value)


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing!r}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name in {missing!r} else found(name, package)
importlib.util.find_spec = find_spec
from rxstreams.errors import ConfigError
from rxstreams.feeds.http import from_sse, from_websocket
try:
    {code}
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        ("httpx2", "from_sse('http://a/')", "from_sse: needs httpx2, not installed: pip install 'rxstreams[http]'"),
        ("stamina", "from_sse('http://a/')", "from_sse: needs stamina, not installed: pip install 'rxstreams[http]'"),
        ("wsproto", "from_websocket('ws://a/')", "from_websocket: needs wsproto, not installed: pip install 'rxstreams[http]'"),
        ("aiostream", "from_sse(['http://a/', 'http://b/'])", "pip install 'rxstreams[feeds]'"),
        ("aiostream", "from_sse('http://a/') and print('fine')", "fine"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(missing: str, code: str, message: str) -> None:
    """When the stream is built; one url needs nothing that merges."""
    program = WITHOUT.format(missing=[missing], code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert message in done.stdout


def test_describing_a_feed_loads_nothing_of_http() -> None:
    """Neither the client nor what retries and merges is imported before a feed is read."""
    program = (
        "import sys, rxstreams.feeds.http as http; http.from_sse(['http://a/', 'http://b/']); http.from_websocket('ws://a/'); "
        "print(sorted({'httpx2', 'stamina', 'aiostream', 'wsproto', 'anyio', 'structlog'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.asyncio
async def test_the_urls_of_a_poll_are_asked_by_themselves() -> None:
    """Each with its own page."""

    async def page(asked: Asked) -> None:
        number = int(asked.query.get("page", 0))
        await asked.answer(msgspec.json.encode({"path": asked.path, "n": number}))

    async with serving(page) as server:
        items = from_poll(urls(server, "/a", "/b"), every=1, next=lambda page: {"page": page.json["n"] + 1})
        found = by_path(await first(items, 40))
    assert {path: numbers == list(range(len(numbers))) for path, numbers in found.items()} == {"/a": True, "/b": True}
