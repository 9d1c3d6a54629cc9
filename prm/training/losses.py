"""Objectives on the two logits at step ends. Every loss is a sum over labeled steps divided by their *global* number.

`num_items_in_batch` is the number of labeled steps in the whole optimizer step: over all micro-batches of gradient
accumulation and all processes. Dividing by it makes loss and gradient the same however a batch is cut up. The stock
`Trainer` + token-classification loss divides by the steps of each micro-batch and is too large by the number of
accumulation steps (transformers#47688, TRL's PRM trainer inherited it).
"""

from __future__ import annotations

import torch
from transformers.modeling_outputs import TokenClassifierOutput


def step_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of every step, (steps,), on targets in [0, 1]: hard labels or Monte Carlo values (Snell et al. 2024
    sec. 5.1). Arguments as in `cross_entropy`."""
    log_bad, log_good = torch.log_softmax(logits, -1).unbind(-1)
    return -(labels * log_good + (1 - labels) * log_bad)


def cross_entropy(
    outputs: TokenClassifierOutput, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int
) -> torch.Tensor:
    """The `step_losses` of a micro-batch, summed and divided by the global count.

    Args:
        outputs: `logits` (steps, 2), fp32, for the labeled steps of this micro-batch.
        labels: (steps,) target probability of "good".
        num_items_in_batch: labeled steps in the whole optimizer step.
    """
    return step_losses(outputs["logits"], labels).sum() / num_items_in_batch
