"""Verifier-weighted voting: the answer whose candidates have the highest sum of scores (Li et al. 2022, arXiv:2206.02336;
"best-of-N weighted" in Snell et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from prm.search.majority import answer_classes, winner
from prm.search.requests import Found, Sample, Search, score_readable
from prm.types import Budget, Problem, Scores, Trace


def weighted_vote(problem: Problem, budget: Budget, seed: int) -> Search:
    """N is `budget.samples`."""
    traces = yield Sample(budget.samples)
    scores = yield from score_readable(traces)
    return Found(traces, scores, weighted_winner(traces, scores, f"{seed}/{problem.id}"))


def weighted_winner(traces: Sequence[Trace], scores: Sequence[Scores | None], seed: str) -> int | None:
    """Index of the first candidate whose answer has the highest sum of scores; a seeded coin decides between equals."""
    classes = answer_classes(traces)
    votes: defaultdict[int, float] = defaultdict(float)
    for answer_class, score in zip(classes, scores, strict=True):
        if answer_class is not None and score is not None:
            votes[answer_class] += score.trace
    return winner(classes, votes, seed)
