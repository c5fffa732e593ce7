"""A variant in a process of its own: its CPU and wall time, all of it and after the first 30% of the input."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

from rxstreams.brokers.kafka import KafkaBroker

WARM = 0.3
"""The share of the input after which start-up, imports and JIT are behind."""
LOOK = 0.02
PATIENCE = 600.0


class Seen(NamedTuple):
    """A commit as it was seen from outside: the records before it, seconds since the start, CPU seconds."""

    records: int
    at: float
    cpu: float


class Taken(NamedTuple):
    """What a run took.

    Attributes:
        records: Records of the input.
        cpu: CPU seconds of the process, from its start to its end.
        wall: Seconds from its start until all was committed.
        warm: Records per CPU second after the first 30%.
        between: Seconds from commit to commit.
        megabytes: The most memory that it held.
    """

    records: int
    cpu: float
    wall: float
    warm: float
    between: float
    megabytes: float

    @property
    def rate(self) -> float:
        """Records per CPU second, start-up in it."""
        return self.records / self.cpu


def environment(cache: str) -> Mapping[str, str]:
    """The processes' environment: with bytecode cached for all, also where it would not be written."""
    return {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}


def module(name: str, *arguments: str) -> list[str]:
    """The command of a module of this folder."""
    return [sys.executable, "-m", f"benchmarks.kafka.{name}", *arguments]


async def measure(
    broker: KafkaBroker, command: Sequence[str], env: Mapping[str, str], *, group: str, records: int, ends: bool = True
) -> Taken:
    """Run a command until its group has committed all records.

    Args:
        broker: Where it commits.
        command: What to run.
        env: Its environment.
        group: Whose offsets are watched.
        records: The records of its input.
        ends: Whether it ends by itself; otherwise it is asked to.

    Raises:
        RuntimeError: If it fails, or has not done it in ten minutes.
    """
    with tempfile.TemporaryFile("w+") as output:
        began = time.monotonic()
        process = _started(command, env, output)
        seen: list[Seen] = []
        wall = 0.0
        while (usage := _ended(process)) is None:
            if time.monotonic() - began > PATIENCE:
                process.kill()
            done = sum((await broker.committed(group)).values())
            if done > (seen[-1].records if seen else 0):
                seen.append(Seen(done, time.monotonic() - began, _cpu(process.pid)))
                if done == records and not ends:
                    wall = seen[-1].at
                    process.send_signal(signal.SIGTERM)
            await asyncio.sleep(LOOK)
        wall = wall or time.monotonic() - began
        output.seek(0)
        said = output.read()
    if process.returncode not in ((0,) if ends else (0, 128 + signal.SIGTERM, -signal.SIGTERM)):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {said[-4000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Taken(records, cpu, wall, _warm(seen, records, cpu), _between(seen), usage.ru_maxrss / 1024)


def _started(command: Sequence[str], env: Mapping[str, str], output: IO[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=env, stdout=output, stderr=output, text=True)


def _ended(process: subprocess.Popen[str]) -> resource.struct_rusage | None:
    """What a process has used if it has ended."""
    pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def _warm(seen: Sequence[Seen], records: int, cpu: float) -> float:
    """Records per CPU second after the first 30%; up to the process's end, if it ended before it was seen to be done."""
    first, _, before = next((one for one in seen if one.records >= records * WARM), (0, 0.0, 0.0))
    after = seen[-1].cpu if seen and seen[-1].records == records else cpu
    return (records - first) / (after - before) if after > before else float("nan")


def _between(seen: Sequence[Seen]) -> float:
    """Seconds from commit to commit."""
    return (seen[-1].at - seen[0].at) / (len(seen) - 1) if len(seen) > 1 else float("nan")


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
