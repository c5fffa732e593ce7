"""What gives results when windows close, and only then."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rxstreams.batch import Batch
from rxstreams.errors import Policy, StateCodecError
from rxstreams.operators.stepping import Stepping
from rxstreams.operators.windows.rows import Row, Rows
from rxstreams.state.keys import original
from rxstreams.watermarks import START
from rxstreams.windows import Pane

__all__ = ["ON_TIME", "Closing"]

ON_TIME = Pane()


class Closing(Stepping):
    """A node of windows that are due at some watermark: ``lines`` put records into them, ``reach`` closes them.

    Args:
        rows: What is aggregated.
        on_error: For records that cannot be taken in, and results that cannot be made.
    """

    def __init__(self, rows: Rows, on_error: Policy | None) -> None:
        super().__init__()
        self.rows, self.on_error = rows, on_error

    def newest(self) -> Row | None:
        """A row that was changed lately, if there is one."""
        raise NotImplementedError

    def check_kept(self) -> None:
        # A look at one row, as values of a field are of a kind.
        row = self.newest()
        if row is not None:
            try:
                self.rows.check_savable(row)
            except StateCodecError as error:
                self.fail(error)

    def made(self, rows: dict[Hashable, Row], start: int, end: int) -> list[Any]:
        """The results of a window's rows; one that cannot be made meets the policy, and is left out of both."""
        try:
            return self.rows.results(rows, start, end, ON_TIME)
        except Exception:
            results = []
            for key, row in list(rows.items()):
                try:
                    results += self.rows.results({key: row}, start, end, ON_TIME)
                except Exception as error:
                    del rows[key]
                    self.not_made(error, key, start, end)
            return results

    def not_made(self, error: Exception, key: Hashable, start: int, end: int) -> None:
        """The policy decides about a result that cannot be made."""
        self.host.failed(error, Batch(((original(key), start, end),), (end - 1,), (key,), (0.0,), (START,)), 0, None)
