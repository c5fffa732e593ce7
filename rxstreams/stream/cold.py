"""The cold driver: a direct subscription, value by value, with Rx's contract to the letter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import RLock
from typing import Any

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable, SingleAssignmentDisposable
from reactivex.observer import AutoDetachObserver
from reactivex.scheduler import CurrentThreadScheduler, TimeoutScheduler

from rxstreams.batch import Batch
from rxstreams.errors import Policy, Stop
from rxstreams.stream.loops import Loop, single
from rxstreams.stream.node import LOST, UNBOUNDED, Moment, Node, Pace
from rxstreams.watermarks import END

__all__ = ["Outlet", "connect"]


class Outlet(AutoDetachObserver[Any]):
    """Where a stream's output goes: a user's observer, detached at the end as RxPY does it, that takes batches too."""

    wants_time = False
    pace: Pace | None = None

    @staticmethod
    def of(on_next: Any, on_error: Any, on_completed: Any) -> Outlet:
        """An outlet to an observer, or to up to three functions, as ``subscribe`` takes them."""
        if callable(getattr(on_next, "on_next", None)):
            return Outlet(on_next.on_next, on_next.on_error, on_next.on_completed)
        return Outlet(on_next, on_error, on_completed)

    def batch(self, b: Batch) -> None:
        """Deliver each value; the observer may dispose between two."""
        for value in b.values:
            self.on_next(value)

    def one(self, value: Any) -> None:
        """Deliver a value that has neither key nor time."""
        self.on_next(value)

    def watermark(self, mark: int) -> None:
        """Deliver how far time has come; a user's observer has no use for it."""


class Port(Outlet):
    """An outlet into one input of a node: batches of one, watermarks, the end, an error."""

    def __init__(self, host: ColdHost, port: int) -> None:
        error = host.fail if type(host.node).input_failed is Node.input_failed else host._turn(host.node.input_failed)
        super().__init__(self._stamp if host.wants_time and not host.node.makes_time else self._lift, error, self._end)
        self.node, self.host, self.port = host.node, host, port
        self.wants_time = host.wants_time and not host.node.makes_time
        self.pace = host.pace
        take = host.node.batch
        self._deliver: Callable[[Batch], None] = (lambda b: take(b, port)) if host.lock is None else self._deliver_in_turn
        loop = Loop(mapping=None)
        if not host.wants_time and host.node.join(loop) and not loop.keyed:
            self.one = self._on_next = single(loop, self, host.outlet.one, host.fail)  # type: ignore[method-assign,assignment]  # the same, quicker

    def batch(self, b: Batch) -> None:
        if b.marks is not None:
            b = b.marked(None)  # value by value, every watermark comes on its own; these may be ahead of another input
        if len(b.values) == 1:
            if not self.is_stopped:
                self._deliver(b)
            return
        for i in range(len(b.values)):  # value by value: a take(1) downstream must stop the second before it is computed
            if self.is_stopped:
                return
            self._deliver(b.cut(i, i + 1))

    def watermark(self, mark: int) -> None:
        if not self.is_stopped:
            self.host._turn(self.node.watermark)(mark, self.port)

    def _deliver_in_turn(self, b: Batch) -> None:
        assert self.host.lock is not None
        with self.host.lock:
            self.node.batch(b, self.port)

    def _end(self) -> None:
        if self.node.in_turn:
            self.host.next_turn()
            return
        self.host._turn(self.node.end)(self.port)
        if self.wants_time:
            self.host.node.watermark(END, self.port)

    def one(self, value: Any) -> None:
        if not self.is_stopped:
            self._on_next(value)

    def _lift(self, value: Any) -> None:
        """One value of a plain Observable: a batch of one."""
        self._deliver(Batch((value,)))

    def _stamp(self, value: Any) -> None:
        """One value of a plain Observable, stamped by the subscription's scheduler because its time is read."""
        time = int(self.host.now() * 1000)
        self._deliver(Batch((value,), (time,)))
        self.watermark(time)


