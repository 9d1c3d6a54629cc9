"""How good the scores of a verifier are, step by step and trace by trace, against labels.

Plain metrics (`auc`, `reliability`, ...) take flat sequences: one score and one label per step, or per trace. Names ending
in `_N` are ragged: one sequence of steps per trace. A step is called good if its score >= threshold (0.5); the
predicted first error is the first step below it. All results are fractions, never percent.

Look at the "within problem" numbers first: a score that only tells easy problems from hard ones has a fine pooled AUC
and is useless for choosing among the samples of one problem. `length_correlation` shows a score that merely counts
steps. Left out: accuracy of a search that uses the scores (`prm.evaluation.search_metrics`), plots, per-category benchmarks.

Two traces of one problem; the second goes wrong at step 1 and the verifier sees it:

>>> scores_N, labels_N = [[0.9, 0.8, 0.9], [0.9, 0.3, 0.1]], [[True, True, True], [True, False, False]]
>>> [first_error(scores) for scores in scores_N]
[-1, 1]
>>> step_report(scores_N, labels_N, ["arithmetic/train/7"] * 2)["auc_within_problem"]
1.0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from prm.aggregation import aggregate
from prm.types import Aggregation


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Chance that a good item scores above a bad one (area under the ROC curve), ties 1/2; NaN without both classes."""
    return auc_within_groups(scores, labels, np.zeros(len(scores), dtype=int))


def auc_within_groups(
    scores: Sequence[float], labels: Sequence[bool], groups: Sequence[str] | Sequence[int] | NDArray
) -> float:
    """Share of (good, bad) pairs *inside one group* that the scores order right, ties 1/2; NaN if no group has a pair.

    Pairs are pooled, so a group counts by its number of pairs. `groups` names the group, as a rule the problem id.
    """
    score, good = _numbers(scores, "score"), _labels(labels)
    _same_length(scores=score, labels=good, groups=groups)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    _, rank = np.unique(score, return_inverse=True)
    # A cell holds the items of one group with one score; cells are sorted by group, then score.
    cells, cell = np.unique(group * len(score) + rank, return_inverse=True)
    cell_group = cells // max(len(score), 1)
    n_good, n_bad = np.bincount(cell, good), np.bincount(cell, ~good)
    group_good, group_bad = np.bincount(cell_group, n_good), np.bincount(cell_group, n_bad)
    bad_below = np.cumsum(n_bad) - n_bad - (np.cumsum(group_bad) - group_bad)[cell_group]
    pairs = group_good @ group_bad
    return float(n_good @ (bad_below + n_bad / 2) / pairs) if pairs else math.nan


def balanced_accuracy(scores: Sequence[float], labels: Sequence[bool], threshold: float = 0.5) -> float:
    """Mean of the shares of good and of bad items called right: 0.5 for a constant guess. NaN without both classes."""
    score, good = _numbers(scores, "score"), _labels(labels)
    _same_length(scores=score, labels=good)
    if good.all() or not good.any():
        return math.nan
    called_good = score >= threshold
    return float((called_good[good].mean() + (~called_good[~good]).mean()) / 2)


@dataclass(frozen=True)
class ReliabilityRow:
    """One bin of a reliability diagram: scores in [low, high), the last bin closed."""

    low: float
    high: float
    count: int
    score: float
    """Mean score of the bin."""
    target: float
    """Mean target of the bin, equal to `score` if the verifier is calibrated."""


def reliability(scores: Sequence[float], targets: Sequence[float], bins: int = 10) -> list[ReliabilityRow]:
    """Mean target against mean score in bins of equal width over [0, 1]; empty bins are left out.

    Targets are labels (0 or 1) or soft values. Raises ValueError for a score or target out of [0, 1].
    """
    score, target = _chances(scores, "score"), _chances(targets, "target")
    _same_length(scores=score, targets=target)
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.searchsorted(edges[1:-1], score, side="right")
    rows = []
    for b in np.unique(bin_of).tolist():
        here = bin_of == b
        low, high = edges[b : b + 2].tolist()
        rows.append(ReliabilityRow(low, high, int(here.sum()), _mean(score[here]), _mean(target[here])))
    return rows


