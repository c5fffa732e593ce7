"""What is written about rxstreams holds: the README's code runs; every operator says what it takes, holds, and how it ends."""

import ast
import inspect
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import FunctionType, ModuleType
from typing import NamedTuple

import pytest
from reactivex import operators as rx

import rxstreams
from rxstreams import operators
from rxstreams.pictures import table_of_operators
from rxstreams.pictures.catalogue import LINES, page
from rxstreams.testing import run_marbles
from tests.operators.test_arguments import BUILD
from tests.vocabulary.families import operators_for, outcome_of

ROOT = Path(__file__).parents[1]
README_LINES = 150
FIRST_PROGRAM_LINES = 12

FENCE = re.compile(r"^(?P<mark><!-- run -->\n+)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of the README."""

    language: str
    text: str
    line: int
    runs: bool


def blocks() -> list[Block]:
    """Return the README's fenced blocks; the first in Python runs, and those that `<!-- run -->` stands before."""
    readme = (ROOT / "README.md").read_text()
    found = []
    for fence in FENCE.finditer(readme):
        language, runs = fence["language"], bool(fence["mark"])
        first = language == "python" and not any(block.language == "python" for block in found)
        found.append(Block(language, fence["text"], readme.count("\n", 0, fence.start("text")), runs or first))
    return found


def python_blocks() -> list[Block]:
    """Return the README's Python blocks."""
    return [block for block in blocks() if block.language == "python"]


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a file of its own in an empty folder, as a newcomer would."""
    program = folder / f"readme_{block.line}.py"
    program.write_text(block.text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RXSTREAMS_")}
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-W", "error", program.name]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False)


def test_the_first_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    """The first program, twelve lines, prints exactly the block of text that follows it."""
    found = blocks()
    at = next((i for i, block in enumerate(found) if block.language == "python"), None)
    assert at is not None, "README.md has no block of Python"
    assert at + 1 < len(found), "no ```text block with its output follows the first program"
    program, output = found[at : at + 2]
    assert output.language == "text", "no ```text block with its output follows the first program"
    assert len([line for line in program.text.splitlines() if line.strip()]) <= FIRST_PROGRAM_LINES
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout.rstrip()) == (0, output.text.rstrip()), done.stderr


@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: f"line {block.line}")
def test_code_in_the_readme_is_sound(block: Block, tmp_path: Path) -> None:
    """Every block of Python compiles; one that is marked runs."""
    compile(block.text, f"README.md, line {block.line}", "exec")
    if block.runs:
        done = run(block, tmp_path)
        assert done.returncode == 0, done.stderr


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines; longer matters are in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_links_in_the_readme_lead_somewhere() -> None:
    """Every relative link of the README leads to a file."""
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", operators.__all__)
def test_an_operator_says_what_it_takes_holds_and_when_it_ends(name: str) -> None:
    """An operator's docstring has one sentence first, and the lines that the catalogue is made of, in their order."""
    lines = (inspect.getdoc(getattr(operators, name)) or "").splitlines()
    assert "." in lines[0] + lines[1]
    said = [line.split(":")[0] for line in lines if re.match(rf"({'|'.join(LINES)}): \S", line)]
    assert said in ([*LINES], [line for line in LINES if line != "Depends on"])


@pytest.mark.parametrize("name", sorted(set(operators.__all__) - {"partition"}))
def test_an_operator_is_what_it_says(name: str) -> None:
    """What a docstring says of interleaving and clock, and of holding nothing, is what the blueprint says."""
    row, operation = (
        table_of_operators()[name],
        rxstreams.from_iterable([1]).pipe(operators.key_by(bool), BUILD[name]()).operation,
    )
    assert row.depends_on == operation.depends_on
    assert (row.holds in ("nothing.", "nothing in a run; in a subscription the inner Observables that have not ended.")) == (
        not operation.stateful and name not in ("group_by", "to_topic", "to_callable")
    )


def test_names_of_rxpy_exist() -> None:
    """What the catalogue calls an operator of RxPY is one, and every operator of ours that RxPY has by that name says so."""
    for row in table_of_operators():
        theirs = re.findall(r"``(\w+)``", row.rxpy)
        assert all(hasattr(rx, one) for one in theirs), row.name
        assert row.name in theirs or not hasattr(rx, row.name), row.name


def test_the_page_of_operators_is_up_to_date() -> None:
    """docs/operators.md is what `make docs` makes of the docstrings now, and has a section for each operator."""
    made = (ROOT / "docs" / "operators.md").read_text()
    assert made == page(table_of_operators()), "docs/operators.md is out of date: run `make docs`"
    assert re.findall(r"^## (\w+)$", made, re.MULTILINE) == operators.__all__


def test_the_table_of_operators_is_shown_everywhere() -> None:
    """As text, as Markdown and as HTML it has every operator; a row is found by its name, and a part is a table again."""
    table = table_of_operators()
    for shown in (str(table), table._repr_markdown_(), table._repr_html_(), repr(table)):
        assert all(name in shown for name in operators.__all__)
    assert table["map"].kafka_streams == "``mapValues``"
    assert [row.name for row in table[:2]] == operators.__all__[:2]
    assert "-1--2--3-|" in str(table)


@pytest.mark.parametrize("name", operators.__all__)
def test_an_operator_names_only_arguments_that_it_has(name: str) -> None:
    """What a docstring's Args section explains is in the signature."""
    function = getattr(operators, name)
    args = re.search(r"^Args:\n((?: .*\n|\n)+)", inspect.getdoc(function) or "", re.MULTILINE)
    explained = re.findall(r"^    (\w+):", args[1], re.MULTILINE) if args else []
    assert set(explained) <= inspect.signature(function).parameters.keys()


def documented_assignments() -> set[str]:
    """Return the names in rxstreams that are assigned at the top of a module with a docstring below."""
    names = set()
    for path in (ROOT / "rxstreams").rglob("*.py"):
        for statement, below in pairwise(ast.parse(path.read_bytes()).body):
            match statement, below:
                case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str())):
                    names.add(name)
    return names


