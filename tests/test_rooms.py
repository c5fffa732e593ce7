"""Imports run one way: a room imports only rooms above it, and pipelines only what users may (design §10)."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ["errors", "failpoints", "log", "batch", "watermarks", "windows", "stream", "patterns", "aggregates", "state"]
ROOMS += ["operators", "brokers", "feeds", "views", "runtime", "history", "pictures", "web", "notebook", "cli", "testing"]
PUBLIC = {"rxstreams", "rxstreams.operators", "rxstreams.aggregates", "rxstreams.web", "rxstreams.testing"}
PUBLIC |= {"rxstreams.errors", "rxstreams.watermarks", "rxstreams.windows", "rxstreams.patterns"}

Import = tuple[str, str | None]
"""A module, and the name taken from it; None where the module itself is imported."""


def imports(node: ast.AST, package: list[str]) -> Iterator[Import]:
    """Yield what the code below `node`, which stands in `package`, imports when it runs, inside functions too."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for statement in node.orelse:
                yield from imports(statement, package)
            return
        case ast.Import():
            yield from ((alias.name, None) for alias in node.names)
        case ast.ImportFrom():
            base = package[: len(package) - node.level + 1] if node.level else []
            yield from ((".".join([*base, *filter(None, [node.module])]), alias.name) for alias in node.names)
        case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[ast.Constant(value=str(name)), *_]):
            if called in ("import_module", "__import__"):
                yield name, None
    for child in ast.iter_child_nodes(node):
        yield from imports(child, package)


def imports_of(folder: str) -> Iterator[tuple[Path, Import]]:
    """Yield every import of rxstreams by a file in `folder`, with the file's path in the repository."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        file = path.relative_to(ROOT)
        for module, name in imports(ast.parse(path.read_text()), list(file.parent.parts)):
            if module.split(".")[0] == "rxstreams":
                yield file, (module, name)


def room(parts: list[str]) -> str:
    """Return the room that a dotted path below rxstreams leads to; "" is the front door."""
    return parts[0] if parts else ""


def wrong_turn(file: Path, target: Import) -> bool:
    """Tell whether `file`, in a room of rxstreams, may not import `target`."""
    here = room(list(file.with_suffix("").parts[1:]))
    there = room([*target[0].split("."), *filter(None, [target[1]])][1:])
    return here != there and there not in ROOMS[: ROOMS.index(here) if here in ROOMS else 0]


def test_every_module_has_a_room_when_it_is_in_rxstreams() -> None:
    """Every module of rxstreams stands in a room of design §10."""
    paths = (path.relative_to(ROOT / "rxstreams").with_suffix("") for path in (ROOT / "rxstreams").rglob("*.py"))
    found = {room(list(path.parts)) for path in paths}
    assert sorted(found - {*ROOMS, "__init__"}) == []


def test_rooms_import_upward_only() -> None:
    """A room imports only rooms above it, never the front door and never downward; so nothing imports testing."""
    front_door = Path("rxstreams/__init__.py")
    wrong = [(str(file), *target) for file, target in imports_of("rxstreams") if file != front_door and wrong_turn(file, target)]
    assert wrong == []


def test_pipelines_import_public_names_only() -> None:
    """A pipeline imports only what `__all__` of a public room names, as a user's would."""
    wrong = [
        (str(file), module, name)
        for file, (module, name) in imports_of("pipelines")
        if module not in PUBLIC
        or (name and f"{module}.{name}" not in PUBLIC and name not in importlib.import_module(module).__all__)
    ]
    assert wrong == []
