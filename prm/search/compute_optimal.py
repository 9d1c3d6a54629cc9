"""Compute-optimal search: predict how hard a problem is from its first samples, then do what a policy says is best there.

    compute_optimal prm policy=outputs/policy/policy.json

The policy (`prm.search.policy`) was learned on other problems: it names a strategy, its parameters and its samples for each
difficulty. The first samples are the probe, and the strategy that follows gets what it has paid for: its first samples of
the pool, with their scores, are those of the probe. A strategy that grows a tree starts anew.

    generated tokens  =  the probe + those of the strategy, what it takes from the pool counted once
    verifier calls    =  the same;  an answer that is known is not asked for again

The idea is Snell et al. 2024 (arXiv:2408.03314), who assume that the difficulty is known; here it is paid for.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from prm.search.majority import answer_classes
from prm.search.policy import read_policy, strategy_of
from prm.search.requests import Found, Request, Sample, Score, Search, score_readable
from prm.types import Budget, Problem, Scores, Trace


def compute_optimal(problem: Problem, budget: Budget, seed: int, policy: str) -> Search:
    """
    Args:
        policy: file of eval/fit_policy.py. Its choices have their own numbers of samples; the budget must hold them.
    """
    its = read_policy(policy)
    if its.most > budget.samples:
        raise ValueError(
            f"{policy} spends up to {its.most} samples, the budget has {budget.samples}; add samples={its.most}"
        )
    probe: list[Trace] = yield Sample(its.samples)
    scores: list[Scores | None] = [None] * len(probe)
    if its.scored:
        scores = yield from score_readable(probe)
    choice = its.choose(answer_classes(probe), scores)
    search = strategy_of(choice.strategy)(problem, replace(budget, samples=choice.samples), seed, **choice.parameters)
    known = {trace.steps: its for trace, its in zip(probe, scores, strict=True) if its is not None}
    return (yield from _go_on(search, probe, known))


def _go_on(
    search: Search, probe: Sequence[Trace], known: Mapping[tuple[str, ...], Scores]
) -> Generator[Request, Any, Found]:
    """The strategy to its end; what the probe has is given to it, the rest is asked for."""
    reply: Any = None
    while True:
        try:
            request = search.send(reply)
        except StopIteration as end:
            return end.value
        if isinstance(request, Sample) and request.first < len(probe):
            mine = probe[request.first : request.first + request.n]
            rest = request.n - len(mine)
            reply = [*mine, *((yield Sample(rest, first=len(probe))) if rest else [])]
        elif isinstance(request, Score) and request.by is None and request.attempts is None:
            new = [trace for trace in request.traces if trace.steps not in known]
            scores = iter((yield Score(new)) if new else [])
            reply = [known[trace.steps] if trace.steps in known else next(scores) for trace in request.traces]
        else:
            reply = yield request
