"""run and start: a pipeline made durable, supervised, and stopped by signals."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxstreams.brokers.contract import Broker
from rxstreams.errors import (
    AuthorizationError,
    BrokerError,
    ConfigError,
    FencedError,
    MissingTopicError,
    OffsetsError,
    Policy,
    RxStreamsError,
    Stop,
    StorageDamagedError,
    StorageFullError,
    check_policy,
    seconds,
)
from rxstreams.feeds.topics import opened
from rxstreams.log import logger
from rxstreams.operators.arguments import check_count
from rxstreams.operators.sinks import ViewSink
from rxstreams.runtime.blocking import loop_watched
from rxstreams.runtime.edges import EdgeState, edges_of
from rxstreams.runtime.graph import Graph
from rxstreams.runtime.guarantee import Guarantee, guarantee_of
from rxstreams.runtime.health import Health
from rxstreams.runtime.offsets import Offsets, check_offsets
from rxstreams.runtime.settings import STATE_LIMIT, Settings, Statistics
from rxstreams.runtime.signals import stopped_by_signals
from rxstreams.runtime.task import Task
from rxstreams.state.keys import internal
from rxstreams.stream import Stream
from rxstreams.views import View

if TYPE_CHECKING:
    from rxstreams.patterns import Match

__all__ = ["EXIT_FAILED", "EXIT_FENCED", "Running", "run", "start"]

EXIT_FAILED = 1
"""The process's status when a run fails."""
EXIT_FENCED = 3
"""The process's status when a newer instance has taken over; a supervisor must not start this one again."""
STOP_WITHIN = 10.0
RESTARTS = 5
QUIET_AFTER = 60.0
"""Seconds of work after which earlier restarts are forgiven."""
FINAL = (AuthorizationError, FencedError, MissingTopicError, OffsetsError, StorageFullError, StorageDamagedError)
"""What beginning anew cannot mend."""


