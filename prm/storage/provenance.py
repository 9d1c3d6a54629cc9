"""Where an output comes from, and whether it may be continued: settings, versions and inputs, saved beside the data.

meta.json   {"script": "data/label_steps.py", "git": "3f2a9c1", "versions": {"prm": "0.1.0", "torch": "2.13.0", ...},
             "inputs": {"outputs/quickstart/traces.jsonl": "9f2c41d8a0b3e7f6"}, "seconds": 84.2, ...}
config.yaml the settings of the run, from the command line and its YAML file
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import yaml

from prm.files import read_object, read_settings, write_whole
from prm.storage.jsonl import file_hash

PACKAGES = {"prm": "prm-toolkit", "torch": "torch", "transformers": "transformers", "peft": "peft", "trl": "trl"}


GIT_SECONDS = 20.0
"""How long git may take to look for changes, in a large checkout on a slow disk."""


def library_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, as far as they are installed."""
    versions = {"prm": "source tree"}  # unless it is installed
    for name, package in PACKAGES.items():
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(package)
    return versions


def write_provenance(output: str | Path, script: str, settings: Any, inputs: Sequence[str], **facts: Any) -> None:
    """Write `<stem>.meta.json` and `<stem>.config.yaml` beside an output file (or `meta.json`, `config.yaml` in a folder).

    Args:
        settings: the script's argument dataclass.
        inputs: files that it read; their content is hashed. Names that are not files (`arithmetic`) get no hash.
        facts: further results of the run (seconds, tokens, counts).
    """
    output = Path(output)
    folder, prefix = (output, "") if output.is_dir() else (output.parent, output.stem + ".")
    hashes = {name: file_hash(name) if Path(name).is_file() else None for name in inputs}
    meta = {"script": script, "git": _git_commit(), "versions": library_versions(), "inputs": hashes, **facts}
    write_whole(folder / f"{prefix}config.yaml", yaml.safe_dump(asdict(settings), sort_keys=False))
    write_whole(folder / f"{prefix}meta.json", json.dumps(meta, indent=2) + "\n")  # last: it says that all is there


def is_complete(output: str | Path, settings: Any, inputs: Sequence[str]) -> bool:
    """Whether this output file exists and was written with these settings and inputs.

    Raises:
        ValueError: it was written with others, or the files that tell its settings are missing.
    """
    output = Path(output)
    if not output.exists():
        return False
    paths = [output.with_name(f"{output.stem}.{name}") for name in ("config.yaml", "meta.json")]
    if not all(path.exists() for path in paths):
        raise ValueError(
            f"{output} exists, but {paths[0].name} and {paths[1].name} do not; give another --output, or delete it"
        )
    # Options that did not exist when the file was written had what is now their default.
    newer = {f.name: f.default for f in fields(settings) if f.default is not MISSING}
    fix = f"give another --output, or delete {output} to make it again"
    inputs_then = read_object(paths[1], fix).get("inputs")
    if not isinstance(inputs_then, dict):
        raise ValueError(f"{paths[1]} has no `inputs`; {fix}")
    then = newer | read_settings(paths[0], fix) | inputs_then
    now = asdict(settings) | {name: file_hash(name) if Path(name).is_file() else None for name in inputs}
    check_same_settings(f"{output} was made", then, now, "Give another --output, or delete it")
    return True


def check_same_settings(made: str, then: Mapping[str, Any], now: Mapping[str, Any], fix: str) -> None:
    """Refuse to continue an output with settings other than those it was made with.

    Args:
        made: how the message begins: what was made, e.g. `outputs/labeled.jsonl was made`.
        fix: how it ends: what the user can do.

    Raises:
        ValueError: the settings differ; names each differing key with both values.
    """
    if then != now:
        keys = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
        differences = "; ".join(f"{key}: was {then.get(key)!r}, now {now.get(key)!r}" for key in keys)
        raise ValueError(f"{made} with other settings ({differences}). {fix}")


def _git_commit() -> str | None:
    """Commit of the checkout that this code runs from, with `+` if there are changes; None outside a checkout, and where git
    is missing or does not answer: a result must not be lost because nobody can say where its code came from."""
    command = ["git", "describe", "--always", "--dirty=+"]
    quiet: dict[str, Any] = {"capture_output": True, "text": True, "errors": "replace", "stdin": subprocess.DEVNULL}
    with suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run(command, cwd=Path(__file__).parent, timeout=GIT_SECONDS, **quiet)
        return result.stdout.strip() if result.returncode == 0 else None
    return None
