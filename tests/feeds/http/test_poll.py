"""from_poll: pages, what is nothing new, and where a run that is started again goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import httpx2
import msgspec
import pytest

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, FeedError, OperatorError
from rxstreams.feeds.http import Page, from_poll
from rxstreams.feeds.http.feed import Reading
from rxstreams.feeds.http.poll import PageReader
from tests.feeds.http.servers import JSON, Answer, Asked, every, first, serving
from tests.runtime.faulty import got

SOON = 1e-6


def pages(size: int, total: int) -> Answer:
    """Answers with pages of ``size`` items out of ``total``, by ``?page=``; the last may be shorter."""

    async def answer(asked: Asked) -> None:
        page = int(asked.query.get("page", 0))
        found = list(range(page * size, min(page * size + size, total)))
        following = page + 1 if (page + 1) * size < total else None
        await asked.answer(msgspec.json.encode({"items": found, "next": following}), headers=JSON)

    return answer


def next_page(page: Page) -> dict[str, Any] | None:
    """What such a page says of the next."""
    return None if page.json["next"] is None else {"page": page.json["next"]}


def in_turn(*bodies: Any, headers: Callable[[int], dict[str, str]] = lambda number: {}) -> Answer:
    """Answers with these bodies, the last again and again."""

    async def answer(asked: Asked) -> None:
        number = min(asked.number, len(bodies) - 1)
        body = bodies[number] if isinstance(bodies[number], bytes) else msgspec.json.encode(bodies[number])
        await asked.answer(body, headers={**JSON, **headers(number)})

    return answer


@pytest.mark.asyncio
async def test_pages_are_read_to_the_last() -> None:
    """One after the other, without a wait."""
    async with serving(pages(4, 10)) as server:
        assert await every(from_poll(server.url(), every=3600, items="items", next=next_page, until="end")) == list(range(10))
        assert [asked.query for asked in server.asked] == [{}, {"page": "1"}, {"page": "2"}]


@pytest.mark.asyncio
async def test_a_last_page_that_grows_gives_what_is_new_of_it() -> None:
    """It is asked for again, and of its items those that were taken are left out."""
    bodies = [{"items": [1, 2]}, {"items": [1, 2]}, {"items": [1, 2, 3]}, {"items": [1, 2, 3, 4, 5]}]
    async with serving(in_turn(*bodies)) as server:
        assert await first(from_poll(server.url(), every=SOON, items="items", next=lambda page: None), 5) == [1, 2, 3, 4, 5]


@pytest.mark.asyncio
async def test_a_cursor_is_asked_for_until_there_is_something_new() -> None:
    """A server that gives the next cursor with each response, and an empty response where there is nothing."""
    asked_for = list[str]()

    async def answer(asked: Asked) -> None:
        since = int(asked.query.get("since", 0))
        asked_for.append(asked.query.get("since", ""))
        found = [since] if len(asked_for) % 2 else []
        await asked.answer(msgspec.json.encode({"items": found, "cursor": since + len(found)}), headers=JSON)

    async with serving(answer) as server:
        items = from_poll(server.url(), every=SOON, items="items", next=lambda page: {"since": page.json["cursor"]})
        assert await first(items, 3) == [0, 1, 2]
        assert asked_for[:5] == ["", "1", "1", "2", "2"]


class Place:
    """Stands for a connection: gives responses in turn, and remembers when it was asked."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies = list(bodies)
        self.times: list[float] = []

    @asynccontextmanager
    async def opened(self, *_: Any, also: int) -> AsyncIterator[httpx2.Response]:
        """The next response."""
        self.times.append(asyncio.get_running_loop().time())
        yield httpx2.Response(200, json=self.bodies.pop(0))

    def lasting(self, connect: Callable[[], Any]) -> Any:
        """Nothing is ever lost."""
        return connect()

    def check_type(self, *_: Any) -> None:
        """It is always JSON."""


