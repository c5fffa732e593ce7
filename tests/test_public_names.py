"""The lists of public names are honest: sorted, complete, without leaks, and every definition says what it is for."""

import ast
import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any

import pytest

import rxstreams

FRONT_DOOR_NAMES = 40
TYPE_VARIABLES = {"TypeVar", "ParamSpec", "TypeVarTuple"}


def rooms_with_all() -> list[str]:
    """Return the front door and each room, folder or file, that declares `__all__`."""
    rooms = [f"rxstreams.{found.name}" for found in pkgutil.iter_modules(rxstreams.__path__)]
    return ["rxstreams", *(name for name in rooms if hasattr(importlib.import_module(name), "__all__"))]


@pytest.fixture(params=rooms_with_all())
def module(request: pytest.FixtureRequest) -> ModuleType:
    """Give each module that declares `__all__` in turn."""
    return importlib.import_module(request.param)


def sort_key(name: str) -> tuple[int, str]:
    """Order names as ruff's RUF022 does: CONSTANTS, Classes, then the rest."""
    return (0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2, name)


def undocumented(name: str, value: Any) -> bool:
    """Tell whether a class or function lacks a docstring of its own (a dataclass writes its signature instead)."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return False
    return not value.__doc__ or (inspect.isclass(value) and value.__doc__.startswith(f"{value.__name__}("))


def defined_names(module: ModuleType) -> set[str]:
    """Return the public names that a module's own top-level statements define; imports and type variables are not among them."""
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(value=ast.Call(func=ast.Name(id=called))) if called in TYPE_VARIABLES:
                pass
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def visible_names(package: ModuleType) -> set[str]:
    """Return the public names that a package's namespace holds, except its own modules."""
    own = {found.name for found in pkgutil.iter_modules(package.__path__)}
    names = filter(str.isidentifier, vars(package))  # others are what pytest puts there to rewrite asserts
    return {name for name in names if not name.startswith("_") and name not in own | {"annotations"}}


def test_names_are_sorted(module: ModuleType) -> None:
    """`__all__` is sorted and names nothing twice."""
    assert list(module.__all__) == sorted(set(module.__all__), key=sort_key)


def test_names_exist(module: ModuleType) -> None:
    """Every name in `__all__` can be imported."""
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_definitions_have_docstrings(module: ModuleType) -> None:
    """Every public class and function has a docstring of its own."""
    assert [name for name in module.__all__ if undocumented(name, getattr(module, name))] == []


@pytest.mark.parametrize("name", ["rxstreams.operators", "rxstreams.aggregates"])
def test_nothing_is_missing_and_nothing_leaks_where_users_look_names_up(name: str) -> None:
    """A package shows exactly what `__all__` names; a single file defines nothing public beyond it."""
    module = importlib.import_module(name)
    found = visible_names(module) if hasattr(module, "__path__") else defined_names(module)
    assert sorted(found - set(module.__all__)) == []


def test_front_door_is_small() -> None:
    """A reader meets at most forty names at the top."""
    names: list[str] = rxstreams.__all__
    assert len(names) <= FRONT_DOOR_NAMES
