"""ProcessBench (Zheng et al. 2412.06559): does a verifier find the first wrong step?

It names that step, from 0, or -1 for none. Of each subset, the benchmark takes the share of the erroneous traces in which
the step is named exactly, the share of the others in which none is named, and the harmonic mean of the two, called F1. The
figure of the benchmark is the plain mean over its subsets.

A figure in print may be another one, so each variant has a name. `RULES` says how scores become a first wrong step; a
threshold chosen on a named subset is one rule more. Beside the official mean stands the one over rows (`f1_row_weighted`,
such as TRL's 40.4 of a 1.5B model), and per subset `accuracy` (EDU-PRM), the F1 of "has a mistake" (ThinkPRM) and that of
the traces without one (OPV).

A trace without a prediction is never named right; `not_scored` counts them. NaN is what has no value: the F1 of a subset
without an erroneous trace, or without a correct one, and then the mean over subsets. Where both shares are 0, the harmonic
mean is 0; the official code divides 0 by 0 there and prints nan.

>>> traces = [JudgedTrace("gsm8k-0", "gsm8k", "p", "p", ("a", "b"), (True, False)),
...           JudgedTrace("gsm8k-1", "gsm8k", "q", "q", ("a",), (True,))]
>>> said = [Prediction("gsm8k-0", (0.9, 0.5)), Prediction("gsm8k-1", (0.4,))]
>>> processbench_summary(traces, said)["rules"]["official"]["subsets"]["gsm8k"]["error_accuracy"]
1.0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.evaluation.search_metrics import bootstrap_counts, percentiles
from prm.evaluation.step_metrics import first_errors_found
from prm.storage.step_scores import JudgedTrace, Prediction

RULES = {
    "official": "the first step with a score of 0.5 or below: of two logits, the official code takes a tie for wrong",
    "half_is_right": "the first step with a score below 0.5",
    "first_minus": "RLHFlow: reading stops at the first step that is not clearly +; nobody asks for what comes after it",
}
"""Name -> which step is called the first wrong one. Verifiers that score every step get the same from `official` and
`first_minus`; predictions that end at the first wrong step have figures of the latter only."""


def called_wrong(prediction: Prediction, num_steps: int, rule: str = "official") -> int | None:
    """The first step that is called wrong, from 0, or -1; None where the prediction does not say it."""
    if prediction.scores is None:
        return prediction.first_error
    whole = len(prediction.scores) == num_steps
    if not whole and rule != "first_minus":
        return None
    wrong = [score < 0.5 if rule == "half_is_right" else score <= 0.5 for score in prediction.scores]
    return wrong.index(True) if True in wrong else -1 if whole else None


def processbench_summary(
    traces: Sequence[JudgedTrace], predictions: Sequence[Prediction], threshold_from: str | None = None
) -> dict[str, Any]:
    """ProcessBench by every rule.

    Args:
        predictions: one per trace, in the same order.
        threshold_from: a subset on which a threshold is chosen, for one more rule, which flatters that subset.

    Returns:
        {"rules": {rule: {"what", "subsets": {subset: figures}, "f1_average", "low", "high", "f1_row_weighted"}},
        "threshold": the chosen one or None}
    """
    named = {
        rule: [called_wrong(said, len(trace.steps), rule) for trace, said in zip(traces, predictions, strict=True)]
        for rule in RULES
    }
    what, chosen = dict(RULES), None
    if threshold_from is not None:
        chosen = best_threshold(traces, predictions, threshold_from)
        rule = f"threshold_from_{threshold_from}"
        what[rule] = f"the first step with a score below {chosen:.4g}, which gives the best F1 on {threshold_from}"
        named[rule] = [
            called_below(said, len(trace.steps), chosen) for trace, said in zip(traces, predictions, strict=True)
        ]
    return {
        "rules": {rule: {"what": what[rule], **_processbench(traces, named[rule])} for rule in what},
        "threshold": chosen,
    }


def _processbench(traces: Sequence[JudgedTrace], named_N: Sequence[int | None]) -> dict[str, Any]:
    subsets: dict[str, dict[str, Any]] = {}
    draws = []
    for subset in dict.fromkeys(trace.subset for trace in traces):
        mine = [i for i, trace in enumerate(traces) if trace.subset == subset]
        truth, named = [traces[i].first_error for i in mine], [named_N[i] for i in mine]
        score = first_errors_found(named, truth)
        counts = [
            (t != -1, t != -1 and n == t, t == -1, t == -1 and n == -1) for t, n in zip(truth, named, strict=True)
        ]
        low, high, drawn = bootstrap_counts(counts, [traces[i].problem for i in mine], _harmonic)
        subsets[subset] = {
            "traces": len(mine),
            "erroneous": sum(t != -1 for t in truth),
            "error_accuracy": score.error_accuracy,
            "correct_accuracy": score.correct_accuracy,
            "f1": score.f1,
            "low": low,
            "high": high,
            "accuracy": sum(n == t for t, n in zip(truth, named, strict=True)) / len(mine),
            "f1_has_mistake": _f1([t != -1 for t in truth], [n is not None and n != -1 for n in named]),
            "f1_without_mistake": _f1([t == -1 for t in truth], [n == -1 for n in named]),
            "not_scored": sum(n is None for n in named),
        }
        draws.append(drawn)
    f1 = [its["f1"] for its in subsets.values()]
    low, high = percentiles(np.mean(draws, axis=0))
    return {
        "subsets": subsets,
        "f1_average": math.fsum(f1) / len(f1),
        "low": low,
        "high": high,
        "f1_row_weighted": math.fsum(its["f1"] * its["traces"] for its in subsets.values()) / len(traces),
    }


def _harmonic(counts: NDArray) -> NDArray:
    """F1 of ProcessBench of each row of (erroneous, of these found, correct, of these found)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        error, correct = counts[:, 1] / counts[:, 0], counts[:, 3] / counts[:, 2]
        return np.where(error + correct == 0, 0.0, 2 * error * correct / (error + correct))


