"""``make mutants``: take the engine's guards away one by one, and see that a test notices each time.

A mutant replaces one piece of text, which must be there exactly once, in a copy of the tree, and runs the tests that should fail.
Each copy has a Kafka broker of its own, if a test needs one. First all of these tests must pass on the engine as it is. Guards
named as arguments are tried alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.mutants import commits, event_time, files, flow, http, joins, kafka, patterns, records, simulated, vocabulary, web
from tests.mutants.guard import Mutant
from tests.servers.kafka import running

ROOT = Path(__file__).parents[2]
AT_A_TIME = 2

MUTANTS = [
    *commits.MUTANTS,
    *records.MUTANTS,
    *vocabulary.MUTANTS,
    *event_time.MUTANTS,
    *joins.MUTANTS,
    *patterns.MUTANTS,
    *flow.MUTANTS,
    *files.MUTANTS,
    *http.MUTANTS,
    *web.MUTANTS,
    *kafka.MUTANTS,
    *simulated.MUTANTS,
]


class Result(NamedTuple):
    """What became of a mutant; ``fine`` only if a test failed."""

    fine: bool
    words: str
    seconds: float


class Tree(NamedTuple):
    """A copy of what the tests need, and the port of its Kafka broker, if it has one."""

    folder: Path
    kafka: int | None


def tests(tree: Tree, ids: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run tests in a tree; nothing is kept of them, and no byte code, which could outlive the text that it was made of."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *options, *ids]
    environment = os.environ | {"PYTHONPATH": str(tree.folder), "CI": "1"}
    if tree.kafka is not None:
        environment["RXSTREAMS_TEST_KAFKA"] = str(tree.kafka)
    return subprocess.run(command, cwd=tree.folder, env=environment, capture_output=True, text=True, check=False)


def tried(one: Mutant, tree: Tree) -> Result:
    """Put the mutant into the tree, run its tests, and take it out again."""
    began = time.monotonic()
    file = tree.folder / one.file
    text = file.read_text() if file.exists() else ""
    if text.count(one.text) != 1:
        return Result(False, f"STALE: its text is {text.count(one.text)} times in {one.file}", 0.0)
    file.write_text(text.replace(one.text, one.instead))
    try:
        # A thread ends the process of a test that hangs, with status 1. A signal may come between two lines, of which pytest
        # cannot tell where it was, and then breaks itself.
        done = tests(tree, list(one.tests), f"--timeout={one.seconds}", "--timeout-method=thread")
    finally:
        file.write_text(text)
    seconds = time.monotonic() - began
    if done.returncode == 1:
        failed = [
            line.split("::")[-1].split(" - ")[0]
            for line in done.stdout.splitlines()
            if line.startswith(("FAILED tests", "ERROR tests"))
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
    folder.mkdir()
    for name in ("rxstreams", "tests", "pipelines", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def main(chosen: list[str]) -> int:
    """Try the mutants, print the table, and return the process's status."""
    mutants = [one for one in MUTANTS if not chosen or any(part in one.guard for part in chosen)]
    wide = max(len(one.guard) for one in MUTANTS)
    needs_kafka = any(test.startswith("tests/kafka/") for one in mutants for test in one.tests)
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        free: SimpleQueue[Tree] = SimpleQueue()
        for number in range(AT_A_TIME):
            folder = copied(Path(name) / str(number))
            server = servers.enter_context(running(folder / "kafka")) if needs_kafka else None
            free.put(Tree(folder, server.port if server is not None else None))

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
