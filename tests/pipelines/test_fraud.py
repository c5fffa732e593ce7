"""Fraud: beside the shop, both as processes that may be killed; at the shop's intake; over the example and over files."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

import rxstreams as rxs
from pipelines.records import NewPayment, Payment, Standing, complete
from rxstreams.brokers import Broker, Record
from rxstreams.brokers.memory import MemoryBroker
from rxstreams.errors import BrokerError
from rxstreams.web import Intake
from tests.pipelines.conftest import Modules

ALERT = "FRAUD ALERT: User user-1 has 3 failed payments in 5 min\n"
BLOCKED = {"field": None, "reason": "user-1 is blocked: three payments failed within 5 min"}
PATIENCE = 30.0


class Till:
    """A client of the shop that repeats what is not answered, and counts the payments that were accepted."""

    def __init__(self, client: httpx2.Client, broker: str) -> None:
        self.client, self.broker, self.accepted = client, broker, 0
        self.start = datetime.now(UTC)

    def pay(self, user: str, status: str, at: float | None = None) -> httpx2.Response:
        """Post a payment, of so many seconds after the start; without them, of now."""
        times = {} if at is None else {"timestamp": (self.start + timedelta(seconds=at)).isoformat()}
        answer = self.post("/api/payments", {"orderId": "order-1", "userId": user, "status": status, **times})
        self.accepted += answer.status_code == 202
        return answer

    def post(self, path: str, body: dict[str, str]) -> httpx2.Response:
        """Post a body until it is answered; it counts once."""
        headers = {"Idempotency-Key": uuid4().hex}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.client.post(path, json=body, headers=headers)
            except httpx2.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def blocked(self) -> Any:
        """The users whom the shop says to be blocked."""
        answer = self.client.get("/blocked")
        assert answer.status_code == 200
        return answer.json()

    def wait_for_blocked(self, *users: str) -> None:
        """Return when these are blocked, and nobody else."""
        deadline = time.monotonic() + PATIENCE
        while (now := self.blocked()) != list(users):
            assert time.monotonic() < deadline, now
            time.sleep(0.02)

    def wait_until_committed(self) -> None:
        """Return when the pipeline has committed all payments that were accepted, which are those of the topic."""

        async def wait() -> None:
            broker, deadline = rxs.connect(self.broker), time.monotonic() + PATIENCE
            await broker.start()
            try:
                while (await broker.committed("fraud")).get(("payments", 0), 0) < self.accepted:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.02)
                assert await broker.end_offsets("payments") == [self.accepted]
            finally:
                await broker.stop()

        asyncio.run(wait())


@pytest.fixture
def till(modules: Modules, free_port: int) -> Iterator[Till]:
    """The shop as a process, and a client of it."""
    modules.start("shop", "--port", str(free_port))
    with httpx2.Client(base_url=f"http://127.0.0.1:{free_port}", timeout=PATIENCE) as client:
        yield Till(client, modules.broker)


def standings(broker: str) -> dict[str, Standing]:
    """The committed view, as another process reads it."""

    async def read() -> dict[str, Standing]:
        async with rxs.view("fraud", "blocked", Standing, broker=broker) as view:
            return dict(await view.items())

    return asyncio.run(read())


@pytest.mark.timeout(120)
def test_a_user_with_three_failed_payments_is_blocked_until_an_operator_unblocks_and_again_after_three_more(
    modules: Modules, till: Till
) -> None:
    """Only that user, and what is refused is not in the topic; of the payments of one alert none counts for the next."""
    for _ in range(3):
        assert till.pay("user-1", "failed").status_code == 202
    assert till.blocked() == []
    fraud = modules.start("fraud")
    till.wait_for_blocked("user-1")
    refused = till.pay("user-1", "success")
    assert (refused.status_code, refused.json()) == (403, BLOCKED)
    assert till.pay("user-2", "success").status_code == 202

    unblocked = till.post("/api/unblocks", {"userId": "user-1"})
    assert (unblocked.status_code, unblocked.json()) == (202, {"userId": "user-1"})
    till.wait_for_blocked()
    assert till.pay("user-1", "success").status_code == 202

    for at in (0, 1):
        assert till.pay("user-1", "failed", at).status_code == 202
    assert till.pay("user-2", "failed", 10).status_code == 202
    till.wait_until_committed()
    assert till.blocked() == []
    assert till.pay("user-1", "failed", 11).status_code == 202
    assert till.pay("user-2", "failed", 20).status_code == 202
    till.wait_for_blocked("user-1")
    assert till.pay("user-1", "failed", 21).status_code == 403
    till.wait_until_committed()

    fraud.terminate()
    assert modules.end(fraud) == 2 * ALERT
    assert fraud.returncode == 0


@pytest.mark.timeout(120)
def test_a_pipeline_that_is_killed_before_the_third_failed_payment_alerts_once_when_it_is_back(
    modules: Modules, till: Till
) -> None:
    """Killed with -9 when two were committed; the second process knows of them, and blocks the user at the third."""
    first = modules.start("fraud")
    for at in (0, 1):
        assert till.pay("user-1", "failed", at).status_code == 202
    till.wait_until_committed()
    first.kill()
    assert (modules.end(first), first.returncode) == ("", -9)
    second = modules.start("fraud")
    assert till.pay("user-1", "failed", 2).status_code == 202
    assert till.pay("user-2", "failed", 10).status_code == 202
    till.wait_for_blocked("user-1")
    assert till.pay("user-1", "success", 11).status_code == 403
    assert till.pay("user-2", "failed", 20).status_code == 202
    till.wait_until_committed()
    second.terminate()
    assert (modules.end(second), second.returncode) == (ALERT, 0)
    assert standings(till.broker) == {"user-1": Standing(user_id="user-1", blocked=True)}


class Rule:
    """What an intake asks: whether a payment is of the blocked user; or a question that fails."""

    def __init__(self) -> None:
        self.blocked: str | None = None
        self.problem: Exception | None = None
        self.asked: list[Payment] = []

    async def refuse(self, payment: Payment) -> str | None:
        """Why it is refused."""
        self.asked.append(payment)
        await asyncio.sleep(0)
        if self.problem is not None:
            raise self.problem
        return f"{payment.user_id} is blocked" if payment.user_id == self.blocked else None


Post = Callable[..., Awaitable[httpx2.Response]]


@asynccontextmanager
async def taking_payments(broker: Broker, rule: Rule) -> AsyncIterator[Post]:
    """Something that posts a payment of user-1, to an intake that starts now."""
    intake = Intake("payments", NewPayment, key=lambda one: one.order_id, complete=complete, refuse=rule.refuse)
    await intake.start(broker)
    app = Starlette(routes=[Route("/", intake.post, methods=["POST"])])
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)

    async def post(key: str | None = None, **fields: str) -> httpx2.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await client.post("/", json={"orderId": "order-1", "userId": "user-1", **fields}, headers=headers)

    async with httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield post


async def payments_of(broker: Broker) -> list[Any]:
    """What is in the topic."""
    return [msgspec.json.decode(value) for value in (await broker.read("payments", 0, 0, max_records=100)).values if value]


@pytest.mark.asyncio
async def test_an_intake_answers_what_is_refused_with_403_and_the_reason() -> None:
    """It is asked about the whole value; nothing of what it refuses is appended, and the others are taken in."""
    broker, rule = MemoryBroker(), Rule()
    rule.blocked = "user-1"
    async with taking_payments(broker, rule) as post:
        refused = await post()
        assert (refused.status_code, refused.json()) == (403, {"field": None, "reason": "user-1 is blocked"})
        assert (await post(orderId="")).status_code == 422  # it is not a payment, and nobody is asked about it
        taken = await post(userId="user-2", paymentId="pay-2")
        assert taken.status_code == 202
        assert await payments_of(broker) == [taken.json()]
    assert [(one.user_id, one.payment_id[:4]) for one in rule.asked] == [("user-1", "pay-"), ("user-2", "pay-")]


@pytest.mark.asyncio
async def test_what_was_acknowledged_stays_so_for_its_key_though_the_user_is_blocked_now() -> None:
    """The retry gets the first answer, from an intake that started later, too; a new key, or none, is refused. A key whose
    payment was refused is good once the user is free again.
    """
    broker, rule = MemoryBroker(), Rule()
    async with taking_payments(broker, rule) as post:
        first = await post("a")
        assert first.status_code == 202
        rule.blocked = "user-1"
        again = await post("a")
        assert (again.status_code, again.content) == (202, first.content)
        assert [(await post(key)).status_code for key in ("b", None)] == [403, 403]
    async with taking_payments(broker, rule) as post:
        again = await post("a")
        assert (again.status_code, again.content) == (202, first.content)
        assert (await post("b")).status_code == 403
        assert await payments_of(broker) == [first.json()]
        rule.blocked = None
        second = await post("b")
        assert second.status_code == 202
        assert await payments_of(broker) == [first.json(), second.json()]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("problem", "status"), [(RuntimeError("no"), 500), (ValueError("no"), 500), (BrokerError("the view cannot be read"), 503)]
)
async def test_a_payment_is_not_taken_in_if_the_question_whether_to_refuse_it_fails(problem: Exception, status: int) -> None:
    """It is the server's error, with a time to retry where it is the broker's; then the same key is good."""
    broker, rule = MemoryBroker(), Rule()
    async with taking_payments(broker, rule) as post:
        rule.problem = problem
        for key in ("a", None):
            failed = await post(key)
            assert failed.status_code == status
            if status == 503:
                assert failed.headers["Retry-After"] == "5"
                assert failed.json() == {"field": None, "reason": "the view cannot be read"}
        assert await payments_of(broker) == []
        rule.problem = None
        taken = await post("a")
        assert taken.status_code == 202
        assert await payments_of(broker) == [taken.json()]


class SlowBroker(MemoryBroker):
    """A broker whose appends wait to be let go, and may lose the answer of what they have appended."""

    def __init__(self) -> None:
        super().__init__()
        self.let, self.loses = asyncio.Event(), False

    async def append(self, topic: str, records: Sequence[Record], /) -> list[tuple[int, int]]:
        """Append late."""
        await self.let.wait()
        placed = await super().append(topic, records)
        if self.loses:
            raise BrokerError("the answer was lost")
        return placed


@pytest.mark.asyncio
@pytest.mark.parametrize("loses", [False, True])
async def test_a_payment_that_was_let_through_is_taken_in_though_the_user_is_blocked_meanwhile(loses: bool) -> None:
    """A retry while it is under way, or after its answer was lost, is answered as the first post would have been."""
    broker, rule = SlowBroker(), Rule()
    broker.loses = loses
    async with taking_payments(broker, rule) as post:
        first = asyncio.ensure_future(post("a"))
        while not rule.asked:  # noqa: ASYNC110  # it is a list
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        rule.blocked = "user-1"
        again = asyncio.ensure_future(post("a"))
        await asyncio.sleep(0.01)
        broker.let.set()
        assert [one.status_code for one in await asyncio.gather(first, again)] == [503 if loses else 202] * 2
        assert (await post("a")).status_code == 202
        assert (await post("b")).status_code == 403
        assert len(await payments_of(broker)) == 1


SAMPLE = {"fraud": ALERT, "retry": "Retried: User user-2 paid 8 s after a failed payment\n"}


@pytest.mark.parametrize("pattern", SAMPLE)
def test_a_sample_has_one_line_of_either_pattern(modules: Modules, pattern: str) -> None:
    """The fourth failed payment of the example makes no second alert; the other user is the one who paid after all."""
    assert modules.run("fraud", "--sample", "--pattern", pattern) == (0, SAMPLE[pattern], "")
    assert list(modules.folder.iterdir()) == []


def payment(user: str, status: str, seconds: float) -> str:
    """A line of a file."""
    at = datetime(2026, 1, 16, 10, tzinfo=UTC) + timedelta(seconds=seconds)
    return json.dumps({"userId": user, "status": status, "timestamp": at.isoformat()})


def test_payments_of_a_file_go_by_their_times_and_users(modules: Modules) -> None:
    """Three within less than five minutes, whatever is between them; others' do not count, nor does one that was too early."""
    lines = [
        payment("early", "failed", 0),
        payment("user-1", "failed", 1),
        payment("slow", "failed", 1),
        payment("two", "failed", 2),
        payment("user-1", "success", 2),
        payment("two", "failed", 3),
        payment("user-1", "failed", 200),
        payment("slow", "failed", 200),
        payment("early", "failed", 200),
        payment("early", "failed", 300),
        payment("user-1", "failed", 300.999),
        payment("slow", "failed", 301),
        payment("early", "failed", 310),
    ]
    (modules.folder / "payments.ndjson").write_text("\n".join(lines))
    status, output, log = modules.run("fraud", "--input", "payments.ndjson")
    assert (status, log) == (0, "")
    assert output == ALERT + ALERT.replace("user-1", "early")