def _f1(truth: Sequence[bool], called: Sequence[bool]) -> float:
    """Of precision and recall; NaN where nothing is true and nothing is called."""
    hits = sum(t and c for t, c in zip(truth, called, strict=True))
    return 2 * hits / (sum(truth) + sum(called)) if any(truth) or any(called) else math.nan


def called_below(prediction: Prediction, num_steps: int, threshold: float) -> int | None:
    """As `called_wrong`, with another threshold."""
    if prediction.scores is None or len(prediction.scores) != num_steps:
        return prediction.first_error
    return next((i for i, score in enumerate(prediction.scores) if score < threshold), -1)


def best_threshold(traces: Sequence[JudgedTrace], predictions: Sequence[Prediction], subset: str) -> float:
    """The threshold with the best ProcessBench F1 on a subset; of equally good ones, the one nearest to 0.5.

    Raises:
        ValueError: there is no such subset, or it lacks scores, or erroneous or correct traces.
    """
    found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for trace, said in zip(traces, predictions, strict=True):
        if trace.subset == subset and said.scores is not None and len(said.scores) == len(trace.steps):
            # A trace is named right by the thresholds above the score of its first error and up to all scores before it.
            first = trace.first_error
            before = said.scores if first == -1 else said.scores[:first]
            found[first != -1].append((-1.0 if first == -1 else said.scores[first], min(before, default=2.0)))
    if not found[True] or not found[False]:
        raise ValueError(
            f"no threshold can be chosen on {subset!r}: it needs scored traces with and without an error; the subsets are"
            f" {', '.join(dict.fromkeys(trace.subset for trace in traces))}"
        )
    ends = sorted(
        {0.0, 0.5, 1.0, *(end for pairs in found.values() for pair in pairs for end in pair if 0 <= end <= 1)}
    )
    tried = np.array(sorted({*ends, *((a + b) / 2 for a, b in pairwise(ends)), 1.01}))
    error, correct = (_share_named(pairs, tried) for pairs in found.values())
    both = error + correct
    f1 = np.divide(2 * error * correct, both, where=both > 0, out=np.zeros(len(tried)))
    best = tried[f1 >= f1.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def _share_named(pairs: Sequence[tuple[float, float]], tried: NDArray) -> NDArray:
    """Share of the intervals (above, up to] that each threshold lies in."""
    above, up_to = (np.sort([pair[k] for pair in pairs if pair[0] < pair[1]]) for k in (0, 1))
    return (np.searchsorted(above, tried) - np.searchsorted(up_to, tried)) / len(pairs)
