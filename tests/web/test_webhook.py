"""What other services post and sign becomes records, and nothing else does."""

import hmac
from base64 import b64encode
from typing import Any

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import ConfigError
from rxstreams.web import Backlog, webhook
from rxstreams.web.webhook import Signature

BODY = b'{"zen": "Keep it logically awesome.",  "n": 1.50}'
STRIPE = "t={timestamp},v1={hex}"


def signed(body: bytes = BODY, secret: bytes = b"s3cret", delivery: str | None = "d-1") -> dict[str, str]:
    """The headers of a delivery, as GitHub sends them."""
    headers = {"X-Hub-Signature-256": f"sha256={hmac.digest(secret, body, 'sha256').hex()}"}
    return headers | ({} if delivery is None else {"X-GitHub-Delivery": delivery})


class Hooks:
    """A webhook's route, and what came in by it."""

    def __init__(self, **options: Any) -> None:
        self.broker, self.intake = MemoryBroker(), webhook("pushes", **{"secret": "s3cret"} | options)

    async def __aenter__(self) -> "Hooks":
        await self.broker.start()
        await self.intake.start(self.broker)
        app = Starlette(routes=[Route("/hook", self.intake.post, methods=["POST"])])
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()
        await self.broker.stop()

    async def post(self, headers: dict[str, str], body: bytes = BODY) -> tuple[int, Any]:
        """Post a body; the status, and the answer."""
        answer = await self.client.post("/hook", content=body, headers=headers)
        return answer.status_code, answer.json()

    async def records(self) -> list[bytes | None]:
        """What is in the topic."""
        return list((await self.broker.read("pushes", 0, 0, max_records=100)).values)


@pytest.mark.asyncio
async def test_a_service_may_send_no_delivery_id() -> None:
    """With `delivery=None` each post is a record; a body of nothing is told as such."""
    async with Hooks(delivery=None) as hooks:
        assert [await hooks.post(signed()) for _ in range(2)] == [(202, {"status": "taken"})] * 2
        assert await hooks.records() == [BODY, BODY]
        status, told = await hooks.post(signed(b""), b"")
        assert (status, told["reason"]) == (422, "expected a body of JSON, got nothing")


@pytest.mark.parametrize(
    "wrong",
    [{"secret": None}, {"secret": [""]}, {"header": None}, {"delivery": 5}, {"tolerance": -1}, {"max_bytes": 0}, {"topic": ""}],
    ids=str,
)
def test_wrong_arguments_are_refused_when_built(wrong: dict[str, Any]) -> None:
    """The message names the argument."""
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"webhook\({name}\)"):
        webhook(**{"topic": "pushes", "secret": "s"} | wrong)


@pytest.mark.asyncio
async def test_a_signed_delivery_becomes_one_record_as_it_came() -> None:
    """Byte for byte; the same delivery again is answered, also after a restart, and another one is another record."""
    async with Hooks() as hooks:
        assert await hooks.post(signed()) == (202, {"status": "taken"})
        assert await hooks.post(signed()) == (202, {"status": "taken"})
        again = webhook("pushes", secret="s3cret")
        await again.start(hooks.broker)
        assert again._answers.get("d-1") == b'{"status":"taken"}'
        assert await hooks.records() == [BODY]
        await hooks.post(signed(delivery="d-2"))
        await hooks.post(signed(delivery=None))
        assert await hooks.records() == [BODY] * 3


NONE = "expected a signature in X-Hub-Signature-256, got none"
FORM = "expected sha256={hex} in X-Hub-Signature-256"
WRONG = "X-Hub-Signature-256 is no signature of this body under the secret that is expected"
FORGED = [
    ({}, NONE),
    ({"X-Hub-Signature-256": ""}, FORM),
    ({"X-Hub-Signature-256": "sha1=00"}, FORM),
    ({"X-Hub-Signature-256": "sha256="}, WRONG),
    ({"X-Hub-Signature-256": "sha256=é"}, WRONG),
    (signed(secret=b"other"), WRONG),
    (signed(secret=b""), WRONG),
    (signed(BODY + b" "), WRONG),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("headers", "reason"), FORGED)
async def test_what_is_not_signed_right_is_refused_with_the_reason(headers: dict[str, str], reason: str) -> None:
    """401; nothing is appended, and neither the secret nor what would have been right is told."""
    async with Hooks() as hooks:
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        assert await hooks.post(raw) == (401, {"field": None, "reason": reason})  # type: ignore[arg-type]  # as a client may
        assert await hooks.records() == []
        assert not hooks.intake._answers._known


@pytest.mark.asyncio
async def test_a_delivery_that_was_taken_is_not_answered_without_its_signature() -> None:
    """Who knows only its id learns nothing."""
    async with Hooks() as hooks:
        await hooks.post(signed())
        assert (await hooks.post({"X-GitHub-Delivery": "d-1"}))[0] == 401


@pytest.mark.asyncio
async def test_both_secrets_are_good_while_the_service_moves_to_the_next() -> None:
    """And no other."""
    async with Hooks(secret=["old", b"new"]) as hooks:
        codes = [(await hooks.post(signed(secret=one, delivery=None)))[0] for one in (b"old", b"new", b"other")]
        assert codes == [202, 202, 401]


