"""Is the promise of the layout still true? Imports point downward, scripts stand alone, `import prm` is light."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import prm

LAYERS = {
    4: "training search labelers report",
    3: "generators verifiers difficulty runs conversions dataset_card",
    2: (
        "steps answers answer_forms answer_numbers answer_text answer_algebra answer_workers prompts encoding packing"
        " tree_attention formats problems provenance store journal metrics step_metrics costs arithmetic splits workloads"
        " tables decontamination balance"
    ),
    1: "types",
}
LAYER = {unit: layer for layer, units in LAYERS.items() for unit in units.split()}
"""Modules and folders of prm/, and the layer they are in."""

SAME_LAYER = {
    ("answers", "answer_forms"),
    ("answers", "answer_numbers"),
    ("answers", "answer_text"),
    ("answers", "answer_workers"),
    ("answer_forms", "answer_numbers"),
    ("answer_forms", "answer_text"),
    ("answer_numbers", "answer_text"),
    ("answer_algebra", "answer_forms"),
    ("answer_workers", "answer_algebra"),
    ("arithmetic", "splits"),
    ("encoding", "prompts"),
    ("encoding", "steps"),
    ("formats", "problems"),
    ("tree_attention", "packing"),
    ("problems", "arithmetic"),
    ("problems", "splits"),
    ("provenance", "formats"),
    ("tables", "problems"),
}
"""(importer, imported) pairs inside one layer. Add one only if the two cannot be told apart in height."""

SCRIPT_FOLDERS = ("data", "recipes", "eval")


def layer_errors(unit: str, modules: list[tuple[int, str]]) -> list[str]:
    """What is wrong with the imports of a module that belongs to `unit` of prm/."""
    errors = []
    for line, name in modules:
        parts = name.split(".")
        if parts[0] in ("", "tests", *SCRIPT_FOLDERS):
            errors.append(f"line {line}: imports {name}; name library modules in full, and import nothing else of ours")
        elif parts[0] == "prm":
            target = parts[1] if len(parts) > 1 else "prm"
            if target not in LAYER:
                errors.append(f"line {line}: imports {name}; import the module that defines it, not the package")
            elif LAYER[target] > LAYER[unit]:
                errors.append(f"line {line}: {unit} (layer {LAYER[unit]}) imports {target} (layer {LAYER[target]})")
            elif LAYER[target] == LAYER[unit] and target != unit and (unit, target) not in SAME_LAYER:
                errors.append(f"line {line}: {unit} imports {target} of its own layer; see SAME_LAYER")
    return errors


def library_modules(root: Path) -> list[tuple[str, Path]]:
    """(unit, path) of every module of prm/ but its `__init__`, which only names what is public."""
    paths = [path for path in sorted((root / "prm").rglob("*.py")) if path != root / "prm/__init__.py"]
    return [(path.relative_to(root / "prm").parts[0].removesuffix(".py"), path) for path in paths]


def scripts(root: Path) -> list[Path]:
    return sorted(path for folder in SCRIPT_FOLDERS for path in (root / folder).rglob("*.py"))


def test_the_checker_sees_wrong_imports():
    upward = [(3, "prm.search.beam")]
    assert layer_errors("steps", upward) == ["line 3: steps (layer 2) imports search (layer 4)"]
    assert layer_errors("steps", [(1, "prm.metrics.auc")]) == [
        "line 1: steps imports metrics of its own layer; see SAME_LAYER"
    ]
    assert len(layer_errors("problems", [(1, "prm.Problem"), (2, ".types"), (3, "data.x")])) == 3
    assert layer_errors("search", [(1, "prm.types.Cost"), (2, "prm.search.tree.Tree"), (3, "torch.nn")]) == []


def test_imports_inside_the_library_point_downward(root, imported_modules):
    errors = []
    for unit, path in library_modules(root):
        if unit not in LAYER:
            errors.append(f"{path.relative_to(root)}: in no layer; add {unit} to LAYERS")
        else:
            errors += [f"{path.relative_to(root)} {error}" for error in layer_errors(unit, imported_modules(path))]
    assert errors == []


def test_every_exception_inside_a_layer_is_used(root, imported_modules):
    used = {
        (unit, name.split(".")[1])
        for unit, path in library_modules(root)
        for _, name in imported_modules(path)
        if name.startswith("prm.")
    }
    assert SAME_LAYER - used == set(), "no longer needed: remove from SAME_LAYER"


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
