"""Running many schedules: what is wrong names the seed that shows it again, and what was injected is counted."""

from collections import Counter
from collections.abc import Iterable
from functools import cache

import pytest

from rxstreams.testing.brokers.simulated import CALLS
from tests.simulation.schedules import Worked, hushed, worked

BESIDES = (
    ("fenced", "commit"),
    ("landed", "commit"),
    ("fenced on the way", "commit"),
    ("dies", "commit"),
    ("dies", "read"),
    ("dies", "open"),
    ("killed", "process"),
    ("asleep", "open"),
    ("asleep", "read"),
)
"""What must have happened as well: commits of those who were fenced, and deaths."""
ENDS = ("killed", "fenced", "failed", "stopped", "finished", "restarted inside")


@cache
def checked(seed: int) -> Worked:
    """A schedule in which nothing was wrong."""
    replay = f'SIMULATION_SEED={seed} make test ARGS="-k a_seed_replays"'
    with hushed():
        done = worked(seed)
    if done.wrong:
        listed = "\n  ".join(done.wrong[:5])
        pytest.fail(f"seed {seed}: {len(done.wrong)} things are wrong; replay it with: {replay}\n  {listed}", pytrace=False)
    return done


def check_injected(seeds: Iterable[int]) -> None:
    """Print how often everything went wrong in these schedules; each thing must have, at each call that it can befall."""
    all_done = [checked(seed) for seed in seeds]
    counts: Counter[tuple[str, str]] = sum((done.counts for done in all_done), Counter())
    ends: Counter[str] = sum((done.ends for done in all_done), Counter())
    n = len(all_done)
    print(f"\n{table(counts)}\n\ninstances: " + ", ".join(f"{how} {ends[how]:,}" for how in ENDS))
    epochs, faults = sum(done.epochs for done in all_done), counts.total()
    print(f"{n} schedules; of each on average {epochs / n:.1f} epochs, {faults / n:.1f} faults")
    never: list[tuple[str, str]] = [(kind, call) for call, kinds in CALLS.items() for kind in kinds if not counts[kind, call]]
    never += [one for one in BESIDES if not counts[one]]
    assert (never, [how for how in ENDS if not ends[how]]) == ([], [])
    assert faults >= 20 * n
    assert epochs >= 10 * n


def table(counts: Counter[tuple[str, str]]) -> str:
    """The counts, a line per call."""
    kinds: list[str] = list(dict.fromkeys(kind for _, kinds in CALLS.items() for kind in kinds))
    kinds += sorted({kind for kind, _ in counts} - set(kinds))
    calls = [*CALLS, *sorted({call for _, call in counts} - set(CALLS))]
    wide = {kind: max(6, len(kind)) for kind in kinds}
    lines = [" ".join([f"{'':14}", *(f"{kind:>{wide[kind]}}" for kind in kinds)])]
    for call in calls:
        cells = (counts.get((kind, call), 0) for kind in kinds)
        lines.append(" ".join([f"{call:14}", *(f"{n or '·':>{wide[kind]}}" for kind, n in zip(kinds, cells, strict=True))]))
    return "\n".join(lines)