def test_a_page_without_new_items_is_waited_for() -> None:
    """Or a server that gives a new cursor each time would be asked without a pause; a page with items is followed at once."""

    async def times() -> list[float]:
        place: Any = Place(*({"items": found, "cursor": n} for n, found in enumerate(([1], [], [], [2], [3], [4]))))
        reader = PageReader(60.0, "items", lambda page: {"at": page.json["cursor"]}, 1000, False)
        async with aclosing(reader(place, Reading(bytes, 100, False, None), None)) as pieces:
            async for _ in pieces:
                if not place.bodies:
                    break
        times: list[float] = place.times
        return times

    assert rxs.testing.virtually(times()) == [0.0, 0.0, 60.0, 120.0, 120.0, 120.0]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("given", "sent_back"),
    [({"etag": '"v{}"'}, "if-none-match"), ({"last-modified": "Fri, 16 Jan 2026 10:00:0{} GMT"}, "if-modified-since")],
)
async def test_what_has_not_changed_is_nothing_new(given: dict[str, str], sent_back: str) -> None:
    """The server is told what was seen last, and answers 304 to it; then what has changed is new as a whole."""
    answers = list[int]()

    async def answer(asked: Asked) -> None:
        version = len(answers) // 3
        named = {name: value.format(version) for name, value in given.items()}
        status = 304 if asked.headers.get(sent_back) in named.values() else 200
        answers.append(status)
        await asked.answer(b"" if status == 304 else b"[%d, 7]" % version, status, {**JSON, **named})

    async with serving(answer) as server:
        assert await first(from_poll(server.url(), every=SOON), 6) == [0, 7, 1, 7, 2, 7]
        assert answers[:7] == [200, 304, 304, 200, 304, 304, 200]


@pytest.mark.asyncio
async def test_a_response_that_is_the_one_before_is_nothing_new() -> None:
    """Where the server names no version, too."""
    async with serving(in_turn([1], [1], [1], [1, 2])) as server:
        assert await first(from_poll(server.url(), every=SOON), 3) == [1, 1, 2]
        assert len(server.asked) == 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("items", "type", "body", "expected"),
    [
        (None, Any, b'{"t": 1}', [{"t": 1}]),
        (None, Any, b' [1, "a"]', [1, "a"]),
        (None, bytes, b"[1]", [b"[1]"]),
        (None, str, "é".encode(), ["é"]),
        ("rows", int, b'{"n": 2, "rows": [1, 2]}', [1, 2]),
        (lambda page: page.json["a"]["b"], dict[str, int], b'{"a": {"b": [{"x": 1}]}}', [{"x": 1}]),
        (lambda page: page.body.splitlines(), bytes, b"a,b\n1,2", [b"a,b", b"1,2"]),
    ],
)
async def test_items_are_where_they_are_said_to_be(items: Any, type: Any, body: bytes, expected: list[Any]) -> None:
    """The response, its elements, a field's, or what a function finds."""
    async with serving(in_turn(body)) as server:
        assert await every(from_poll(server.url(), type, every=1, items=items, until="end")) == expected


@pytest.mark.asyncio
async def test_next_may_be_a_url() -> None:
    """As a ``Link`` header has it; relative to the one that was given."""

    async def answer(asked: Asked) -> None:
        links = {} if asked.path == "/b" else {"link": "b?x=1"}
        await asked.answer(msgspec.json.encode([asked.path]), headers={**JSON, **links})

    async with serving(answer) as server:
        items = from_poll(server.url("/a"), every=1, next=lambda page: page.headers.get("Link"), until="end")
        assert await every(items) == ["/a", "/b"]


@pytest.mark.asyncio
async def test_the_next_page_is_on_the_same_host_where_there_are_headers() -> None:
    """A response must not lead a token away."""
    async with serving(in_turn([1])) as server:
        items = from_poll(server.url(), every=1, next=lambda page: "https://elsewhere.invalid/", headers={"x-key": "k"})
        with pytest.raises(
            FeedError, match=r"the next url leads to another host, port or scheme \(https://elsewhere\.invalid:443\)"
        ):
            await every(items)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("http://[bad", "expected a host, got"),
        ("http://127.0.0.1:99999/x", "expected a port up to 65535, got 99999"),
        ("http://x:abc/", "Invalid port"),
        ("mailto:x", "expected http, https, ws or wss, got 'mailto'"),
        ("\0", "non-printable"),
    ],
)
async def test_a_next_url_that_is_none_is_told(told: str, message: str) -> None:
    """What a function returned is no matter of a socket's."""
    async with serving(in_turn([1])) as server:
        with pytest.raises(FeedError, match=rf"the next url cannot be asked for: .*{message}.*; check what next="):
            await every(from_poll(server.url(), every=SOON, next=lambda page: told))