def expected_calibration_error(scores: Sequence[float], targets: Sequence[float], bins: int = 10) -> float:
    """Mean of |mean score - mean target| over the bins of `reliability`, weighted by their counts. NaN if empty."""
    rows = reliability(scores, targets, bins)
    return sum(row.count * abs(row.score - row.target) for row in rows) / len(scores) if rows else math.nan


def length_correlation(scores: Sequence[float], lengths: Sequence[int]) -> float:
    """Pearson correlation of trace scores with trace lengths; 0 if either does not vary."""
    return length_correlation_within_groups(scores, lengths, np.zeros(len(scores), dtype=int))


def length_correlation_within_groups(
    scores: Sequence[float], lengths: Sequence[int], groups: Sequence[str] | Sequence[int] | NDArray
) -> float:
    """Pearson correlation of what is left of scores and lengths after subtracting the means of their group.

    0 if either does not vary within any group. Hard problems have long traces and low scores; this takes that out.
    """
    columns = _numbers(scores, "score"), _numbers(lengths, "length")
    _same_length(scores=columns[0], lengths=columns[1], groups=groups)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    residuals = []
    for column in columns:
        residual = column - (np.bincount(group, column) / np.bincount(group))[group]
        size = np.linalg.norm(residual)
        if size <= 1e-12 * np.linalg.norm(column):  # constant up to rounding of the mean
            return 0.0
        residuals.append(residual / size)
    return float(residuals[0] @ residuals[1])


def first_error(scores: Sequence[float], threshold: float = 0.5) -> int:
    """Index of the first step that scores below the threshold, -1 if there is none. Raises ValueError on NaN."""
    below = _numbers(scores, "score") < threshold
    return int(below.argmax()) if below.any() else -1


@dataclass(frozen=True)
class ProcessBenchScore:
    """Fractions, NaN where the data has no trace of that kind."""

    error_accuracy: float
    """Share of the traces with an error whose first error was found exactly."""
    correct_accuracy: float
    """Share of the traces without an error in which none was found."""
    f1: float
    """Harmonic mean of the two."""


def processbench(
    scores_N: Sequence[Sequence[float]], first_errors_N: Sequence[int], threshold: float = 0.5
) -> ProcessBenchScore:
    """ProcessBench (2412.06559). `first_errors_N` counts steps from 0, -1 for a trace without an error.

    The benchmark averages the F1 of its four subsets, so call this once per subset. Its F1 is no F1 of precision and
    recall. Raises ValueError for a trace without scores and for a first error that is no step of its trace.
    """
    _same_length(scores=scores_N, first_errors=first_errors_N)
    for i, (scores, label) in enumerate(zip(scores_N, first_errors_N, strict=True)):
        if not -1 <= label < len(scores) or len(scores) == 0:
            raise ValueError(
                f"trace {i}: first error {label} with {len(scores)} step scores; -1 or a step from 0 is needed"
            )
    return first_errors_found([first_error(scores, threshold) for scores in scores_N], first_errors_N)


def first_errors_found(named_N: Sequence[int | None], first_errors_N: Sequence[int]) -> ProcessBenchScore:
    """`processbench` of verdicts: the step that is called the first wrong one, -1 for none, None for no verdict, which is
    never right."""
    _same_length(named=named_N, first_errors=first_errors_N)
    found: dict[bool, list[bool]] = {True: [], False: []}
    for named, label in zip(named_N, first_errors_N, strict=True):
        found[label != -1].append(named == label)
    error, correct = _mean(found[True]), _mean(found[False])
    return ProcessBenchScore(error, correct, 0.0 if error + correct == 0 else 2 * error * correct / (error + correct))


def first_error_accuracy(
    scores_N: Sequence[Sequence[float]], labels_N: Sequence[Sequence[bool]], threshold: float = 0.5
) -> float:
    """Share of traces whose predicted first error is the first step labeled bad, or none in both. NaN if empty."""
    _check_ragged(labels_N, scores=scores_N)
    return _mean(
        [
            first_error(scores, threshold) == first_error(_labels(labels).tolist())
            for scores, labels in zip(scores_N, labels_N, strict=True)
        ]
    )


