"""What a W&B run holds beyond the Trainer's curves: data and checkpoint as artifacts, pictures and tables of the scores.

    run.config     our flags and the Trainer's; `codec`, `semantics`, `aggregation`, `data_hash`, counts of `train_rows`
    artifacts      data-labeled  (dataset, an input of the run)  ->  run  ->  verifier-<run id>  (model: the saved folder)
                                                                          ->  evaluation-<run id>  (evaluation: its metrics)
                   verifier-<run id>  ->  run of eval/write_report.py  ->  report-<folder>  (evaluation: summary, page)
    at every evaluation, in addition to the metrics `eval/...`:
      scores/reliability        table: score bins, their mean score and mean target; `scores/reliability_diagram` plots it
      scores/by_depth           table: for steps number 0, 1, 2, ..., how many scores lie in each of ten bins
      scores/steps              table: problem, step, score, target of the first 2000 steps

`fit` adds it if `--report_to` names wandb; only then is wandb imported. Everything works offline (`WANDB_MODE=offline`,
later `wandb sync`). Only the first process logs. Data of 100 MB and more are recorded by path and checksum and not uploaded.
A saved checkpoint records the run that made it (`wandb_run.json`), so that a report on it joins the chain. Left out:
intermediate checkpoints, which the Trainer uploads if WANDB_LOG_MODEL says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback, TrainingArguments

from prm.evaluation.step_metrics import ReliabilityRow, reliability
from prm.files import write_whole
from prm.storage.jsonl import file_hash
from prm.storage.wandb_artifacts import RUN_FILE, checkpoint_artifact, use, valid_name
from prm.training.data import training_source, validation_source

if TYPE_CHECKING:
    from prm.training.arguments import VerifierArguments
    from prm.training.examples import DatasetReport
    from prm.training.trainer import VerifierTrainer

UPLOAD_BELOW = 100_000_000
STEPS_IN_TABLE = 2000
BINS = 10


class WandbTracking(TrainerCallback):
    """Comes after the Trainer's own W&B callback, which starts the run and logs curves and metrics."""

    def __init__(self, trainer: VerifierTrainer, arguments: VerifierArguments, train_rows: DatasetReport) -> None:
        import wandb

        self.wandb = wandb
        self.trainer = trainer
        self.arguments = arguments
        self.train_rows = train_rows
        self.run: Any = None
        """None in all processes except the first, and with WANDB_MODE=disabled."""

    def on_train_begin(self, args: TrainingArguments, state, control, **kwargs) -> None:
        run: Any = self.wandb.run
        if not state.is_world_process_zero or run.disabled:
            return
        self.run = run
        data = self.arguments.data
        for source in (training_source(data), validation_source(data, self.arguments.eval_data)):
            if source is not None and Path(source).is_file():  # the config names a data set of the hub
                use(run, data_artifact(source))
        # The verifier's config last: it has the values of flags that were left open.
        config: dict[str, Any] = asdict(self.arguments) | asdict(self.trainer.verifier_config)
        config["train_rows"] = asdict(self.train_rows)
        self.run.config.update(config, allow_val_change=True)

    def on_evaluate(self, args: TrainingArguments, state, control, **kwargs) -> None:
        if self.run is None:
            return
        scores_N, examples = self.trainer.last_scores_N, self.trainer.eval_examples
        targets_N = [example.targets for example in examples]
        steps_N = [example.steps for example in examples]
        rows = reliability(list(chain(*scores_N)), list(chain(*targets_N)), BINS)
        table = self.wandb.Table
        self.run.log(
            {
                "scores/reliability": table(
                    list(ReliabilityRow.__annotations__), [list(vars(r).values()) for r in rows]
                ),
                "scores/reliability_diagram": self.wandb.Image(draw_reliability(rows)),
                "scores/by_depth": table(["step", "low", "high", "count"], scores_by_depth(scores_N, steps_N)),
                "scores/steps": table(
                    ["problem", "step", "score", "target"],
                    [
                        [example.problem, *values]
                        for example, *columns in zip(examples, steps_N, scores_N, targets_N, strict=True)
                        for values in zip(*columns, strict=True)
                    ][:STEPS_IN_TABLE],
                ),
                "train/global_step": state.global_step,
            }
        )

    def finish(self) -> None:
        """Log the saved checkpoint and its evaluation, and end the run."""
        if self.run is None:
            return
        run, folder = self.run, Path(str(self.trainer.args.output_dir))
        write_whole(folder / RUN_FILE, json.dumps({"id": run.id, "project": run.project}) + "\n")
        metadata = asdict(self.trainer.verifier_config) | {"metrics": self.trainer.last_metrics}
        model = checkpoint_artifact(folder, metadata)
        run.log_artifact(model, aliases=["final", f"step-{self.trainer.state.global_step}"])
        evaluation = self.wandb.Artifact(
            f"evaluation-{run.id}", type="evaluation", metadata={"model": f"verifier-{run.id}", **metadata["metrics"]}
        )
        evaluation.add_file(str(folder / "eval_results.json"), name="eval_results.json")
        run.log_artifact(evaluation)
        run.finish()


def data_artifact(path: str) -> Any:
    """A data file as an artifact. Equal content under the same name is the same version in every run."""
    import wandb

    file = Path(path)
    artifact = wandb.Artifact(
        f"data-{valid_name(file.stem)}", type="dataset", metadata={"path": path, "hash": file_hash(file)}
    )
    if file.stat().st_size < UPLOAD_BELOW:
        artifact.add_file(path, name=file.name)
    else:
        artifact.add_reference(file.absolute().as_uri(), name=file.name)
    return artifact


def scores_by_depth(scores_N: Sequence[Sequence[float]], steps_N: Sequence[Sequence[int]]) -> list[list[Any]]:
    """[step, low, high, count] for every step number and every bin that holds scores of such steps.

    >>> scores_by_depth([[0.05, 0.97], [0.01, 1.0]], [[0, 2], [0, 2]])
    [[0, 0.0, 0.1, 2], [2, 0.9, 1.0, 2]]
    """
    scores, steps = np.array(list(chain(*scores_N))), np.array(list(chain(*steps_N)))
    edges = np.linspace(0, 1, BINS + 1).round(2).tolist()
    rows: list[list[Any]] = []
    for step in np.unique(steps).tolist():
        counts, _ = np.histogram(scores[steps == step], edges)
        rows += [[step, edges[i], edges[i + 1], count] for i, count in enumerate(counts.tolist()) if count]
    return rows


def draw_reliability(rows: Sequence[ReliabilityRow]) -> np.ndarray:
    """Mean target against mean score, above bars that show the share of steps in each bin: (height, width, 4) bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="score", ylabel="target", xlim=(0, 1), ylim=(0, 1), title="Reliability")
    total = sum(row.count for row in rows)
    lows, shares, width = [row.low for row in rows], [row.count / total for row in rows], 1 / BINS
    axes.bar(lows, shares, width, align="edge", color="0.85", label="share of steps")
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
    axes.plot([row.score for row in rows], [row.target for row in rows], marker="o", label="mean target")
    axes.legend(loc="upper left", frameon=False)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
