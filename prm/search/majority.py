"""Majority voting, also called self-consistency: the most frequent answer (Wang et al. 2022, arXiv:2203.11171).

Votes are grouped by equivalence (0.5 and 1/2 are one answer). Ties are broken by a seeded coin.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prm import answers
from prm.generators import Generator
from prm.search.candidates import draw_pools
from prm.types import Budget, Problem, SearchResult
from prm.verifiers import Verifier


@dataclass(frozen=True)
class Majority:
    """See `prm.search.SearchStrategy`. The verifier is not asked."""

    def search(
        self, problems: Sequence[Problem], generator: Generator, verifier: Verifier | None, budget: Budget, seed: int
    ) -> list[SearchResult]:
        results = []
        for pool in draw_pools(problems, generator, None, budget, seed):
            classes = answers.group([candidate.answer for candidate in pool.candidates])
            votes = dict(Counter(classes[i] for i in pool.usable()))
            results.append(pool.choose("majority", winner(classes, votes, f"{seed}/{pool.problem.id}")))
        return results


def winner(classes: Sequence[int | None], votes: Mapping[int | None, float], seed: str) -> int | None:
    """Index of the first candidate of the class with most votes; a seeded coin decides between equals."""
    if not votes:
        return None
    most = max(votes.values())
    tied = sorted(c for c, v in votes.items() if v == most and c is not None)
    return classes.index(random.Random(seed).choice(tied))
