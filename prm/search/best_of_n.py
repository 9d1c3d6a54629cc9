"""Best-of-N: sample N candidates, return the one that the verifier scores highest (Cobbe et al. 2021, arXiv:2110.14168).

A candidate without an answer is never chosen. Ties go to the candidate sampled first; samples are exchangeable, so that
is as fair as a coin and the same in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prm.aggregation import aggregate
from prm.generators import Generator
from prm.search.candidates import draw_pools
from prm.types import Budget, Problem, SearchResult
from prm.verifiers import Verifier


@dataclass(frozen=True)
class BestOfN:
    """See `prm.search.SearchStrategy`. N is `budget.samples`."""

    def search(
        self, problems: Sequence[Problem], generator: Generator, verifier: Verifier, budget: Budget, seed: int
    ) -> list[SearchResult]:
        results = []
        for pool in draw_pools(problems, generator, verifier, budget, seed):
            best = max(pool.usable(), key=lambda i: aggregate(pool.scores[i], verifier.aggregation), default=None)
            results.append(pool.choose("best_of_n", best))
        return results
