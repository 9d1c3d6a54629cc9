"""Monte Carlo step labels: k rollouts from every step prefix (Math-Shepherd, Wang et al. 2312.08935 sec. 3.3).

A step's value is the share of the rollouts after it that reach the gold answer; its hard label is good if any of them
does. Raw counts are kept, so that both can be computed again. The last step of a finished trace needs no rollouts,
because its outcome is known. Traces of one problem that begin with the same steps share the rollouts of these steps.

    steps    47 + 38 = 75      75 - 12 = 63      #### 63          gold 73
    counts   (1, 8)            (0, 8)            (0, 1)           one rollout returned to the right answer
    labels   good              bad               bad

Left out: evidence from rollouts that pass through a prefix (`prm.labelers.adaptive` uses it); this is the published method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from prm.labelers.evidence import Evidence
from prm.labelers.plans import Plan, from_counts, open_prefixes
from prm.sampling.rollouts import Request
from prm.types import Problem, Trace


@dataclass(frozen=True)
class MonteCarlo:
    """See `prm.labelers.Planner`."""

    rollouts: int = 8
    """Number of rollouts from every prefix."""
    together: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.rollouts < 1:
            raise ValueError(f"rollouts is {self.rollouts}; labels need at least one rollout per prefix")

    @property
    def method(self) -> str:
        return f"monte_carlo@{self.rollouts}"

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        yield [Request(problem, steps, self.rollouts) for trace in traces for steps in open_prefixes(trace)]
        return [
            from_counts(trace, [evidence.own_counts(problem, steps) for steps in open_prefixes(trace)], self.method)
            for trace in traces
        ]
