"""A seed replays: the same faults at the same times, in every process. SIMULATION_SEED chooses which seed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.simulation.schedules import worked

SEED = int(os.environ.get("SIMULATION_SEED", "7"))
ROOT = Path(__file__).parents[2]


def in_a_process(hash_seed: str) -> str:
    """What a schedule prints in a process of its own."""
    command = [sys.executable, "-m", "tests.simulation.schedules", str(SEED)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_seed_replays() -> None:
    """The same seed gives the same faults, one by one at the same virtual times, and nothing is wrong."""
    first = worked(SEED)
    print(*first.lines(), sep="\n")
    assert first.wrong == []
    assert worked(SEED) == first


def test_a_seed_replays_in_any_process() -> None:
    """Nor does it depend on how a process hashes strings."""
    told = in_a_process("1")
    assert len(told.splitlines()) > 20
    assert in_a_process("2") == told
