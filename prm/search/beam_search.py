"""Step-level beam search against a verifier (Snell et al. 2024, arXiv:2408.03314, sec. 5.2).

Sample N first steps, score them, keep the best N/M; sample M next steps from each, score, keep the best N/M; and so on
until every beam has ended. Choose the finished candidate with the highest score, or by their weighted vote, as Snell et al.
do. They publish M = 4 and M = sqrt(N) (`width=sqrt`).

Where depths differ there are two readings. Here a beam that has ended keeps its place, so at most N are ever finished or in
work. With `refill`, the others get its place: N steps are sampled at every depth until no beam is open, more finish than N,
and the best N of them are the candidates (so does `search-and-learn`, Hugging Face's code of that paper). It spends more and
finds higher scores; where all traces are equally deep, the two are the same.

Equal steps are one beam here, so its `share` says how often they were sampled, and score x share ranks and votes (`weigh`).
By scores alone, a rare mistake that the verifier does not see counts as much as the right one (figures: eval/strategies.md).

    generated tokens  <=  N x depth x tokens of a step, less what ended beams leave free (nothing with `refill`)
    verifier calls    <=  N x depth; a step that is sampled twice is scored once
    verifier tokens   <=  the prompt and every step once, if the verifier keeps what it has read (`prm.costs`)
"""

from __future__ import annotations

from prm.search.requests import Search
from prm.search.tree import Node, Opinion, as_written, branching, conclude, distinct, expand, root
from prm.types import Budget, Problem


def beam_search(
    problem: Problem,
    budget: Budget,
    seed: int,
    width: int | str = 4,
    max_steps: int = 40,
    refill: bool = False,
    vote: bool = True,
    weigh: bool = True,
) -> Search:
    """N is `budget.samples`.

    Args:
        width: M, the continuations of each kept beam; N/M beams are kept. `sqrt`: M = sqrt(N).
        max_steps: what is still open after so many steps is cut off.
        refill: give the places of ended beams to the others.
        vote: choose by the weighted vote over the beams, as published, or by the highest score.
        weigh: rank and choose by score x share (`prm.search.tree.Node`) instead of the score alone.
    """
    return (yield from beams(problem, budget, seed, width, max_steps, refill, vote, weigh, as_written))


def beams(
    problem: Problem,
    budget: Budget,
    seed: int,
    width: int | str,
    max_steps: int,
    refill: bool,
    vote: bool,
    weigh: bool,
    opinion: Opinion,
) -> Search:
    """Beam search that ranks open beams by any opinion of them."""
    m = branching(width, budget)
    ended: list[Node] = []
    working = [root(problem)]
    for depth in range(max_steps):
        kept = sorted(working, key=lambda beam: -beam.value(weigh))[: budget.samples // m]
        room = budget.samples - (0 if refill else len(ended))
        if not kept or not room:
            break
        children = yield from expand([kept[i % len(kept)] for i in range(room)], ("beam", depth), opinion)
        if not children:  # the budget is spent: what was kept is all there is
            break
        found = distinct(children)
        ended += [beam for beam in found if not beam.open]
        working = [beam for beam in found if beam.open]
    return conclude([*ended, *working], problem, budget, seed, vote, weigh)