class ColdHost:
    """Drives one node for one subscription."""

    __slots__ = (
        "asked", "beyond", "clocked", "current", "emit", "group", "inner", "input", "keyed", "lock", "node", "outlet", "pace",
        "scheduler", "waiting", "wants_time",
    )  # fmt: skip

    current: SerialDisposable
    asked: SerialDisposable
    input: abc.DisposableBase
    durable = False
    forgiving = False
    app = ""
    limited = False
    wants_latest = False
    policy: Policy = Stop()

    def __init__(self, node: Node, outlet: Outlet, scheduler: abc.SchedulerBase | None, *, keyed: bool, clocked: bool) -> None:
        self.node = node
        self.keyed, self.clocked = keyed, clocked
        self.outlet = outlet
        self.emit: Callable[[Batch], None] = outlet.batch
        self.scheduler = scheduler
        self.group = CompositeDisposable()
        self.lock = RLock() if node.locked else None
        self.inner = 0
        self.beyond = outlet.pace
        self.pace = node.paced(outlet.pace)
        self.wants_time = node.needs_time or (outlet.wants_time and node.passes_time)

    def finish(self, at: float | None = None) -> None:
        self.outlet.on_completed()

    def fail(self, error: Exception) -> None:
        if self.lock is None:
            self.outlet.on_error(error)
        else:
            with self.lock:
                self.outlet.on_error(error)

    def forward(self, watermark: int) -> None:
        self.outlet.watermark(watermark)

    def fresh(self, values: Sequence[Any], times: Sequence[int] | None, keys: Sequence[Any] | None = None) -> Batch:
        return Batch(values, times if self.wants_time else None, keys)

    def moment(self, time: int, mark: int) -> Moment:
        return Moment(0, mark, mark)

    def failed(self, error: Exception, batch: Batch, index: int, again: Callable[[], Any] | None, *, attempts: int = 1) -> Any:
        self.fail(error)
        return LOST

    @property
    def clock(self) -> abc.SchedulerBase:
        return self.node.scheduler or self.scheduler or TimeoutScheduler.singleton()

    def later(self, seconds: float, action: Callable[[], None]) -> abc.DisposableBase:
        handle = SingleAssignmentDisposable()
        self.group.add(handle)

        def fire(_: Any, __: Any = None) -> None:
            self.group.remove(handle)
            if self.lock is None:
                action()
            else:
                with self.lock:
                    action()

        handle.disposable = self.clock.schedule_relative(timedelta(seconds=seconds), fire)
        return handle

    def now(self) -> float:
        return self.clock.now.timestamp()

    def origin(self) -> None:
        return None

    def post(self, action: Callable[[], None], origin: Any) -> None:
        self._turn(action)()

    def made_room(self) -> None:
        """An edge that was full may have room."""

    def pressure(self, *, full: bool) -> None:
        """An edge has become full, or not any more."""

    def room(self) -> int:
        return UNBOUNDED  # a subscription's edges slow their sources

    def aside(self, name: str, batch: Batch) -> None:
        """Side streams are a run's."""

    def reads(self, name: str) -> bool:
        """Side streams are a run's."""
        return False

    def open(self, inner: Observable[Any], node: Node, batch: Batch) -> None:
        """Merge an inner Observable in, as RxPY's ``merge_all`` does: the end waits for it, its error is ours."""
        self.inner += 1
        subscription = SingleAssignmentDisposable()
        self.group.add(subscription)

        def ended() -> None:
            self.group.remove(subscription)
            self.inner -= 1
            node.end(-1)

        emit: Callable[[Any], None] = lambda value: self.emit(batch.of((value,)))  # noqa: E731  # one of three callbacks
        subscription.disposable = inner.subscribe(self._turn(emit), self.fail, self._turn(ended), scheduler=self.scheduler)

    def switch(self, other: Observable[Any]) -> None:
        self.input.dispose()
        subscription = SingleAssignmentDisposable()
        self.group.add(subscription)
        subscription.disposable = other.subscribe(Port(self, 1), scheduler=self.node.scheduler)

    def take_turns(self, inputs: Sequence[Observable[Any]]) -> None:
        """Subscribe to the inputs one after the other."""
        self.waiting = deque(enumerate(inputs))
        self.current, self.asked = SerialDisposable(), SerialDisposable()
        self.group.add(self.current)
        self.group.add(self.asked)
        self.next_turn()

    def next_turn(self) -> None:
        """Have the next input subscribed to, or the node told that there is none; by the scheduler, as RxPY's ``concat`` does."""

        def take_turn(_: Any, __: Any = None) -> None:
            if not self.waiting:
                self.node.end(self.node.ports - 1)
                return
            port, source = self.waiting.popleft()
            subscription = self.current.disposable = SingleAssignmentDisposable()
            subscription.disposable = source.subscribe(Port(self, port), scheduler=self.scheduler)

        self.asked.disposable = (self.scheduler or CurrentThreadScheduler.singleton()).schedule(take_turn)

    def _turn(self, action: Callable[..., None]) -> Callable[..., None]:
        lock = self.lock
        if lock is None:
            return action

        def in_turn(*args: Any) -> None:
            with lock:
                action(*args)

        return in_turn


def connect(
    node: Node,
    inputs: Sequence[Observable[Any]],
    outlet: Outlet,
    scheduler: abc.SchedulerBase | None,
    *,
    keyed: bool,
    clocked: bool,
) -> abc.DisposableBase:
    """Start ``node`` and subscribe to its inputs; the result disposes of them all."""
    host = ColdHost(node, outlet, scheduler, keyed=keyed, clocked=clocked)
    node._bind(host)
    node.start()
    host.group.add(Disposable(node.close))
    lifetime = node.lifetime(host.group)
    node.produce()
    if node.in_turn:
        host.take_turns(inputs)
        return lifetime
    for port in node.port_order or range(len(inputs)):
        # Every input is subscribed, even if the first one has ended the output already: that is what RxPY does, and the
        # disposable that comes back takes the late ones down at once.
        subscription = SingleAssignmentDisposable()
        host.group.add(subscription)
        host.input = subscription
        lent = host.clock if node.lends_clock else scheduler
        subscription.disposable = inputs[port].subscribe(Port(host, port), scheduler=lent)
    node.ready()
    return lifetime
