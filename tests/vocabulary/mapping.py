"""Cases for the operators of one family (one record in, some records out): pictures, wrong arguments, random instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.vocabulary.values import Make

PICTURES: dict[str, list[str]] = {}
"""Marble pictures by operator, beyond those in its docstring; each is run twice: subscribed to, and in a run."""

ARGUMENTS: dict[str, list[tuple[Callable[[], Any], str]]] = {}
"""Wrong arguments by operator, and what the message says."""

BUILD: dict[str, Callable[[], Any]] = {}
"""Each operator with some right arguments."""

FLUENT: dict[str, tuple[Any, ...]] = {}
"""Arguments of the fluent method that RxPY's Observable has by the operator's name, where it has one."""

GENERATORS: dict[str, Make] = {}
"""A random instance of each operator."""
