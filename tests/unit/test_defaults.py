"""Defaults and constants stay what they are: one that moves moves every figure that was made with it.

Where a change is meant, `PYTHONPATH=. python tests/unit/test_defaults.py > tests/golden/defaults.txt` writes it down.
"""

import ast
import importlib
import inspect
from dataclasses import fields, is_dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def is_number(value):
    return isinstance(value, int | float) or (isinstance(value, tuple) and bool(value) and all(map(is_number, value)))


def calls(node):
    """What is computed may depend on the machine."""
    return any(isinstance(part, ast.Call) for part in ast.walk(node))


def stated(value):
    """The numbers among the defaults of a function or class, as its signature has them, and the bounds of flags."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # a protocol, an enumeration
        return ""
    theirs = set()
    if is_dataclass(value):  # fields of another library's class, which may move with its version
        bases = [base for base in value.__mro__ if is_dataclass(base) and not base.__module__.startswith("prm.")]
        theirs = {name for base in bases for name in base.__annotations__} - value.__annotations__.keys()
    found = [f"{p.name}={p.default!r}" for p in parameters if is_number(p.default) and p.name not in theirs]
    for field in [f for f in fields(value) if f.name not in theirs] if is_dataclass(value) else ():
        found += [f"{field.name} {bound} {limit!r}" for bound, limit in field.metadata.items() if is_number(limit)]
    return ", ".join(found)


def defaults():
    """A line per public constant, function and class of the package that has any."""
    for path in sorted((ROOT / "prm").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        module = importlib.import_module(name)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and not calls(node):
                stored = [
                    part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
                ]
                for constant in stored:
                    if not constant.startswith("_") and is_number(value := getattr(module, constant, None)):
                        yield f"{name}.{constant} = {value!r}"
            elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                numbers = stated(getattr(module, node.name))
                yield from [f"{name}.{node.name}({numbers})"] if numbers else []


def test_no_default_and_no_constant_has_moved():
    assert list(defaults()) == (ROOT / "tests/golden/defaults.txt").read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    print(*defaults(), sep="\n")