@pytest.mark.asyncio
async def test_a_version_that_a_header_cannot_have_is_not_sent_back() -> None:
    """Its response is known by its bytes."""
    async with serving(in_turn([1], [1], [2], headers=lambda _: {"etag": '"\xe9"'})) as server:
        assert await first(from_poll(server.url(), every=SOON), 2) == [1, 2]


async def runs_that_fail_at(n: int, items: rxs.Stream[Any], broker: MemoryBroker, runs: int = 2) -> None:
    """Start ``runs`` runs, of which the first that comes to item ``n`` fails there, after commits of what came before."""
    failed = list[int]()

    def fail_once(one: int) -> int:
        if one == n and not failed:
            failed.append(n)
            raise RuntimeError("not now")
        return one

    for _ in range(runs):
        with suppress(OperatorError):
            stream = items.pipe(ops.map(fail_once), ops.to_topic("out"))
            async with rxs.start(stream, app="poll", broker=broker, commit_interval=1e-9) as running:
                await running.wait()
    assert failed == [n]


@pytest.mark.asyncio
@pytest.mark.parametrize("n", [5, 6, 7, 8, 11])
async def test_a_run_that_is_started_again_goes_on_in_the_middle_of_a_page(n: int) -> None:
    """At its first item, in its middle, at its last, on the last page: each item counts once, and no earlier page is read."""
    broker = MemoryBroker()
    async with serving(pages(4, 12)) as server:
        items = from_poll(server.url(), every=1, items="items", next=next_page, until="end", capacity=1, name="pages")
        await runs_that_fail_at(n, items, broker)
        assert await got(broker) == list(range(12))
        pages_asked = [int(asked.query.get("page", 0)) for asked in server.asked]
        assert pages_asked[3] in (1, 2)


@pytest.mark.asyncio
async def test_a_poll_that_does_not_finish_goes_on_with_a_later_start() -> None:
    """With what its page has more by then."""
    broker = MemoryBroker()
    async with serving(in_turn([1, 2], [1, 2, 3])) as server:
        for _ in range(3):
            items = from_poll(server.url(), every=1, next=lambda page: None, until="end", finish=False).pipe(ops.to_topic("out"))
            async with rxs.start(items, app="poll", broker=broker) as running:
                await running.wait()
    assert await got(broker) == [1, 2, 3]


NEWEST_FIRST = [[2, 1], [3, 2, 1], [3, 2, 1], [6, 5, 4, 3, 2, 1]]
LAST_THREE = [[1, 2, 3], [2, 3, 4], [4, 5, 6]]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("lists", "expected"), [(NEWEST_FIRST, [2, 1, 3, 6, 5, 4]), (LAST_THREE, [1, 2, 3, 4, 5, 6]), ([[1, 1, 2, 1]], [1, 2])]
)
@pytest.mark.parametrize("next", [None, lambda page: None])
async def test_with_ids_each_item_comes_once_wherever_in_the_list_it_stands(
    lists: list[list[int]], expected: list[int], next: Any
) -> None:
    """Lists that begin with the newest, or have the last few only; nothing is counted."""
    async with serving(in_turn(*({"items": [{"id": one} for one in found]} for found in lists))) as server:
        items = from_poll(server.url(), every=SOON, items="items", next=next, id="id")
        assert [one["id"] for one in await first(items, len(expected))] == expected


@pytest.mark.asyncio
@pytest.mark.parametrize("n", [4, 5, 3])
async def test_with_ids_a_run_that_is_started_again_goes_on_in_the_middle_of_a_page(n: int) -> None:
    """Though meanwhile others stand in front: the ids were committed."""
    broker = MemoryBroker()
    async with serving(in_turn([5, 4, 3, 2, 1], [7, 6, 5, 4, 3, 2, 1])) as server:
        items = from_poll(server.url(), int, every=1, until="end", id=lambda one: one, capacity=1, name="newest")
        await runs_that_fail_at(n, items, broker)
        assert sorted(await got(broker)) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.asyncio