def stripe(at: str, *signatures: bytes, body: bytes = BODY) -> dict[str, str]:
    """The headers of a delivery, as Stripe sends them."""
    digests = [hmac.digest(one, at.encode() + b"." + body, "sha256").hex() for one in signatures]
    return {"Stripe-Signature": ",".join([f"t={at}", *(f"v1={digest}" for digest in digests), "v0=00"])}


TIMES = [
    ("1000", True),
    ("1300", True),
    ("700", True),
    ("1301", False),
    ("699", False),
    ("", False),
    ("-1000", False),
    ("1e3", False),
    ("²", False),
    ("9" * 5000, False),
]


@pytest.mark.parametrize(("at", "good"), TIMES)
def test_a_timestamp_must_be_near_the_clock(at: str, good: bool) -> None:
    """Within the tolerance, before and after; what is no number is refused."""
    signature = Signature("s3cret", "Stripe-Signature", STRIPE, clock=lambda: 1000.0)
    far = "the timestamp in Stripe-Signature is more than 300 s away from the clock"
    assert signature.problem(stripe(at, b"s3cret"), BODY) == (None if good else far)


def test_a_timestamp_is_part_of_what_is_signed() -> None:
    """So nobody can give an old delivery a new time; one good signature among several is enough."""
    signature = Signature("s3cret", "Stripe-Signature", STRIPE, clock=lambda: 1000.0)
    assert signature.problem(stripe("1000", b"other", b"s3cret"), BODY) is None
    moved = {"Stripe-Signature": stripe("1000", b"s3cret")["Stripe-Signature"].replace("t=1000", "t=1001")}
    wrong = "Stripe-Signature is no signature of this body under the secret that is expected"
    assert signature.problem(moved, BODY) == wrong
    assert signature.problem({"Stripe-Signature": f"v1={'0' * 64}"}, BODY) == f"expected {STRIPE} in Stripe-Signature"


@pytest.mark.asyncio
async def test_a_signature_may_be_in_base64() -> None:
    """As Shopify sends it."""
    async with Hooks(header="X-Shopify-Hmac-SHA256", format="{base64}", delivery="X-Shopify-Webhook-Id") as hooks:
        digest = hmac.digest(b"s3cret", BODY, "sha256")
        good = {"X-Shopify-Hmac-SHA256": b64encode(digest).decode(), "X-Shopify-Webhook-Id": "w-1"}
        assert [(await hooks.post(good))[0] for _ in range(2)] == [202, 202]
        assert (await hooks.post(good | {"X-Shopify-Hmac-SHA256": digest.hex()}))[0] == 401
        assert await hooks.records() == [BODY]


class Push(msgspec.Struct):
    """What is kept of a body."""

    zen: str


@pytest.mark.asyncio
async def test_a_body_is_what_it_is_said_to_be() -> None:
    """JSON unless it is said otherwise; a Struct keeps what it names and may give the key; None takes all bytes."""
    for body, wanted, kept in (
        (msgspec.Raw, b"form=1", None),
        (msgspec.Raw, b"[1, 2]", b"[1, 2]"),
        (Push, BODY, b'{"zen":"Keep it logically awesome."}'),
        (Push, b"{}", None),
        (None, b"form=\xff", b"form=\xff"),
    ):
        async with Hooks(body=body) as hooks:
            assert (await hooks.post(signed(wanted), wanted))[0] == (422 if kept is None else 202)
            assert await hooks.records() == ([] if kept is None else [kept])
    async with Hooks(body=Push, key=lambda push: push.zen[:4]) as hooks:
        await hooks.post(signed())
        assert (await hooks.broker.read("pushes", 0, 0, max_records=1)).keys == [b"Keep"]


@pytest.mark.asyncio
async def test_a_webhook_has_the_bounds_of_an_intake() -> None:
    """413 for what is too long, before it is asked whether it is signed; 429 while the reader is too far behind."""
    async with Hooks(max_bytes=60, backlog=Backlog("reader", max_records=1)) as hooks:
        assert (await hooks.post({}, b" " * 61))[0] == 413
        codes = [(await hooks.post(signed(delivery=one)))[0] for one in ("d-1", "d-2", "d-1")]
        assert codes == [202, 429, 202]
        assert (await hooks.post(signed(delivery="x" * 256)))[1]["field"] == "X-GitHub-Delivery"


WRONGLY = [
    {"secret": ""},
    {"secret": []},
    {"secret": ["a", b""]},
    {"format": "sha256="},
    {"format": "{hex},{base64}"},
    {"format": "t={timestamp}"},
    {"format": "v1={md5}"},
]


@pytest.mark.parametrize("options", WRONGLY)
def test_what_nobody_could_sign_or_anybody_is_refused(options: dict[str, Any]) -> None:
    """An empty secret, and a format without a signature; no message or repr has the secret."""
    with pytest.raises(ConfigError) as problem:
        webhook("pushes", **{"secret": "s3cret"} | options)
    assert "s3cret" not in str(problem.value)
    assert "s3cret" not in repr(Signature("s3cret", "X", "{hex}"))
