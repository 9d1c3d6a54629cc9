"""What the tree strategies share: a node, one more step after some nodes, and the choice at the end.

A search begins at `root(problem)`, and a strategy decides which nodes go on and how often:

    nodes = [root(problem)]
    children = yield from expand(nodes * 4, key=("my_search", 0))      four first steps, scored
    nodes = distinct(children)                                         equal ones are one node
    return conclude(nodes, problem, budget, seed)                      at most N candidates, the best one chosen

Steps are sampled, so equal ones happen. They are scored once here, and the driver counts them (`SearchResult.duplicates`).
Whoever keeps one of them only (`distinct`) has to remember how often it was sampled, or rare mistakes count as much as what
the generator usually writes: `Node.share` does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prm.sampling.traces import open_trace
from prm.search.requests import Expand, Found, Request, best, score_readable
from prm.search.weighted_vote import weighted_winner
from prm.types import Budget, Problem, Scores, Trace

Opinion = Callable[[Sequence[Trace], tuple[str | int, ...]], Generator[Request, Any, list[Scores | None]]]
"""How new traces are scored, given the key of the request that made them."""


@dataclass(frozen=True)
class Node:
    """A trace, whole or open, and what the verifier says of it."""

    trace: Trace
    scores: Scores | None
    """None where it has ended without an answer, or is longer than the verifier reads."""
    share: float = 1.0
    """How likely the generator is to write this, by what was sampled: the product over its steps of the share of its
    parent's continuations that were equal to it."""

    @property
    def open(self) -> bool:
        """Whether a step may follow."""
        return self.trace.status == "open" and self.scores is not None

    @property
    def score(self) -> float:
        return 0.0 if self.scores is None else self.scores.trace

    def value(self, weigh: bool) -> float:
        """The score, or score x share: how much of what the generator writes is this, and how good it is."""
        return self.score * self.share if weigh else self.score


def root(problem: Problem) -> Node:
    return Node(open_trace(problem), Scores((), 0.0))


def branching(width: int | str, budget: Budget) -> int:
    """M, the continuations of a node: the width itself, or the root of N where it is "sqrt".

    Raises:
        ValueError: M is not from 1 to N.
    """
    m = math.isqrt(budget.samples) if width == "sqrt" else width
    if not isinstance(m, int) or m < 1:
        raise ValueError(f"width is {width!r}; it must be a number of continuations, at least 1, or sqrt")
    if m > budget.samples:
        raise ValueError(f"width {m} needs a budget of at least as many samples, not {budget.samples}")
    return m


def as_written(traces: Sequence[Trace], key: tuple[str | int, ...]) -> Generator[Request, Any, list[Scores | None]]:
    """The usual opinion: the verifier's, of what is written so far."""
    return (yield from score_readable(traces))


def expand(
    parents: Sequence[Node], key: tuple[str | int, ...], opinion: Opinion = as_written
) -> Generator[Request, Any, list[Node]]:
    """One more step after each parent, scored; equal ones are scored once.

    Returns:
        One child per parent, in order; fewer if the budget has ended.
    """
    children: list[Trace] = yield Expand([parent.trace for parent in parents], key)
    new = [node.trace for node in distinct([Node(child, None) for child in children])]
    scores = yield from opinion(new, key)
    scored = dict(zip([trace.steps for trace in new], scores, strict=True))
    asked = Counter(parent.trace.steps for parent in parents[: len(children)])
    sampled = Counter(child.steps for child in children)
    return [
        Node(child, scored.get(child.steps), parent.share * sampled[child.steps] / asked[parent.trace.steps])
        for parent, child in zip(parents, children, strict=False)
    ]


def distinct(nodes: Sequence[Node]) -> list[Node]:
    """The first of equal ones; one without any step is none."""
    first: dict[tuple[str, ...], Node] = {}
    for node in nodes:
        if node.trace.steps:
            first.setdefault(node.trace.steps, node)
    return list(first.values())


def conclude(
    leaves: Sequence[Node], problem: Problem, budget: Budget, seed: int, vote: bool = False, weigh: bool = False
) -> Found:
    """The candidates and the choice among them.

    Args:
        leaves: if there are more than the budget has samples, usable ones come first, then high scores.
        vote: choose by the weighted vote instead of the highest score.
        weigh: multiply scores by shares. A vote then counts a leaf as often as the generator would write it, as it does
            among independent samples, where equal ones are several candidates.
    """
    kept = [leaf for leaf in leaves if leaf.trace.steps]
    ranked = sorted(range(len(kept)), key=lambda i: (not kept[i].trace.usable, -kept[i].value(weigh)))
    kept = [kept[i] for i in sorted(ranked[: budget.samples])]
    traces, scores = [leaf.trace for leaf in kept], [leaf.scores for leaf in kept]
    values = [its and replace(its, trace=leaf.value(weigh)) for its, leaf in zip(scores, kept, strict=True)]
    if not vote:
        return Found(traces, scores, best(traces, values))
    votes = [its.trace if its and trace.usable else 0.0 for trace, its in zip(traces, values, strict=True)]
    return Found(traces, scores, weighted_winner(traces, values, f"{seed}/{problem.id}"), votes)
