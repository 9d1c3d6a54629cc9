"""Search strategies: spend a budget on a problem and choose one answer.

- `majority`: self-consistency, the most frequent answer. No verifier.
- `best_of_n`: the candidate with the highest verifier score.
- `weighted_vote`: the answer with the highest sum of verifier scores.
- `beam_search`: the verifier guides the generator step by step.

A strategy is a generator function of one problem (`prm.search.requests`); the driver runs it on many
(`prm.search.driver.search`). Adding one is a module and a line below: CONTRIBUTING.md shows it.
"""

from __future__ import annotations

from collections.abc import Callable

from prm.search.beam_search import beam_search
from prm.search.best_of_n import best_of_n
from prm.search.majority import majority
from prm.search.requests import Search
from prm.search.weighted_vote import weighted_vote

STRATEGIES: dict[str, Callable[..., Search]] = {
    "majority": majority,
    "best_of_n": best_of_n,
    "weighted_vote": weighted_vote,
    "beam_search": beam_search,
}

__all__ = ["STRATEGIES"]
