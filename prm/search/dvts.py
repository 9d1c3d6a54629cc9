"""Diverse verifier tree search, DVTS (Beeching, Tunstall and Rush 2024, "Scaling test-time compute with open models").

N/M subtrees, each of which is searched greedily and knows nothing of the others: sample M next steps, score them, go on from
the best one, until it has ended. So a verifier that likes one beginning too well cannot fill the whole beam with it, as it
can in beam search. The candidates are the last M siblings of every subtree.

    generated tokens  <=  N x depth x tokens of a step, as beam search
    verifier calls    <=  N x depth
    verifier tokens   <=  the prompt and every step once, if the verifier keeps what it has read (`prm.costs`)

Equal siblings are one node, so siblings are compared by score x share (`weigh`). One difference: a sibling that ended while
its subtree went on from another one remains a candidate.
"""

from __future__ import annotations

from prm.search.requests import Search
from prm.search.tree import Node, branching, conclude, distinct, expand, root
from prm.types import Budget, Problem


def dvts(
    problem: Problem,
    budget: Budget,
    seed: int,
    width: int | str = 4,
    max_steps: int = 40,
    vote: bool = True,
    weigh: bool = True,
) -> Search:
    """N is `budget.samples`.

    Args:
        width: M, the continuations of each step; there are N/M subtrees. `sqrt`: M = sqrt(N).
        max_steps: what is still open after so many steps is cut off.
        vote: choose by the weighted vote, or by the highest score.
        weigh: compare score x share (`prm.search.tree.Node`) instead of the score alone.
    """
    m = branching(width, budget)
    siblings = [[root(problem)] for _ in range(budget.samples // m)]  # the last ones of every subtree
    passed: list[Node] = []
    for depth in range(max_steps):
        heads = {tree: max(nodes, key=lambda node: node.value(weigh)) for tree, nodes in enumerate(siblings) if nodes}
        working = [tree for tree, head in heads.items() if head.open]
        if not working:
            break
        children = yield from expand([heads[tree] for tree in working for _ in range(m)], ("dvts", depth))
        for i, tree in enumerate(working):
            if mine := children[i * m : (i + 1) * m]:  # none if the budget is spent
                passed += [node for node in siblings[tree] if not node.open]
                siblings[tree] = distinct(mine)
        if not children:
            break
    return conclude([*passed, *(node for nodes in siblings for node in nodes)], problem, budget, seed, vote, weigh)
