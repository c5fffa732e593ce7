"""Run RxPY's own tests with our operators in the place of RxPY's.

    python tests/rxpy/run.py CHECKOUT [pytest's arguments]

CHECKOUT is a clone of RxPY's public repository: the tests are in it and not in the package, and they are not copied here. Each
operator that both have is replaced in ``reactivex.operators`` (so RxPY's internals use ours too) and as a fluent method; then
the tests of all operators run, first with RxPY's operators, to know which tests hold at all with the installed release, then
with ours. A test that passes with RxPY's and fails with ours is a failure.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLUGIN = "substitute"
HERE = Path(__file__).resolve().parents[2]


def files(checkout: Path) -> list[Path]:
    """The test files of all of RxPY's operators: many of them are made of those that ours replace."""
    return sorted((checkout / "tests" / "test_observable").glob("test_*.py"))


def outcomes(checkout: Path, *, ours: bool, arguments: list[str]) -> dict[str, str]:
    """Each test's outcome, by its name."""
    plugin = ["-p", PLUGIN] if ours else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(checkout),
    ]
    command += [*plugin, *arguments, *map(str, files(checkout))]
    environment = {"PYTHONPATH": f"{HERE}:{Path(__file__).parent}", "PATH": ""}
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, env=environment, check=False)
    lines = [line.split(maxsplit=1) for line in run.stdout.splitlines() if line.startswith(("PASSED ", "FAILED ", "ERROR "))]
    found = {name.split(" - ")[0]: outcome for outcome, name in lines}
    if not found:
        sys.exit(f"no test ran:\n{run.stdout}\n{run.stderr}")
    if ours:
        print("\n".join(line for line in run.stdout.splitlines() if not line.startswith("PASSED")))
    return found


def main() -> int:
    """Compare, print, and fail on each test that only RxPY's operators pass."""
    if len(sys.argv) < 2 or not (Path(sys.argv[1]) / "tests" / "test_observable").is_dir():
        sys.exit(__doc__)
    checkout, arguments = Path(sys.argv[1]).resolve(), sys.argv[2:]
    theirs = outcomes(checkout, ours=False, arguments=arguments)
    ours = outcomes(checkout, ours=True, arguments=arguments)
    expected = [name for name, outcome in theirs.items() if outcome == "PASSED"]
    lost = [name for name in expected if ours.get(name) != "PASSED"]
    print(f"{len(expected) - len(lost)} of {len(expected)} of RxPY's tests pass with ours in place")
    for name in lost:
        print(f"  not with ours: {name}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
