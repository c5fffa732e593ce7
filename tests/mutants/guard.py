"""A guard that is taken away, and where the tests are that must notice."""

from __future__ import annotations

from typing import NamedTuple

RUN = "tests/runtime/test_run.py::test_"
FAIL = "tests/runtime/test_run_failures.py::test_"
SAVED = "tests/runtime/test_checkpoints.py::test_"
SQLITE = "tests/brokers/test_sqlite.py::test_"
MEMORY = "tests/brokers/test_contract.py::TestMemory::test_"
ON_SQLITE = "tests/brokers/test_contract.py::TestSqlite::test_"

GOES_ON = f"{RUN}a_run_goes_on_from_its_last_commit"
DOUBT = f"{FAIL}after_a_doubtful_commit_the_run_begins_anew_and_results_are_exact"
TRACE = f"{RUN}a_record_that_fails_leaves_no_trace"
TIME = f"{RUN}watermarks_go_on_where_they_were"
DIAMOND = f"{RUN}branches_that_meet_again_keep_the_source_s_order"
SLOW = f"{RUN}what_waits_for_a_slow_call_is_not_lost"


class Mutant(NamedTuple):
    """A guard, where it stands, what is there instead in the mutant, and the tests of which one must fail."""

    guard: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]
    seconds: int = 8
    """After which a test hangs."""


def mutant(guard: str, file: str, text: str, instead: str, *tests: str) -> Mutant:
    """A mutant of ``rxstreams/{file}``."""
    return Mutant(guard, f"rxstreams/{file}", text, instead, tests)
