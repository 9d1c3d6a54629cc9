"""What things cost, in one unit for all strategies: tokens, FLOPs.

A forward pass of a dense transformer takes 2 x parameters FLOPs per token, a training step 6 x (Kaplan et al. 2020,
arXiv:2001.08361, sec. 2.1); attention over the context is left out, which is right while the context is short against
6 x the width of the model.
"""

from __future__ import annotations


def forward_flops(num_parameters: int, tokens: int) -> float:
    """FLOPs of reading or generating `tokens` tokens.

    >>> forward_flops(1_000_000, 30)
    60000000.0
    """
    return 2.0 * num_parameters * tokens


def training_flops(num_parameters: int, tokens: int) -> float:
    """FLOPs of one pass of training over `tokens` tokens."""
    return 6.0 * num_parameters * tokens
