"""from_sse: what an event is, which of them are taken, and what happens to ids that come again or not at all."""

from __future__ import annotations

import tracemalloc
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, strategies as st
from structlog.testing import capture_logs

import rxstreams as rxs
from rxstreams import operators as ops
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError, DecodeError, FeedError
from rxstreams.feeds.http import from_sse
from rxstreams.feeds.http.lines import TooLong
from rxstreams.feeds.http.parsing import Event, Events
from rxstreams.feeds.http.sse import Memory
from rxstreams.log import logger
from tests.feeds.http.logs import after, item, numbers
from tests.feeds.http.servers import EVENTS, Answer, Asked, every, serving
from tests.feeds.http.test_going_on import run_that_fails_at
from tests.runtime.faulty import got


class Trade(msgspec.Struct):
    """What an event may be."""

    n: int


def events(*parts: bytes, end: bool = True) -> Answer:
    """Answers with these bytes."""

    async def answer(asked: Asked) -> None:
        await asked.begin(headers=EVENTS)
        await asked.send(*parts)
        if end:
            await asked.end()

    return answer


async def found(*parts: bytes, type: Any = Any, **options: Any) -> list[Any]:
    """What a subscription gives of these bytes."""
    async with serving(events(*parts)) as server:
        return await every(from_sse(server.url(), type, until="end", **options))


@pytest.mark.asyncio
@pytest.mark.parametrize(("type", "expected"), [(Trade, Trade(1)), (bytes, b'{"n": 1}'), (str, '{"n": 1}'), (Any, {"n": 1})])
async def test_an_event_s_data_is_decoded_into_the_type(type: Any, expected: Any) -> None:
    """JSON into a type, or as it is."""
    assert await found(b'id: 1\ndata: {"n": 1}\n\n', type=type) == [expected]


@pytest.mark.asyncio
async def test_only_events_of_the_names_that_are_asked_for_are_taken() -> None:
    """Others are left out and need no id; an event without a name is a ``message``."""
    sent = b"event: ping\ndata: 0\n\nid: 1\nevent: trade\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\nevent: trade\ndata: 3\n\n"
    assert await found(sent, event="trade") == [1, 3]
    assert await found(sent, event=["trade", "message"]) == [1, 2, 3]


@pytest.mark.asyncio
async def test_a_server_that_begins_again_with_the_last_event_or_goes_back_doubles_nothing() -> None:
    """Each connection begins two events too early."""

    async def answer(asked: Asked) -> None:
        start = max(0, after(asked) - 2)
        await asked.begin(headers=EVENTS)
        await asked.send(*(item("sse", n) for n in range(start, min(start + 5, 10))))
        if start + 5 >= 10:
            await asked.end()

    async with serving(answer) as server:
        assert await every(from_sse(server.url(), until="end")) == numbers(*range(10))
        assert [after(asked) for asked in server.asked] == [0, 5, 8]


@pytest.mark.asyncio
async def test_a_server_that_counts_anew_loses_nothing() -> None:
    """The same id with other data is another event; within a response, too."""

    async def answer(asked: Asked) -> None:
        await events(*(b"id: %d\ndata: %d%d\n\n" % (n, asked.number + 1, n) for n in (1, 2, 2)), end=asked.number > 1)(asked)

    async with serving(answer) as server:
        assert await every(from_sse(server.url(), until="end")) == [11, 12, 21, 22, 31, 32]
    assert await found(b"id: 0\ndata: 1\n\nid: 0\ndata: 2\n\n") == [1, 2]


@pytest.mark.asyncio
async def test_what_came_before_is_told_once_per_connection() -> None:
    """How many events, and their ids; a connection that brought none says nothing."""
    numbered = {0: [0, 1, 2], 1: [1, 2, 3], 2: [4]}

    async def answer(asked: Asked) -> None:
        await events(*(item("sse", n) for n in numbered[asked.number]), end=asked.number > 1)(asked)

    logger()
    async with serving(answer) as server:
        with capture_logs() as told:
            assert await every(from_sse(server.url(), until="end", name="log")) == numbers(*range(5))
        place = server.url()
    assert [one for one in told if "left out" in one["event"]] == [
        {"event": "events that came before were left out", "feed": "sse:log", "place": place, "events": 2, "from_id": "1",
         "to_id": "2", "log_level": "info"}
    ]  # fmt: skip


def test_ids_that_were_saved_without_checksums_are_read() -> None:
    """By a version that knew events by their ids alone: it goes on after the last."""
    assert Memory([b"1", b"2"], 5).last == b"2"


