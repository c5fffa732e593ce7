"""House rules that no linter knows: what may not stand in any file of the repository."""

import ast
import re
import subprocess
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
REGISTRY = re.compile(
    r"\b(pypi\.(org|python)|pythonhosted\.org|npmjs\.(org|com)|yarnpkg\.com|crates\.io|golang\.org|maven\.(org|apache)|anaconda\.org"
    r"|(deb|security)\.debian\.org)\b"
)
MACHINE_PATH = re.compile(r"(?<![\w.:/-])/(work|root|home|Users)/[\w.]")
BARE_IGNORE = re.compile(r"#\s*(type:\s*ignore(?!\[[a-z])|pyright:\s*ignore(?!\[[a-z])|(ruff:\s*)?noqa(?!:\s*[A-Z]+\d))")
CODE_FROM_DATA = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}


def files(suffix: str = "") -> list[Path]:
    """Return the files of the repository, tracked or about to be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = sorted({ROOT / name for name in listed.split("\0") if name.endswith(suffix) and name})
    assert paths, f"git lists no {suffix or 'file'} below {ROOT}"
    return [path for path in paths if path.is_file()]


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level name of every module that a file imports."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        match node:
            case ast.Import():
                yield from (alias.name.split(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.split(".")[0]


def found(pattern: re.Pattern[str], path: Path) -> Iterator[str]:
    """Yield `file:line` of each line of a text file that the pattern matches."""
    lines = path.read_bytes().decode(errors="replace").splitlines()
    yield from (f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(lines, 1) if pattern.search(line))


def test_no_file_names_a_package_registry() -> None:
    """Where packages come from is the machine's business: no file names a registry's host."""
    assert [place for path in files() for place in found(REGISTRY, path)] == []


def test_no_file_names_a_path_of_one_machine() -> None:
    """What works in one checkout works in every one: no file names an absolute path of the machine it was written on."""
    assert [place for path in files() for place in found(MACHINE_PATH, path)] == []


def test_aiostream_stays_easy_to_swap() -> None:
    """At most one module imports aiostream, which is under the GPL (design §9)."""
    users = [str(path.relative_to(ROOT)) for path in files(".py") if "aiostream" in imported(path)]
    assert len(users) <= 1, users


def test_data_never_becomes_code() -> None:
    """No module of rxstreams imports pickle or its like, or calls eval, exec or compile (design §5); but for the one that makes
    loops of the package's own templates, into which no data comes.
    """
    wrong = []
    for path in (ROOT / "rxstreams").rglob("*.py"):
        if path == ROOT / "rxstreams" / "stream" / "loops.py":
            continue
        calls = (node.func for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
        called = {call.id for call in calls if isinstance(call, ast.Name)}
        used = CODE_FROM_DATA & set(imported(path)) | {"eval", "exec", "compile"} & called
        wrong += [(str(path.relative_to(ROOT)), name) for name in sorted(used)]
    assert wrong == []


def test_every_ignore_names_its_rule() -> None:
    """A comment that silences a checker says which rule it silences."""
    bare = []
    for path in files(".py"):
        with tokenize.open(path) as source:
            comments = [token for token in tokenize.generate_tokens(source.readline) if token.type == tokenize.COMMENT]
        bare += [f"{path.relative_to(ROOT)}:{token.start[0]}" for token in comments if BARE_IGNORE.search(token.string)]
    assert bare == []


def test_every_dependency_is_pinned() -> None:
    """constraints.txt pins whatever pyproject.toml names, in every extra."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = config["project"]["optional-dependencies"].values()
    wanted = sum(extras, [*config["build-system"]["requires"], *config["project"]["dependencies"]])
    names = {re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-") for requirement in wanted} - {"rxstreams"}
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert sorted(names - pinned) == []
