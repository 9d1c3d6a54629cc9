"""Escalation: a small tree search first, and twice as large a one only where the first is not sure.

    escalation prm by=rebase samples=32 first=8 enough=0.7        8 samples, then 16, then 32

A tree says itself how sure it is: in the share of the votes that its answer has. Where that is less than `enough`, the same
search starts again with twice the samples, and the votes of all searches are added up, each of them counting as much as
another. So easy problems end after the first search, and how hard a problem is need not be known beforehand: this is the
compute-optimal choice of Snell et al. 2024 (arXiv:2408.03314, sec. 3), made on the way, with everything paid that it takes.

    generated tokens  <=  (first + 2 first + ... + N) x tokens of a trace;  what a search samples again is paid once
    verifier calls     =  those of the searches

Stopping at a share of the votes is what adaptive consistency does with independent samples (Aggarwal et al. 2023,
arXiv:2305.11860). Left out: chains of different strategies, which chose no better on validation problems, where the many
that can be formed are told apart by luck.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from prm.search.beam_search import beam_search
from prm.search.dvts import dvts
from prm.search.majority import answer_classes, winner
from prm.search.particle_filtering import particle_filtering
from prm.search.rebase import rebase
from prm.search.requests import Found, Search
from prm.types import Budget, Problem, Scores, Trace

TREES: dict[str, Callable[..., Search]] = {
    "beam_search": beam_search,
    "dvts": dvts,
    "rebase": rebase,
    "particle_filtering": particle_filtering,
}
"""Searches whose answer is voted on."""


def escalation(
    problem: Problem, budget: Budget, seed: int, by: str = "rebase", first: int = 8, enough: float = 0.7
) -> Search:
    """N, the samples of the largest search, is `budget.samples`.

    Args:
        by: the search, one of `TREES`.
        first: samples of the first search; N if that is less.
        enough: share of the votes at which an answer is taken. 1 goes on until all agree, 0 takes the first.
    """
    if by not in TREES:
        raise ValueError(f"by is {by!r}; it must be one of {', '.join(TREES)}")
    if first < 1:
        raise ValueError(f"first is {first}; it must be at least one sample")
    if not 0 <= enough <= 1:
        raise ValueError(f"enough is {enough}; it must be a share of the votes, from 0 to 1")
    traces: dict[tuple[str, ...], Trace] = {}
    scores: dict[tuple[str, ...], Scores | None] = {}
    votes: defaultdict[tuple[str, ...], float] = defaultdict(float)
    samples = min(first, budget.samples)
    while True:
        found: Found = yield from TREES[by](problem, Budget(samples, budget.generated_tokens), seed)
        for trace, its, share in zip(found.candidates, found.scores, shares(found), strict=True):
            traces.setdefault(trace.steps, trace)
            scores[trace.steps] = its
            votes[trace.steps] += share
        # Each search had at most N candidates; of what all had, those with most votes come back.
        ranked = sorted(traces, key=lambda steps: (not traces[steps].usable, -votes[steps]))[: budget.samples]
        candidates = [traces[steps] for steps in ranked]
        classes = answer_classes(candidates)
        sums: defaultdict[int, float] = defaultdict(float)
        for answer_class, steps in zip(classes, ranked, strict=True):
            if answer_class is not None:
                sums[answer_class] += votes[steps]
        samples *= 2
        most = max(sums.values(), default=0.0)
        if 0 < most >= enough * math.fsum(sums.values()) or samples > budget.samples:
            break
    return Found(candidates, [scores[steps] for steps in ranked], winner(classes, sums, f"{seed}/{problem.id}"))


def shares(found: Found) -> list[float]:
    """Of the votes of a search, those of each candidate."""
    assert found.votes is not None, "a tree votes"
    total = math.fsum(found.votes)
    return [vote / total if total else 0.0 for vote in found.votes]
