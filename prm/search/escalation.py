"""Escalation: a small tree search first, and twice as large a one only where the first is not sure.

    escalation prm by=rebase samples=32 first=8 enough=0.9        8 samples, then 16, then 32

A tree says itself how sure it is: in the share of the votes that its answer has. Where that is less than `enough`, the same
search starts again with twice the samples, and the last search decides. So easy problems end after the first one, and how
hard a problem is need not be known beforehand: this is the compute-optimal choice of Snell et al. 2024 (arXiv:2408.03314,
sec. 3), made on the way, with everything paid that it takes.

    generated tokens  <=  (first + 2 first + ... + N) x tokens of a trace;  what a search samples again is paid once
    verifier calls     =  those of the searches

Stopping at a share of the votes is what adaptive consistency does with independent samples (Aggarwal et al. 2023,
arXiv:2305.11860). Left out, because they were no better on validation problems: adding up the votes of all searches, and
chains of different strategies.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from prm.search.beam_search import beam_search
from prm.search.dvts import dvts
from prm.search.majority import answer_classes
from prm.search.particle_filtering import particle_filtering
from prm.search.rebase import rebase
from prm.search.requests import Found, Search
from prm.types import Budget, Problem

TREES: dict[str, Callable[..., Search]] = {
    "beam_search": beam_search,
    "dvts": dvts,
    "rebase": rebase,
    "particle_filtering": particle_filtering,
}
"""Searches whose answer is voted on."""


def escalation(
    problem: Problem, budget: Budget, seed: int, by: str = "rebase", first: int = 8, enough: float = 0.9
) -> Search:
    """N, the samples of the largest search, is `budget.samples`.

    Args:
        by: the search, one of `TREES`.
        first: samples of the first search; N if that is less.
        enough: share of the votes at which an answer is taken: 1 if all must agree, 0 takes the first one.
    """
    if by not in TREES:
        raise ValueError(f"by is {by!r}; it must be one of {', '.join(TREES)}")
    if first < 1:
        raise ValueError(f"first is {first}; it must be at least one sample")
    if not 0 <= enough <= 1:
        raise ValueError(f"enough is {enough}; it must be a share of the votes, from 0 to 1")
    samples = min(first, budget.samples)
    found: Found = yield from TREES[by](problem, Budget(samples, budget.generated_tokens), seed)
    while agreement(found) < enough and (samples := 2 * samples) <= budget.samples:
        larger: Found = yield from TREES[by](problem, Budget(samples, budget.generated_tokens), seed)
        if larger.chosen is None:  # a budget in tokens has ended before it had an answer
            break
        found = larger
    return found


def agreement(found: Found) -> float:
    """Share of the votes that the chosen answer has; 0 without an answer or a vote."""
    assert found.votes is not None, "a tree votes"
    total = math.fsum(found.votes)
    if found.chosen is None or not total:
        return 0.0
    classes = answer_classes(found.candidates)
    mine = [vote for its, vote in zip(classes, found.votes, strict=True) if its == classes[found.chosen]]
    return math.fsum(mine) / total
