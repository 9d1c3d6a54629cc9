"""What must stand beside a gain: does the verifier make it, do more samples keep it, and is what is chosen right throughout?

- **Blind control**: the same strategy on the same pool, with the scores shuffled within each problem's pool. What is left is
  the strategy's own doing (a weighted vote is a vote still); the difference is what the verifier adds.
- **Growth**: the number of samples at which a method is best, and how far it falls from there to its last one. A verifier
  that makes mistakes chooses the samples that it errs on most, and the more there are, the more of these are found
  (over-optimization; Cobbe et al. 2021, arXiv:2110.14168).
- **False positives**: right answers with a wrong process, counted among what is chosen (Uesato et al. 2022,
  arXiv:2211.14275, had people count them). Where step truth is exact, as in the embedded sets, so is the share.

Everything comes from stored rows. Left out: trees with shuffled scores, which would have sampled other steps, and strategies
that no estimator knows; run them with a verifier that draws lots. Step truth of other data: there is none.

The best N is chosen on the problems that its fall is measured on, among a handful of numbers, which makes the fall look a
little larger than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prm.evaluation.estimates import BLIND, CEILING, SINGLE, accuracy_at, curves, pools_of
from prm.evaluation.search_metrics import bootstrap, bootstrap_ratio, paired_difference
from prm.evaluation.search_runs import Run, largest_pool
from prm.storage.step_scores import StepTruth

Curve = dict[int, list[float]]
"""Number of samples -> accuracy of each problem."""


def blind_controls(run: Run, curves_P: dict[str, Curve]) -> dict[str, list[dict[str, Any]]]:
    """Method -> {"n", "accuracy", "low", "high", "difference"} for each n of its curve: with shuffled scores, and the
    method's own accuracy minus that, paired. Methods without a verifier, and those that cannot be shuffled, are left out.

    Args:
        curves_P: those of the run (`prm.evaluation.estimates`).
    """
    found = {}
    for number, result in enumerate(run.rows[0].results):
        if result.verifier is None or not result.independent or result.strategy not in BLIND:
            continue
        pools_P, points = pools_of(run, number), []
        for n, own_P in curves_P[result.method].items():
            blind_P = accuracy_at(result.strategy, pools_P, n, blind=True)
            difference = vars(paired_difference(own_P, blind_P))
            points.append({"n": n, **bootstrap(blind_P).as_accuracy(), "difference": difference})
        found[result.method] = points
    return found


def growth(curve_P: Curve) -> dict[str, Any]:
    """{"best_n", "change"}: the number of samples with the highest accuracy, the smallest one where several have it, and the
    paired difference of the last one to it."""
    best = max(sorted(curve_P), key=lambda n: round(sum(curve_P[n]), 9))
    return {"best_n": best, "change": vars(paired_difference(curve_P[max(curve_P)], curve_P[best]))}


def is_loss(difference: dict[str, float | None]) -> bool:
    """Whether the whole interval is below 0."""
    return difference["high"] is not None and difference["high"] < 0


def over_optimization(run: Run, methods: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Accuracy against the number of samples, as `prm.evaluation.plots.draw_growth` shows it: from one pool of N samples the
    whole curve up to N, exact for best-of-N and majority.

    Args:
        methods: names in the run; all that choose from a pool if None.

    Returns:
        Method -> {"points": [{"n", "accuracy", "low", "high"}, ...], "best_n", "change"}.

    Raises:
        ValueError: a method has no curve, or the run has none.
    """
    found = {name: curve_P for name, curve_P in curves(run).items() if len(curve_P) > 1 and name != CEILING}
    if unknown := sorted(set(methods or ()) - found.keys()):
        raise ValueError(f"{', '.join(unknown)}: no curve; the run has curves of {', '.join(found) or 'no method'}")
    if not found:
        raise ValueError("no method of the run chooses from a pool of two samples or more, so there is no curve")
    return {
        name: {"points": [{"n": n, **bootstrap(a_P).as_accuracy()} for n, a_P in curve_P.items()]} | growth(curve_P)
        for name, curve_P in found.items()
        if methods is None or name in methods
    }


def false_positives(run: Run, step_truth: StepTruth) -> dict[str, dict[str, Any]]:
    """Method -> {"right", "share", "low", "high"}: how many of its choices are right and can be judged, and which share of
    these has a wrong step, None if there are none; no interval where all are alike. `single` counts every right candidate
    of the pool.

    Empty where nothing can be judged: step truth is known for no problem, or not one right candidate of the run is written
    as it expects.
    """
    wrong_PN = [
        {
            trace: not all(truth)
            for trace in row.candidates
            if trace.correct and trace.usable and (truth := step_truth(row.problem, trace.steps)) is not None
        }
        for row in run.rows
    ]
    if all(wrong for wrong_N in wrong_PN for wrong in wrong_N.values()):
        return {}
    chosen_PN = {
        result.method: [
            [its.candidates[its.chosen]] if its.chosen is not None else []
            for its in (row.results[i] for row in run.rows)
        ]
        for i, result in enumerate(run.rows[0].results)
    }
    if (pool := largest_pool(run)) is not None:
        chosen_PN = {SINGLE: [list(row.results[pool].candidates) for row in run.rows]} | chosen_PN
    found = {}
    for name, traces_PN in chosen_PN.items():
        judged_PN = [
            [wrong_N[trace] for trace in traces_N if trace in wrong_N]
            for wrong_N, traces_N in zip(wrong_PN, traces_PN, strict=True)
        ]
        parts, wholes = [float(sum(its)) for its in judged_PN], [float(len(its)) for its in judged_PN]
        found[name] = {"right": int(sum(wholes)), **dict.fromkeys(("share", "low", "high"))}
        if sum(wholes):
            estimate = bootstrap_ratio(parts, wholes)
            found[name]["share"] = estimate.mean
            if 0 < estimate.mean < 1:  # redrawing what does not vary says nothing
                found[name] |= {"low": estimate.low, "high": estimate.high}
    return found
