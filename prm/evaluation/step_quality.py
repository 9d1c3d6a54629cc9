"""What the step scores of a verifier are worth, against the truth about each step: on any rows, with no benchmark's rules.

- AUC over all steps, and within a problem: the latter is what choosing among the traces of a problem needs.
- Calibration by depth: do the scores of late steps mean what those of early ones mean?
- Share of traces whose lowest score is that of the last step: a verifier of steps that waits for the answer judges outcomes
  (Zhang et al. 2501.07301 sec. 3). By chance it is 1 / steps; `by_truth` is the share of the wrong traces in which the last
  step is the first wrong one.
- Step-count and length bias: the correlation of trace scores with numbers of steps, and of characters, within a problem,
  beside that of the truth: where long traces are worse, a good verifier's scores fall with length, too.
- Right answer by a wrong process: whether those are told from the right answers with a right process.

A step is called right above 0.5. What cannot be known is NaN: an AUC without both kinds, figures of no trace. Left out:
traces without one score per step, and in each figure what nobody has judged.

>>> rows = [StepRow("p", ("a", "b"), (0.9, 0.2), 0.2, (True, False), True), StepRow("p", ("a",), (0.7,), 0.7, (True,), True)]
>>> found = step_quality(rows)
>>> found["auc"], found["wrong_process"]["flagged"], found["wrong_process"]["flagged_right"]
(1.0, 1.0, 0.0)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.evaluation.search_metrics import bootstrap_counts
from prm.evaluation.search_runs import Run, largest_pool
from prm.evaluation.step_metrics import (
    auc,
    auc_within_groups,
    balanced_accuracy,
    expected_calibration_error,
    length_correlation_within_groups,
)
from prm.storage.step_scores import JudgedTrace, Prediction, StepTruth

DEPTHS = (1, 2, 3, 5, 9, 17, 33)
"""First step of each row of the table by depth; the last one has no end."""


@dataclass(frozen=True)
class StepRow:
    """A trace with its scores and the truth."""

    problem: str
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    """One per step, in [0, 1]."""
    trace: float
    """Score of the whole."""
    labels: tuple[bool | None, ...]
    correct: bool | None
    """Whether its final answer is right."""


def step_rows(traces: Sequence[JudgedTrace], predictions: Sequence[Prediction]) -> list[StepRow]:
    """Those that have one score per step. Where a prediction has no score of the whole trace, its lowest one is taken."""
    return [
        StepRow(
            trace.problem,
            trace.steps,
            said.scores,
            min(said.scores) if said.trace is None else said.trace,
            trace.labels,
            trace.correct,
        )
        for trace, said in zip(traces, predictions, strict=True)
        if said.scores is not None and len(said.scores) == len(trace.steps)
    ]


def step_quality(rows: Sequence[StepRow]) -> dict[str, Any]:
    """Every figure of the module's docstring, fractions and correlations; `low` and `high` are of `auc_within_problem`."""
    known = [
        (row.problem, depth, score, label)
        for row in rows
        for depth, (score, label) in enumerate(zip(row.scores, row.labels, strict=True), 1)
        if label is not None
    ]
    problems, depths, scores, labels = (list(column) for column in zip(*known, strict=True)) if known else ([],) * 4
    low, high = interval_within(problems, scores, labels)
    return {
        "traces": len(rows),
        "problems": len({row.problem for row in rows}),
        "steps": len(scores),
        "right_steps": _mean(labels),
        "auc": auc(scores, labels),
        "auc_within_problem": auc_within_groups(scores, labels, problems),
        "low": low,
        "high": high,
        "balanced_accuracy": balanced_accuracy([score > 0.5 for score in scores], labels),
        "calibration_error": expected_calibration_error(scores, labels),
        "by_depth": _by_depth(np.array(depths, dtype=int), scores, labels),
        "lowest_last": _lowest_last(rows),
        "bias": _bias(rows),
        "wrong_process": _wrong_process(rows),
    }


def pool_quality(run: Run, step_truth: StepTruth) -> dict[str, dict[str, Any]]:
    """`step_quality` of each verifier that scored a pool of a search run, the largest, ready for JSON.

    Empty where nothing can be judged: step truth is known for no problem, or no step of the run is right by it, as where a
    generator has a notation of its own.
    """
    found = {}
    for name in run.meta["verifiers"]:
        if (number := largest_pool(run, name)) is None:
            continue
        rows = [
            StepRow(row.problem.id, trace.steps, scores.steps, scores.trace, labels, trace.correct)
            for row in run.rows
            for trace, scores in zip(row.results[number].candidates, row.results[number].scores, strict=True)
            if scores is not None and (labels := step_truth(row.problem, trace.steps)) is not None
        ]
        if any(True in row.labels for row in rows):
            found[name] = finite(step_quality(rows))
    return found


