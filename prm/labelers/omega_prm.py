"""OmegaPRM: labels from a tree search that looks for first errors (Luo et al. 2406.06592, algorithm 1).

A state s is a problem with some steps; MC(s) is the share of its rollouts that are right. Wrong rollouts of states with
0 < MC(s) < 1 are worth searching. A search takes the pair (s, r) of a state and such a rollout that has the largest
Q(s, r) + U(s), finds the first error of r by bisection with k rollouts per probe, and makes every probed prefix a new
state, whose wrong rollouts can be searched in turn:

    Q(s, r) = alpha^(1 - MC(s)) * beta^(len(r) / L)        prefers states that are nearly right, and short rollouts
    U(s)    = c_puct * sqrt(sum of all N) / (1 + N(s))     N(s) counts the searches from s

OmegaPRM makes its own traces: one row for each searched rollout, with the steps of s and r. A step has a label if this
search made it a new state, and so has the last step, which is wrong. Other steps have none, so every state is labeled
once. Rows are numbered from `FIRST_INDEX`, so that no id is that of a sampled trace. Defaults are those of the paper. If
the first k rollouts of a problem are all right or all wrong, there is nothing to search, and the problem has no rows (the
paper drops such problems, too).

Differences from the paper: steps are those of the text instead of 16 pieces; a pair is searched once, even if another
rollout of the same state has the same text. Left out: pairwise targets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prm.labelers.evidence import Evidence
from prm.labelers.plans import Plan, from_counts
from prm.sampling.rollouts import Request
from prm.sampling.traces import trace_from_rollout
from prm.types import LabeledTrace, Problem, Rollout, Trace

State = tuple[str, ...]

FIRST_INDEX = 1_000_000
"""`Trace.index` of a problem's first row. Sampled traces are numbered from 0, and no problem has so many of them."""


@dataclass(frozen=True)
class OmegaPRM:
    """See `prm.labelers.Planner`."""

    rollouts: int = 8
    """k, the number from every state."""
    searches: int = 100
    """Largest number per problem."""
    alpha: float = 0.5
    beta: float = 0.9
    length: int = 500
    """L, in tokens."""
    c_puct: float = 0.125
    together: ClassVar[int] = 1

    @property
    def method(self) -> str:
        return f"omega_prm@{self.rollouts}x{self.searches}"

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        counts: dict[State, tuple[int, int]] = {}
        wrong: dict[
            tuple[State, str], Rollout
        ] = {}  # to be searched; by state and text, so that none is searched twice
        visits: Counter[State] = Counter()
        labeled: list[LabeledTrace] = []

        def visit(state: State) -> None:
            """Make a prefix whose rollouts have been sampled a state, and add its wrong rollouts to those to be searched."""
            counts[state] = good, n = evidence.own_counts(problem, state)
            # If none is right, the error is earlier; if all are right, there is none to find.
            if 0 < good < n:
                for rollout in evidence.own(problem, state):
                    if rollout.decided and rollout.outcome != "correct" and rollout.text.strip():
                        wrong[state, rollout.text] = rollout

        def priority(pair: tuple[State, str]) -> float:
            state, _ = pair
            good, n = counts[state]
            q = self.alpha ** (1 - good / n) * self.beta ** (wrong[pair].num_tokens / self.length)
            return q + self.c_puct * math.sqrt(visits.total()) / (1 + visits[state])

        yield [Request(problem, (), self.rollouts)]
        visit(())
        while wrong and len(labeled) < self.searches:
            # Select: the pair with the highest priority, the first one in case of a tie.
            pair = max(wrong, key=priority)
            state, rollout = pair[0], wrong.pop(pair)
            visits[state] += 1
            trace = trace_from_rollout(rollout, state, evidence.source.generator, index=FIRST_INDEX + len(labeled))
            counts_S = [(0, 0)] * len(trace.steps)
            # Bisect: some rollout from the first `good` steps is right, and none from the first `bad` steps.
            good, bad = len(state), len(trace.steps)
            while bad - good > 1:
                middle = (good + bad) // 2
                probe = trace.steps[:middle]
                # A prefix that another search has probed keeps its label there and has none here.
                if probe not in counts:
                    yield [Request(problem, probe, self.rollouts)]
                    visit(probe)
                    counts_S[middle - 1] = counts[probe]
                good, bad = (middle, bad) if counts[probe][0] else (good, middle)
            labeled.append(from_counts(trace, counts_S[:-1] if trace.finished else counts_S, self.method))
        return labeled