async def test_as_many_ids_are_kept_as_a_response_has() -> None:
    """What stays in a list does not come again, however few ids are to be remembered; what has left it does."""
    async with serving(in_turn([1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [5, 7])) as server:
        items = from_poll(server.url(), every=SOON, id=lambda one: one, remember=1)
        assert await first(items, 7) == [1, 2, 3, 4, 5, 6, 5]


@pytest.mark.asyncio
async def test_the_field_of_an_id_is_the_item_s_or_its_json_s() -> None:
    """The item may be bytes; one that does not decode is known by its bytes and meets the policy once."""
    bodies = [[{"id": 1}], [{"id": 2}, {"id": 1, "x": 1}]]
    async with serving(in_turn(*bodies)) as server:
        items = from_poll(server.url(), msgspec.Raw, every=SOON, items=lambda page: page.json, id="id")
        assert [bytes(one) for one in await first(items, 2)] == [b'{"id":1}', b'{"id":2}']
    broker = MemoryBroker()
    async with serving(in_turn([1, "x"], ["x", 1, 2])) as server:
        numbers = from_poll(server.url(), int, every=SOON, id=lambda one: one, on_error=rxs.DeadLetter("dead"))
        stream = numbers.pipe(ops.take(2), ops.to_topic("out"))
        async with rxs.start(stream, app="poll", broker=broker) as running:
            await running.wait()
    assert (await got(broker), await got(broker, "dead")) == ([1, 2], ["x"])


@pytest.mark.asyncio
@pytest.mark.parametrize("id", ["no", lambda one: one["no"], lambda one: None])
async def test_an_item_without_an_id_is_told(id: Any) -> None:
    """It could not be told from another."""
    async with serving(in_turn([{"id": 1}])) as server:
        with pytest.raises(FeedError, match=r"expected an id of each item by id="):
            await every(from_poll(server.url(), every=1, id=id))


@pytest.mark.asyncio
async def test_a_response_that_was_taken_in_part_is_not_said_to_be_known() -> None:
    """After a restart in its middle it is asked for without its version, which would bring a 304 and lose the rest."""

    async def answer(asked: Asked) -> None:
        known = asked.headers.get("if-none-match") == '"v"'
        await asked.answer(b"" if known else b"[0, 1, 2, 3, 4, 5]", 304 if known else 200, {**JSON, "etag": '"v"'})

    broker = MemoryBroker()
    async with serving(answer) as server:
        items = from_poll(server.url(), every=1, until="end", capacity=1, name="whole")
        await runs_that_fail_at(4, items, broker)
        assert await got(broker) == [0, 1, 2, 3, 4, 5]
        assert ["if-none-match" in asked.headers for asked in server.asked] == [False, False]


@pytest.mark.asyncio
async def test_a_response_that_was_taken_as_a_whole_is_known_after_a_restart() -> None:
    """Its version was committed with its items."""

    async def answer(asked: Asked) -> None:
        known = asked.headers.get("if-none-match") == '"v"'
        await asked.answer(b"" if known else b"[0, 1]", 304 if known else 200, {**JSON, "etag": '"v"'})

    broker = MemoryBroker()
    async with serving(answer) as server:
        for _ in range(2):
            stream = from_poll(server.url(), every=SOON, name="whole").pipe(ops.to_topic("out"))
            async with rxs.start(stream, app="poll", broker=broker, commit_interval=1e-9) as running:
                done = len(server.asked) + 3
                while len(server.asked) < done:
                    await broker.wait({("out", 0): 1 << 40}, timeout=0.001)
                assert running.health
        assert await got(broker) == [0, 1]
        assert [asked.headers.get("if-none-match") for asked in server.asked][:2] == [None, '"v"']


@pytest.mark.asyncio
async def test_an_item_that_is_too_long_is_let_go() -> None:
    """Its neighbours on the page are taken."""
    broker = MemoryBroker()
    async with serving(in_turn(["a", "b" * 100, "c"])) as server:
        stream = from_poll(server.url(), every=1, until="end", max_item=50, on_error=rxs.Skip()).pipe(ops.to_topic("out"))
        async with rxs.start(stream, app="poll", broker=broker) as running:
            await running.wait()
    assert await got(broker) == ["a", "c"]


@pytest.mark.asyncio
async def test_a_response_that_is_too_long_is_an_error() -> None:
    """It is not read to its end."""

    async def answer(asked: Asked) -> None:
        await asked.begin(headers=JSON)
        while True:
            await asked.send(b"x" * 1000)

    async with serving(answer) as server:
        with pytest.raises(FeedError, match=r"at most max_response=5000 bytes, got more; ask for smaller pages"):
            await every(from_poll(server.url(), every=1, max_response=5000))


@pytest.mark.asyncio
async def test_a_response_that_is_not_as_expected_is_asked_for_again_but_not_for_ever() -> None:
    """Malformed, or without the field: it may be better the next time; ten times in a row it is an error."""
    async with serving(in_turn(b"{", b'{"error": 1}', b'{"items": [1]}')) as server:
        assert await every(from_poll(server.url(), every=SOON, items="items", until="end")) == [1]
    async with serving(in_turn(b'{"error": 1}')) as server:
        with pytest.raises(FeedError, match=r"10 failures in a row, .*expected a field 'items', got error"):
            await every(from_poll(server.url(), every=SOON, items="items"))
        assert len(server.asked) == 10


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"<h1>hi</h1>", b"hello", b"{", b"["])
async def test_a_page_for_people_is_no_item_whatever_its_type_says(body: bytes) -> None:
    """Without ``items``, too: it is asked for again, ten times."""
    async with serving(in_turn(body)) as server:
        with pytest.raises(FeedError, match=r"10 failures in a row, at last: a response that is not as expected"):
            await every(from_poll(server.url(), every=SOON, on_error=rxs.Skip()))