def interval_within(
    problems: Sequence[str], scores: Sequence[float], labels: Sequence[bool]
) -> tuple[float | None, float | None]:
    """Of the AUC within a problem, 95%, of steps or traces: a bootstrap over the problems with right and wrong ones."""
    places: dict[str, list[int]] = {}
    for i, problem in enumerate(problems):
        places.setdefault(problem, []).append(i)
    counts, names = [], []
    for problem, its in places.items():
        good = sum(labels[i] for i in its)
        if pairs := good * (len(its) - good):
            counts.append((pairs * auc([scores[i] for i in its], [labels[i] for i in its]), pairs))
            names.append(problem)
    low, high, _ = bootstrap_counts(counts, names, lambda sums: sums[:, 0] / sums[:, 1])
    return low, high


def _by_depth(depths: NDArray, scores: Sequence[float], labels: Sequence[bool]) -> list[dict[str, Any]]:
    """Of each row of the table, the steps, the share that is right, the mean score, the calibration error and the AUC."""
    score, label = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    found = []
    for first, after in zip(DEPTHS, (*DEPTHS[1:], math.inf), strict=True):
        here = (depths >= first) & (depths < after)
        if here.any():
            found.append(
                {
                    "from": first,
                    "to": None if after == math.inf else int(after) - 1,
                    "steps": int(here.sum()),
                    "right_steps": _mean(label[here]),
                    "score": _mean(score[here]),
                    "calibration_error": expected_calibration_error(score[here].tolist(), label[here].tolist()),
                    "auc": auc(score[here].tolist(), label[here].tolist()),
                }
            )
    return found


def _lowest_last(rows: Sequence[StepRow]) -> dict[str, float]:
    """Of the traces of two steps or more. Where several steps share the lowest score, the first of them has it."""
    several = [row for row in rows if len(row.scores) > 1]
    wrong = [row.labels.index(False) == len(row.labels) - 1 for row in several if False in row.labels]
    return {
        "traces": len(several),
        "share": _mean([int(np.argmin(row.scores)) == len(row.scores) - 1 for row in several]),
        "by_chance": _mean([1 / len(row.scores) for row in several]),
        "by_truth": _mean(wrong),
    }


def _bias(rows: Sequence[StepRow]) -> dict[str, float]:
    """Correlations within a problem with the number of steps, and of characters; those of the truth over the traces that are
    judged as a whole."""
    judged = [row for row in rows if False in row.labels or None not in row.labels]
    return {
        f"{name}{of}": length_correlation_within_groups(
            [float(False not in row.labels) if of else row.trace for row in judged],
            [length(row) for row in judged],
            [row.problem for row in judged],
        )
        for name, length in (("steps", _num_steps), ("characters", _num_characters))
        for of in ("", "_truth")
    }


def _num_steps(row: StepRow) -> int:
    return len(row.steps)


def _num_characters(row: StepRow) -> int:
    return sum(map(len, row.steps))


def _wrong_process(rows: Sequence[StepRow]) -> dict[str, float]:
    """Among the right answers whose process is judged: how many have a wrong step, whether their lowest score is below that
    of the others (AUC), and the share of each kind with a step called wrong."""
    right = [row for row in rows if row.correct and (False in row.labels or None not in row.labels)]
    fine = [False not in row.labels for row in right]
    lowest = [min(row.scores) for row in right]
    return {
        "right_answers": len(right),
        "wrong_process": len(right) - sum(fine),
        "auc": auc(lowest, fine),
        "flagged": _mean([score <= 0.5 for score, its in zip(lowest, fine, strict=True) if not its]),
        "flagged_right": _mean([score <= 0.5 for score, its in zip(lowest, fine, strict=True) if its]),
    }


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def finite(figures: Any) -> Any:
    """The figures ready for JSON, which has no NaN: None in its place."""
    if isinstance(figures, dict):
        return {name: finite(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [finite(value) for value in figures]
    return None if isinstance(figures, float) and math.isnan(figures) else figures
