"""Sequential revisions, alone or in parallel chains (Snell et al. 2024, arXiv:2408.03314, sec. 6).

A reviser, a generator trained on prompts that show earlier attempts (`prm.datasets.revisions`), writes an attempt, then
another one that sees it, and so on; of a long chain it sees the last four. C chains of N/C attempts share a budget of N:
C = 1 is purely sequential, C = N is the pool of independent samples. The best ratio depends on how hard the problem is.

The last attempt is not the best one: a reviser also spoils right attempts (38% of them in Snell et al.), so the choice is
among all. With a verifier it is hierarchical, as published: the weighted vote within a chain decides on an answer, the chain
is represented by its highest score for that answer, and the weighted vote among the chains decides. Majority voting counts
the attempts of all chains alike, because a vote within a short chain would be too noisy.

    generated tokens  =  N x tokens of a trace
    prompt tokens     =  for each attempt, those of the problem (twice) and of up to `memory` attempts
    verifier calls    =  N, after the last attempt; with `history`, it reads as much of the chain as the reviser did
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from prm.encoding.revisions import MEMORY, shown
from prm.search.majority import answer_classes, winner
from prm.search.requests import Found, Revise, Sample, Search, best, score_readable
from prm.search.weighted_vote import weighted_winner
from prm.types import Budget, Problem, Scores, Trace


def revisions(
    problem: Problem,
    budget: Budget,
    seed: int,
    chains: int = 1,
    memory: int = MEMORY,
    choose: Literal["weighted", "best", "majority"] = "weighted",
    history: bool = False,
) -> Search:
    """N is `budget.samples`; the candidates are the first attempt of every chain, then the second of every chain, ...

    Args:
        chains: C; it divides N.
        memory: most earlier attempts that an attempt sees.
        choose: `weighted` is the hierarchical vote, `best` the highest score of all, `majority` needs no verifier.
        history: the verifier, too, reads the attempts that an attempt saw; it must have been trained on such prompts.
    """
    if not 1 <= chains <= budget.samples or budget.samples % chains:
        raise ValueError(f"chains is {chains}; it must divide the {budget.samples} samples of the budget")
    if memory < 1:
        raise ValueError(f"memory is {memory}; a revision sees at least 1 attempt (chains=N: independent ones)")
    traces: list[Trace] = list((yield Sample(chains)))
    for turn in range(1, budget.samples // chains):
        if len(traces) < turn * chains:  # the budget is spent
            break
        traces += yield Revise([shown(traces[chain::chains], memory) for chain in range(chains)], ("revision", turn))

    coin = f"{seed}/{problem.id}"
    if choose == "majority":
        classes = answer_classes(traces)
        votes = Counter(c for c in classes if c is not None)
        return Found(traces, [None] * len(traces), winner(classes, votes, coin))
    seen = [shown(traces[i % chains : i : chains], memory) for i in range(len(traces))] if history else None
    scores = yield from score_readable(traces, attempts=seen)
    chosen = best(traces, scores) if choose == "best" else winner_of_chains(traces, scores, chains, coin)
    return Found(traces, scores, chosen)


def winner_of_chains(traces: Sequence[Trace], scores: Sequence[Scores | None], chains: int, coin: str) -> int | None:
    """Index of the candidate that the vote within chains and then among them chooses; None if none was scored."""
    heads: list[int] = []
    for chain in range(chains):
        places = range(chain, len(traces), chains)
        mine = [traces[i] for i in places]
        voted = weighted_winner(mine, [scores[i] for i in places], coin)
        if voted is not None:
            classes = answer_classes(mine)
            scored = {
                i: its.trace
                for i, c in zip(places, classes, strict=True)
                if c == classes[voted] and (its := scores[i]) is not None
            }
            heads.append(max(scored, key=lambda i: scored[i]))
    chosen = weighted_winner([traces[i] for i in heads], [scores[i] for i in heads], coin)
    return None if chosen is None else heads[chosen]
