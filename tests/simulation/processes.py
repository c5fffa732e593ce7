"""Processes that are simulated in one loop: what a process has begun dies with it, and of its memory nothing is left."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, Literal, TypeVar

import msgspec

import rxstreams as rxs
from rxstreams.errors import BrokerError, FencedError, OffsetsError
from rxstreams.runtime.running import Running
from rxstreams.state.keys import encode_key
from rxstreams.testing import virtual_loop
from rxstreams.testing.brokers import SimulatedBroker
from tests.simulation.app import APP, BEGAN, How, pipeline
from tests.simulation.history import History

T = TypeVar("T")
End = Literal["killed", "fenced", "failed", "stopped", "finished"]
_OWNER: ContextVar["Process"] = ContextVar("_OWNER")


def simulated(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, run on a virtual loop that knows which process a task belongs to."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(work)


def _loop() -> asyncio.AbstractEventLoop:
    loop = virtual_loop()
    loop.setup_looptime(noop_cycles=0)  # type: ignore[attr-defined]  # nothing here waits for threads or sockets
    loop.set_task_factory(_task)  # type: ignore[arg-type]  # typeshed asks for more than asyncio gives
    return loop


def _task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], context: Any = None) -> "asyncio.Task[T]":
    task = asyncio.Task(work, loop=loop, context=context)
    owner = context.get(_OWNER) if context is not None else _OWNER.get(None)
    if owner is not None:
        owner.tasks.append(task)
    return task


class Process:
    """An instance of the app on its own connection.

    Attributes:
        over: Done when it has ended.
        end: How it ended; None while it works.
        wrong: What it did that it must not.
    """

    def __init__(self, store: History, broker: SimulatedBroker, how: How, *, commit_interval: float) -> None:
        self.store, self.broker = store, broker
        self.streams, self.commit_interval = pipeline(how), commit_interval
        self.tasks: list[asyncio.Task[Any]] = []
        self.running: Running | None = None
        self.end: End | None = None
        self.wrong: list[str] = []
        self.restarts = self.late = 0
        self._stop = asyncio.Event()
        self.over: asyncio.Task[End] = asyncio.get_running_loop().create_task(self._live())

    def stop(self) -> None:
        """Ask it to end, as SIGTERM does."""
        self._stop.set()

    async def _live(self) -> End:
        """Let it work until it ends by itself, or dies."""
        context = copy_context()
        context.run(_OWNER.set, self)
        main = context.run(asyncio.ensure_future, self._main())
        died = asyncio.ensure_future(self.broker.died.wait())
        await asyncio.wait([main, died], return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if self.broker.died.is_set():
            await self._bury()
            self.end = "killed"
        else:
            self.end = main.result()
            left = [task for task in self.tasks if not task.done()]
            self.wrong += [f"{self.broker.process} left a task behind: {task.get_coro()}" for task in left]
        if (self.end == "fenced") != (self.broker.fenced > 0) and self.end != "killed":
            self.wrong.append(f"{self.broker.process} was fenced {self.broker.fenced} times and ended {self.end}")
        return self.end

    async def _bury(self) -> None:
        """Cancel whatever it had begun; in the order in which it was begun, so that a seed replays."""
        while left := [task for task in self.tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.001)

    async def _main(self) -> End:
        clock = asyncio.get_running_loop().time
        try:
            await self.broker.start()
            async with rxs.start(
                *self.streams, app=APP, broker=self.broker, commit_interval=self.commit_interval,
                clock=lambda: BEGAN / 1000 + clock(),
            ) as self.running:  # fmt: skip
                self.running.view("totals").changes.subscribe(self._see)
                await self._until_stopped(self.running)
            await self.broker.stop()
        except FencedError:
            return "fenced"
        except OffsetsError as error:
            self.wrong.append(f"{self.broker.process} thinks that somebody has set offsets: {error}")
            return "failed"
        except BrokerError:
            return "failed"
        finally:
            if self.running is not None:
                self.restarts, self.late = self.running.statistics.restarts, self.running.statistics.late
        return "finished" if self.running.finished else "stopped"

    async def _until_stopped(self, running: Running) -> None:
        stopped = asyncio.ensure_future(self._stop.wait())
        ended = asyncio.ensure_future(running.wait())
        try:
            await asyncio.wait([stopped, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            ended.cancel()
            await asyncio.gather(stopped, ended, return_exceptions=True)

    def _see(self, row: tuple[Any, Any]) -> None:
        """A view shows only what was committed."""
        key, value = row
        if (encode_key(key), msgspec.json.encode(value)) not in self.store.shown:
            self.wrong.append(f"the view of {self.broker.process} shows {value} of {key!r}, which was never committed")

    def view(self) -> dict[bytes, bytes]:
        """What its view shows."""
        assert self.running is not None
        return {encode_key(key): msgspec.json.encode(value) for key, value in self.running.view("totals").items()}
