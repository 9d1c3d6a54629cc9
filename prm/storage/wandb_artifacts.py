"""Files as W&B artifacts, so that W&B links data, training run, checkpoint and report.

    data-labeled  ->  training run  ->  verifier-<run id>  ->  run of eval/write_report.py  ->  report-<folder>

A report's run is in the group `verifier-<run id>` and names that run in its config (`trained_by`), so that training and
evaluations are found from each other without the graph of artifacts, too. Everything works offline (`WANDB_MODE=offline`,
then `wandb sync`). wandb is imported only when it is used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RUN_FILE = "wandb_run.json"
"""In a checkpoint folder: the run that trained it, as {"id": "x1y2z3", "project": "huggingface"}."""


def checkpoint_artifact(folder: Path, metadata: dict[str, Any] | None = None) -> Any:
    """The files of a saved checkpoint as an artifact, named after the run that trained it or else after its folder."""
    import wandb

    name = trained_in(folder) or folder.resolve().name
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


def log_report(
    folder: Path,
    numbers: Mapping[str, Any],
    curves: Mapping[int, Mapping[str, float]],
    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]],
    checkpoints: Mapping[str, Path],
    config: Mapping[str, Any],
) -> None:
    """Log the report in `folder` as a W&B run of the group `verifier-<run that trained the first verifier>`: verifiers as
    inputs, numbers, curves, tables and pictures, and the files.

    Args:
        numbers: the run's summary, which runs are sorted by.
        curves: number of samples -> metrics with so many, in ascending order.
        tables: name -> (columns, rows).
        checkpoints: name of the verifier in the run -> its folder.
        config: of the search; the runs that trained the verifiers are added as `trained_by`.
    """
    import wandb

    trained_by = {name: run_id for name, path in checkpoints.items() if (run_id := trained_in(path))}
    with wandb.init(
        project=os.environ.get("WANDB_PROJECT", "huggingface"),  # where the Trainer's runs go
        job_type="evaluation",
        group=next((f"verifier-{run_id}" for run_id in trained_by.values()), None),
        name=folder.name,
        config={**config, "trained_by": trained_by},
    ) as run:
        for path in checkpoints.values():
            use(run, checkpoint_artifact(path))
        run.define_metric("samples")
        run.define_metric("accuracy/*", step_metric="samples")
        for samples, metrics in curves.items():
            run.log({"samples": samples, **metrics})
        pictures = {path.stem: wandb.Image(str(path)) for path in sorted(folder.glob("*.png"))}
        run.log({name: wandb.Table([*columns], [*rows]) for name, (columns, rows) in tables.items()} | pictures)
        run.summary.update(dict(numbers))
        report = wandb.Artifact(f"report-{valid_name(folder.resolve().name)}", type="evaluation")
        for name in ("summary.json", "report.md", "report.html"):
            report.add_file(str(folder / name), name=name)
        run.log_artifact(report)


def trained_in(folder: Path) -> str | None:
    """Id of the run that trained a checkpoint; None if it was not tracked."""
    file = folder / RUN_FILE
    return json.loads(file.read_text(encoding="utf-8"))["id"] if file.exists() else None
