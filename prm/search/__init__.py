"""Search strategies: spend a budget on a problem and choose one answer.

- `majority`: self-consistency, the most frequent answer. No verifier.
- `best_of_n`: the candidate with the highest verifier score.
- `weighted_vote`: the answer with the highest sum of verifier scores.
- `adaptive_consistency`: majority voting that stops when the vote is decided. No verifier.
- `adaptive_best_of_n`: best-of-N, or the weighted vote, that stops when its choice is likely enough to be right.
- `cascade`: a cheap verifier keeps some candidates, another one chooses among these.
- `beam_search`: the verifier guides the generator step by step: the best beams get the same number of next steps.
- `lookahead_search`: the same, with steps judged by where they lead.
- `dvts`: independent greedy subtrees.
- `rebase`: every node gets next steps in proportion to its score.
- `particle_filtering`: traces are resampled by their scores after every step.
- `mcts`: Monte Carlo tree search.
- `escalation`: a small tree search first, and larger ones only where its votes are not sure.
- `compute_optimal`: another strategy for each difficulty, which is predicted from the first samples, by a learned policy.
- `revisions`: a reviser writes attempts that see the ones before them, in one chain or several.

A strategy is a generator function of one problem (`prm.search.requests`); those that grow trees share `prm.search.tree`.
The driver runs a strategy on many problems (`prm.search.driver.search`); `workloads` has a search for benchmarks. Adding a
strategy is a module and a line below: CONTRIBUTING.md shows it.
"""

from __future__ import annotations

from collections.abc import Callable

from prm.search.adaptive_best_of_n import adaptive_best_of_n
from prm.search.adaptive_consistency import adaptive_consistency
from prm.search.beam_search import beam_search
from prm.search.best_of_n import best_of_n
from prm.search.cascade import cascade
from prm.search.compute_optimal import compute_optimal
from prm.search.dvts import dvts
from prm.search.escalation import escalation
from prm.search.lookahead_search import lookahead_search
from prm.search.majority import majority
from prm.search.mcts import mcts
from prm.search.particle_filtering import particle_filtering
from prm.search.rebase import rebase
from prm.search.requests import Search
from prm.search.revisions import revisions
from prm.search.weighted_vote import weighted_vote

STRATEGIES: dict[str, Callable[..., Search]] = {
    "majority": majority,
    "best_of_n": best_of_n,
    "weighted_vote": weighted_vote,
    "adaptive_consistency": adaptive_consistency,
    "adaptive_best_of_n": adaptive_best_of_n,
    "cascade": cascade,
    "beam_search": beam_search,
    "lookahead_search": lookahead_search,
    "dvts": dvts,
    "rebase": rebase,
    "particle_filtering": particle_filtering,
    "mcts": mcts,
    "escalation": escalation,
    "revisions": revisions,
    "compute_optimal": compute_optimal,
}

__all__ = ["STRATEGIES"]
