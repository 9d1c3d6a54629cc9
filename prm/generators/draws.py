"""One token per row from its logits and a random number that depends on the sample's seed and position alone.

Not `torch.multinomial`: its numbers belong to a whole batch, so a sample would depend on its neighbors. Here the uniform
number is a hash, and the token is the inverse of the cumulative distribution at that number. So the numbers of some
tokens are known before any is drawn, and a GPU gets them together.

>>> [round(float(u), 4) for u in uniform([0, 0], [0, 1])]
[0.8833, 0.4315]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def uniform(seeds: Sequence[int] | np.ndarray, positions: Sequence[int] | np.ndarray) -> np.ndarray:
    """(rows,) numbers in [0, 1): splitmix64 of a seed and a position each (Steele et al. 2014)."""
    turns = np.asarray(positions, dtype=np.uint64) + np.uint64(1)
    z = np.asarray(seeds, dtype=np.uint64) + turns * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(logits: torch.Tensor, numbers: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """(rows, vocabulary) logits and (rows,) uniform numbers in fp64, where the logits are -> (rows,) token ids."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / temperature, -1)
    # Nucleus: a token stays if the more likely ones together have less than top_p. So the most likely one always does.
    if top_p < 1:
        ranked, order = probabilities.sort(-1, descending=True)
        beyond = ranked.cumsum(-1) - ranked >= top_p
        probabilities = torch.zeros_like(probabilities).scatter(-1, order, ranked.masked_fill(beyond, 0))
    # Inverse CDF, in fp64 because in fp32 a sum near 1 swallows rare tokens. The threshold is a share of the actual
    # sum, which the nucleus and rounding have made smaller than 1.
    cumulative = probabilities.double().cumsum(-1)
    threshold = numbers[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)