def test_every_public_name_is_documented() -> None:
    """What `rxstreams` offers says what it is for; a type's alias says it below its definition."""
    kinds = (type, ModuleType, FunctionType)
    values = {name: getattr(rxstreams, name) for name in rxstreams.__all__}
    documented = {name for name, value in values.items() if isinstance(value, kinds) and (value.__doc__ or "").strip()}
    assert sorted(values.keys() - documented - documented_assignments()) == []


MARBLES = [
    pytest.param(fence["text"], id=f"{page.name}-{page.read_text().count(chr(10), 0, fence.start('text'))}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for fence in FENCE.finditer(page.read_text())
    if fence["language"] == "marbles"
]


def test_the_pages_have_pictures() -> None:
    """They are found."""
    assert len(MARBLES) > 10


@pytest.mark.parametrize("picture", MARBLES)
def test_a_picture_in_the_docs_is_what_happens(picture: str) -> None:
    """Every event-time diagram of the pages in docs/ holds."""
    outcome = run_marbles(picture, operators_for=operators_for)
    assert outcome.holds, f"\n{picture}\n{outcome}"


PICTURES = [fence["text"] for fence in FENCE.finditer((ROOT / "docs" / "flow.md").read_text()) if fence["language"] == "picture"]


@pytest.mark.parametrize("picture", PICTURES, ids=range(1, len(PICTURES) + 1))
def test_a_picture_of_flow_is_what_happens(picture: str) -> None:
    """Every diagram of docs/flow.md holds, in a subscription, on virtual time."""
    outcome = outcome_of(picture)
    assert outcome.holds, f"\n{picture}\n{outcome}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_and_code_in_the_docs_are_sound(page: Path) -> None:
    """Every relative link leads to a file, and every block of Python compiles."""
    text = page.read_text()
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    for fence in FENCE.finditer(text):
        if fence["language"] == "python":
            compile(fence["text"], page.name, "exec")