def step_report(
    scores_N: Sequence[Sequence[float]],
    labels_N: Sequence[Sequence[bool]],
    problem_ids: Sequence[str],
    *,
    targets_N: Sequence[Sequence[float]] | None = None,
    aggregation: Aggregation = "last",
) -> dict[str, float]:
    """The validation metrics a trainer logs; `n_steps` and `n_traces` say on how much they rest.

    `auc`, `auc_within_problem`, `balanced_accuracy`, `calibration_error` and `label_balance` (share of good) are over
    steps; `trace_auc` and `trace_auc_within_problem` set the aggregated score of a trace against the label of its last
    step; `length_correlation` (and `_within_problem`) sets it against the number of steps; `first_error_accuracy` is
    over traces. Calibration is against `targets_N` (soft values) where given, else against the labels. Metrics that
    need both classes are NaN without them. Raises ValueError where scores, labels, targets and ids do not match.
    """
    targets_N = labels_N if targets_N is None else targets_N
    _same_length(labels=labels_N, problem_ids=problem_ids)
    _check_ragged(labels_N, scores=scores_N, targets=targets_N)
    scores, targets = list(chain.from_iterable(scores_N)), list(chain.from_iterable(targets_N))
    labels = list(chain.from_iterable(labels_N))
    lengths = [len(row) for row in labels_N]
    step_problem = np.repeat(np.asarray(problem_ids), lengths)
    trace_scores = [aggregate(row, aggregation) for row in scores_N]
    last_labels = [row[-1] for row in labels_N]
    return {
        "auc": auc(scores, labels),
        "auc_within_problem": auc_within_groups(scores, labels, step_problem),
        "trace_auc": auc(trace_scores, last_labels),
        "trace_auc_within_problem": auc_within_groups(trace_scores, last_labels, problem_ids),
        "balanced_accuracy": balanced_accuracy(scores, labels),
        "first_error_accuracy": first_error_accuracy(scores_N, labels_N),
        "calibration_error": expected_calibration_error(scores, targets),
        "length_correlation": length_correlation(trace_scores, lengths),
        "length_correlation_within_problem": length_correlation_within_groups(trace_scores, lengths, problem_ids),
        "label_balance": _mean(labels),
        "n_steps": float(len(scores)),
        "n_traces": float(len(scores_N)),
    }


def _mean(values: Sequence[float] | NDArray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _numbers(values: Sequence[float], name: str) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if not np.isfinite(array).all():
        i = int(np.isfinite(array).argmin())
        raise ValueError(f"{name} {i} of {len(array)} is {array[i]}; only finite numbers can be measured")
    return array


def _chances(values: Sequence[float], name: str) -> NDArray[np.float64]:
    array = _numbers(values, name)
    outside = (array < 0) | (array > 1)
    if outside.any():
        i = int(outside.argmax())
        raise ValueError(f"{name} {i} of {len(array)} is {array[i]}, out of [0, 1]; apply the sigmoid to logits first")
    return array


def _labels(labels: Sequence[bool]) -> NDArray[np.bool_]:
    array = np.asarray(labels)
    unknown = (array != 0) & (array != 1)  # bool(-100) would pass for good
    if unknown.any():
        i = int(unknown.argmax())
        raise ValueError(f"label {i} of {len(array)} is {array[i]}, not True or False; leave out unlabeled steps")
    return array.astype(bool)


def _same_length(**columns: Sequence | NDArray) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"unequal lengths {lengths}; give one entry per item in each")


def _check_ragged(labels_N: Sequence[Sequence], **columns_N: Sequence[Sequence]) -> None:
    _same_length(labels=labels_N, **columns_N)
    for name, column_N in columns_N.items():
        for i, (labels, column) in enumerate(zip(labels_N, column_N, strict=True)):
            if len(labels) != len(column) or len(labels) == 0:
                raise ValueError(
                    f"trace {i}: {len(labels)} labels but {len(column)} {name}; one of each per step is needed"
                )
