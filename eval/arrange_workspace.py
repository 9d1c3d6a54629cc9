"""Lay out a W&B workspace: two saved views of a project, whose panels are there before anybody has dragged one.

    Evaluations   runs of eval/write_report.py, sorted by the accuracy of the leading method: curves over samples, gains,
                  costs, verifiers, pictures, and the tables of methods and traces
    Training      the other runs, sorted by AUC on the validation rows: losses, what the scores are worth, throughput

Every metric in `VIEWS` is one that training (`prm.training.tracking`) or the report (`prm.evaluation.tracked`) logs. Needs
`pip install "prm-toolkit[workspaces]"`, and a key of W&B (`wandb login`) where the views are sent. Left out: changing views
that are there already; a second start makes two more.

Reads   nothing
Writes  two saved views of the project; with --show nothing: the layout is printed

    python eval/arrange_workspace.py --show
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from prm.command_line import run_script

Panel = tuple[str, str, dict[str, Any]]
"""Kind (lines, bars, number, pictures or table), title, and what it shows."""

COSTS = ("prefill_flops", "decode_flops", "verifier_flops")
TOKENS = ("prompt_tokens", "generated_tokens", "verifier_tokens")
STEP = "train/global_step"
WORTH = ("trace_auc_within_problem", "calibration_error", "length_correlation_within_problem")

EVALUATIONS: dict[str, list[Panel]] = {
    "What search gains": [
        ("lines", "Accuracy over samples", {"x": "samples", "metric_regex": "^accuracy/.*", "log_x": True}),
        ("number", "Accuracy of the leading method", {"metric": "leading/accuracy"}),
        ("number", "Minus majority vote", {"metric": "leading/minus_majority"}),
        ("pictures", "Pictures", {"media_keys": ["gains", "by_level", "flops"]}),
    ],
    "What it costs, per problem": [
        ("bars", "FLOPs of the leading method", {"metrics": [f"leading/{key}" for key in COSTS]}),
        ("bars", "Tokens of the leading method", {"metrics": [f"leading/{key}" for key in TOKENS]}),
    ],
    "Verifiers": [
        ("bars", key.replace("_", " "), {"metrics": [f"verifiers/{name}/{key}" for name in ("prm", "orm")]})
        for key in WORTH
    ],
    "Methods and traces": [
        ("table", "Methods", {"table_name": "methods"}),
        ("table", "Traces", {"table_name": "traces"}),
    ],
}
TRAINING: dict[str, list[Panel]] = {
    "Loss": [
        ("lines", "Loss", {"x": STEP, "y": ["train/loss", "eval/loss"]}),
        ("lines", "Gradient norm", {"x": STEP, "y": ["train/grad_norm"]}),
    ],
    "What the scores are worth": [
        ("lines", "AUC of steps", {"x": STEP, "y": ["eval/auc"]}),
        ("lines", "AUC of traces within a problem", {"x": STEP, "y": ["eval/trace_auc_within_problem"]}),
        ("lines", "First error found", {"x": STEP, "y": ["eval/first_error_accuracy"]}),
        ("pictures", "Reliability", {"media_keys": ["scores/reliability_diagram"]}),
        ("table", "Steps", {"table_name": "scores/steps"}),
    ],
    "Throughput": [
        ("lines", "Tokens per second", {"x": STEP, "y": ["train/tokens_per_second"]}),
        ("lines", "FLOP utilization", {"x": STEP, "y": ["train/flop_utilization"]}),
        ("lines", "Tokens saved by sharing", {"x": STEP, "y": ["train/tokens_saved_by_sharing"]}),
    ],
}
VIEWS: dict[str, dict[str, Any]] = {
    "Evaluations": {
        "sections": EVALUATIONS,
        "filters": 'JobType = "evaluation"',
        "sort_by": "leading/accuracy",
        "columns": ["run:group", *(f"summary:leading/{key}" for key in ("accuracy", "minus_majority", "flops"))],
    },
    "Training": {
        "sections": TRAINING,
        "filters": 'JobType != "evaluation"',
        "sort_by": "eval/auc",
        "columns": [f"summary:eval/{key}" for key in ("auc", "trace_auc_within_problem", "first_error_accuracy")],
    },
}
"""Name -> its sections of panels, which runs it has, by which number they are sorted, and the columns that stay in sight."""


@dataclass
class Arguments:
    entity: str | None = field(default=None, metadata={"help": "user or team that owns the project"})
    project: str | None = field(default=None, metadata={"help": "default: WANDB_PROJECT, or else huggingface"})
    show: bool = field(default=False, metadata={"help": "print the layout and send nothing"})


def main(args: Arguments) -> None:
    if args.show:
        for name, view in VIEWS.items():
            print(f"{name}: runs with {view['filters']}, sorted by {view['sort_by']}")
            for section, panels in view["sections"].items():
                print(f"  {section}")
                for kind, title, shown in panels:
                    print(f"    {kind:9}{title}: {', '.join(f'{key} {value}' for key, value in shown.items())}")
        return
    if args.entity is None:
        raise ValueError(
            "--entity is missing: the user or team that owns the project; or give --show, which sends nothing"
        )
    project = args.project or os.environ.get("WANDB_PROJECT", "huggingface")  # where the Trainer's runs go
    for workspace in workspaces(args.entity, project):
        workspace.save()
        print(f"{workspace.name}: {workspace.url}")


def workspaces(entity: str, project: str) -> list[Any]:
    """Both views as objects of wandb-workspaces, not yet sent."""
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces.expr import Ordering, Summary
    except ImportError as error:
        raise ValueError('wandb-workspaces is not installed; pip install "prm-toolkit[workspaces]"') from error

    kinds = {"lines": wr.LinePlot, "bars": wr.BarPlot, "number": wr.ScalarChart, "pictures": wr.MediaBrowser}

    def panel(kind: str, title: str, shown: dict[str, Any]) -> Any:
        # A table of W&B has no title of its own.
        return wr.WeavePanelSummaryTable(**shown) if kind == "table" else kinds[kind](title=title, **shown)

    return [
        ws.Workspace(
            entity=entity,
            project=project,
            name=name,
            sections=[
                ws.Section(name=section, is_open=True, panels=[panel(*one) for one in its])
                for section, its in view["sections"].items()
            ],
            runset_settings=ws.RunsetSettings(
                filters=view["filters"],
                order=[Ordering(Summary(view["sort_by"]), ascending=False)],
                pinned_columns=list(view["columns"]),
            ),
        )
        for name, view in VIEWS.items()
    ]


if __name__ == "__main__":
    run_script(main, Arguments)
