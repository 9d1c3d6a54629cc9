"""Lookahead search (Snell et al. 2024, arXiv:2408.03314, sec. 5.2): beam search that ranks a step by where it leads.

After every sampled step the generator writes k more at temperature 0, and the verifier's score at the end of this rollout
is the score of the step. The rollout is thrown away. With k = 0 it is beam search.

    generated tokens  <=  N x (k + 1) x depth x tokens of a step: every step costs k more, so at the tokens of beam search
                          with N beams it has N/(k + 1)
    verifier tokens   <=  the prompt, every step and every rollout once, if the verifier keeps what it has read

Rollouts that end before k steps cost less, those after equal steps are written once, and one that is cut or ends without an
answer counts up to its last step before.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

from prm.search.beam_search import beams
from prm.search.requests import Expand, Request, Search, score_readable
from prm.types import Budget, Problem, Scores, Trace


def lookahead_search(
    problem: Problem,
    budget: Budget,
    seed: int,
    lookahead: int = 3,
    width: int | str = 4,
    max_steps: int = 40,
    refill: bool = False,
    vote: bool = True,
    weigh: bool = True,
) -> Search:
    """N is `budget.samples`.

    Args:
        lookahead: k, the steps of a rollout (Snell et al.: 3, and 1 with M = sqrt(N)).
        width, max_steps, refill, vote, weigh: as in `beam_search`.
    """

    def opinion(traces: Sequence[Trace], key: tuple[str | int, ...]) -> Generator[Request, Any, list[Scores | None]]:
        ends = yield from roll_out(traces, lookahead, key)
        scores = yield from score_readable(ends)
        return [
            None if its is None else replace(its, steps=its.steps[: len(trace.steps)])
            for trace, its in zip(traces, scores, strict=True)
        ]

    return (yield from beams(problem, budget, seed, width, max_steps, refill, vote, weigh, opinion))


def roll_out(traces: Sequence[Trace], steps: int, key: tuple[str | int, ...]) -> Generator[Request, Any, list[Trace]]:
    """Where up to so many greedy steps after each trace lead; one that has ended stays as it is."""
    ends = list(traces)
    going = [i for i, trace in enumerate(traces) if trace.status == "open"]
    for step in range(steps):
        if not going:
            break
        grown = yield Expand([ends[i] for i in going], (*key, "ahead", step), greedy=True)
        # What has no answer cannot be scored: the trace before it can.
        for i, trace in zip(going, grown, strict=False):  # fewer if the budget is spent
            if trace.status == "open" or trace.usable:
                ends[i] = trace
        going = [i for i, trace in zip(going, grown, strict=False) if trace.status == "open"]
    return ends
