"""Verifiers score the steps of traces. PRM and ORM alike: one score in [0, 1] per step.

- `step_verifier.StepVerifier`: a trained checkpoint of this project (full, LoRA or merged).
- `oracle.OracleVerifier`: knows the gold answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prm.types import Aggregation


class Verifier(Protocol):
    """Scores steps. For an ORM the score of the last step is the one it was trained for."""

    aggregation: Aggregation
    """How its step scores become one score of the trace."""
    num_parameters: int
    """For FLOPs; 0 if it is no model."""

    def score(self, prompt: str, steps: Sequence[str]) -> list[float]:
        """One score per step: `len(scores) == len(steps)`."""
        ...

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[list[float]]:
        """The same for many traces, batched."""
        ...

    def count_tokens(self, prompt: str, steps_N: Sequence[Sequence[str]]) -> int:
        """Tokens that scoring these traces of one problem together reads; what is computed once counts once."""
        ...


def load_verifier(path: str, device: str | None = None, base_model: str | None = None):
    """A verifier from a checkpoint folder: full, merged, or a LoRA adapter.

    Args:
        path: folder that holds `prm_config.json`.
        device: `cpu`, `cuda`, ...; the GPU if there is one.
        base_model: base of a LoRA adapter, if it moved since training.

    Raises:
        FileNotFoundError: no `prm_config.json`.
        ValueError: the head is missing, or the labels have another order.
    """
    from prm.verifiers.step_verifier import StepVerifier

    return StepVerifier.from_pretrained(path, device, base_model)
