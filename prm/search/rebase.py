"""Reward-balanced search, REBASE (Wu et al. 2024, arXiv:2408.00724).

At every depth, the open nodes share the places that ended ones leave free, in proportion to exp(score / T): a good node gets
many children, a middling one still gets some, where beam search gives all the same number or none. Best first, each takes
its share of what is left, rounded up, so the last ones may get nothing:

    children of node i  =  ceil(places left x w_i / (w_i + w_{i+1} + ...)),     w = exp(score / T)

The answer is that of the weighted vote over the ended nodes.

    generated tokens  <=  N x depth x tokens of a step, less what ended nodes leave free
    verifier calls    <=  N x depth
    verifier tokens   <=  the prompt and every step once, if the verifier keeps what it has read (`prm.costs`)

One difference: equal children are one node, and of two equal ones that end, one place is left free. So that a node still
counts as often as it was sampled, places and votes are in proportion to its share, too (`weigh`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prm.search.requests import Search
from prm.search.tree import Node, conclude, distinct, expand, root
from prm.types import Budget, Problem


def rebase(
    problem: Problem,
    budget: Budget,
    seed: int,
    temperature: float = 0.2,
    max_steps: int = 40,
    vote: bool = True,
    weigh: bool = True,
) -> Search:
    """N is `budget.samples`.

    Args:
        temperature: T; a low one gives the places to the best nodes, a high one to all alike. The default is
            a choice of this project.
        max_steps: what is still open after so many steps is cut off.
        vote: choose by the weighted vote, as published, or by the highest score.
        weigh: places in proportion to share x exp(score / T), and votes of score x share (`prm.search.tree.Node`).
    """
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be more than 0")
    ended: list[Node] = []
    working = [root(problem)]
    for depth in range(max_steps):
        room = budget.samples - len(ended)
        if not working or not room:
            break
        logs = {node: node.score / temperature + (math.log(node.share) if weigh else 0.0) for node in working}
        ranked = sorted(working, key=lambda node: -logs[node])
        places = portions([math.exp(logs[node] - logs[ranked[0]]) for node in ranked], room)
        parents = [node for node, n in zip(ranked, places, strict=True) for _ in range(n)]
        children = yield from expand(parents, ("rebase", depth))
        if not children:  # the budget is spent
            break
        nodes = distinct(children)
        ended += [node for node in nodes if not node.open]
        working = [node for node in nodes if node.open]
    return conclude([*ended, *working], problem, budget, seed, vote, weigh)


def portions(weights: Sequence[float], places: int) -> list[int]:
    """How many of the places each weight gets; they are all given away.

    Args:
        weights: in descending order.

    >>> portions([0.9, 0.5, 0.1], 8)
    [5, 3, 0]
    """
    given = []
    for i, weight in enumerate(weights):
        share = places * weight / math.fsum(weights[i:]) if weight else 0.0
        given.append(math.ceil(round(share, 9)))  # 2.0000000000000004 is 2
        places -= given[-1]
    return given
