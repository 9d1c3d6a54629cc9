"""Labelers say of every step of a trace how good it is.

Monte Carlo labelers plan which rollouts to sample. A plan is a Python generator: it yields lists of `Request`s, finds
their outcomes in `Evidence` when it is resumed, and returns labeled traces. So the code of a method reads like its paper,
and `run` advances the plans of many traces and problems together: all requests of a round are sampled in one batch.

- `monte_carlo.MonteCarlo`: k rollouts from every step prefix (Math-Shepherd).
- `first_error.FirstError`: bisection for the first wrong step; hard labels only.
- `adaptive.Adaptive`: rollouts where the value is uncertain.
- `omega_prm.OmegaPRM`: the tree search of OmegaPRM; makes its own traces.
- `finished.FinishedLabels`: labels that a run which goes on need not make again.
- `workloads`: rollouts and problems for benchmarks.

`relative_progress` makes other labels of Monte Carlo values: whether a step keeps most of the chance that was left.

Two labelers sample no rollouts but ask a language model (`prm.generators.chat`); `data/judge_steps.py` shows how.

- `judge.Judge`: the model names the first wrong step.
- `consensus`: keeps the traces where a judge and Monte Carlo labels agree on the first error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
    """A Monte Carlo labeler. `method` is its name in the rows."""

    @property
    def method(self) -> str: ...

    @property
    def rollouts(self) -> int:
        """Most rollouts after one step."""
        ...

    @property
    def together(self) -> int:
        """How many times as many problems it takes to fill a batch, as of a planner that asks for all rollouts at once."""
        ...

    def plan(self, problem: Problem, traces: Sequence[Trace], evidence: Evidence) -> Plan:
        """A plan that labels the traces of one problem."""
        ...


HELD_TOKENS = 1 << 24
"""Most tokens of rollouts that are held at a time, by a guess: a gigabyte."""

PLANNERS: dict[str, type[Planner]] = {
    "monte_carlo": MonteCarlo,
    "first_error": FirstError,
    "adaptive": Adaptive,
    "omega_prm": OmegaPRM,
}


def run(planner: Planner, groups: Sequence[Group], source: RolloutSource) -> list[list[LabeledTrace]]:
    """Label the traces of several problems together. Returns one list for each problem.

    Raises:
        LimitReached: the source may not sample what is missing.
    """
    evidence = Evidence(source)
    labeled_P = evidence.gather(together([planner.plan(problem, traces, evidence) for problem, traces in groups]))
    return [[replace(labeled, labeler=source.generator.name) for labeled in labeled_N] for labeled_N in labeled_P]


def divide(planner: Planner, groups: Sequence[Group], chunk: int) -> list[Sequence[Group]]:
    """Problems that are labeled together: `chunk` times `Planner.together` of them, fewer where their rollouts would not fit
    into memory.

    A rollout after some steps is guessed to be as long as what the trace has after them, half of it on average; where
    nobody counted its tokens, a token has three characters.
    """
    units: list[list[Group]] = []
    held = 0
    for group in groups:
        lengths = [(len(its.steps), its.num_tokens or sum(map(len, its.steps)) // 3) for its in group[1]]
        tokens = planner.rollouts * sum(steps * length for steps, length in lengths) // 2
        if not units or len(units[-1]) == chunk * planner.together or held + tokens > HELD_TOKENS:
            units.append([])
            held = 0
        units[-1].append(group)
        held += tokens
    return list(units)
