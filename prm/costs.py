"""What things cost, in one unit for all methods: tokens, FLOPs.

FLOPs are counted in two ways. By the published formula, a forward pass of a dense transformer takes 2 x parameters per
token (Kaplan et al. 2020, arXiv:2001.08361, sec. 2.1); attention over the context is left out, which is right while the
context is short against 6 x the width of the model. So a token that is kept from an earlier request costs no FLOPs. By the
model's own shape (`ModelShape`), the table of embeddings is looked up and not multiplied, and a token that attends to c
others, kept ones among them, takes 4 x layers x heads x size of a head x c more: that many products with c keys, and as
many with c values, each a multiplication and an addition.

Generators and verifiers report what they read and wrote (`Continuation`, `Scores`); here it becomes a `Cost`, and nothing
else in the project counts. Left out, because all methods leave it out alike: that a language model needs no logits where
it only reads, what sampling takes, and training.

A verifier that keeps what it has read (`Scores.ends`) is charged for what is new to the search of one problem by one method:
neither in another trace of the request nor in whole steps that its earlier requests have read. So is a generator that keeps
what it has read and written (`Continuation.keeps`): of a prefix that goes on from an earlier request it computes the last
token, which was drawn and not read, and what is tokenized otherwise than it was sampled. (This last token is counted with
what was generated, too: a tree pays one token more for each step that goes on than traces that are written at once.) That
is what they would read if they had nothing else to do and room for everything. What really is in their memory, which other
problems and methods share and a kill empties, changes their speed and no cost.

What search can buy is set against a larger model by `inference_multiple`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import takewhile

from prm.types import Continuation, Cost, Scores


@dataclass(frozen=True)
class ModelShape:
    """What decides the FLOPs of a model (`prm.models.shape` reads it off one)."""

    weights: int
    """Parameters that each token is multiplied with."""
    attention: int = 0
    """Layers x attention heads x size of a head."""

    def flops(self, first: int, last: int) -> float:
        """Of the tokens at positions `first` up to `last` of one sequence, counted from 0, `last` not included. The token
        at position i attends to i + 1 tokens, itself among them.

        >>> ModelShape(1000, 10).flops(3, 5)  # 2 x 1000 x 2  +  4 x 10 x (4 + 5)
        4360.0
        """
        context = (last * (last + 1) - first * (first + 1)) // 2
        return 2.0 * self.weights * (last - first) + 4.0 * self.attention * context


def forward_flops(num_parameters: int, tokens: float) -> float:
    """FLOPs of reading or generating `tokens` tokens, by the published formula.

    >>> forward_flops(1_000_000, 30)
    60000000.0
    """
    return 2.0 * num_parameters * tokens


def inference_multiple(larger: float, ratio: float) -> float:
    """How many times the inference of a small model costs what a model `larger` times its size costs in all.

    With N parameters, D_pre tokens of pretraining and D_inf tokens of inference, pretraining takes 6 N D_pre FLOPs and
    inference 2 N D_inf. A model M times larger takes M times both. With the same total, the small model may multiply its
    inference by

        M + 3 (M - 1) / R,    R = D_inf / D_pre

    (Snell et al. 2024, arXiv:2408.03314, sec. 7). Their three cases, with M = 14:

    >>> [round(inference_multiple(14, ratio)) for ratio in (0.16, 0.79, 22)]
    [258, 63, 16]

    Args:
        larger: M, at least 1.
        ratio: R: tokens that the model will ever read and write, per token of its pretraining.

    Raises:
        ValueError: M is below 1, or R is not above 0.
    """
    if larger < 1 or ratio <= 0:
        raise ValueError(f"a model {larger} times as large at a ratio of {ratio}: give at least 1, and a ratio above 0")
    return larger + 3 * (larger - 1) / ratio


def generation_cost(
    prefixes: Sequence[tuple[int, ...]],
    continuations: Sequence[Continuation],
    num_parameters: int,
    shape: ModelShape | None = None,
    kept_N: Sequence[int] | None = None,
) -> Cost:
    """Cost of the continuations of one call for one problem; a prefix that several of them continue is read once. What
    was read to ask for the answer of one of them is its own.

    >>> cost = generation_cost(
    ...     [(1, 2, 3), (1, 2, 3)], [Continuation((5, 6), "ab", "eos", 3), Continuation((5,), "a", "eos", 3)], 10)
    >>> cost.generated_tokens, cost.prompt_tokens, cost.cached_tokens, cost.flops
    (3, 3, 3, 120.0)

    Args:
        shape: of the model; what is unknown is counted by the formula.
        kept_N: tokens of each prefix that earlier calls have left, so that they are not computed again; None = of none.
    """
    shape = shape or ModelShape(num_parameters)
    kept_N = kept_N or [0] * len(prefixes)
    needed = [its.prefill - kept for its, kept in zip(continuations, kept_N, strict=True)]
    first = dict(zip(reversed(prefixes), reversed(needed), strict=True))
    generated = sum(len(continuation.token_ids) for continuation in continuations)
    prefill = sum(first.values())
    read = [shape.flops(len(prefix) - new, len(prefix)) for prefix, new in first.items()]
    written = [
        shape.flops(len(prefix), len(prefix) + len(its.token_ids))
        for prefix, its in zip(prefixes, continuations, strict=True)
    ]
    asked = sum(continuation.asked for continuation in continuations)
    return Cost(
        generated_tokens=generated,
        prompt_tokens=prefill + asked,
        cached_tokens=sum(continuation.prefill for continuation in continuations) - prefill,
        generator_calls=len(continuations) + sum(continuation.asked > 0 for continuation in continuations),
        flops=forward_flops(num_parameters, generated + prefill + asked),
        flops_by_shape=sum(read) + sum(written) + sum(shape.flops(0, its.asked) for its in continuations),
    )


def scoring_cost(
    steps_N: Sequence[Sequence[str]],
    scores_N: Sequence[Scores | None],
    num_parameters: int,
    known: Collection[tuple[str, ...]] = (),
    shape: ModelShape | None = None,
) -> Cost:
    """Cost of the scores of one request; a trace that was too long (None) cost nothing.

    >>> scores = [Scores((0.5, 0.6), 0.6, read=9, ends=(4, 7, 9)), Scores((0.5, 0.2), 0.2, read=2, cached=7, ends=(4, 7, 9))]
    >>> cost = scoring_cost([("a", "b"), ("a", "c")], scores, 10, known={(), ("a",), ("x",)})
    >>> cost.verifier_tokens, cost.cached_tokens, cost.flops
    (4, 14, 80.0)

    What it wrote was written one token after the other and cost as much for each as what it read. A critique that had to be
    asked for again has its trace read again, and counts as written after all that was read.

    Args:
        known: prefixes of traces that earlier requests have read; with each, all before it (`new_prefixes`).
        shape: of the model; what is unknown is counted by the formula.
    """
    shape = shape or ModelShape(num_parameters)
    made = [(steps, its) for steps, its in zip(steps_N, scores_N, strict=True) if its is not None]
    # What is shared is the beginning: (tokens kept, tokens in all) of each trace.
    spans = [(max(its.cached, _kept(steps, its.ends, known)), its.read + its.cached) for steps, its in made]
    cached = sum(kept for kept, _ in spans)
    written = sum(sum(its.written) for _, its in made)
    computed = sum(total for _, total in spans) - cached + written
    critiques = [
        shape.flops(total, total + length)
        for (_, total), (_, its) in zip(spans, made, strict=True)
        for length in its.written
    ]
    return Cost(
        verifier_tokens=computed,
        cached_tokens=cached,
        verifier_calls=len(made),
        flops=forward_flops(num_parameters, computed),
        cached_verifier_tokens=cached,
        flops_by_shape=sum(shape.flops(kept, total) for kept, total in spans) + sum(critiques),
        written_verifier_tokens=written,
    )


def new_prefixes(steps: Sequence[str], known: Collection[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """A trace after each of its steps, without what is known, shortest first; where one is known, so are all before it.

    >>> new_prefixes(["a", "b", "c"], {("a",), ("x",)})
    [('a', 'b'), ('a', 'b', 'c')]
    """
    ends = takewhile(lambda n: tuple(steps[:n]) not in known, range(len(steps), 0, -1))
    return [tuple(steps[:n]) for n in ends][::-1]


def _kept(steps: Sequence[str], ends: tuple[int, ...], known: Collection[tuple[str, ...]]) -> int:
    """Tokens of the longest prefix that is known; where one is known, so are all before it."""
    return next((ends[n] for n in range(min(len(steps), len(ends) - 1), -1, -1) if tuple(steps[:n]) in known), 0)
