"""What does `pip install` put on a user's machine? The built wheel is opened, since a source tree can look right."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from itertools import chain

import pytest

SCRIPT_FOLDERS = ("data", "recipes", "eval")

TOOLS = {
    "inspect_ai": {"inspect_ai", "anyio"},  # inspect_ai asks for anyio
    "its_hub": {"its_hub", "reward_hub"},
    "lm_eval": {"lm_eval"},
    "nemo_rl": {"nemo_rl"},
    "verl": {"verl"},
}
"""Module of prm/adapters/ -> what is there when it is called, because a tool calls it."""


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Names of all files in the wheel, built from a copy because a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    for name in ("prm", "tests", *SCRIPT_FOLDERS):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = (source / "dist").iterdir()
    return zipfile.ZipFile(built).namelist()


def test_the_wheel_installs_prm_and_nothing_else(wheel):
    version = importlib.metadata.version("prm-toolkit")
    assert {name.split("/")[0] for name in wheel} == {"prm", f"prm_toolkit-{version}.dist-info"}
    assert f"prm_toolkit-{version}.dist-info/licenses/LICENSE" in wheel


def test_every_file_of_the_library_is_in_the_wheel(wheel, root):
    files = {
        str(p.relative_to(root)) for p in (root / "prm").rglob("*") if p.is_file() and "__pycache__" not in p.parts
    }
    assert files - set(wheel) == set()
    assert "prm/types.py" in files


@pytest.fixture(scope="module")
def dependencies(root):
    """Names of the distributions that pyproject.toml asks for, extras included."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements} - {"prm-toolkit"}


def test_every_import_is_a_declared_dependency(root, imported_modules, dependencies):
    """What is imported without being asked for is there by luck: it goes when a dependency drops it."""
    distributions = importlib.metadata.packages_distributions()
    missing = {
        f"{path.relative_to(root)} line {line}: {name}"
        for folder in ("prm", *SCRIPT_FOLDERS)
        for path in (root / folder).rglob("*.py")
        for line, name in imported_modules(path)
        if (top := name.split(".")[0]) not in {"prm", *sys.stdlib_module_names}
        and not (path.parent.name == "adapters" and top in TOOLS.get(path.stem, ()))
        and not dependencies & {name.lower().replace("_", "-") for name in distributions.get(top, [top])}
    }
    assert missing == set(), "add it to pyproject.toml and constraints.txt"


def test_every_dependency_has_a_tested_version(root, dependencies):
    pinned = re.findall(r"^([\w-]+)==\S+\s+# \S", (root / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert sorted(pinned) == sorted(dependencies)


def test_the_makefile_installs_the_tested_torch(root):
    (tested,) = re.findall(r"^torch==\S+", (root / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert re.findall(r"torch==[\d.]+", (root / "Makefile").read_text()) == [tested]


def test_the_lock_has_every_tested_version_with_hashes_and_names_no_host(root):
    text = (root / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.MULTILINE))
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (root / "constraints.txt").read_text(), flags=re.MULTILINE))
    # torch: its build depends on the machine. The others: not part of .[dev].
    assert {name: locked.get(name) for name in pinned} == pinned | {
        "torch": None,
        "vllm": None,
        "wandb-workspaces": None,
    }
    assert locked.keys() >= {"antlr4-python3-runtime", "latex2sympy2-extended", "sympy"}, "verdicts rest on these, too"
    for package in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]:
        assert re.search(r"^    --hash=sha256:[0-9a-f]{64}", package, flags=re.MULTILINE), package[:50]
    assert not re.search(r"https?://|^-|file:", text, flags=re.MULTILINE)