class Running:
    """A run under way.

    Attributes:
        app: The name that its state and offsets are saved under.
        guarantee: What it promises, and the weakest link.
        statistics: What it has done so far.
        finished: Whether the input has ended, and the end is committed.
        task: The attempt under way; a restart makes another.
        health: How it fares, and if something went wrong, what.
    """

    def __init__(self, streams: Sequence[Stream[Any]], broker: Broker, settings: Settings) -> None:
        self.app, self.broker, self.settings = settings.app, broker, settings
        self.streams = streams
        self.statistics = Statistics()
        self.finished = False
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.instance = f"process {os.getpid()} on {socket.gethostname()}, started {began}"
        plan = Graph(streams, policy=settings.on_error, clock=settings.clock)
        self.guarantee: Guarantee = guarantee_of(plan)
        self.views = {name: View(name) for name in (sink.view for _, sink in plan.ends(ViewSink))}
        plan.close()
        self._plan = " -> ".join(dict.fromkeys(vertex.title for vertex in plan.vertices))
        self.task: Task | None = None
        self.health = Health("starting")
        self._stopping = False
        self._acquired = asyncio.Event()
        self._working_since: float | None = None
        self._worker: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Running {self.app!r}: {self.statistics.records} records, {self.statistics.epochs} epochs>"

    def view(self, name: str) -> View:
        """The view that ``to_view(name)`` keeps.

        Raises:
            ConfigError: If there is none of that name.
        """
        if name not in self.views:
            raise ConfigError(f"app {self.app!r} has no view {name!r}; it has {', '.join(map(repr, self.views)) or 'none'}")
        return self.views[name]

    @property
    def edges(self) -> tuple[EdgeState, ...]:
        """Where records wait: how many, how full it is, and which edge is the bottleneck."""
        return edges_of(self.task.graph) if self.task is not None else ()

    def partial_matches(self, stream: Stream[Any], key: Any) -> list[Match]:
        """What a key has open of the pattern that the operator behind ``stream`` looks for, each with the events that it has.

        Raises:
            ConfigError: If ``stream`` is not what ``detect`` returned, or not a part of this run.
        """
        from rxstreams.operators.detecting import Detecting  # a run without patterns need not load them

        vertices = self.task.graph.vertices if self.task is not None else ()
        for vertex in vertices:
            if vertex.stream is stream and isinstance(vertex.node, Detecting):
                return list(vertex.node.open_of(internal(key) if vertex.keyed else None))
        raise ConfigError(f"app {self.app!r}: expected the stream that detect(…) of this run returned, got {stream!r}")

    async def wait(self) -> None:
        """Return when the run has ended.

        Raises:
            RxStreamsError: What it failed with.
        """
        assert self._worker is not None
        await asyncio.wait([self._worker])
        if not self._worker.cancelled():  # as it is where ``stop`` has dropped the epoch
            self._worker.result()

    async def stop(self) -> None:
        """Finish the epoch, commit it, and end; what cannot be committed within ten seconds is dropped."""
        self._stopping = True
        if self.task is not None:
            self.task.stop()
        if self._worker is None or self._worker.done():
            return
        _, late = await asyncio.wait([self._worker], timeout=STOP_WITHIN)
        if late:
            logger().warning("the epoch was dropped", app=self.app, reason=f"not committed {STOP_WITHIN:g} s after the stop")
            self._worker.cancel()
            await asyncio.wait([self._worker])
        if self.health.status not in ("finished", "failed"):
            self.health = Health("stopped")

    async def _begin(self) -> None:
        """Start working; return once the state is restored, so that views have their rows."""
        self._worker = asyncio.get_running_loop().create_task(self._supervise())
        acquired = asyncio.ensure_future(self._acquired.wait())
        await asyncio.wait([self._worker, acquired], return_when=asyncio.FIRST_COMPLETED)
        acquired.cancel()
        if self._worker.done():
            self._worker.result()

    async def _supervise(self) -> None:
        """Work, and begin anew from the broker whenever it is in doubt what was committed."""
        restarts = 0
        while not self._stopping:
            try:
                await self._attempt()
                self.health = Health("finished" if self.finished else "stopped")
                return
            except Exception as error:
                restarts = 1 if self._was_quiet() else restarts + 1
                if restarts > RESTARTS or not isinstance(error, BrokerError) or isinstance(error, FINAL):
                    self.health = Health("failed", str(error), restarts - 1)
                    raise
                self.health = Health("restarting", str(error), restarts)
                self.statistics.restarts += 1
                logger().warning("beginning anew from the broker", app=self.app, restart=restarts, error=str(error))
                await asyncio.sleep(0.05 * 2**restarts)

    def _was_quiet(self) -> bool:
        """Whether the last attempt has got on for long; neither trying to begin nor being stuck counts."""
        task, since = self.task, self._working_since
        return task is not None and since is not None and task.progressed - since >= QUIET_AFTER

    async def _attempt(self) -> None:
        self._working_since = None
        task = self.task = Task(self.streams, self.broker, self.settings, self.instance, self.views, self.statistics)
        try:
            await task.acquire()
            self._working_since = task.progressed = task.loop.time()
            self.health = Health("running")
            self._say_hello(task)
            self._acquired.set()
            if not task.finished:
                await task.work()
            self.finished = task.finished
        finally:
            await task.close()

    def _say_hello(self, task: Task) -> None:
        if task.finished:
            logger().info("this app has finished: its input ended, and the end is committed; nothing to do", app=self.app)
            return
        logger().info(
            "running",
            app=self.app,
            broker=self.broker.url,
            graph=self._plan,
            guarantee=self.guarantee.level,
            because=self.guarantee.because,
            epoch=task.epoch,
            restored=self.statistics.restored,
        )


