"""MR-GSM8K (Zeng et al. 2312.17080): is the solution right, and if not, which step is the first wrong one, and why?

Figures are Matthews' correlation of the verdicts on whole solutions (MCC), with "right" as the positive side, and the share
of the wrong solutions whose first wrong step is named. MR-Score = 0.2 max(0, MCC) + 0.3 step + 0.5 reason. A verifier gives
no reasons, so the last part is 0 here, which the name of the figure says: it is at most 0.5, and what others publish is not
comparable to it, but their MCC and step accuracy are. A solution without a prediction counts as called wrongly.

All verdicts alike have no correlation, and MCC is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.evaluation.processbench import called_wrong
from prm.evaluation.search_metrics import bootstrap_counts
from prm.storage.step_scores import JudgedTrace, Prediction


def mr_gsm8k_summary(traces: Sequence[JudgedTrace], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """MR-GSM8K by the official rule of ProcessBench for the first wrong step.

    Returns:
        {"all": figures, "types": {question type: figures}}
    """
    named_N = [called_wrong(said, len(trace.steps)) for trace, said in zip(traces, predictions, strict=True)]
    types = dict.fromkeys(trace.subset for trace in traces)
    groups: dict[str | None, list[int]] = {
        name: [i for i, trace in enumerate(traces) if name in (None, trace.subset)] for name in (None, *types)
    }
    figures = {name: _mr_gsm8k([traces[i] for i in its], [named_N[i] for i in its]) for name, its in groups.items()}
    return {"all": figures.pop(None), "types": figures}


def _mr_gsm8k(traces: Sequence[JudgedTrace], named_N: Sequence[int | None]) -> dict[str, Any]:
    counts = []
    for trace, named in zip(traces, named_N, strict=True):
        right, first = trace.first_error == -1, trace.first_error
        # Who says nothing has not called it as it is.
        called_right = named == -1 if right else named in (-1, None)
        counts.append(
            (right and called_right, not right and not called_right, not right and called_right,
             right and not called_right, not right and named == first)
        )  # fmt: skip
    total = np.array(counts, dtype=float).sum(axis=0, keepdims=True)
    low, high, _ = bootstrap_counts(counts, [trace.problem for trace in traces], _matthews)
    wrong = int(total[0, 1] + total[0, 2])
    mcc, step = float(_matthews(total)[0]), float(total[0, 4]) / wrong if wrong else math.nan
    return {
        "traces": len(traces),
        "wrong": wrong,
        "mcc": mcc,
        "low": low,
        "high": high,
        "step_accuracy": step,
        "mr_score_without_reasons": 0.2 * max(mcc, 0.0) + 0.3 * step if not math.isnan(mcc) else math.nan,
        "not_scored": sum(named is None for named in named_N),
    }


def _matthews(counts: NDArray) -> NDArray:
    """Of each row of (right called right, wrong called wrong, wrong called right, right called wrong, ...); NaN where all
    traces, or all verdicts, are alike."""
    tp, tn, fp, fn = counts[:, :4].T
    with np.errstate(invalid="ignore", divide="ignore"):
        return (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
