"""Verifier-weighted voting: the answer whose candidates have the highest sum of scores (Li et al. 2022, arXiv:2206.02336;
"best-of-N weighted" in Snell et al. 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from prm import answers
from prm.aggregation import aggregate
from prm.generators import Generator
from prm.search.candidates import draw_pools
from prm.search.majority import winner
from prm.types import Budget, Problem, SearchResult
from prm.verifiers import Verifier


@dataclass(frozen=True)
class WeightedVote:
    """See `prm.search.SearchStrategy`."""

    def search(
        self, problems: Sequence[Problem], generator: Generator, verifier: Verifier, budget: Budget, seed: int
    ) -> list[SearchResult]:
        results = []
        for pool in draw_pools(problems, generator, verifier, budget, seed):
            classes = answers.group([candidate.answer for candidate in pool.candidates])
            votes: dict[int | None, float] = defaultdict(float)
            for i in pool.usable():
                votes[classes[i]] += aggregate(pool.scores[i], verifier.aggregation)
            results.append(pool.choose("weighted_vote", winner(classes, votes, f"{seed}/{pool.problem.id}")))
        return results
