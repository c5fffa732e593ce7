"""What is asked for again and when, what is not, and what is said of it."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
import trustme
from structlog.testing import capture_logs

from rxstreams import operators as ops
from rxstreams.errors import FeedError
from rxstreams.feeds.http import from_poll
from rxstreams.feeds.http.connection import Paces, _origin
from rxstreams.feeds.http.retrying import Lost, Patience, retry_after
from rxstreams.log import logger
from rxstreams.testing import virtually
from tests.feeds.http.logs import PROTOCOLS, begin, item, log, numbers, stream
from tests.feeds.http.servers import Answer, Asked, every, serving

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)


def answers(*statuses: int, protocol: str = "sse", headers: dict[str, str] | None = None) -> Answer:
    """Answers with these statuses, then with three items."""

    async def answer(asked: Asked) -> None:
        if asked.number < len(statuses):
            await asked.answer(b"no", statuses[asked.number], headers)
        else:
            await log(protocol, 3)(asked)

    return answer


@each_protocol
@pytest.mark.asyncio
async def test_a_server_that_is_not_well_is_asked_until_it_is(protocol: str) -> None:
    """Whatever it answers meanwhile, of what may pass."""
    statuses = (500, 502, 503, 504, 408, 425, 429)
    async with serving(answers(*statuses, protocol=protocol)) as server:
        assert await every(stream(protocol, server.url(), until="end")) == numbers(0, 1, 2)
        assert len(server.asked) == len(statuses) + 1


@each_protocol
@pytest.mark.asyncio
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 422, 451, 304])
async def test_what_no_retry_mends_is_told_at_once(protocol: str, status: int) -> None:
    """It says where, what came, and what to do; nothing secret is in it."""
    async with serving(answers(status, protocol=protocol)) as server:
        url = server.url("/feed?token=secret").replace("//", "//ann:hunter2@")
        with pytest.raises(FeedError, match=rf"http://127\.0\.0\.1:\d+/feed: expected status 200, got {status} -; ") as raised:
            await every(stream(protocol, url, headers={"x-key": "secret"}))
        assert "secret" not in str(raised.value)
        assert "hunter2" not in str(raised.value)
        assert len(server.asked) == 1


@pytest.mark.asyncio
async def test_the_log_says_once_that_a_feed_is_lost_and_once_that_it_is_back() -> None:
    """However many tries lie between; without what is secret."""
    logger()  # which would configure structlog later
    async with serving(answers(500, 500, 503)) as server:
        with capture_logs() as told:
            await every(stream("sse", server.url("/feed?token=secret"), until="end", name="trades"))
        place = server.url("/feed")
    assert told == [
        {"event": "feed lost, trying again", "feed": "sse:trades", "place": place, "reason": "the server answered 500 -",
         "log_level": "warning"},
        {"event": "feed is back", "feed": "sse:trades", "place": place, "failures": 3, "log_level": "info"},
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.asyncio
async def test_a_server_that_ends_each_response_does_not_flood_the_log(protocol: str) -> None:
    """One that brought something is no failure; it is told at most once a minute."""

    async def answer(asked: Asked) -> None:
        await begin(protocol, asked)
        await asked.send(item(protocol, asked.number))
        await asked.end()

    logger()
    async with serving(answer) as server:
        with capture_logs() as told:
            assert await every(stream(protocol, server.url(), tries=1).pipe(ops.take(20))) == numbers(*range(20))
        place = server.url()
    event = {"event": "the server ends its responses, asking on", "feed": f"{protocol}:{place}", "place": place, "times": 1}
    assert told == [event | {"log_level": "info"}]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.asyncio
async def test_a_feed_is_back_only_where_something_came(protocol: str) -> None:
    """Responses that end without anything are failures, told once; and they count."""

    async def answer(asked: Asked) -> None:
        await begin(protocol, asked)
        await asked.end()

    logger()
    async with serving(answer) as server:
        with capture_logs() as told, pytest.raises(FeedError, match="got 5 failures in a row"):
            await every(stream(protocol, server.url(), tries=5))
    assert [one["event"] for one in told] == ["feed lost, trying again"]


def test_how_often_a_server_ended_its_responses_is_told_once_a_minute() -> None:
    """With the number since the last time."""
    logger()
    with capture_logs() as told:
        hook = patience()
        for now in (0.0, 10.0, 59.0, 60.0, 61.0, 130.0):
            hook.clock = lambda now=now: now  # type: ignore[misc]  # a default binds it
            hook.came()
            hook(Lost("ended", in_order=True))
    assert [one["times"] for one in told] == [1, 3, 2]


@pytest.mark.asyncio
async def test_a_feed_gives_up_after_as_many_tries_as_it_may_have() -> None:
    """In a row: an item in between begins the count anew."""

    async def answer(asked: Asked) -> None:
        if asked.number == 2:
            await begin("sse", asked)
            await asked.send(item("sse", 0))
        else:
            await asked.answer(b"", 503)

    async with serving(answer) as server:
        with pytest.raises(FeedError, match=r"got 3 failures in a row, at last: the server answered 503"):
            await every(stream("sse", server.url(), tries=3))
        assert len(server.asked) == 5


@pytest.mark.asyncio
async def test_a_host_that_nobody_knows_is_asked_for_ten_times() -> None:
    """A name that is not there now may be there in a minute; one that is not there after ten tries is wrong."""
    with pytest.raises(
        FeedError, match=r"nowhere\.invalid/feed: expected an answer, got 10 failures in a row, at last: nobody knows"
    ):
        await every(stream("sse", "http://nowhere.invalid/feed"))


def certified() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server of an authority that nobody knows, and of a client that trusts it."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return tls, trusting


@pytest.mark.asyncio
async def test_a_server_that_nobody_vouches_for_is_not_asked_again() -> None:
    """A certificate of an unknown authority is an error; one of an authority that is given is none."""
    tls, trusting = certified()
    async with serving(log("sse", 2), tls=tls) as server:
        with pytest.raises(FeedError, match=r"the server's certificate is not trusted: .*ssl_context="):
            await every(stream("sse", server.url(), until="end"))
        assert await every(stream("sse", server.url(), until="end", ssl_context=trusting)) == numbers(0, 1)


@each_protocol
@pytest.mark.asyncio
async def test_a_server_that_stalls_in_the_middle_of_an_item_is_left_after_some_silence(protocol: str) -> None:
    """The next connection brings the item whole."""

    async def answer(asked: Asked) -> None:
        if asked.number:
            await log(protocol, 3)(asked)
        else:
            await begin(protocol, asked)
            await asked.send(item(protocol, 0) + item(protocol, 1)[:-4])
            await asked.gone()

    async with serving(answer) as server:
        assert await every(stream(protocol, server.url(), until="end", silence=0.05)) == numbers(0, 1, 2)
        assert len(server.asked) == 2


@pytest.mark.asyncio
async def test_a_server_that_takes_a_connection_and_says_nothing_is_left_after_the_timeout() -> None:
    """``timeout`` is for the head of the answer, too."""

    async def answer(asked: Asked) -> None:
        await (log("sse", 1)(asked) if asked.number else asked.gone())

    async with serving(answer) as server:
        assert await every(stream("sse", server.url(), until="end", timeout=0.05)) == numbers(0)


@pytest.mark.asyncio
async def test_headers_of_a_function_are_made_anew_for_each_connection() -> None:
    """So a token that expires is no matter."""
    made = list[str]()

    async def headers() -> dict[str, str]:
        made.append(f"Bearer {len(made)}")
        return {"authorization": made[-1]}

    async with serving(log("sse", 6, each=2)) as server:
        assert await every(stream("sse", server.url(), until="end", headers=headers)) == numbers(*range(6))
        assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer 0", "Bearer 1", "Bearer 2"]


@pytest.mark.asyncio
async def test_a_function_of_headers_that_raises_is_told() -> None:
    """Unless what it raises is that its own server cannot be reached."""

    def broken() -> Any:
        raise KeyError("token")

    async with serving(log("sse", 1)) as server:
        with pytest.raises(FeedError, match=r"headers= raised KeyError: 'token'"):
            await every(stream("sse", server.url(), headers=broken))


@pytest.mark.asyncio
async def test_a_header_that_cannot_be_sent_is_told_without_its_value() -> None:
    """A token with a line break in it, most often."""
    async with serving(log("sse", 1)) as server:
        with pytest.raises(FeedError, match=r"a header or the url has a character that HTTP does not allow") as raised:
            await every(stream("sse", server.url(), headers={"authorization": "secret\n"}))
        assert "secret" not in repr(raised.value)
        assert raised.value.__cause__ is None


@pytest.mark.asyncio
async def test_a_redirect_is_followed_but_headers_go_to_their_host_only() -> None:
    """On the same host with the headers; to another one only where there are none."""
    async with serving(log("sse", 2)) as other:

        async def answer(asked: Asked) -> None:
            if asked.path == "/feed":
                await asked.answer(status=307, headers={"location": "/there"})
            elif asked.path == "/away":
                await asked.answer(status=307, headers={"location": other.url().replace("127.0.0.1", "localhost")})
            else:
                await log("sse", 1)(asked)

        async with serving(answer) as server:
            assert await every(stream("sse", server.url(), until="end", headers={"x-key": "k"})) == numbers(0)
            assert server.asked[-1].headers["x-key"] == "k"
            assert await every(stream("sse", server.url("/away"), until="end")) == numbers(0, 1)
            with pytest.raises(
                FeedError, match=r"a redirect leads to another host, .*http://localhost:\d+\), which must not see"
            ):
                await every(stream("sse", server.url("/away"), until="end", headers={"x-key": "k"}))
            assert len(other.asked) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("by", ["redirect", "next"])
async def test_headers_go_neither_to_another_port_nor_from_https_to_http(by: str) -> None:
    """The whole origin is who was named; the port that a scheme has anyway may be written."""
    tls, trusting = certified()
    async with serving(log("sse", 2)) as other:

        async def answer(asked: Asked) -> None:
            to = other.url().replace("127.0.0.1", "localhost")
            await asked.answer(b"[1]", 307 if by == "redirect" else 200, {"location": to, "content-type": "application/json"})

        for context in (None, tls):
            async with serving(answer, tls=context) as server:
                url = server.url().replace("127.0.0.1", "localhost")
                options: Any = {"headers": {"x-key": "k"}, "ssl_context": trusting, "every": 1}
                with pytest.raises(FeedError, match=r"leads to another host, port or scheme \(http://localhost:\d+\)"):
                    await every(from_poll(url, next=lambda page: page.headers["location"], **options))
        assert not other.asked
    assert _origin(httpx2.URL("wss://h/")) == _origin(httpx2.URL("https://h:443/x")) == ("https", "h", 443)
    assert _origin(httpx2.URL("http://h/")) == ("http", "h", 80)


@pytest.mark.asyncio
async def test_redirects_that_never_end_are_told() -> None:
    """After five of them."""

    async def answer(asked: Asked) -> None:
        await asked.answer(status=302, headers={"location": "/feed"})

    async with serving(answer) as server:
        with pytest.raises(FeedError, match="more than 5 redirects"):
            await every(stream("sse", server.url()))
        assert len(server.asked) == 5


@pytest.mark.asyncio
@pytest.mark.parametrize("to", ["http://127.0.0.1:99999/", "http://[bad", "http://x:abc/", "mailto:x"])
async def test_a_redirect_to_what_is_no_url_is_told(to: str) -> None:
    """At once; no retry mends it."""

    async def answer(asked: Asked) -> None:
        await asked.answer(status=302, headers={"location": to})

    async with serving(answer) as server:
        with pytest.raises(FeedError, match=r"(redirect leads to a url that cannot be asked|got 302).*; check the url"):
            await every(stream("sse", server.url(), tries=2))


@pytest.mark.asyncio
async def test_a_host_that_no_name_can_be_is_told() -> None:
    """An empty label, for one."""
    with pytest.raises(FeedError, match=r"the url cannot be asked for: .*; check it"):
        await every(stream("sse", "http://ex\xe4mple..invalid/"))


@pytest.mark.asyncio
@pytest.mark.parametrize("digits", [400, 5000])
async def test_an_absurd_retry_of_an_event_stream_is_ignored(digits: int) -> None:
    """As a line that is no number is."""

    async def answer(asked: Asked) -> None:
        await begin("sse", asked)
        await asked.send(b"retry: " + b"9" * digits + b"\n" + item("sse", 0))
        await asked.end()

    async with serving(answer) as server:
        assert await every(stream("sse", server.url(), until="end")) == numbers(0)


def test_no_server_has_a_feed_wait_for_more_than_ten_minutes() -> None:
    """Whatever it says, by ``Retry-After`` or ``retry:``, in seconds or as a date."""
    hook = patience()
    far = retry_after("Fri, 31 Dec 9999 23:59:59 GMT")
    assert all(
        600.0 <= hook(Lost("busy", after=after)) <= 660.0 for after in (retry_after("9" * 400), retry_after("100000000"), far)
    )
    hook.pause = 1e8
    assert 600.0 <= hook(Lost("ended")) <= 660.0
    assert retry_after("Fri, 31 Dec 2026 23:59:59 +99999999999999") is None


def test_an_error_names_its_url_once() -> None:
    """The feed's id has it, unless the feed has a name, or several urls."""
    for feed, said in (("sse:http://x/", "sse:http://x/: no"), ("sse:x", "sse:x: http://x/: no")):
        assert str(Patience(feed, "http://x/", None).error("no")) == said
    several = Patience("sse:http://y/,http://x/", "http://x/", None)
    assert str(several.error("no")) == "sse:http://y/,http://x/: http://x/: no"


