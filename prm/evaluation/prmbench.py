"""PRMBench (Song et al. 2501.03124): does a verifier tell right steps from wrong ones, by the kind of mistake?

Every step counts; it is called right if its score is above 0.5. PRMScore is half the F1 of the right steps plus half the F1
of the wrong ones, over all steps of a class; of `multi_solutions`, which has no wrong step, it is the former alone. The
figure of a group is the plain mean of its classes, the overall one is over all steps of all classes.

As in the official evaluation, wrong steps after the end of a trace count for nothing (`beyond` says how many there are), and
a trace without scores is left out (`not_scored`). An F1 is NaN where it has no value and 0 where nothing is called as it
is; the official code has -1 for both. A group without one of its classes is NaN, too.

Two traces, (right called right, wrong called right, wrong called wrong, right called wrong) of each:

>>> confusion((0.9, 0.5, 0.2), (True, True, False)), confusion((0.9, 0.7), (True, False))
((1, 0, 1, 1), (1, 1, 0, 0))
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.evaluation.search_metrics import bootstrap_counts
from prm.storage.step_scores import JudgedTrace, Prediction

GROUPS = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
ALL_RIGHT = "multi_solutions"
"""The class of PRMBench without wrong steps."""


def prmbench_summary(traces: Sequence[JudgedTrace], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """PRMBench.

    Args:
        predictions: one per trace, in the same order; verdicts of a first error alone are none of all steps.

    Returns:
        {"prm_score", "low", "high", "f1", "negative_f1", "traces", "steps", "wrong_steps", "classes": {class: the same},
        "groups": {group: PRMScore}, "not_scored": traces, "beyond": wrong steps after the end, "traces_beyond"}
    """
    counts: dict[str, list[tuple[int, int, int, int]]] = {}
    problems: dict[str, list[str]] = {}
    skipped: Counter[str] = Counter()
    for trace, said in zip(traces, predictions, strict=True):
        if said.scores is None or len(said.scores) != len(trace.steps):
            skipped[trace.subset] += 1
            continue
        counts.setdefault(trace.subset, []).append(confusion(said.scores, trace.labels))
        problems.setdefault(trace.subset, []).append(trace.problem)
    classes = {}
    for name in dict.fromkeys(trace.subset for trace in traces):
        its = counts.get(name, [])
        score = _right_f1 if name == ALL_RIGHT else _prm_score
        low, high, _ = bootstrap_counts(its, problems.get(name, []), score)
        classes[name] = _steps_of(its, score) | {"low": low, "high": high, "not_scored": skipped[name]}
    everything = [its for name in counts for its in counts[name]]
    low, high, _ = bootstrap_counts(everything, [p for name in counts for p in problems[name]], _prm_score)
    return {
        **_steps_of(everything, _prm_score),
        "low": low,
        "high": high,
        "classes": classes,
        "groups": {
            group: math.fsum(classes[name]["prm_score"] if name in classes else math.nan for name in names) / len(names)
            for group, names in GROUPS.items()
        },
        "not_scored": skipped.total(),
        "beyond": sum(trace.beyond for trace in traces),
        "traces_beyond": sum(trace.beyond > 0 for trace in traces),
    }


def confusion(scores: Sequence[float], labels: Sequence[bool | None]) -> tuple[int, int, int, int]:
    """(right steps called right, wrong called right, wrong called wrong, right called wrong) of one trace; a step is called
    right above 0.5."""
    called = [(score > 0.5, label) for score, label in zip(scores, labels, strict=True)]
    return tuple(called.count(pair) for pair in ((True, True), (True, False), (False, False), (False, True)))  # type: ignore[return-value]


def _steps_of(counts: Sequence[tuple[int, int, int, int]], score: Callable[[NDArray], NDArray]) -> dict[str, Any]:
    total = np.array(counts, dtype=float).reshape(-1, 4).sum(axis=0, keepdims=True)
    return {
        "prm_score": float(score(total)[0]),
        "f1": float(_right_f1(total)[0]),
        "negative_f1": float(_wrong_f1(total)[0]),
        "traces": len(counts),
        "steps": int(total.sum()),
        "wrong_steps": int(total[0, 1] + total[0, 2]),
    }


def _right_f1(counts: NDArray) -> NDArray:
    """F1 of the right steps of each row of `confusion` counts."""
    with np.errstate(invalid="ignore"):
        return 2 * counts[:, 0] / (2 * counts[:, 0] + counts[:, 1] + counts[:, 3])


def _wrong_f1(counts: NDArray) -> NDArray:
    with np.errstate(invalid="ignore"):
        return 2 * counts[:, 2] / (2 * counts[:, 2] + counts[:, 1] + counts[:, 3])


def _prm_score(counts: NDArray) -> NDArray:
    return (_right_f1(counts) + _wrong_f1(counts)) / 2
