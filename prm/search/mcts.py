"""Monte Carlo tree search with a verifier in the place of rollouts.

Every turn walks from the root to a node without children, always to the child with the largest

    Q(s) + U(s),    U(s) = c_puct x sqrt(sum of N over s and its siblings) / (1 + N(s))

where N(s) counts the turns that went through s, and Q(s) is the mean of the scores that the verifier gave to s and to what
those turns found below it. U is the PUCT term of OmegaPRM's selection (Luo et al. 2024, arXiv:2406.06592), which has no
prior, because the children are samples of the policy already; Q by a value model instead of rollouts is that of AlphaZero
(Silver et al. 2017, arXiv:1712.01815). The turn then samples M next steps there and scores them, and their mean is what it
found. A node below which everything has ended is not entered again. The search ends when N candidates have ended.

    generated tokens  =  turns x M x tokens of a step,   turns <= N x max_steps / M
    verifier calls    <=  turns x M
    verifier tokens   <=  the prompt and every step once, if the verifier keeps what it has read (`prm.costs`)

Left out: a policy prior, rollouts to the end, re-use of a tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from prm.search.requests import Search
from prm.search.tree import Node, branching, conclude, distinct, expand, root
from prm.types import Budget, Problem


@dataclass
class _State:
    """A node of the tree with what is known of it."""

    node: Node
    total: float
    """Sum of the scores of the node and of what was found below it."""
    open: bool
    """Whether there is a node without children below it that may go on, or it is one."""
    visits: int = 0
    children: list[_State] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return self.total / (1 + self.visits)


def mcts(
    problem: Problem,
    budget: Budget,
    seed: int,
    width: int | str = 4,
    c_puct: float = 0.125,
    max_steps: int = 40,
    vote: bool = True,
    weigh: bool = True,
) -> Search:
    """N is `budget.samples`.

    Args:
        width: M, the continuations that a turn samples. `sqrt`: M = sqrt(N).
        c_puct: the larger it is, the more turns go to what was seldom visited. The default is OmegaPRM's.
        max_steps: no trace gets more steps, and N x max_steps / M turns are the most.
        vote: choose by the weighted vote, or by the highest score.
        weigh: choose by score x share (`prm.search.tree.Node`) instead of the score alone.
    """
    m = branching(width, budget)
    top = _State(root(problem), 0.0, open=True)
    leaves: list[_State] = []
    for turn in range(budget.samples * max_steps // m):
        # Select
        path = [top]
        while path[-1].children:
            siblings = path[-1].children
            turns = sum(state.visits for state in siblings)
            path.append(
                max(
                    (state for state in siblings if state.open),
                    key=lambda state: state.mean + c_puct * math.sqrt(turns) / (1 + state.visits),
                )
            )
        # Expand
        children = yield from expand([path[-1].node] * m, ("mcts", turn))
        if not children:  # the budget is spent
            break
        path[-1].children = [
            _State(node, node.score, node.open and len(node.trace.steps) < max_steps) for node in distinct(children)
        ]
        # Back up
        found = sum(state.node.score for state in path[-1].children) / max(1, len(path[-1].children))
        for state in reversed(path):
            state.visits += 1
            state.total += found
            state.open = any(child.open for child in state.children)
        leaves += path[-1].children
        if not top.open or sum(not leaf.node.open for leaf in leaves) >= budget.samples:
            break
    return conclude([leaf.node for leaf in leaves if not leaf.children], problem, budget, seed, vote, weigh)
