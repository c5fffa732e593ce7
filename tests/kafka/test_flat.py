"""An app that runs for long takes no more memory, files, sockets and tasks than at first."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.processes import ROOT, ended, started
from tests.kafka.flat import Sample

pytestmark = [pytest.mark.servers, pytest.mark.kafka, pytest.mark.soak, pytest.mark.timeout(0)]

MINUTES = float(os.environ.get("RXSTREAMS_SOAK_MINUTES", "30"))


def test_half_an_hour_is_as_the_first_minutes(kafka: str, record_property: Callable[[str, object], None]) -> None:
    """Running totals, windows, a join, dedup, a pattern and a view, over what comes; users of before come again."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("flat.py")), f"kafka://{kafka}", str(MINUTES)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    started.append(process)
    *lines, restarts = ended(process, within=MINUTES * 60 + 180)[0].splitlines()
    samples = [Sample(*json.loads(line)) for line in lines]
    record_property("told", "\n".join(map(str, samples[:: max(1, len(samples) // 10)])))
    assert restarts == "0"
    third = len(samples) // 3
    before, after = samples[third : 2 * third], samples[2 * third :]
    assert max(one.files for one in after) <= max(one.files for one in before)
    assert max(one.sockets for one in after) <= max(one.sockets for one in before)
    assert min(one.tasks for one in after) <= min(one.tasks for one in before)  # at times more are under way
    assert min(one.megabytes for one in after) <= max(one.megabytes for one in before) * 1.02
