"""Best-of-N: sample N candidates, choose the one that the verifier scores highest (Cobbe et al. 2021, arXiv:2110.14168).

A candidate without an answer is never chosen. Ties go to the candidate sampled first; samples are exchangeable, so that
is as fair as a coin and the same in every run.
"""

from __future__ import annotations

from prm.search.requests import Found, Sample, Search, best, score_readable
from prm.types import Budget, Problem


def best_of_n(problem: Problem, budget: Budget, seed: int) -> Search:
    """N is `budget.samples`."""
    traces = yield Sample(budget.samples)
    scores = yield from score_readable(traces)
    return Found(traces, scores, best(traces, scores))