def patience(tries: int | None = None) -> Patience:
    """That of some feed."""
    return Patience("sse:x", "http://x/", tries)


def test_a_server_s_word_on_when_to_ask_again_is_kept() -> None:
    """``Retry-After`` is the least wait, whatever number of tries it was; a little is added, so that not all come at once."""
    hook = patience()
    waits = [hook(Lost("busy", after=120.0)) for _ in range(3)]
    assert all(120.0 <= wait <= 132.0 for wait in waits)
    assert len(set(waits)) > 1


def test_retry_after_is_seconds_or_a_date() -> None:
    """Anything else says nothing; a date that is past is now."""
    inside = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True))
    assert inside is not None
    assert 90.0 < inside <= 100.0
    past = retry_after(format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True))
    assert (retry_after("120"), past, retry_after("soon"), retry_after(None)) == (120.0, 0.0, None, None)


def test_the_pause_that_a_server_wants_is_kept_and_grows_with_the_failures() -> None:
    """``retry:`` of Server-Sent Events; without it stamina's waits, which grow and are bounded, are taken."""
    hook = patience()
    assert hook(Lost("ended")) is True
    hook.failures, hook.pause = 0, 4.0
    assert all(at <= hook(Lost("ended")) <= 1.1 * at for at in (4.0, 8.0, 16.0, 30.0, 30.0))
    hook.pause = 60.0
    assert 60.0 <= hook(Lost("ended")) <= 66.0


