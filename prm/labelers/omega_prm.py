"""OmegaPRM: labels from a tree search that looks for first errors (Luo et al. 2406.06592, algorithm 1).

A state is a problem with some steps; its rollouts give its value MC(s). The pool holds the wrong rollouts of states
with 0 < MC(s) < 1. A search takes the pair (s, r) that maximizes Q(s, r) + U(s) out of the pool, looks for the first
error of r by bisection with k rollouts per probe, and makes every probed prefix a state whose wrong rollouts join the
pool:

    Q(s, r) = alpha^(1 - MC(s)) * beta^(len(r) / L)        close to right, and short
    U(s)    = c_puct * sqrt(sum of all N) / (1 + N(s))     N(s) counts the searches from s

It makes traces of its own: one row for each searched rollout, whose steps are those of s and r; the steps where this
search made a new state have a label, and the last one, which is wrong; the others have none, so every state is labeled
once. Defaults are the paper's. A problem whose first k rollouts are all right or all wrong has no pool and no rows (the
paper drops such problems, too).

Differences: steps are the text's own instead of 16 pieces; a pair is searched once even if another rollout of the same
state has the same text. Left out: pairwise targets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from prm.labelers.evidence import Evidence
from prm.labelers.plans import Plan, from_counts
from prm.sampling.rollouts import Request
from prm.sampling.traces import trace_from_rollout
from prm.types import LabeledTrace, Problem, Rollout, Trace

State = tuple[str, ...]


@dataclass(frozen=True)
class OmegaPRM:
    """See `prm.labelers.Planner`."""

    rollouts: int = 8
    """k, from every state."""
    searches: int = 100
    """At most, per problem."""
    alpha: float = 0.5
    beta: float = 0.9
    length: int = 500
    """L, in tokens."""
    c_puct: float = 0.125

    @property
    def method(self) -> str:
        return f"omega_prm@{self.rollouts}x{self.searches}"

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        counts: dict[State, tuple[int, int]] = {}
        pool: dict[tuple[State, str], Rollout] = {}  # by state and text, so that none is searched twice
        visits: Counter[State] = Counter()
        labeled: list[LabeledTrace] = []

        def visit(state: State) -> None:
            """Its rollouts have come in: make it a state, and put its wrong rollouts into the pool."""
            counts[state] = good, n = evidence.own_counts(problem, state)
            if 0 < good < n:
                for rollout in evidence.own(problem, state):
                    if rollout.decided and rollout.outcome != "correct" and rollout.text.strip():
                        pool[state, rollout.text] = rollout

        def priority(pair: tuple[State, str]) -> float:
            state, _ = pair
            good, n = counts[state]
            q = self.alpha ** (1 - good / n) * self.beta ** (pool[pair].num_tokens / self.length)
            return q + self.c_puct * math.sqrt(visits.total()) / (1 + visits[state])

        yield [Request(problem, (), self.rollouts)]
        visit(())
        while pool and len(labeled) < self.searches:
            pair = max(pool, key=priority)
            state, rollout = pair[0], pool.pop(pair)
            visits[state] += 1
            trace = trace_from_rollout(rollout, state, evidence.source.generator, index=len(labeled))
            counts_S = [(0, 0)] * len(trace.steps)
            good, bad = len(state), len(trace.steps)
            while bad - good > 1:
                middle = (good + bad) // 2
                probe = trace.steps[:middle]
                if probe not in counts:
                    yield [Request(problem, probe, self.rollouts)]
                    visit(probe)
                    counts_S[middle - 1] = counts[probe]
                good, bad = (middle, bad) if counts[probe][0] else (good, middle)
            labeled.append(from_counts(trace, counts_S[:-1] if trace.finished else counts_S, self.method))
        return labeled
