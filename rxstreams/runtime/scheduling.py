"""The run's own scheduler: foreign operators' timers fire on the run's loop, between two pushes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from reactivex import abc, typing
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

__all__ = ["RunScheduler"]


class RunScheduler(PeriodicScheduler):
    """An Rx scheduler whose actions are posted to a run.

    Args:
        post: Takes an action from any thread.
        timer: Takes an action and the seconds after which to post it; on the run's thread.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        timer: Callable[[float, Callable[[], None]], abc.DisposableBase],
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._post, self._timer, self._clock = post, timer, clock

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)

    def schedule(self, action: typing.ScheduledAction[Any], state: Any = None) -> abc.DisposableBase:
        return self._act(self._post, action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        delay = max(0.0, self.to_seconds(duetime))
        return self._act(lambda act: self._timer(delay, act), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: typing.ScheduledAction[Any], state: Any = None
    ) -> abc.DisposableBase:
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    def _act(self, how: Callable[[Callable[[], None]], object], action: Any, state: Any) -> abc.DisposableBase:
        """Have ``action`` done as ``how`` does; disposing takes it back, or disposes of what it returned."""
        handle = SingleAssignmentDisposable()
        waiting = how(
            lambda: None if handle.is_disposed else setattr(handle, "disposable", self.invoke_action(action, state=state))
        )
        return handle if waiting is None else CompositeDisposable(handle, waiting)
