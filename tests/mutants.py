"""``make mutants``: take the engine's guards away one by one, and see that a test notices each time.

A mutant replaces one piece of text, which must be there exactly once, in a copy of the tree, and runs the tests that should fail.
First all of these tests must pass on the engine as it is. Guards named as arguments are tried alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
AT_A_TIME = 2
SECONDS = 8

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


def mutant(guard: str, file: str, text: str, instead: str, *tests: str) -> Mutant:
    """A mutant of ``rxstreams/{file}``."""
    return Mutant(guard, f"rxstreams/{file}", text, instead, tests)


MUTANTS = [
    # The commit: all of it, in one piece, and by its owner only.
    mutant(
        "fencing check (memory)",
        "brokers/memory.py",
        "if generation != task.generation:",
        "if False:",
        f"{MEMORY}a_fenced_commit_writes_nothing",
        f"{FAIL}a_newer_instance_in_the_same_process_fences_the_older",
    ),
    mutant(
        "fencing check (sqlite)",
        "brokers/sqlite/__init__.py",
        "if generation != task.generation:",
        "if False:",
        f"{SQLITE}a_refused_commit_spares_those_that_share_its_transaction",
    ),
    mutant(
        "opening fences the older (memory)",
        "brokers/memory.py",
        '(0, ""))[0] + 1',
        '(0, ""))[0]',
        f"{MEMORY}a_fenced_commit_writes_nothing",
    ),
    mutant(
        "opening fences the older (sqlite)",
        "brokers/sqlite/__init__.py",
        "SET generation = generation + 1,",
        "SET generation = generation,",
        f"{ON_SQLITE}a_fenced_commit_writes_nothing",
    ),
    mutant("offsets in the commit", "runtime/task.py", "self._offsets())", "{})", GOES_ON),
    mutant(
        "state in the commit",
        "runtime/task.py",
        "self.checkpoints.cut(self._position()), ",
        '[put for put in self.checkpoints.cut(self._position()) if put.key == b"position"], ',
        GOES_ON,
    ),
    mutant(
        "positions in the commit",
        "runtime/task.py",
        "for p, offset in self.positions.get(vertex.identity, {}).items()]",
        "for p, offset in ()]",
        GOES_ON,
    ),
    mutant("outputs in the commit", "runtime/task.py", "Commit(self.graph.outputs, ", "Commit({}, ", GOES_ON),
    mutant(
        "outputs in the same commit",
        "runtime/task.py",
        "        await self.handle.commit(commit)\n",
        "        for topic in list(commit.outputs):\n            await self.broker.append(topic, commit.outputs.pop(topic))\n"
        "        await self.handle.commit(commit)\n",
        DOUBT,
    ),
    mutant("an epoch's outputs are its own", "runtime/task.py", "        self.graph.outputs = {}\n", "", GOES_ON, DOUBT),
    mutant(
        "puts of a commit (memory)",
        "brokers/memory.py",
        "        self._put(commit.puts)\n",
        "",
        f"{MEMORY}a_commit_writes_outputs_puts_and_offsets",
    ),
    mutant(
        "offsets of a commit (sqlite)",
        "brokers/sqlite/__init__.py",
        '        database.executemany("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)", self._offsets)\n',
        "",
        f"{ON_SQLITE}a_commit_writes_outputs_puts_and_offsets",
    ),
    mutant(
        "a refused commit is not acknowledged",
        "brokers/sqlite/writer.py",
        "            job.error = refused.get(job.change)\n",
        "            job.error = None\n",
        f"{SQLITE}a_refused_commit_spares_those_that_share_its_transaction",
    ),
    mutant(
        "a failed commit is not acknowledged",
        "brokers/sqlite/writer.py",
        "            raise CommitUnknownError(",
        "            return None\n            raise CommitUnknownError(",
        "tests/brokers/test_sqlite_failures.py::test_an_error_at_the_commit_itself_leaves_its_outcome_open",
    ),
    mutant(
        "a commit on the disk",
        "brokers/sqlite/database.py",
        "PRAGMA synchronous = full",
        "PRAGMA synchronous = normal",
        f"{SQLITE}a_commit_is_flushed_to_the_disk",
    ),
    mutant(
        "writers take turns",
        "brokers/sqlite/database.py",
        "    fcntl.flock(lock, fcntl.LOCK_EX)\n",
        "",
        "tests/brokers/test_sqlite_processes.py::test_writers_take_turns_by_the_lock_file",
    ),
    mutant(
        "checksums of records",
        "brokers/sqlite/log.py",
        "    if crc32(blob) != checksum:",
        "    if False:",
        "tests/brokers/test_sqlite_failures.py",
    ),
    # What is seen, and when.
    mutant(
        "awaiting the commit before views change",
        "runtime/task.py",
        "        await self.handle.commit(commit)\n",
        "        for view, changed in changes:\n            view._apply(changed, self.epoch)\n"
        "        await self.handle.commit(commit)\n",
        f"{FAIL}a_view_shows_nothing_before_its_commit",
    ),
    mutant(
        "published rows in the commit",
        "runtime/task.py",
        "            if sink.publish:",
        "            if False:",
        f"{RUN}a_published_view_is_read_from_elsewhere",
    ),
    mutant(
        "a view's latest rows at the cut",
        "runtime/task.py",
        "        self.graph.cut()\n",
        "",
        f"{RUN}a_published_view_is_read_from_elsewhere",
    ),
    mutant(
        "a view's latest rows at the end",
        "stream/node.py",
        "            self.cut()\n            self.finish(at)\n",
        "            self.finish(at)\n",
        f"{FAIL}a_commit_before_a_lost_reply_is_not_made_twice",
    ),
    mutant(
        "views have their rows after a restart",
        "runtime/task.py",
        "self.views[sink.view]._load(vertex.node.states, self.epoch)",
        "pass",
        f"{RUN}views_are_there_when_start_returns",
    ),
    # Beginning anew.
    mutant(
        "a restart drops memory",
        "runtime/running.py",
        "task = self._task = Task(",
        "task = self._task = self._task or Task(",
        DOUBT,
    ),
    mutant(
        "a full disk ends the run at once",
        "runtime/running.py",
        "(FencedError, MissingTopicError, StorageFullError, StorageDamagedError)",
        "(FencedError, MissingTopicError, StorageDamagedError)",
        f"{FAIL}what_a_restart_cannot_mend_ends_the_run_at_once",
    ),
    mutant(
        "a doubtful commit restarts",
        "runtime/running.py",
        "            except BrokerError as error:\n",
        "            except MemoryError as error:\n",
        DOUBT,
    ),
    mutant(
        "a seed is each attempt's own",
        "operators/folding.py",
        "            self.seed = loads(dumps(pack(self.seed)))",
        "            pass",
        DOUBT,
    ),
    mutant(
        "positions are gone on from",
        "runtime/task.py",
        "self.positions.setdefault(source, {})[partition] = offset\n",
        "pass\n",
        GOES_ON,
    ),
    mutant("watermarks are gone on from", "runtime/task.py", "node.times.highest[partition] = highest", "pass", TIME),
    mutant(
        "the end is recorded",
        "runtime/task.py",
        "            finished=self.finished,\n",
        "",
        f"{RUN}a_finished_app_stays_finished",
    ),
    mutant(
        "a finished app does nothing",
        "runtime/running.py",
        "            if not task.finished:\n",
        "            if True:\n",
        f"{RUN}a_finished_app_stays_finished",
    ),
    mutant(
        "timers are restored",
        "operators/processing.py",
        "            self.timers.restore(key, times)\n        self.wait()",
        "            pass\n        self.wait()",
        TIME,
    ),
    mutant(
        "new partitions from their start",
        "feeds/topics.py",
        "for partition in range(len(self.at), len(known)):",
        "for partition in ():",
        f"{RUN}new_partitions_are_taken_from_their_start",
    ),
    mutant(
        "commits take a quarter of the time",
        "runtime/task.py",
        "max(self.settings.commit_interval, least)",
        "self.settings.commit_interval",
        f"{FAIL}commits_take_a_quarter_of_the_time_at_most",
    ),
    # Saved state.
    mutant(
        "dirty tracking: scan",
        "operators/folding.py",
        "            self.dirty.add(None)\n            if self.host.durable",
        "            if self.host.durable",
        GOES_ON,
    ),
    mutant(
        "dirty tracking: aggregate",
        "operators/aggregating.py",
        "        self.dirty.add(key)\n        self.hot[key] = row\n",
        "        self.hot[key] = row\n",
        DOUBT,
        f"{RUN}a_published_view_is_read_from_elsewhere",
    ),
    mutant(
        "dirty tracking: process",
        "operators/processing.py",
        "        self.dirty.add(key)\n        try:\n",
        "        try:\n",
        TIME,
    ),
    mutant(
        "dirty tracking: take",
        "operators/taking.py",
        "        self.states[None] = taken = taken + len(b)\n        self.dirty.add(None)\n",
        "        self.states[None] = taken = taken + len(b)\n",
        f"{RUN}take_that_is_over_completes_the_run",
    ),
    mutant(
        "dirty tracking: views",
        "operators/sinks.py",
        "        self.dirty.update(latest)\n",
        "",
        f"{RUN}views_are_there_when_start_returns",
    ),
    mutant("dirty tracking: buffers", "operators/buffering.py", "            self.dirty.add(number)\n", "", DOUBT),
    mutant("dirty tracking: slow calls", "operators/sinks.py", "                self.dirty.add(self.next)\n", "", SLOW),
    mutant(
        "generation check in chunks",
        "runtime/chunks.py",
        "    if found != generation:",
        "    if False:",
        f"{RUN}a_row_of_an_older_generation_is_not_taken_for_a_newer_one",
    ),
    mutant(
        "checksums of chunks",
        "runtime/chunks.py",
        "    if crc32(body, crc32(row)) != checksum:",
        "    if False:",
        f"{SAVED}a_damaged_or_missing_row_is_named_and_nothing_is_restored_in_silence",
    ),
    mutant(
        "a snapshot deletes its deltas",
        "runtime/checkpoints.py",
        '        puts.extend(Put(self._table, row_key(group, "d", index), None) for index in range(old.deltas))\n',
        "",
        f"{SAVED}a_long_run_of_small_epochs_keeps_the_table_small",
    ),
    mutant(
        "a group's members",
        "runtime/checkpoints.py",
        "                    known.extend(new)\n",
        "                    pass\n",
        f"{RUN}keys_that_came_and_went_between_snapshots_are_restored",
    ),
    mutant(
        "deleted keys in deltas",
        "runtime/chunks.py",
        "            known.pop(key, None)\n",
        "            pass\n",
        f"{RUN}keys_that_came_and_went_between_snapshots_are_restored",
    ),
    mutant(
        "promoting a committed cut",
        "runtime/task.py",
        "        self.checkpoints.promote()\n",
        "        self.checkpoints._pending = None\n",
        f"{RUN}take_that_is_over_completes_the_run",
        DOUBT,
    ),
    mutant(
        "topology check: operators",
        "runtime/topology.py",
        "missing = [identity for identity in saved if identity not in now]",
        "missing: list[str] = []",
        f"{RUN}saved_state_that_does_not_fit_stops_the_start",
    ),
    mutant(
        "topology check: parameters",
        "runtime/topology.py",
        "if identity in now and saved[identity] != now[identity]]",
        "if False]",
        f"{RUN}saved_state_that_does_not_fit_stops_the_start",
    ),
    # Order, time, room.
    mutant(
        "sorting where branches meet",
        "runtime/vertices.py",
        "            index = sorted(range(len(ports)), key=whole.order.__getitem__)\n",
        "            index = list(range(len(ports)))\n",
        DIAMOND,
    ),
    mutant("numbering at the source", "feeds/source.py", "range(len(chunk.values)) if numbered else None)", "None)", DIAMOND),
    mutant(
        "watermarks never go back",
        "watermarks.py",
        "accumulate(times, max, initial",
        "accumulate(times, lambda _, time: time, initial",
        TIME,
    ),
    mutant(
        "room before pushing",
        "runtime/inputs.py",
        "room = min(room, self.size)",
        "room = self.size",
        SLOW,
    ),
    # Records that fail.
    mutant(
        "StopIteration from a function",
        "stream/node.py",
        "                if len(results) + len(lost) == len(values):\n",
        "                if True:\n",
        f"{RUN}a_function_that_raises_stop_iteration_does_not_end_a_batch",
        "tests/stream/test_subscription.py::test_stop_iteration_from_a_function_is_an_error",
    ),
    mutant(
        "undoing a failed record: process",
        "operators/processing.py",
        "            if before is not None:\n                self.states[key] = [loads(before), list(timers)]\n",
        "",
        TRACE,
    ),
    mutant("undoing a failed record: results", "operators/processing.py", "            del self.out[sent:]\n", "", TRACE),
    mutant(
        "undoing a failed record: timers",
        "operators/processing.py",
        "            self.timers.forget(key)\n            self.timers.restore(key, timers)\n",
        "",
        TRACE,
    ),
    mutant(
        "undoing a failed record: aggregate",
        "aggregates/compiled.py",
        "        compute += one.step(at, read, loop.bind)\n    return compute, ",
        "        compute += [*one.step(at, read, loop.bind), *one.store(at)]\n    return compute, ",
        TRACE,
    ),
    mutant(
        "attempts of Retry",
        "runtime/vertices.py",
        "while again is not None and attempts <= policy.times:",
        "while False:",
        f"{RUN}a_failing_record_is_tried_again_as_often_as_the_policy_says",
    ),
    mutant(
        "original bytes of dead letters",
        "runtime/failures.py",
        "self.original if self.original is not None else _bytes(self.value)",
        "_bytes(self.value)",
        f"{RUN}a_failing_record_is_tried_again_as_often_as_the_policy_says",
    ),
    # Retention.
    mutant(
        "retention keeps what is unread (memory)",
        "brokers/memory.py",
        "log.drop(min(read, log.expired(topic.retention, self._clock())))",
        "log.drop(log.expired(topic.retention, self._clock()))",
        f"{MEMORY}retention_keeps_what_a_registered_app_has_not_read",
    ),
    mutant(
        "retention keeps what is unread (sqlite)",
        "brokers/sqlite/upkeep.py",
        "until = min(expired, number(database, _UNREAD, (name, partition)))",
        "until = expired",
        f"{ON_SQLITE}retention_keeps_what_a_registered_app_has_not_read",
    ),
    mutant(
        "deleted positions are an error",
        "feeds/topics.py",
        "            if lost:\n",
        "            if False:\n",
        "tests/feeds/test_topics.py::test_positions_before_the_start_of_the_log_are_an_error",
    ),
]


class Result(NamedTuple):
    """What became of a mutant; ``fine`` only if a test failed."""

    fine: bool
    words: str
    seconds: float


def tests(tree: Path, ids: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run tests in a tree; nothing is kept of them, and no byte code, which could outlive the text that it was made of."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *options, *ids]
    environment = os.environ | {"PYTHONPATH": str(tree), "CI": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def tried(one: Mutant, tree: Path) -> Result:
    """Put the mutant into the tree, run its tests, and take it out again."""
    began = time.monotonic()
    file = tree / one.file
    text = file.read_text() if file.exists() else ""
    if text.count(one.text) != 1:
        return Result(False, f"STALE: its text is {text.count(one.text)} times in {one.file}", 0.0)
    file.write_text(text.replace(one.text, one.instead))
    try:
        done = tests(tree, list(one.tests), f"--timeout={SECONDS}")
    finally:
        file.write_text(text)
    seconds = time.monotonic() - began
    if done.returncode == 1:
        failed = [
            line.split("::")[-1].split(" - ")[0] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))
        ]
        return Result(True, f"noticed by {failed[0] if failed else 'a test'}", seconds)
    words = (
        "SURVIVED"
        if done.returncode == 0
        else f"BROKEN: pytest ended with {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"
    )
    return Result(False, words, seconds)


def copied(folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in ("rxstreams", "tests", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def main(chosen: list[str]) -> int:
    """Try the mutants, print the table, and return the process's status."""
    mutants = [one for one in MUTANTS if not chosen or any(part in one.guard for part in chosen)]
    wide = max(len(one.guard) for one in MUTANTS)
    with tempfile.TemporaryDirectory() as name:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(AT_A_TIME):
            free.put(copied(Path(name) / str(number)))

        def use(one: Mutant) -> Result:
            tree = free.get()
            try:
                return tried(one, tree)
            finally:
                free.put(tree)

        first = free.get()
        ids = sorted({test for one in mutants for test in one.tests})
        whole = tests(first, ids)
        free.put(first)
        if whole.returncode:
            print(whole.stdout[-3000:], whole.stderr[-1000:], "The tests fail without any mutant.", sep="\n")
            return 1
        survivors = 0
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            for one, result in zip(mutants, pool.map(use, mutants), strict=True):
                survivors += not result.fine
                print(f"{one.guard:{wide}}  {result.seconds:5.1f} s  {result.words}", flush=True)
    print(f"{len(mutants)} guards taken away, {survivors} not noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
