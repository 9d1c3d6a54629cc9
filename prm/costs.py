"""What things cost, in one unit for all methods: tokens, FLOPs.

A forward pass of a dense transformer takes 2 x parameters FLOPs per token (Kaplan et al. 2020, arXiv:2001.08361, sec.
2.1); attention over the context is left out, which is right while the context is short against 6 x the width of the
model. So a token that is kept from an earlier request costs no FLOPs: what is left of it is the attention of new tokens to
it. Generators and verifiers report what they read and wrote (`Continuation`, `Scores`); here it becomes a `Cost`, and
nothing else in the project counts.

A verifier that keeps what it has read (`Scores.ends`) is charged for what is new to the search of one problem by one method:
neither in another trace of the request nor in whole steps that its earlier requests have read. That is what it would read
if it had nothing else to do and room for everything. What really is in its memory, which other problems and methods share
and a kill empties, changes its speed and no cost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
    """Cost of the continuations of one call for one problem; a prefix that several of them continue is read once.

    >>> cost = generation_cost(
    ...     [(1, 2, 3), (1, 2, 3)], [Continuation((5, 6), "ab", "eos", 3), Continuation((5,), "a", "eos", 3)], 10)
    >>> cost.generated_tokens, cost.prompt_tokens, cost.cached_tokens, cost.flops
    (3, 3, 3, 120.0)
    """
    first = dict(zip(reversed(prefixes), reversed(continuations), strict=True))
    generated = sum(len(continuation.token_ids) for continuation in continuations)
    prefill = sum(continuation.prefill for continuation in first.values())
    return Cost(
        generated_tokens=generated,
        prompt_tokens=prefill,
        cached_tokens=sum(continuation.prefill + continuation.cached for continuation in continuations) - prefill,
        generator_calls=len(continuations),
        flops=forward_flops(num_parameters, generated + prefill),
    )


def scoring_cost(
    steps_N: Sequence[Sequence[str]],
    scores_N: Sequence[Scores | None],
    num_parameters: int,
    known: Collection[tuple[str, ...]] = (),
) -> Cost:
    """Cost of the scores of one request; a trace that was too long (None) cost nothing.

    >>> scores = [Scores((0.5, 0.6), 0.6, read=9, ends=(4, 7, 9)), Scores((0.5, 0.2), 0.2, read=2, cached=7, ends=(4, 7, 9))]
    >>> cost = scoring_cost([("a", "b"), ("a", "c")], scores, 10, known={(), ("a",), ("x",)})
    >>> cost.verifier_tokens, cost.cached_tokens, cost.flops
    (4, 14, 80.0)

    Args:
        known: prefixes of traces that earlier requests have read (`prefixes`).
    """
    made = [(steps, its) for steps, its in zip(steps_N, scores_N, strict=True) if its is not None]
    total = sum(its.read + its.cached for _, its in made)
    cached = sum(max(its.cached, _kept(steps, its.ends, known)) for steps, its in made)
    return Cost(
        verifier_tokens=total - cached,
        cached_tokens=cached,
        verifier_calls=len(made),
        flops=forward_flops(num_parameters, total - cached),
    )


def prefixes(steps: Sequence[str]) -> list[tuple[str, ...]]:
    """A trace after every step, and before the first.

    >>> prefixes(["a", "b"])
    [(), ('a',), ('a', 'b')]
    """
    return [tuple(steps[:n]) for n in range(len(steps) + 1)]


def _kept(steps: Sequence[str], ends: tuple[int, ...], known: Collection[tuple[str, ...]]) -> int:
    """Tokens of the longest prefix that is known."""
    return max((end for prefix, end in zip(prefixes(steps), ends, strict=False) if prefix in known), default=0)