def test_payments_of_a_file_that_followed_a_failed_one_within_ten_seconds(modules: Modules) -> None:
    """It is the first that has not failed, after the first that has; one ten seconds later is too late for that one, though not
    for another that failed between them.
    """
    lines = [
        payment("quick", "failed", 0),
        payment("quick", "pending", 1.5),
        payment("quick", "success", 2),
        payment("slow", "failed", 20),
        payment("twice", "failed", 20),
        payment("twice", "failed", 26),
        payment("other", "success", 27),
        payment("slow", "success", 30),
        payment("twice", "success", 30),
        payment("again", "failed", 40),
        payment("again", "failed", 42),
        payment("again", "success", 45),
    ]
    (modules.folder / "payments.ndjson").write_text("\n".join(lines))
    status, output, log = modules.run("fraud", "--input", "payments.ndjson", "--pattern", "retry")
    assert (status, log) == (0, "")
    assert output.splitlines() == [
        "Retried: User quick paid 1.5 s after a failed payment",
        "Retried: User twice paid 4 s after a failed payment",
        "Retried: User again paid 5 s after a failed payment",
    ]


BAD = [
    ("{", "truncated"),
    ("[]", "Expected `object`, got `array`"),
    ('{"userId": "user-1", "status": 5}', "Expected `str`, got `int` - at `$.status`"),
    ('{"userId": "", "status": "failed"}', "Expected `str` of length >= 1 - at `$.userId`"),
    ('{"userId": null, "status": "failed"}', "Expected `str`, got `null` - at `$.userId`"),
    ('{"userId": "user-1", "timestamp": "2026-01-16T10:00:00"}', "with a timezone component - at `$.timestamp`"),
    ('{"userId": "user-1", "timestamp": "yesterday"}', "RFC3339"),
]


