"""LikelihoodVerifier: how likely the generator itself finds a trace. A verifier that needs no training and no labels.

The score of a step is the mean probability of the tokens from the first step to its end (the geometric mean, so the
exponential of the mean log-probability), given the prompt:

    score(step i)  =  exp( 1/n  x  sum over the n tokens t of steps 1 ... i of  log p(t | prompt, tokens before t) )

and the score of a trace is that of its last step. Sequence likelihood, normalized by length, is the oldest way to rank
samples; it prefers what is usual to what is right. Probabilities are those of the model at temperature 1, whatever the
samples were drawn with, and the end token is not among them.

The generator knew these numbers when it sampled. Here they are computed once more, from the text, in one forward pass of the
generator over prompt and trace, and that is what it costs; a sampling engine that kept them would save all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Literal

import torch
from transformers import PreTrainedModel

from prm.generators.hf import HfGenerator
from prm.models import tree_attention
from prm.models.packing import pack, plan_rows
from prm.models.tree_attention import attention_calls, check_supported
from prm.types import Scores


class LikelihoodVerifier:
    """See `prm.verifiers.Verifier`."""

    kind: Literal["prm", "orm"] = "prm"

    def __init__(self, generator: HfGenerator, row_tokens: int = 4096) -> None:
        """
        Args:
            row_tokens: tokens in one forward pass; each of them has logits over the whole vocabulary.
        """
        self.generator = generator
        self.row_tokens = row_tokens
        self.model = generator.model
        self.name = f"likelihood-{generator.name}"
        self.num_parameters = generator.num_parameters
        self._context = generator.model.config.max_position_embeddings
        check_supported(generator.model.config, self._context)

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        """None for a trace that is longer than the model's context."""
        return problem_by_problem(prompts, steps_N, self._score_problem)

    def _score_problem(self, prompt: str, steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        encode = self.generator.encode
        ids_N = [encode(prompt, steps) for steps in steps_N]
        start = len(encode(prompt))
        readable = [i for i, ids in enumerate(ids_N) if len(ids) <= self._context]
        scores: dict[int, Scores] = {}
        for planned in plan_rows([ids_N[i] for i in readable], self.row_tokens):
            row = [readable[place] for place in planned]
            logprobs_N, positions_N = token_logprobs(self.model, [ids_N[i] for i in row])
            computed: set[int] = set()
            for i, logprobs, positions in zip(row, logprobs_N, positions_N, strict=True):
                ends = [len(encode(prompt, steps_N[i][: k + 1])) for k in range(len(steps_N[i]))]
                sums = [math.fsum(logprobs[start - 1 : end - 1]) for end in ends]
                steps = tuple(math.exp(total / (end - start)) for total, end in zip(sums, ends, strict=True))
                new = set(positions) - computed
                computed |= new
                scores[i] = Scores(steps, steps[-1], read=len(new), cached=len(positions) - len(new))
        return [scores.get(i) for i in range(len(steps_N))]


@torch.inference_mode()
def token_logprobs(model: PreTrainedModel, ids_N: Sequence[Sequence[int]]) -> tuple[list[list[float]], list[list[int]]]:
    """Of each sequence, read in one packed row: the log-probability of every token but the first, and the places of its
    tokens in the row."""
    row = pack(ids_N)
    with _packed(model):
        logits = model(
            input_ids=row.input_ids[None].to(model.device),
            position_ids=row.position_ids[None].to(model.device),
            tree=attention_calls(row.subtree_end.to(model.device)),
            use_cache=False,
        ).logits[0]
    logits = logits.float()
    normalizer = logits.logsumexp(-1)
    logprobs_N = []
    for ids, positions in zip(ids_N, row.positions_N, strict=True):
        before, tokens = positions[:-1].to(model.device), torch.tensor(ids[1:], device=model.device)
        logprobs_N.append((logits[before, tokens] - normalizer[before]).tolist())
    return logprobs_N, [positions.tolist() for positions in row.positions_N]


@contextmanager
def _packed(model: PreTrainedModel) -> Iterator[None]:
    """The attention of packed rows, for as long as this lasts: the generator decodes with its own."""
    own = model.config._attn_implementation
    model.set_attn_implementation(tree_attention.NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def problem_by_problem(
    prompts: Sequence[str],
    steps_N: Sequence[Sequence[str]],
    score: Callable[[str, list[Sequence[str]]], list[Scores | None]],
) -> list[Scores | None]:
    """Scores of all traces, those of one problem together: what they share is computed once, as far as a forward pass goes.

    Args:
        score: (prompt, steps of each of its traces) -> their scores.
    """
    found: list[Scores | None] = []
    for prompt, members in groupby(zip(prompts, steps_N, strict=True), key=lambda pair: pair[0]):
        found += score(prompt, [steps for _, steps in members])
    return found