@pytest.mark.asyncio
async def test_ids_are_remembered_through_a_restart() -> None:
    """A server that goes back after the second start's request doubles nothing either: the last ids were committed, too."""

    async def answer(asked: Asked) -> None:
        await asked.begin(headers=EVENTS)
        await asked.send(*(item("sse", n) for n in range(max(0, after(asked) - 3), 12)))
        await asked.end()

    broker = MemoryBroker()
    async with serving(answer) as server:
        await run_that_fails_at(7, server.url(), "sse", broker)
        assert await got(broker) == numbers(*range(12))


@pytest.mark.asyncio
async def test_only_the_last_ids_are_remembered() -> None:
    """What is saved is bounded: an id that is further back than ``remember`` is forgotten, and its event comes again."""

    async def answer(asked: Asked) -> None:
        await events(*(item("sse", n) for n in ([9, 8, 0] if asked.number else range(10))), end=asked.number > 0)(asked)

    async with serving(answer) as server:
        assert await every(from_sse(server.url(), until="end", remember=2)) == numbers(*range(10), 0)


@pytest.mark.asyncio
async def test_an_event_without_an_id_is_an_error_that_names_the_remedy() -> None:
    """An id counts for its own event only: without one of its own an event cannot be asked for again."""
    with pytest.raises(FeedError, match=r"expected an id with each event.*resumes=False"):
        await found(b"id: 1\ndata: 1\n\ndata: 2\n\n")


@pytest.mark.asyncio
async def test_events_without_ids_are_taken_where_nothing_is_resumed() -> None:
    """With ``resumes=False`` they come, and so do those whose ids came before; the run's guarantee has the weakness."""
    assert await found(b"data: 1\n\nid: 7\ndata: 2\n\nid: 7\ndata: 3\n\n", resumes=False) == [1, 2, 3]
    async with serving(events(b"data: 1\n\n", end=False)) as server:
        weak = from_sse(server.url(), resumes=False).pipe(ops.to_topic("out"))
        async with rxs.start(weak, app="weak", broker=MemoryBroker()) as running:
            assert (running.guarantee.level, "cannot be asked for again" in running.guarantee.because) == ("at_most_once", True)


@pytest.mark.asyncio
async def test_without_ids_the_server_is_not_told_any() -> None:
    """A feed that does not resume asks for what is there now, not for what comes after an id that it happened to see."""

    async def answer(asked: Asked) -> None:
        await asked.begin(headers=EVENTS)
        await asked.send(b"id: 1\ndata: %d\n\n" % asked.number)

    async with serving(answer) as server:
        assert await every(from_sse(server.url(), resumes=False).pipe(ops.take(2))) == [0, 1]
        assert ["last-event-id" in asked.headers for asked in server.asked[:2]] == [False, False]


@pytest.mark.asyncio
async def test_status_204_is_the_end() -> None:
    """By it a server says that there is nothing more, whatever ``until`` says."""

    async def answer(asked: Asked) -> None:
        if asked.number:
            await asked.answer(status=204)
        else:
            await events(item("sse", 0), end=False)(asked)

    async with serving(answer) as server:
        assert await every(from_sse(server.url())) == numbers(0)


@pytest.mark.asyncio
async def test_text_that_is_not_utf_8_is_a_bad_item() -> None:
    """It is not put right in silence; the error says what is wrong with it."""
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        await found(b'id: 1\ndata: "\xff"\n\n', type=str)
    with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
        await found(b'id: 1\ndata: "\xff"\n\n')


@pytest.mark.asyncio
async def test_a_bad_event_meets_the_policy_and_its_neighbours_go_on() -> None:
    """One that does not decode, and one that is too long, are dead letters; all on one connection."""
    sent = (item("sse", 0), b"id: 1\ndata: {\n\n", b"id: 2\ndata: %b\n\n" % (b"x" * 5000), b"id: 3\ndata: x\ndata: y\n\n")
    async with serving(events(*sent, item("sse", 4))) as server:
        items = from_sse(server.url(), dict[str, int], until="end", max_item=1000, on_error=rxs.DeadLetter("dead"))
        broker = MemoryBroker()
        async with rxs.start(items.pipe(ops.to_topic("out")), app="bad", broker=broker) as running:
            await running.wait()
        dead = list((await broker.read("dead", 0, 0, max_records=10)).values)
        assert (await got(broker), dead, len(server.asked)) == (numbers(0, 4), [b"{", b"x" * 194, b"x\ny"], 1)


