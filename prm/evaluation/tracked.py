"""What a W&B run has of a summary: numbers that runs can be sorted by, curves, and a table of traces. Logs nothing itself
(`prm.storage.wandb_artifacts.log_report` does); eval/arrange_workspace.py lays out panels of these names.

    prm_best_of_n/accuracy, prm_best_of_n/flops, ...      every number of every method
    leading/accuracy, leading/minus_majority, ...         the method that the report speaks of first, in all runs
    verifiers/prm/trace_auc_within_problem, ...           every number of every verifier
    accuracy/prm_best_of_n over samples                   curves, and points of what has one number of samples
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prm.evaluation.labels import leading

TRACES = 5000
"""Most rows of the table of traces; what a method chose comes first."""


def numbers_to_sort_by(summary: dict[str, Any]) -> dict[str, float]:
    methods, name = summary["methods"], leading(summary)
    groups = {**methods, **{f"verifiers/{verifier}": its for verifier, its in summary["verifiers"].items()}}
    if name is not None:
        differences = (summary["differences"].get(f"{name} - {vote}") for vote in methods if _is_vote(methods[vote]))
        minus = next((difference["mean"] for difference in differences if difference is not None), None)
        groups["leading"] = {**methods[name], "minus_majority": minus}
    return {
        f"{group}/{key}": value
        for group, its in groups.items()
        for key, value in its.items()
        if isinstance(value, int | float)
    }


def _is_vote(method: dict[str, Any]) -> bool:
    return method["strategy"] == "majority"


def curves_over_samples(summary: dict[str, Any]) -> dict[int, dict[str, float]]:
    """Number of samples -> "accuracy/<method>" -> share of problems solved; small numbers first."""
    found: dict[int, dict[str, float]] = {}
    for method, its in summary["methods"].items():
        points = summary["curves"].get(method, [{"n": its["samples"], "accuracy": its["accuracy"]}])
        for point in points:
            found.setdefault(point["n"], {})[f"accuracy/{method}"] = point["accuracy"]
    return dict(sorted(found.items()))


def trace_table(problems: Sequence[dict[str, Any]], names: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: a trace in a row, with its steps, their gold labels and every verifier's scores of them.

    Args:
        problems, names: as those of `prm.evaluation.page.page`.
    """
    verifiers = names["verifiers"]
    columns = ["problem", "level", "prompt", "gold answer", "answer", "right", "chosen by", "votes", "steps"]
    for title in verifiers.values():
        columns += [title, f"{title} steps", f"{title} and truth apart"]
    rows = []
    for problem in problems:
        for i, candidate in enumerate(problem["candidates"]):
            chosen_by = ", ".join(names["methods"][method] for method, pick in problem["picks"].items() if pick == i)
            truth = candidate.get("truth", [None] * len(candidate["steps"]))
            marks = [{True: "✓ ", False: "✗ ", None: ""}[right] for right in truth]
            steps = [mark + problem["texts"][number] for mark, number in zip(marks, candidate["steps"], strict=True)]
            row = [problem[key] for key in ("id", "level", "prompt", "gold")]
            row += [candidate["answer"], candidate["correct"], chosen_by, candidate["votes"], "\n".join(steps)]
            for verifier in verifiers:
                scores = " ".join(f"{score:.2f}" for score in candidate["step_scores"].get(verifier, ()))
                row += [candidate["scores"].get(verifier), scores, candidate["apart"].get(verifier)]
            rows.append(row)
    rows.sort(key=lambda row: not row[6])
    return columns, rows[:TRACES]
