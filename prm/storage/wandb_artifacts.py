"""Files as W&B artifacts, so that data, training run, checkpoint and report are one line.

    data-labeled  ->  training run  ->  verifier-<run id>  ->  run of eval/write_report.py  ->  report-<folder>

Everything works offline (`WANDB_MODE=offline`, later `wandb sync`); wandb is imported when it is used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUN_FILE = "wandb_run.json"
"""In a checkpoint folder: {"id": "x1y2z3", "project": "huggingface"} of the run that trained it."""


def checkpoint_artifact(folder: Path, metadata: dict[str, Any] | None = None) -> Any:
    """The files of a saved checkpoint, named after the run that trained it, or else after its folder."""
    import wandb

    trained_by = folder / RUN_FILE
    name = json.loads(trained_by.read_text(encoding="utf-8"))["id"] if trained_by.exists() else folder.resolve().name
    artifact = wandb.Artifact(f"verifier-{valid_name(name)}", type="model", metadata=metadata)
    for path in sorted(folder.iterdir()):
        if path.is_file():  # folders are checkpoints in between and TensorBoard's logs
            artifact.add_file(str(path), name=path.name)
    return artifact


def use(run: Any, artifact: Any) -> None:
    """What `run.use_artifact` does with a new artifact; that method itself refuses to work offline.

    Equal content under the same name is the same version, so what another run has logged is found again, not stored twice.
    """
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def valid_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "-", text)


def log_report(folder: Path, summary: dict[str, Any], checkpoints: Sequence[Path], config: dict[str, Any]) -> None:
    """A W&B run for the report in `folder`: verifiers as inputs, `summary`'s methods as numbers and table, the files.

    Args:
        summary: of `prm.evaluation.summary.summarize`.
        checkpoints: folders of the verifiers.
    """
    import wandb

    project = os.environ.get("WANDB_PROJECT", "huggingface")  # where the Trainer's runs go
    with wandb.init(project=project, job_type="evaluation", name=folder.name, config=config) as run:
        for path in checkpoints:
            use(run, checkpoint_artifact(path))
        methods = summary["methods"]
        columns = list(next(iter(methods.values())))
        table = wandb.Table(["method", *columns], [[name, *(m[c] for c in columns)] for name, m in methods.items()])
        pictures = {path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
        run.log({"methods": table, **pictures})
        run.summary.update({f"{name}/{key}": value for name, m in methods.items() for key, value in m.items()})
        report = wandb.Artifact(f"report-{valid_name(folder.resolve().name)}", type="evaluation")
        for name in ("summary.json", "report.md", "report.html"):
            report.add_file(str(folder / name), name=name)
        run.log_artifact(report)
