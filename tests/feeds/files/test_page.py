"""The program of docs/files.md prints what the page says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "files.md").read_text()


def test_the_program_of_the_page_prints_what_the_page_says(tmp_path: Path) -> None:
    """Run in an empty folder, as a newcomer would."""
    found = re.search(r"<!-- run -->\n```python\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    (tmp_path / "program.py").write_text(found[1])
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, found[2]), done.stderr


def test_the_page_is_short() -> None:
    """At most 80 lines."""
    assert len(PAGE.splitlines()) <= 80
