"""Majority voting, also called self-consistency: the most frequent answer (Wang et al. 2022, arXiv:2203.11171).

Votes are grouped by equivalence (0.5 and 1/2 are one answer). Ties are broken by a seeded coin.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from prm import answers
from prm.search.requests import Found, Sample, Search
from prm.types import Budget, Problem, Trace


def majority(problem: Problem, budget: Budget, seed: int) -> Search:
    """Needs no verifier."""
    traces = yield Sample(budget.samples)
    classes = answer_classes(traces)
    votes = Counter(c for c in classes if c is not None)
    return Found(traces, [None] * len(traces), winner(classes, votes, f"{seed}/{problem.id}"))


def answer_classes(traces: Sequence[Trace]) -> list[int | None]:
    """Which traces give equal answers; None for those that have no vote."""
    return answers.group([trace.answer if trace.usable else None for trace in traces])


def winner(classes: Sequence[int | None], votes: Mapping[int, float], seed: str) -> int | None:
    """Index of the first candidate of the class with most votes; a seeded coin decides between equals."""
    if not votes:
        return None
    most = max(votes.values())
    tied = sorted(c for c, v in votes.items() if v == most)
    return classes.index(random.Random(seed).choice(tied))