@pytest.mark.asyncio
async def test_what_a_retry_may_mend_or_not_is_counted_apart_from_what_it_mends() -> None:
    """A server that was away for long, and then answers what is no JSON once, is asked again."""

    async def answer(asked: Asked) -> None:
        if asked.number < 12:
            await asked.answer(b"", 503, {"retry-after": "0"})
        else:
            await asked.answer(b"oops" if asked.number == 12 else b'{"items": [1]}', headers=JSON)

    async with serving(answer) as server:
        assert await every(from_poll(server.url(), every=SOON, items="items", until="end")) == [1]
        assert len(server.asked) == 14


@pytest.mark.asyncio
@pytest.mark.parametrize("argument", ["items", "next"])
async def test_a_function_that_raises_is_named(argument: str) -> None:
    """It is no matter of the server's."""
    async with serving(in_turn([1])) as server:
        options: dict[str, Any] = {argument: lambda page: page.json["no"]}
        with pytest.raises(FeedError, match=rf"{argument}= raised TypeError"):
            await every(from_poll(server.url(), every=SOON, **options))


@pytest.mark.asyncio
async def test_a_page_for_people_is_an_error_unless_it_is_asked_for() -> None:
    """A function, or the type ``bytes``, may want it."""
    async with serving(in_turn(b"<html>", headers=lambda _: {"content-type": "text/html"})) as server:
        with pytest.raises(FeedError, match="expected JSON, got 200 with content type 'text/html'"):
            await every(from_poll(server.url(), every=1))
        assert await every(from_poll(server.url(), bytes, every=1, until="end")) == [b"<html>"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, r"from_poll\(every\)"),
        ({"every": 1, "items": ""}, r"from_poll\(items\)"),
        ({"every": 1, "next": {}}, r"from_poll\(next\)"),
        ({"every": 1, "id": 3}, r"from_poll\(id\)"),
        ({"every": 1, "remember": 0}, r"from_poll\(remember\)"),
        ({"every": 1, "max_response": -1}, r"from_poll\(max_response\)"),
    ],
)
def test_wrong_arguments_are_told_when_built(options: dict[str, Any], message: str) -> None:
    """Not when it runs."""
    with pytest.raises(ConfigError, match=message):
        from_poll("http://localhost/", **options)
