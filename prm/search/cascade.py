"""Verifier cascade: a cheap verifier keeps the best k of N samples, an expensive one decides among these.

    cascade prm cheap=orm keep=4

The cheap one may be an ORM, a probe on the generator's own hidden states, or the generator's own likelihood
(`prm.verifiers.likelihood`). What it drops is in the result's tree.

    generated tokens  =  N x tokens of a trace
    verifier calls    =  N of the cheap one, k of the other

It pays where the cheap verifier costs less than the N - k calls that it saves, and where the expensive one is fooled by
traces that the cheap one sees through. Equal traces take one of the k places together.
"""

from __future__ import annotations

from prm.search.requests import Found, Sample, Search, VerifierName, best, score_readable
from prm.search.weighted_vote import weighted_winner
from prm.types import Budget, Problem


def cascade(
    problem: Problem, budget: Budget, seed: int, cheap: VerifierName, keep: int = 4, vote: bool = False
) -> Search:
    """N is `budget.samples`.

    Args:
        cheap: name of the verifier of the run that reads all samples.
        keep: k, the different traces that the method's own verifier reads.
        vote: choose by the weighted vote among these instead of the highest score.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; at least one trace must be left")
    traces = yield Sample(budget.samples)
    opinions = yield from score_readable(traces, cheap)
    # Those that may not be chosen come last.
    ranked = sorted(
        zip(traces, opinions, strict=True), key=lambda pair: -1.0 if pair[1] is None else pair[1].trace, reverse=True
    )
    different = list(dict.fromkeys(trace.steps for trace, _ in ranked))[:keep]
    kept = [trace for trace in traces if trace.steps in different]
    scores = yield from score_readable(kept)
    chosen = weighted_winner(kept, scores, f"{seed}/{problem.id}") if vote else best(kept, scores)
    return Found(kept, scores, chosen)
