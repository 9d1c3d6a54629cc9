"""Search strategies: spend a budget of samples on a problem and choose one answer.

- `majority.Majority`: self-consistency, the most frequent answer. No verifier.
- `best_of_n.BestOfN`: the candidate with the highest verifier score.
- `weighted_vote.WeightedVote`: the answer with the highest sum of verifier scores.
- `beam_search.BeamSearch`: the verifier guides the generator step by step.

Every strategy is a frozen dataclass with one method, batch-first over problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prm.generators import Generator
from prm.search.beam_search import BeamSearch
from prm.search.best_of_n import BestOfN
from prm.search.majority import Majority
from prm.search.weighted_vote import WeightedVote
from prm.types import Budget, Problem, SearchResult
from prm.verifiers import Verifier


class SearchStrategy(Protocol):
    """Chooses an answer for each problem within a budget per problem."""

    def search(
        self, problems: Sequence[Problem], generator: Generator, verifier: Verifier, budget: Budget, seed: int
    ) -> list[SearchResult]: ...


STRATEGIES: dict[str, type[SearchStrategy]] = {
    "majority": Majority,
    "best_of_n": BestOfN,
    "weighted_vote": WeightedVote,
    "beam_search": BeamSearch,
}

__all__ = ["STRATEGIES", "BeamSearch", "BestOfN", "Majority", "SearchStrategy", "WeightedVote"]
