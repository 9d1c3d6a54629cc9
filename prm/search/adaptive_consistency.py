"""Adaptive consistency: majority voting that stops when the vote is decided (Aggarwal et al. 2023, arXiv:2305.11860).

Sample one trace after the other. Let v1 and v2 be the votes of the two most frequent answers; if only these two are
possible and nothing was known before, the share of the first is distributed as Beta(v1 + 1, v2 + 1). Stop as soon as it is
above 1/2 with a probability above `confidence`:

    P(Beta(v1 + 1, v2 + 1) > 1/2)  =  P(at most v1 heads in v1 + v2 + 1 throws of a fair coin)

Four equal answers are enough for 0.95. Traces are those of the pool, in its order, so with `confidence=1` the answer is that
of `majority`.

    generated tokens  =  n x tokens of a trace,  n <= N found on the way;  a prompt is read once per trace
    verifier calls    =  0
"""

from __future__ import annotations

import math
from collections import Counter

from prm.search.majority import answer_classes, winner
from prm.search.requests import Found, Sample, Search
from prm.types import Budget, Problem, Trace


def adaptive_consistency(problem: Problem, budget: Budget, seed: int, confidence: float = 0.95) -> Search:
    """Needs no verifier. N, the most that are sampled, is `budget.samples`."""
    traces: list[Trace] = []
    classes: list[int | None] = []
    votes: Counter[int] = Counter()
    while len(traces) < budget.samples and lead(votes) <= confidence:
        new = yield Sample(1, first=len(traces))
        if not new:  # the budget is spent
            break
        traces += new
        classes = answer_classes(traces)
        votes = Counter(c for c in classes if c is not None)
    return Found(traces, [None] * len(traces), winner(classes, votes, f"{seed}/{problem.id}"))


def lead(votes: Counter[int]) -> float:
    """The probability that the most frequent answer is ahead of the second.

    >>> lead(Counter()), lead(Counter({3: 4})), lead(Counter({3: 4, 5: 1}))
    (0.5, 0.96875, 0.890625)
    """
    first, second = (count for _, count in [*votes.most_common(2), (0, 0), (0, 0)][:2])
    throws = first + second + 1
    return sum(math.comb(throws, heads) for heads in range(first + 1)) / 2**throws
