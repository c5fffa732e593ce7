"""The types of elements flow through `pipe`, by the word of two type checkers."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CASES = ROOT / "tests" / "typing_cases.py"

WRONG = {
    "a field that is not there": "rxs.from_topic('orders', Order).pipe(ops.map(lambda order: order.amuont))",
    "a field that is not there, at the end": "rxs.from_topic('o', Order).pipe(ops.take(1), ops.map(lambda order: order.amuont))",
    "a function of another type": "rxs.from_topic('orders', Order).pipe(ops.map(shout))",
    "a function of another type, after an operator": "rxs.from_topic('orders', Order).pipe(ops.take(1), ops.filter(shout))",
    "a result of another type": "checked: rxs.Stream[int] = rxs.from_topic('orders', Order)",
    "an argument that is not there": "ops.take(amount=1)",
    "an option of another type": "ops.to_topic('orders', partitions='two')",
}
PROGRAM = """
import rxstreams as rxs
from rxstreams import operators as ops


class Order:
    amount: float


def shout(text: str) -> str:
    return text.upper()


"""


def check(checker: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Run a type checker over one file, as a user of rxstreams has it."""
    # follow-imports=silent: what mypy finds in rxstreams itself is for `make check` to say.
    options = {
        "mypy": ["--strict", "--follow-imports=silent", f"--config-file={ROOT / 'pyproject.toml'}"],
        "pyright": ["--pythonpath", sys.executable],
    }
    if importlib.util.find_spec(checker) is None:
        assert not os.environ.get("CI"), f"CI must have {checker}"
        pytest.skip(f"{checker} is not installed; `make setup` installs it")
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", checker, *options[checker], str(file)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=250, check=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_types_flow_through_pipe(checker: str) -> None:
    """Each `assert_type` in typing_cases.py holds, and there is no other complaint."""
    done = check(checker, CASES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_mistakes_are_found(checker: str, tmp_path: Path) -> None:
    """Each wrong line is complained about in its place, and the lines before them are not."""
    file = tmp_path / "mistakes.py"
    file.write_text(PROGRAM + "\n".join(WRONG.values()) + "\n")
    done = check(checker, file)
    first = PROGRAM.count("\n") + 1
    complaints = {line for line in range(1, first + len(WRONG)) if f"mistakes.py:{line}:" in done.stdout}
    expected = dict(enumerate(WRONG, first))
    assert {expected.get(line, f"line {line}") for line in complaints} == set(WRONG), done.stdout + done.stderr
