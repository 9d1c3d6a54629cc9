"""Adaptive Monte Carlo labels: rollouts where the value of a step is uncertain, none where it is already clear.

The model: a prefix is either *lost* (no continuation reaches the answer), or its value is uniform between 0 and 1. A step
loses a prefix that was not lost with probability `lost`. A lost prefix stays lost, and one success, from the prefix or
from a later one of the trace, shows that it is not lost. This posterior (a spike at zero and a Beta distribution) has a
mean and a standard deviation in closed form.

Prefixes are visited from the first step on, because rollouts from an early step pass through the later ones of a trace
that continues as most do (`prm.labelers.evidence`). From each prefix, rollouts are drawn in rounds until the deviation is
at most `tolerance` or `rollouts` were drawn. So the steps after a mistake cost next to nothing, and steps with even odds
cost most.

    evidence (successes, n)      (8, 8)      (4, 8)      (0, 8)      (0, 1) after a lost step
    mean ± deviation          0.90 ± .09  0.50 ± .15  0.02 ± .06     0.03 ± .1

Values are posterior means. Plain shares would be biased, because the stopping rule looks at the outcomes. The hard label
is that of Math-Shepherd: some rollout succeeded. Left out: choosing the number of rollouts by looking ahead (knowledge
gradient), because a tolerance is simpler to state; values that learn from neighboring steps beyond "lost".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prm.labelers.evidence import Evidence
from prm.labelers.plans import Plan, Planning, from_counts, open_prefixes, together
from prm.sampling.rollouts import Request
from prm.types import LabeledTrace, Problem, Trace


@dataclass(frozen=True)
class Adaptive:
    """See `prm.labelers.Planner`."""

    tolerance: float = 0.08
    """Standard deviation at which a value is clear enough."""
    rollouts: int = 32
    """Largest number of rollouts from one prefix."""
    round: int = 4
    """Number of rollouts drawn at a time."""
    lost: float = 0.3
    """Probability that a step loses a prefix; if nothing better is known, the share of traces that go wrong per step."""
    together: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 0.3:  # 0.29 is that of a value of which nothing is known
            raise ValueError(
                f"tolerance is {self.tolerance}; it is a standard deviation, more than 0 and less than 0.3"
            )
        if not 0 < self.lost < 1:
            raise ValueError(f"lost is {self.lost}; it is a probability, more than 0 and less than 1")
        if min(self.rollouts, self.round) < 1:
            raise ValueError(f"rollouts is {self.rollouts}, round is {self.round}; both must be at least 1")

    @property
    def method(self) -> str:
        return f"adaptive@{self.tolerance:g}/{self.rollouts}"

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        evidence.watch(problem, traces)
        return together([self._plan_trace(problem, trace, evidence) for trace in traces])

    def _plan_trace(self, problem: Problem, trace: Trace, evidence: Evidence) -> Planning[LabeledTrace]:
        def posteriors() -> list[tuple[float, float]]:
            return posterior([evidence.counts(problem, steps) for steps in prefixes], bool(trace.correct), self.lost)

        prefixes = open_prefixes(trace)
        for i, steps in enumerate(prefixes):
            # Every round may change all posteriors, because its rollouts pass through later prefixes.
            drawn = len(evidence.own(problem, steps))
            while drawn < self.rollouts and posteriors()[i][1] > self.tolerance:
                drawn = min(drawn + self.round, self.rollouts)
                yield [Request(problem, steps, drawn)]
        counts_S = [evidence.counts(problem, steps) for steps in prefixes]
        return from_counts(trace, counts_S, self.method, [mean for mean, _ in posteriors()])


def posterior(counts_S: Sequence[tuple[int, int]], correct: bool, lost: float) -> list[tuple[float, float]]:
    """Mean and standard deviation of the value after each step of a trace.

    Args:
        counts_S: (successes, rollouts) after each step.
        correct: whether the trace itself ended right; then none of its steps is lost.
        lost: probability that a step loses a prefix that was not lost before.
    """
    results = []
    chance = 0.0  # that the prefix is lost
    for i, (good, n) in enumerate(counts_S):
        # Prior: it was lost before, or this step loses it.
        chance += (1 - chance) * lost
        # A success here or later rules that out. Otherwise Bayes' rule: n failures in a row are certain if the prefix is
        # lost, and have probability 1 / (n + 1) under Beta(1, 1) if it is not.
        if correct or any(successes for successes, _ in counts_S[i:]):
            chance = 0.0
        else:
            chance /= chance + (1 - chance) / (n + 1)
        # First and second moment of the mixture of 0 and Beta(good + 1, n - good + 1).
        mean = (1 - chance) * (good + 1) / (n + 2)
        square = (1 - chance) * (good + 1) * (good + 2) / ((n + 2) * (n + 3))
        results.append((mean, math.sqrt(square - mean**2)))
    return results
