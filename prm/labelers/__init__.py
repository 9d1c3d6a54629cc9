"""Labelers say of every step of a trace how good it is.

- `monte_carlo.MonteCarlo`: rollouts from every step prefix (Math-Shepherd).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prm.types import LabeledTrace, Problem, Trace


class Labeler(Protocol):
    """Labels traces; `method` names it in the rows."""

    method: str

    def label(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[LabeledTrace]:
        """One labeled trace per (problem, trace)."""
        ...
