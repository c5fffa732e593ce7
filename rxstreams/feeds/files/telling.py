"""How far bounded files have been read: a bar on a terminal, else a line in the log once a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rxstreams.log import Progress

__all__ = ["telling"]


@contextmanager
def telling(what: str, progress: bool | None) -> Iterator[Callable[[int, int], None] | None]:
    """A function to tell (bytes read, bytes of all); None where nobody wants to know.

    Args:
        what: What is read.
        progress: True is a bar, False nothing; None a bar if standard error is a terminal, else the log.
    """
    if progress is False:
        yield None
    elif progress is None and not sys.stderr.isatty():
        log = Progress("reading", source=what)
        yield lambda done, of: log(done, of, done=f"{done / of:.0%}") if 0 < done < of else None
    else:
        with _bar(what) as tell:
            yield tell


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console  # nobody needs it to describe a pipeline
    from rich.progress import BarColumn, DownloadColumn, Progress as Bar, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.table import Column

    name = TextColumn("{task.description}", table_column=Column(max_width=24, no_wrap=True))
    columns = (name, BarColumn(20), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what[-24:], total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)
