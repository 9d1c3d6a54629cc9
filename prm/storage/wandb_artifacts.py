"""Files as W&B artifacts, so that W&B links data, training run, checkpoint and report.

    data-labeled  ->  training run  ->  verifier-<run id>  ->  run of eval/write_report.py  ->  report-<folder>

Everything works offline (`WANDB_MODE=offline`, then `wandb sync`). wandb is imported only when it is used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUN_FILE = "wandb_run.json"
"""In a checkpoint folder: the run that trained it, as {"id": "x1y2z3", "project": "huggingface"}."""


def checkpoint_artifact(folder: Path, metadata: dict[str, Any] | None = None) -> Any:
    """The files of a saved checkpoint as an artifact, named after the run that trained it or else after its folder."""
    import wandb

    trained_by = folder / RUN_FILE
    name = json.loads(trained_by.read_text(encoding="utf-8"))["id"] if trained_by.exists() else folder.resolve().name
    artifact = wandb.Artifact(f"verifier-{valid_name(name)}", type="model", metadata=metadata)
    for path in sorted(folder.iterdir()):
        if path.is_file():  # folders are intermediate checkpoints and TensorBoard's logs
            artifact.add_file(str(path), name=path.name)
    return artifact


def use(run: Any, artifact: Any) -> None:
    """Does what `run.use_artifact` does with a new artifact; that method refuses to work offline.

    Equal content under the same name is the same version, so an artifact that another run has logged is not stored twice.
    """
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def valid_name(text: str) -> str:
    """The text with every character that W&B forbids in names replaced."""
    return re.sub(r"[^\w.-]", "-", text)


def log_report(folder: Path, summary: dict[str, Any], checkpoints: Sequence[Path], config: dict[str, Any]) -> None:
    """Log the report in `folder` as a W&B run: verifiers as inputs, `summary`'s methods as numbers and table, the files.

    Args:
        summary: from `prm.evaluation.summary.summarize`.
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
