"""Labelers say of every step of a trace how good it is.

Monte Carlo labelers plan which rollouts to ask for. A plan is a Python generator: it yields lists of `Request`s, reads
the outcomes in `Evidence` when it goes on, and returns labeled traces. So a method reads like its paper, and `run`
advances the plans of many traces and problems together: what they ask for in one round is sampled in one batch.

- `monte_carlo.MonteCarlo`: k rollouts from every step prefix (Math-Shepherd).
- `first_error.FirstError`: bisection for the first wrong step; hard labels only.
- `adaptive.Adaptive`: rollouts where the value is uncertain.
- `omega_prm.OmegaPRM`: the tree search of OmegaPRM; makes traces of its own.

Two labelers draw no rollouts: they ask a language model (`critics`), and `data/judge_steps.py` shows how.

- `judge.Judge`: the model names the first wrong step.
- `consensus`: traces where a judge and Monte Carlo labels put the first error at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prm.labelers.adaptive import Adaptive
from prm.labelers.evidence import Evidence
from prm.labelers.first_error import FirstError
from prm.labelers.monte_carlo import MonteCarlo
from prm.labelers.omega_prm import OmegaPRM
from prm.labelers.plans import Plan, together
from prm.sampling.rollouts import RolloutSource
from prm.types import LabeledTrace, Problem, Trace

Group = tuple[Problem, Sequence[Trace]]
"""A problem and its traces."""


class Planner(Protocol):
    """A Monte Carlo labeler; `method` names it in the rows."""

    @property
    def method(self) -> str: ...

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        """Label the traces of one problem."""
        ...


PLANNERS: dict[str, type[Planner]] = {
    "monte_carlo": MonteCarlo,
    "first_error": FirstError,
    "adaptive": Adaptive,
    "omega_prm": OmegaPRM,
}


def run(planner: Planner, groups: Sequence[Group], source: RolloutSource) -> list[list[LabeledTrace]]:
    """Label the traces of several problems together; one list for each problem."""
    evidence = Evidence(source)
    return evidence.gather(together([planner.plan(problem, traces, evidence) for problem, traces in groups]))
