"""Defaults and constants stay what they are: one that moves moves every figure that was made with it.

Where a change is meant, `PYTHONPATH=. python tests/unit/test_defaults.py > tests/golden/defaults.txt` writes it down.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

MACHINE = {"os", "sys", "np"}
"""What is computed with these may differ elsewhere."""


def figures(value):
    """What of it is a number, under the names that lead there; None if nothing is."""
    if is_dataclass(value) and type(value).__module__.startswith("prm."):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {name: its for name, inner in value.items() if (its := figures(inner)) is not None} or None
    if isinstance(value, tuple | list):
        return tuple(its for inner in value if (its := figures(inner)) is not None) or None
    if isinstance(value, set | frozenset):
        return tuple(sorted(its for inner in value if (its := figures(inner)) is not None)) or None
    return value if isinstance(value, int | float | Fraction | range) else None


def numbers(named):
    return ", ".join(f"{name}={its!r}" for name, value in named if (its := figures(value)) is not None)


def of_function(function):
    stated = [(p.name, p.default) for p in inspect.signature(function).parameters.values()]
    return numbers((name, default) for name, default in stated if not is_dataclass(default))


def of_class(cls) -> Iterator[tuple[str, str]]:
    """Those of its fields, its attributes, the bounds of its flags, and of each of its methods."""
    bases = [base for base in cls.__mro__ if is_dataclass(base) and not base.__module__.startswith("prm.")]
    theirs = {
        name for base in bases for name in base.__annotations__
    } - cls.__annotations__.keys()  # move with a version
    its = [field for field in fields(cls) if field.name not in theirs] if is_dataclass(cls) else []
    yield "", numbers((field.name, field.default) for field in its)
    written = {field.name for field in its} | {"__init__"} if its else set()
    own = {name: value for name, value in vars(cls).items() if name not in written}
    yield "", numbers((name, value) for name, value in own.items() if not name.startswith("_"))
    yield "", numbers((f"{field.name} {bound}", limit) for field in its for bound, limit in field.metadata.items())
    for name, value in own.items():
        method = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if inspect.isfunction(method) and method.__module__ == cls.__module__:
            yield f".{name}", of_function(method)


def of_module(module: ModuleType, source: str) -> Iterator[tuple[str, str]]:
    """Those of its constants, functions and classes, in the order of the file."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            yield f".{node.name}", of_function(getattr(module, node.name))
        elif isinstance(node, ast.ClassDef):
            yield from ((f".{node.name}{name}", text) for name, text in of_class(getattr(module, node.name)))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
            if MACHINE.isdisjoint(name.id for name in names):
                # A name in small letters is no constant: a cache fills up.
                stored = [name.id for name in names if isinstance(name.ctx, ast.Store) and name.id.isupper()]
                yield "", numbers((name, getattr(module, name)) for name in stored)


def defaults():
    """A line for each of which there are any, such as `prm.encoding.codec.StepCodec max_length=2048`."""
    for path in sorted((ROOT / "prm").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name, text in of_module(importlib.import_module(module), path.read_text(encoding="utf-8")):
            if text:
                yield f"{module}{name} {text}"


@pytest.mark.slow
def test_no_default_and_no_constant_has_moved():
    assert list(defaults()) == (ROOT / "tests/golden/defaults.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    print(*defaults(), sep="\n")