def test_only_what_was_lost_is_tried_again() -> None:
    """A bug, a cancellation, a refusal are raised as they are."""
    assert [patience()(error) for error in (ValueError(), FeedError("no"))] == [False, False]


@pytest.mark.asyncio
@pytest.mark.parametrize(("said", "seconds"), [("retry", 7.0), ("retry-after", 100.0)])
async def test_what_a_server_says_of_the_next_try_is_waited(said: str, seconds: float) -> None:
    """By an event stream's ``retry:``, or by ``Retry-After``; the log has the seconds."""

    async def answer(asked: Asked) -> None:
        if asked.number:
            await log("sse", 2)(asked)
        elif said == "retry":
            await begin("sse", asked)
            await asked.send(b"retry: 7000\n\n" + item("sse", 0))
        else:
            await asked.answer(b"", 429, {"retry-after": "100"})

    logger()
    async with serving(answer) as server:
        with capture_logs() as told:
            assert await every(stream("sse", server.url(), until="end")) == numbers(0, 1)
    assert seconds <= told[0]["seconds"] <= 1.1 * seconds


def test_each_host_is_asked_no_more_often_than_the_rate_says() -> None:
    """In virtual time: two hosts at two requests a second each, five requests to each of them."""

    async def asked() -> list[float]:
        paces, loop = Paces(2.0), asyncio.get_running_loop()

        async def one(host: str) -> float:
            await paces.turn(host)
            return loop.time()

        began = loop.time()
        return [at - began for at in await asyncio.gather(*(one(host) for host in "ab" for _ in range(5)))]

    assert virtually(asked()) == [0.0, 0.5, 1.0, 1.5, 2.0] * 2
