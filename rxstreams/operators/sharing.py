"""One stream into several: share, partition, group_by."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from reactivex import GroupedObservable, Observable, abc
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable, RefCountDisposable
from reactivex.subject import Subject

from rxstreams.batch import Batch
from rxstreams.errors import Policy, check_policy
from rxstreams.operators.arguments import check_function
from rxstreams.operators.mapping import filter, map
from rxstreams.stream import Node, Operation, Stream, attached, operator

__all__ = ["group_by", "partition", "share"]

A = TypeVar("A", bound=Any)
B = TypeVar("B")
K = TypeVar("K")


def share() -> Callable[[Observable[A]], Stream[A]]:
    """Let all subscribers share one subscription to the input, which lasts while there are any.

        orders   -1--2--3-|
                 [ share() ]
        result   -a--b--c-|          a=1 b=2 c=3

    Shape: A → A, one for one, in order; keys stay. In a run every stream is made once, so there it changes nothing.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: with its input; who subscribes after that gets the end at once.
    Names: RxJS ``share``, RxPY ``share``, Kafka Streams —

    Source: Rx ``share``, which is ``publish`` and ``refCount`` (RxPY ``operators.share``).
    """
    return operator(Operation("share", Pass), into=Shared)


class Pass(Node):
    def batch(self, b: Batch, port: int) -> None:
        self.emit(b)


class Shared(Stream[Any]):
    """A stream whose subscribers share one subscription, outside a run."""

    def __init__(self, operation: Operation, *inputs: Observable[Any]) -> None:
        super().__init__(operation, *inputs)
        self._hub: Subject[Any] = Subject()
        self._subscribers = 0
        self._connection: DisposableBase = Disposable()

    def subscribe(
        self, on_next: Any = None, on_error: Any = None, on_completed: Any = None, *, scheduler: Any = None
    ) -> abc.DisposableBase:
        if attached.get() is not None or on_next is self._hub:
            return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)
        self._subscribers += 1
        first = self._subscribers == 1
        subscription = self._hub.subscribe(on_next, on_error, on_completed, scheduler=scheduler)
        if first:
            self._connection = self.subscribe(self._hub, scheduler=scheduler)

        def leave() -> None:
            subscription.dispose()
            self._subscribers -= 1
            if not self._subscribers:
                self._connection.dispose()

        return Disposable(leave)


def partition(predicate: Callable[[A], Any], *, on_error: Policy | None = None) -> Callable[[Observable[A]], list[Stream[A]]]:
    """Split a stream in two: the values for which ``predicate`` is true, and the others.

        orders   -1--2--3--4-|
                 [ partition(lambda x: x > 2), lambda both: both[1] ]
        result   -a--b-------|       a=1 b=2

    Shape: A → two streams of A, each value in one of them, in order; keys stay. ``predicate`` is called once a record.
    Time: each record's own.
    Holds: nothing.
    Bounded by: nothing is held.
    Ends: both with the input; an exception ends both subscriptions, and meets ``on_error`` in a run.
    Names: RxJS ``partition``, RxPY ``partition``, Kafka Streams ``split``

    Source: Rx ``partition`` (RxPY ``operators.partition``).
    """
    check_function("partition(predicate)", predicate)
    check_policy("partition", on_error, waits=False)
    tag = map(lambda value: (bool(predicate(value)), value), on_error=on_error)

    def build(source: Observable[A]) -> list[Stream[A]]:
        tagged = tag(source).pipe(share())
        return [
            tagged.pipe(filter(lambda one: one[0]), map(lambda one: one[1])),
            tagged.pipe(filter(lambda one: not one[0]), map(lambda one: one[1])),
        ]

    return build


def group_by(
    key_mapper: Callable[[A], K],
    element_mapper: Callable[[A], B] | None = None,
    subject_mapper: Callable[[], Subject[B]] | None = None,
) -> Callable[[Observable[A]], Stream[GroupedObservable[K, B]]]:
    """Emit an Observable for each key the first time that it comes; it has the values with that key.

        orders   -1--2--3-|
                 [ group_by(lambda x: x % 2), flat_map(lambda group: group.pipe(count())) ]
        result   ---------(a,b,|)    a=2 b=1

    Shape: A → GroupedObservable, one for each key, in a subscription only. In a run there is ``key_by``, and what is kept per
        key after it: ``aggregate``, ``process``.
    Time: the clock's.
    Holds: a Subject for each key.
    Bounded by: the number of distinct keys; nothing else.
    Ends: with its input, all groups before it; at the first error, which all groups get too.
    Names: RxJS ``groupBy``, RxPY ``group_by``, Kafka Streams ``groupBy``

    Args:
        key_mapper: The group of a value; hashable.
        element_mapper: What of a value goes into the group; None is the value itself.
        subject_mapper: Makes the Subject of a group; None makes plain ones.

    Source: Rx ``groupBy`` (RxPY ``operators.group_by``).
    """
    check_function("group_by(key_mapper)", key_mapper)
    check_function("group_by(element_mapper)", element_mapper, or_none=True)
    check_function("group_by(subject_mapper)", subject_mapper, or_none=True)
    parameters = {"key_mapper": key_mapper, "element_mapper": element_mapper, "subject_mapper": subject_mapper}
    make = lambda: GroupBy(key_mapper, element_mapper, subject_mapper or Subject)  # noqa: E731  # a value among values
    return operator(Operation("group_by", make, parameters, key="dropped"))


class GroupBy(Node):
    instead = "use key_by, and after it aggregate or process, which keep their state per key and save it"

    def __init__(
        self, key_mapper: Callable[[Any], Any], element_mapper: Callable[[Any], Any] | None, subject: Callable[[], Subject[Any]]
    ) -> None:
        super().__init__()
        self.key_mapper, self.element_mapper, self.subject = key_mapper, element_mapper, subject
        self.writers: dict[Hashable, Subject[Any]] = {}

    def lifetime(self, group: DisposableBase) -> DisposableBase:
        self.references = RefCountDisposable(group)  # whoever reads a group keeps the input alive
        return self.references

    def batch(self, b: Batch, port: int) -> None:
        for value in b.values:
            try:
                key = self.key_mapper(value)
                writer = self.writers.get(key)
                if writer is None:
                    writer = self.writers[key] = self.subject()
                    self.emit(b.of((GroupedObservable(key, writer, self.references),)))
                element = value if self.element_mapper is None else self.element_mapper(value)
            except Exception as error:
                self.input_failed(error)
                return
            writer.on_next(element)

    def input_failed(self, error: Exception) -> None:
        for writer in list(self.writers.values()):
            writer.on_error(error)
        self.fail(error)

    def end(self, port: int, at: float | None = None) -> None:
        for writer in list(self.writers.values()):
            writer.on_completed()
        self.finish(at)