@pytest.mark.asyncio
async def test_without_a_policy_a_bad_event_stops_the_run_and_says_where() -> None:
    """The error names the feed without its secrets, and the place in it."""
    async with serving(events(item("sse", 0), b"id: 1\ndata: {\n\n")) as server:
        items = from_sse(server.url("/feed?token=secret"), until="end").pipe(ops.to_topic("out"))
        with pytest.raises(DecodeError, match=r"at sse:http://127\.0\.0\.1:\d+/feed, partition 0, offset 1") as raised:
            async with rxs.start(items, app="bad", broker=MemoryBroker()) as running:
                await running.wait()
        assert "secret" not in str(raised.value)


def parsed(data: bytes, cuts: list[int], longest: int = 1 << 20) -> list[Event]:
    """The events of some bytes that come in pieces."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    parser = Events(longest)
    return [one for start, stop in zip([0, *places], [*places, len(data)], strict=True) for one in parser.of(data[start:stop])]


FIELDS = st.sampled_from(
    [b"data: a", b"data:b", b"data", b"data:  c", b"id: 1", b"id:2", b"id", b"id: x\0y", b"event: e", b"event:", b": comment",
     b":", b"retry: 12", b"retry: x", b"unknown: z", b"", b"", "data: é".encode()]
)  # fmt: skip
ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(st.lists(st.tuples(FIELDS, ENDINGS), max_size=30), st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_however_the_bytes_are_cut_the_events_are_those_of_the_standard(
    lines: list[tuple[bytes, bytes]], cuts: list[int], mark: bool
) -> None:
    """All line endings, cuts anywhere, a byte order mark; httpx2's parser is the oracle, where there is data."""
    data = (b"\xef\xbb\xbf" if mark else b"") + b"".join(field + ending for field, ending in lines)
    request = httpx2.Request("GET", "http://localhost")
    plain = data.removeprefix(b"\xef\xbb\xbf")
    response = httpx2.Response(200, headers=EVENTS, content=plain + b"\n", request=request)
    theirs = [(one.data.encode(), one.event.encode()) for one in httpx2.EventSource(response) if one.data]
    assert [(one, name) for one, _, name in parsed(data + b"\n", cuts) if one] == theirs


@given(st.lists(st.integers(0, 400), max_size=8))
def test_an_id_is_that_of_its_own_event(cuts: list[int]) -> None:
    """Wherever in the event it stands; it does not pass on to the next one."""
    data = b"id: 1\ndata: a\n\ndata: b\nid: 2\n\ndata: c\n\nid: 3\n\ndata: d\n\nid: 4\r\ndata: e\r\n\r\n"
    assert [one[:2] for one in parsed(data, cuts)] == [(b"a", b"1"), (b"b", b"2"), (b"c", None), (b"d", None), (b"e", b"4")]


def test_an_event_of_many_lines_that_is_too_long_is_not_held() -> None:
    """Of 10 MB of short lines without an end no more stays than the longest event that is taken, and the next one is whole."""
    parser = Events(1 << 16)
    lines = b"data: xxx\n" * 1000
    tracemalloc.start()
    for _ in range(1000):
        assert parser.of(lines) == []
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 20
    assert parser.of(b"\nid: 1\ndata: a\n\n") == [(b"xxx", None, b"message"), (b"a", b"1", b"message")]


def test_an_event_that_is_too_long_is_one_in_the_first_line_too() -> None:
    """Where a byte order mark may stand: what is kept of it is not taken for the whole."""
    assert isinstance(parsed(b"data: " + b"x" * 6000 + b"\n\n", [5500], 5000)[0][0], TooLong)


def test_an_event_is_too_long_by_its_data_alone() -> None:
    """All its lines count, and the line feeds between them; its other fields do not."""
    fits = b"id: %b\nevent: %b\n: comment\ndata: aa\ndata: bb\n\n" % (b"1" * 9, b"e" * 9)
    for longest, expected in ((5, b"aa\nbb"), (4, b"aa")):
        assert parsed(fits, [], longest) == [(expected, b"1" * 9, b"e" * 9)]
    assert isinstance(parsed(fits, [], 4)[0][0], TooLong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": []}, r"from_sse\(event\)"),
        ({"event": 3}, r"from_sse\(event\)"),
        ({"resumes": 1}, r"from_sse\(resumes\)"),
        ({"remember": 0}, r"from_sse\(remember\)"),
    ],
)
def test_wrong_arguments_are_told_when_built(options: dict[str, Any], message: str) -> None:
    """Not when it runs."""
    with pytest.raises(ConfigError, match=message):
        from_sse("http://localhost/", **options)