@asynccontextmanager
async def start(
    *streams: Stream[Any],
    app: str | None = None,
    broker: str | Broker | None = None,
    commit_interval: float | timedelta = 0.1,
    on_error: Policy = Stop(),
    state_limit: int = STATE_LIMIT,
    offsets: Offsets | None = None,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Running]:
    """Run a pipeline inside a running loop: ``async with rxstreams.start(stream) as running``.

    Entering returns once the state is restored; leaving stops the run after its epoch. ``await running.wait()`` waits for its
    end instead.

    Args:
        streams: The pipeline's last streams; everything upstream comes along, each stream once.
        app: What state and offsets are saved under; None is the main module's name.
        broker: A broker or its URL; None is ``RXSTREAMS_BROKER``, or the file ``rxstreams.db`` in this folder.
        commit_interval: Seconds between commits; it stretches so that commits take no more than a quarter of the time.
        on_error: What happens to failing records where an operator does not say.
        state_limit: Bytes that saved state may have; it is in memory too, where it takes several times as much. At
            half of it there is a warning, beyond it the run fails, and nothing of that epoch is committed.
        offsets: What to go by where the broker's committed offsets are others than the state's, as after
            ``kafka-consumer-groups --reset-offsets``: ``"check"`` refuses to start, ``"ours"`` goes by the state, ``"group"``
            by the broker and keeps the state, ``"group-reset"`` by the broker without the state. ``"earliest"`` goes on where
            a topic still has records if those that were next have been deleted. None is the environment's
            ``RXSTREAMS_OFFSETS``, or ``"check"``.
        clock: Seconds since the epoch.

    Raises:
        ConfigError: If an argument is wrong.
        TopologyError: If saved state does not fit the pipeline.
        OffsetsError: If it cannot be told where to go on.
        BrokerError: If the broker cannot be used.
    """
    settings = Settings(
        app=_app(app),
        commit_interval=seconds("commit_interval", commit_interval, allow_least=False),
        on_error=check_policy("run", on_error, waits=False) or Stop(),
        state_limit=check_count("state_limit", state_limit, least=1),
        offsets=check_offsets(offsets),
        clock=clock,
    )
    _check_streams(streams)
    async with opened(broker) as home:
        running = Running(streams, home, settings)
        try:
            await running._begin()
            yield running
        finally:
            await running.stop()
        if running._worker is not None and not running._worker.cancelled():
            running._worker.result()


def run(
    *streams: Stream[Any],
    app: str | None = None,
    broker: str | Broker | None = None,
    commit_interval: float | timedelta = 0.1,
    on_error: Policy = Stop(),
    state_limit: int = STATE_LIMIT,
    offsets: Offsets | None = None,
) -> None:
    """Run a pipeline until its input ends, or a signal comes; for the main function of a pipeline module.

    SIGINT and SIGTERM finish the epoch and return (the process then ends with status 0); a second signal ends the process at
    once. A failure is logged and ends the process: with status 3 if a newer instance has taken over, else with 1. Arguments
    as in ``start``.

    Raises:
        ConfigError: If an argument is wrong, or a loop is already running (as in a notebook).
        SystemExit: If the run fails.
    """
    if _loop_runs():
        raise ConfigError(
            "rxstreams.run: a loop is already running here (a notebook?); use `async with rxstreams.start(…) as running:`"
        )

    async def main() -> None:
        begun: list[Running] = []
        with stopped_by_signals(begun, STOP_WITHIN), ExitStack() as watch:
            async with start(
                *streams,
                app=app,
                broker=broker,
                commit_interval=commit_interval,
                on_error=on_error,
                state_limit=state_limit,
                offsets=offsets,
            ) as running:
                begun.append(running)
                watch.enter_context(loop_watched(running.app))
                gc.freeze()  # what was restored is not garbage: no collection need look at it
                await running.wait()

    thresholds = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)  # state and records trigger collections that find nothing: a third of the time otherwise
    try:
        asyncio.run(main())
    except FencedError as error:
        logger().error("fenced", error=str(error))
        raise SystemExit(EXIT_FENCED) from None
    except ConfigError:
        raise
    except RxStreamsError as error:
        logger().error("the run failed", kind=type(error).__name__, error=str(error))
        raise SystemExit(EXIT_FAILED) from None
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _check_streams(streams: Sequence[Any]) -> None:
    if not streams:
        raise ConfigError("expected at least one stream to run")
    for stream in streams:
        if not isinstance(stream, Stream):
            raise ConfigError(
                f"expected streams to run, got {type(stream).__name__}; put an operator of ours last, such as to_topic or to_view"
            )


def _app(app: str | None) -> str:
    if app is not None:
        if not isinstance(app, str) or not app:
            raise ConfigError(f"app: expected a name, got {app!r}")
        return app
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    name = spec.name if spec is not None else Path(file).stem if file else None
    if not name:
        raise ConfigError("app: a name is required here, because there is no main module to take it from: app='orders'")
    return str(name)
