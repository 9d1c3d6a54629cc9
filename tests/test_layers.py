"""Is the promise of the layout still true? Imports point downward, scripts stand alone, `import prm` is light."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import prm

ROOMS = {
    "types": 0,
    "aggregation": 0,
    "costs": 0,
    "command_line": 0,
    "secrets": 0,
    "stages": 0,
    "files": 0,
    "answers": 1,
    "encoding": 1,
    "models": 1,
    "storage": 1,
    "datasets": 2,
    "conversions": 2,
    "generators": 2,
    "evaluation": 2,
    "sampling": 3,
    "verifiers": 3,
    "labelers": 4,
    "search": 4,
    "training": 4,
    "adapters": 5,
}
"""Modules and folders of prm/ and their levels. A room imports lower levels only; level 0, the nouns, is open to all."""

SCRIPT_FOLDERS = ("data", "recipes", "eval")


def level_errors(room: str, modules: list[tuple[int, str]]) -> list[str]:
    """What is wrong with the imports of a module that belongs to `room` of prm/."""
    errors = []
    for line, name in modules:
        parts = name.split(".")
        if parts[0] in ("", "tests", *SCRIPT_FOLDERS):
            errors.append(f"line {line}: imports {name}; name library modules in full, and import nothing else of ours")
        elif parts[0] == "prm":
            target = parts[1] if len(parts) > 1 else "prm"
            if target not in ROOMS:
                errors.append(f"line {line}: imports {name}; import the module that defines it, not the package")
            elif target != room and ROOMS[target] >= max(1, ROOMS[room]):
                errors.append(
                    f"line {line}: {room} (level {ROOMS[room]}) imports {target} (level {ROOMS[target]}); only lower levels"
                )
    return errors


def find_circle(imports: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first one again at the end; empty if there is none."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(imports.get(module, ())):
            if circle := visit(target, [*path, module]):
                return circle
        done.add(module)
        return []

    return next((circle for module in sorted(imports) if (circle := visit(module, []))), [])


def library_modules(root: Path) -> list[tuple[str, Path]]:
    """(room, path) of every module of prm/ but its `__init__`, which only names what is public."""
    paths = [path for path in sorted((root / "prm").rglob("*.py")) if path != root / "prm/__init__.py"]
    return [(path.relative_to(root / "prm").parts[0].removesuffix(".py"), path) for path in paths]


def scripts(root: Path) -> list[Path]:
    return sorted(path for folder in SCRIPT_FOLDERS for path in (root / folder).rglob("*.py"))


def test_the_checker_sees_wrong_imports():
    assert level_errors("encoding", [(3, "prm.search.beam")]) == [
        "line 3: encoding (level 1) imports search (level 4); only lower levels"
    ]
    assert level_errors("encoding", [(1, "prm.storage.rows.LabeledRow")]) == [
        "line 1: encoding (level 1) imports storage (level 1); only lower levels"
    ]
    assert len(level_errors("datasets", [(1, "prm.Problem"), (2, ".types"), (3, "data.x")])) == 3
    assert level_errors("search", [(1, "prm.types.Cost"), (2, "prm.search.tree.Tree"), (3, "torch.nn")]) == []
    assert level_errors("costs", [(1, "prm.types.Cost")]) == []
    assert len(level_errors("types", [(1, "prm.storage.rows")])) == 1


def test_the_checker_sees_circles():
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_rooms_import_lower_levels_only(root, imported_modules):
    errors = []
    for room, path in library_modules(root):
        if room not in ROOMS:
            errors.append(f"{path.relative_to(root)}: in no room; add {room} to ROOMS")
        else:
            errors += [f"{path.relative_to(root)} {error}" for error in level_errors(room, imported_modules(path))]
    assert errors == []


def test_no_modules_import_each_other_in_a_circle(root, imported_modules):
    """Those inside functions and under TYPE_CHECKING count, too."""
    files = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for _, path in library_modules(root)
    }
    imports = {
        module: {
            name if name in files else name.rpartition(".")[0]
            for _, name in imported_modules(path)
            if name in files or name.rpartition(".")[0] in files
        }
        - {module}
        for module, path in files.items()
    }
    assert sum(map(len, imports.values())) > 200
    assert find_circle(imports) == []


def test_folders_of_the_library_are_flat(root):
    deep = [str(path.relative_to(root)) for _, path in library_modules(root) if len(path.relative_to(root).parts) > 3]
    vague = [str(path) for _, path in library_modules(root) if path.stem in ("utils", "common", "helpers", "misc")]
    assert deep + vague == []


def test_no_script_imports_another(root, imported_modules):
    stems = {path.stem for path in scripts(root)}
    errors = [
        f"{path.relative_to(root)} line {line}: imports {name}; what two scripts need belongs in prm/"
        for path in scripts(root)
        for line, name in imported_modules(path)
        if name.split(".")[0] in {"", "tests", *SCRIPT_FOLDERS, *stems}
    ]
    assert errors == []


def test_no_script_hides_a_module(root):
    """A script's folder comes first on its path, so `data/datasets.py` would hide Hugging Face `datasets`."""
    installed = set(importlib.metadata.packages_distributions()) | sys.stdlib_module_names
    hiding = [
        str(path.relative_to(root)) for path in scripts(root) if path.stem in installed or path.stem == "__init__"
    ]
    assert hiding == []


def test_import_prm_is_light(tmp_path):
    heavy = ["torch", "transformers", "datasets", "wandb", "numpy"]
    code = f"import sys, prm; dir(prm); print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_exists():
    assert {"Problem", "load_problems", "load_verifier", "load_generator", "STRATEGIES"} <= set(prm.__all__)
    for name in prm.__all__:
        assert getattr(prm, name) is not None, name


def test_no_file_names_the_machine_it_was_written_on(tracked_files, root):
    # In pieces, so that this file does not hold what it forbids.
    words = ["/" + "work/", "/" + "root/", "/" + "home/", "py" + "pi.org", "python" + "hosted", "download.py" + "torch"]
    forbidden = re.compile(
        "|".join(f"(?<![\\w.-]){re.escape(w)}" for w in words[:3]) + "|" + "|".join(map(re.escape, words[3:]))
    )
    errors = []
    for path in tracked_files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # weights, pictures
            continue
        errors += [f"{path.relative_to(root)}: {match[0]}" for match in forbidden.finditer(text)]
    assert errors == []