def test_a_bad_line_of_payments_is_reported_and_leaves_the_others_alone(modules: Modules) -> None:
    """The report names file, line, what was expected and what came; the status is 1, and the good lines make their alert."""
    good = [payment("user-1", "failed", seconds) for seconds in (0, 30, 60)]
    lines = [good[0], *(line for line, _ in BAD), "", *good[1:]]
    (modules.folder / "payments.ndjson").write_text("\n".join(lines))
    status, output, errors = modules.run("fraud", "--input", "payments.ndjson")
    assert (status, output) == (1, ALERT)
    reports = errors.splitlines()
    assert len(reports) == len(BAD)
    for number, (report, (line, reason)) in enumerate(zip(reports, BAD, strict=True), 2):
        assert report.startswith(f"payments.ndjson:{number}: expected a payment such as {{")
        assert f"; got {line.encode()!r}: " in report
        assert reason in report


@pytest.mark.timeout(120)
def test_payments_that_reach_the_shop_together_may_be_out_of_order_by_some_milliseconds(modules: Modules, till: Till) -> None:
    """Another user's payment overtakes; the failed one that it overtook still counts."""
    modules.start("fraud")
    for user, at in (("user-1", 0), ("user-1", 0.001), ("user-2", 0.004), ("user-1", 0.002), ("user-2", 10)):
        assert till.pay(user, "failed", at).status_code == 202
    till.wait_for_blocked("user-1")


