"""Where a file came from: every run folder holds the resolved settings and `meta.json` beside its data.

meta.json   {"script": "data/label_steps.py", "git": "3f2a9c1", "versions": {"prm": "0.1.0", "torch": "2.13.0", ...},
             "inputs": {"outputs/quickstart/traces.jsonl": "9f2c41d8a0b3e7f6"}, "seconds": 84.2, ...}
config.yaml the settings of the run, as the command line and its YAML file gave them
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import yaml

from prm.storage.jsonl import file_hash

PACKAGES = {"prm": "prm-toolkit", "torch": "torch", "transformers": "transformers", "peft": "peft", "trl": "trl"}


def library_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {name: importlib.metadata.version(package) for name, package in PACKAGES.items()}


def write_provenance(output: str | Path, script: str, settings: Any, inputs: Sequence[str], **facts: Any) -> None:
    """Write `<stem>.meta.json` and `<stem>.config.yaml` beside an output file (or `meta.json`, `config.yaml` in a folder).

    Args:
        settings: the script's argument dataclass.
        inputs: files it read; their content is hashed. Names that are no files (`arithmetic`) are recorded as they are.
        facts: what else the run has to say (seconds, tokens, counts).
    """
    output = Path(output)
    folder, prefix = (output, "") if output.is_dir() else (output.parent, output.stem + ".")
    hashes = {name: file_hash(name) if Path(name).is_file() else None for name in inputs}
    meta = {"script": script, "git": _git_commit(), "versions": library_versions(), "inputs": hashes, **facts}
    (folder / f"{prefix}meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
    (folder / f"{prefix}config.yaml").write_text(yaml.safe_dump(asdict(settings), sort_keys=False), encoding="utf-8")


def is_complete(output: str | Path, settings: Any, inputs: Sequence[str]) -> bool:
    """Whether this output file was written by a run with these settings and inputs.

    Raises:
        ValueError: it was written by a run with others, or nothing says by which.
    """
    output = Path(output)
    if not output.exists():
        return False
    paths = [output.with_name(f"{output.stem}.{name}") for name in ("config.yaml", "meta.json")]
    if not all(path.exists() for path in paths):
        raise ValueError(
            f"{output} exists, but {paths[0].name} and {paths[1].name} do not; give another --output, or delete it"
        )
    newer = {f.name: f.default for f in fields(settings) if f.default is not MISSING}  # options it did not have yet
    then = newer | yaml.safe_load(paths[0].read_text(encoding="utf-8"))
    then |= json.loads(paths[1].read_text(encoding="utf-8"))["inputs"]
    now = asdict(settings) | {name: file_hash(name) if Path(name).is_file() else None for name in inputs}
    if then != now:
        keys = sorted(k for k in {*then, *now} if then.get(k) != now.get(k))
        differences = "; ".join(f"{k}: was {then.get(k)!r}, now {now.get(k)!r}" for k in keys)
        raise ValueError(f"{output} was made with other settings ({differences}). Give another --output, or delete it")
    return True


def _git_commit() -> str | None:
    """Commit of the checkout this code runs from, `+` if it has changes; None outside a checkout."""
    here = Path(__file__).parent
    result = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=here, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None
