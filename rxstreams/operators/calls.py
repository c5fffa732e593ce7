"""What calls coroutine functions for records that wait: workers, order, retries, time-outs."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, Literal, NamedTuple, NoReturn

from rxstreams.batch import Batch
from rxstreams.errors import ConfigError, GraphError, Policy, Retry, Stop, check_policy
from rxstreams.operators.edges import BEGUN, DONE, GONE, WAITING, Edge, Held, Overflow, first
from rxstreams.stream import attached

__all__ = ["Calls", "Order", "Refused", "with_retry"]

Order = Literal["input", "any", "key"]
"""In which order results come: that of the records, that in which calls end, or per key that of the records."""
LONGEST_BACKOFF = 300.0
"""Seconds between two attempts at most."""
AT_ONCE = 64
"""Calls in one turn of the loop after which all workers let others have a turn, if none of the calls had to wait."""


class Refused(NamedTuple):
    """An outcome of a call for several records: that of them this one has failed."""

    error: Exception


def _as_error(raised: BaseException) -> Exception:
    """An exception that asks for no end of the process, as an error of the call: there is nobody else to hear of it."""
    if isinstance(raised, asyncio.CancelledError):
        return RuntimeError("the call was cancelled, and not by the pipeline")
    return RuntimeError(f"{type(raised).__name__}: {raised}")


def with_retry(where: str, retry: Any, on_error: Policy | None) -> Policy | None:
    """The policy for failing calls: ``retry`` times again, then ``on_error``.

    Raises:
        ConfigError: If one is wrong, or both say the same.
    """
    policy = check_policy(where, on_error, waits=True)
    if retry is None:
        return policy
    if isinstance(policy, Retry):
        raise ConfigError(f"{where}(retry): on_error={policy!r} says it already; expected one of them")
    if isinstance(retry, int) and not isinstance(retry, bool):
        return Retry(retry, backoff=0.1, then=policy or Stop())
    if not isinstance(retry, Retry):
        raise ConfigError(f"{where}(retry): expected how often to try again, or Retry(times, backoff=…), got {retry!r}")
    if policy is not None and retry.then != Stop():
        raise ConfigError(f"{where}(on_error): {retry!r} says it already (then=…); expected one of them")
    return retry if policy is None else Retry(retry.times, retry.backoff, policy)


class Calls(Edge):
    """An edge whose records wait for a call each (or one for several), and then for their turn to come out.

    Calls are made by workers, tasks that take one record after the other: there are as many as calls that wait at one time. In a
    run nothing but a worker's own queue changes while a push or a commit is under way: what a call has brought comes out between
    two pushes.

    Args:
        function: Called with a value; with a list of values where ``group`` is given, and returns as many outcomes.
        concurrency: How many calls may be under way.
        order: In which order results come.
        timeout: Seconds that a call may take; None is any.
        group: The most records for which one call is made; None is one, by itself.
        on_error: What happens when a call fails.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[Any]],
        *,
        concurrency: int,
        capacity: int,
        overflow: Overflow = "block",
        order: Order = "input",
        timeout: float | None = None,
        group: int | None = None,
        on_error: Policy | None = None,
    ) -> None:
        super().__init__(capacity, overflow)
        self.function, self.concurrency, self.order = function, concurrency, order
        self.timeout, self.group, self.on_error = timeout, group, on_error
        self.queue: deque[Held] = deque()
        self.finished: deque[Held] = deque()
        self.busy: dict[Any, deque[Held]] = {}
        self.workers: set[asyncio.Task[None]] = set()
        self.closing = self.woken = self.starting = False
        self.ask = self.asked if timeout is None else self.asked_in_time
        self.made = self.resting = 0
        self.thread = threading.get_ident()

    def start(self) -> None:
        super().start()
        if self.loop is None:
            raise GraphError(f"{self.title} needs a running asyncio loop: subscribe inside a coroutine")
        self.work()

    title = "a call"
    """The operator, for messages."""

    # What waits for a call.

    def batch(self, b: Batch, port: int) -> None:
        self.take(b)
        self.work()
        self.tell_anew()

    def hold(self, ones: Sequence[Held]) -> None:
        super().hold(ones)
        if self.order != "key":
            self.queue.extend(ones)
            return
        for one in ones:
            behind = self.busy.setdefault(one.key, deque())
            behind.append(one)
            if behind[0] is one:  # else the call before it of the same key comes first
                self.queue.append(one)

    def purge(self) -> None:
        if self.order != "key":
            self.queue = deque(one for one in self.queue if one.stage == WAITING)
            return
        left = {key: deque(one for one in behind if one.stage != GONE) for key, behind in self.busy.items()}
        self.busy = {key: behind for key, behind in left.items() if behind}
        self.queue = deque(behind[0] for behind in self.busy.values() if behind[0].stage == WAITING)

    def next_ones(self) -> list[Held]:
        """The records to call for next: one, or a group."""
        ones: list[Held] = []
        while self.queue and len(ones) < (self.group or 1):
            one = self.queue.popleft()
            one.stage = BEGUN
            ones.append(one)
        return ones

    def work(self) -> None:
        """Have one more worker, if something waits and there may be one. It has the next one work when it begins."""
        assert self.loop is not None
        if self.thread != threading.get_ident():
            self.loop.call_soon_threadsafe(self.work)
            return
        more = self.queue and len(self.workers) < self.concurrency and self.made < AT_ONCE
        if more and not self.starting and not self.closing:
            self.starting = True
            worker = self.loop.create_task(self.call_all())
            self.workers.add(worker)
            worker.add_done_callback(self.worked)

    def worked(self, worker: asyncio.Task[None]) -> None:
        self.workers.discard(worker)
        self.work()  # something may have come after it had found nothing, and before it had ended
        if not worker.cancelled() and (error := worker.exception()) is not None:
            # No call's error, as those are dealt with: an observer's, or our own.
            self.loop.call_exception_handler({"message": f"{self.title} failed", "exception": error})  # type: ignore[union-attr]  # it has begun

    async def call_all(self) -> None:
        attached.set(None)  # the task has the context of the push that started it; what the function subscribes to is its own
        loop = asyncio.get_running_loop()
        self.starting = False
        while not self.closing and (ones := self.next_ones()):
            if self.queue and not self.starting:
                self.work()
            try:
                outcomes = await self.ask(ones)
            except BaseException as raised:
                await self.again(ones, raised)
            else:
                self.concluded(ones, outcomes)
            self.made += 1
            if self.made == 1:
                loop.call_soon(self.rested)
            elif self.made >= AT_ONCE:
                await asyncio.sleep(0)

    def rested(self) -> None:
        """The loop has turned, so that others have had a turn."""
        self.made = 0
        self.work()

    # A call.

    async def again(self, ones: list[Held], raised: BaseException) -> None:
        """Call for these again after an attempt has failed, as the policy says; at last they fail."""
        policy = self.host.policy
        for attempt in count(1):
            error = self.as_error(raised)
            if not isinstance(policy, Retry) or attempt > policy.times:
                break
            self.resting += 1
            try:
                await asyncio.sleep(min((policy.backoff or 0.0) * 2 ** min(attempt - 1, 30), LONGEST_BACKOFF))
            finally:
                self.resting -= 1
            try:
                outcomes = await self.ask(ones)
            except BaseException as again:
                raised = again
            else:
                self.concluded(ones, outcomes)
                return
        for one in ones:
            self.host.post(partial(self.failed, one, error, attempt), one.origin)

    def as_error(self, raised: BaseException) -> Exception:
        """What a call raised as its error; what asks the process or this task to end goes on."""
        if isinstance(raised, KeyboardInterrupt | SystemExit) or self.closing:
            raise raised
        return raised if isinstance(raised, Exception) else _as_error(raised)

    async def asked_in_time(self, ones: list[Held]) -> Sequence[Any]:
        """What the function says of each.

        Raises:
            TimeoutError: If it takes longer than ``timeout``.
        """
        assert self.timeout is not None
        try:
            async with asyncio.timeout(self.timeout) as limit:
                return await self.asked(ones)
        except TimeoutError as error:
            if limit.expired():
                raise TimeoutError(f"no answer within {self.timeout:g} s (timeout=)") from error
            raise

    async def asked(self, ones: list[Held]) -> Sequence[Any]:
        """What the function says of each."""
        if self.group is None:
            made = self.function(*self.arguments(ones[0]))
            return (await made if hasattr(made, "__await__") else self.not_awaitable(made),)
        columns = zip(*map(self.arguments, ones), strict=True)
        made = self.function(*map(list, columns))
        found = await made if hasattr(made, "__await__") else self.not_awaitable(made)
        return self.outcomes_of(ones, found)

    def outcomes_of(self, ones: list[Held], found: Any) -> Sequence[Any]:
        """One outcome each, of what a call for several returned."""
        if not isinstance(found, Sequence) or len(found) != len(ones):
            raise TypeError(f"expected a list of {len(ones)} results, one for each value, got {found!r:.80}")
        return found

    def arguments(self, one: Held) -> tuple[Any, ...]:
        return (one.value,)

    def not_awaitable(self, made: Any) -> NoReturn:
        raise TypeError(
            f"the function returned {type(made).__name__}, which cannot be awaited; make it a coroutine function, wrap one that "
            "blocks in rxstreams.in_thread(…), or use the operator for plain functions"
        )

    def concluded(self, ones: Sequence[Held], outcomes: Sequence[Any]) -> None:
        """Calls have brought something."""
        for one, outcome in zip(ones, outcomes, strict=True):
            if outcome.__class__ is Refused:
                self.host.post(partial(self.failed, one, outcome.error, 1), one.origin)
                continue
            one.outcome, one.stage = outcome, DONE
            if self.order != "input":
                self.finished.append(one)
                self.next_of_key(one)
        if not self.host.durable:
            self.host.post(self.give_more, None)
            self.drain()
        elif not self.woken:
            self.woken = True
            self.host.made_room()  # the run looks what there is to give

    def failed(self, one: Held, error: Exception, attempts: int) -> None:
        """A call has failed for good."""
        if one.number in self.held:
            self.host.failed(error, one.alone(), 0, None, attempts=attempts)
            self.let_go([one])
        self.next_of_key(one)
        self.note()
        self.work()
        self.give_more()
        self.settle()

    def next_of_key(self, one: Held) -> None:
        if self.order != "key":
            return
        behind = self.busy[one.key]
        behind.popleft()
        if behind:
            self.queue.append(behind[0])
            self.work()
        else:
            del self.busy[one.key]

    # What comes out.

    def give_more(self) -> None:
        self.woken = False
        going = self.due(max(0, self.free()))
        if not going:
            return
        self.let_go(going)
        self.note()
        self.emit(self.results(going))
        self.settle()

    def has_turn(self) -> bool:
        return bool(self.finished) if self.order != "input" else any(one.stage == DONE for one in islice(self.held.values(), 1))

    @property
    def moving(self) -> bool:
        return bool(self.workers)

    @property
    def patient(self) -> bool:
        return bool(self.held) and (self.timeout is not None or self.resting > 0)

    def due(self, most: int) -> list[Held]:
        """Whose turn it is to come out, ``most`` of them."""
        if self.order == "input":
            return first(self.held.values(), self.enough(self.held.values(), most))
        return [self.finished.popleft() for _ in range(self.enough(self.finished, most))]

    def enough(self, ones: Any, most: int) -> int:
        """How many of these may come out where there is room for ``most`` results."""
        return min(len(ones), most)

    def results(self, ones: list[Held]) -> Batch:
        """What comes out."""
        return self.batch_of(ones, [one.outcome for one in ones])

    def close(self) -> None:
        self.closing = True
        super().close()
        if self.loop is not None and self.thread != threading.get_ident():
            self.loop.call_soon_threadsafe(self.cancel)
        else:
            self.cancel()

    def cancel(self) -> None:
        for worker in self.workers:
            worker.cancel()

    async def closed(self) -> None:
        if self.workers:
            await asyncio.wait(self.workers)
