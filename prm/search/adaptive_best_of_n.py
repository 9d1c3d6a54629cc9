"""Instance-adaptive N: sample until what would be chosen is likely enough to be right, by a calibrated verifier.

Sample a few traces, score them, choose among all so far, and ask the calibration (`prm.search.calibration`) whether the
evidence is enough: for a choice that is right with a chance of `target`, or for a share of lost problems of at most `risk`
(`prm.search.risk`). Easy problems end after one sample, hard ones use the whole budget.

    generated tokens  =  n x tokens of a trace,  n <= N found on the way;  the generator reads the prompt once per request
    verifier calls    =  n;  one that keeps what it has read (`prm.costs`) reads the prompt once

The idea is that of instance-adaptive scaling (Park et al. 2025, arXiv:2506.09338), which calibrates the verifier's scores of
prefixes by quantile regression and sets N before it samples. Differences: what is calibrated is the choice, after every
sample, and by isotonic regression, which needs a validation run and no training. Traces are those of the pool, in its order,
so with `target=1` the answer is that of `best_of_n` or, with `vote`, of `weighted_vote`.
"""

from __future__ import annotations

from prm.search.calibration import evidence_of, read_calibration
from prm.search.majority import answer_classes
from prm.search.requests import Found, Sample, Search, best, score_readable
from prm.search.weighted_vote import weighted_winner
from prm.types import Budget, Problem, Scores, Trace


def adaptive_best_of_n(
    problem: Problem,
    budget: Budget,
    seed: int,
    calibration: str,
    target: float | None = None,
    risk: float | None = None,
    vote: bool = False,
    at_once: int = 1,
) -> Search:
    """N, the most that are sampled, is `budget.samples`.

    Args:
        calibration: file of eval/calibrate_verifier.py.
        target: chance of being right at which to stop. 0 stops after the first request, 1 never.
        risk: or the share of the stopped problems that may be wrong where all N samples would have been right.
        vote: choose by the weighted vote instead of the highest score.
        at_once: samples of each request: fewer rounds, and up to so many samples too many.
    """
    calibrated = read_calibration(calibration)
    if (target is None) == (risk is None):
        raise ValueError(f"target {target} and risk {risk}: give one of them, such as target=0.9 or risk=0.05")
    if at_once < 1 or (target is not None and not 0 <= target <= 1):
        raise ValueError(f"target {target} and at_once {at_once}: a chance from 0 to 1, and at least one sample")
    if risk is not None and (budget.samples != calibrated.samples or at_once > 1):
        raise ValueError(
            f"risk {risk} is promised for {calibrated.samples} samples, one by one, of which {calibration} was learned; the"
            f" search has {budget.samples}, {at_once} at once"
        )
    if target is not None:
        enough = calibrated.likely(target, vote)
    else:
        assert risk is not None
        enough = calibrated.safe(risk, vote)
    traces: list[Trace] = []
    scores: list[Scores | None] = []
    while len(traces) < budget.samples:
        new = yield Sample(min(at_once, budget.samples - len(traces)), first=len(traces))
        if not new:  # the budget is spent
            break
        traces += new
        scores += yield from score_readable(new)
        classes = [c if its else None for c, its in zip(answer_classes(traces), scores, strict=True)]
        if evidence_of(classes, [its.trace if its else 0.0 for its in scores], vote) >= enough:
            break
    chosen = weighted_winner(traces, scores, f"{seed}/{problem.id}") if vote else best(traces, scores)
    return Found(traces, scores, chosen)