@pytest.mark.timeout(120)
def test_a_payment_whose_clock_is_ahead_does_not_hide_what_fails_after_it(modules: Modules, till: Till) -> None:
    """One of an hour later does not make the failed ones of now late."""
    modules.start("fraud")
    assert till.pay("user-2", "success", 3600).status_code == 202
    till.wait_until_committed()
    for _ in range(3):
        assert till.pay("user-1", "failed").status_code == 202
    till.wait_for_blocked("user-1")


@pytest.mark.timeout(120)
def test_a_payment_whose_clock_is_behind_counts_still(modules: Modules, till: Till) -> None:
    """An old timestamp does not hide it."""
    modules.start("fraud")
    assert till.pay("user-2", "success").status_code == 202
    till.wait_until_committed()
    for _ in range(3):
        assert till.pay("user-1", "failed", -3600).status_code == 202
    till.wait_for_blocked("user-1")


def test_the_lines_of_a_file_may_be_in_any_order(modules: Modules) -> None:
    """Also among lines that say no time."""
    lines = ["{}", *(payment("user-1", "failed", seconds) for seconds in (60, 0, 30))]
    (modules.folder / "payments.ndjson").write_text("\n".join(lines))
    assert modules.run("fraud", "--input", "payments.ndjson") == (0, ALERT, "")
