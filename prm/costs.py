"""What things cost, in one unit for all methods: tokens, FLOPs.

A forward pass of a dense transformer takes 2 x parameters FLOPs per token (Kaplan et al. 2020, arXiv:2001.08361, sec.
2.1); attention over the context is left out, which is right while the context is short against 6 x the width of the
model. Generators and verifiers report what they read and wrote (`Continuation`, `Scores`); here it becomes a `Cost`, and
nothing else in the project counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.types import Continuation, Cost, Scores


def forward_flops(num_parameters: int, tokens: float) -> float:
    """FLOPs of reading or generating `tokens` tokens.

    >>> forward_flops(1_000_000, 30)
    60000000.0
    """
    return 2.0 * num_parameters * tokens


def generation_cost(
    prefixes: Sequence[tuple[int, ...]], continuations: Sequence[Continuation], num_parameters: int
) -> Cost:
    """Cost of the continuations of one call for one problem; a prefix that several of them continue is read once. What
    was read to ask for the answer of one of them is its own.

    >>> cost = generation_cost(
    ...     [(1, 2, 3), (1, 2, 3)], [Continuation((5, 6), "ab", "eos", 3), Continuation((5,), "a", "eos", 3)], 10)
    >>> cost.generated_tokens, cost.prompt_tokens, cost.cached_tokens, cost.flops
    (3, 3, 3, 120.0)
    """
    first = dict(zip(reversed(prefixes), reversed(continuations), strict=True))
    generated = sum(len(continuation.token_ids) for continuation in continuations)
    prefill = sum(continuation.prefill for continuation in first.values())
    asked = sum(continuation.asked for continuation in continuations)
    return Cost(
        generated_tokens=generated,
        prompt_tokens=prefill + asked,
        cached_tokens=sum(continuation.prefill + continuation.cached for continuation in continuations) - prefill,
        generator_calls=len(continuations) + sum(continuation.asked > 0 for continuation in continuations),
        flops=forward_flops(num_parameters, generated + prefill + asked),
    )


def scoring_cost(scores_N: Sequence[Scores | None], num_parameters: int) -> Cost:
    """Cost of the scores of one request; a trace that was too long (None) cost nothing."""
    made = [scores for scores in scores_N if scores is not None]
    read = sum(scores.read for scores in made)
    return Cost(
        verifier_tokens=read,
        cached_tokens=sum(scores.cached for scores in made),
        verifier_calls=len(made),
        flops=forward_flops(num_parameters, read),
    )
