r"""ImplicitVerifier: a PRM that is the log-likelihood ratio of two language models (Yuan et al. 2024, arXiv:2412.01981).

    q(step i)      =  beta x sum over the tokens t up to the end of step i of  log pi(t | before) - log pi_ref(t | before)
    score(step i)  =  sigmoid(q(step i))

The model pi was trained from outcomes alone, as an ORM whose log-odds are q at the end of a trace. That q before the end is
what it expects there is their theorem, so nothing has to be labeled step by step. Reward of a step, for reinforcement
learning, is q(step i) - q(step i - 1); scores here are the values q, and the score of a trace is that of its last step.

Tokens are those of the answer in a chat, without the end token, whose probability says that a trace ends and not how good
it is. The released evaluation counts it in the last step, and sets step ends a token later. Both models read every token,
so the cost is that of both. Left out: keeping what was read between calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from prm.aggregation import aggregate
from prm.encoding.layouts import Layout
from prm.models.fingerprints import fingerprint, hash_of_base, tokenizer_text
from prm.models.loading import in_dtype, load_tokenizer, load_weights, never_pack, usual_device
from prm.models.packing import plan_rows
from prm.models.tree_attention import check_supported
from prm.types import Aggregation, Dtype, Scores
from prm.verifiers.families import Family
from prm.verifiers.likelihood import problem_by_problem, token_logprobs


class ImplicitVerifier:
    """See `prm.verifiers.Verifier`."""

    kind: Literal["prm", "orm"] = "prm"

    def __init__(
        self,
        policy: PreTrainedModel,
        reference: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        codec: Layout,
        beta: float,
        aggregation: Aggregation = "last",
        row_tokens: int = 4096,
    ) -> None:
        """
        Args:
            policy: pi.
            tokenizer: of both models.
            row_tokens: tokens in one forward pass; each of them has logits over the whole vocabulary.
        """
        self.policy = policy.eval()
        self.reference = reference.eval()
        self.tokenizer = tokenizer
        self.codec = codec
        self.beta = beta
        self.aggregation = aggregation
        self.row_tokens = row_tokens
        self.num_parameters = policy.num_parameters() + reference.num_parameters()

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        family: Family,
        device: str | None = None,
        base_model: str | None = None,
        dtype: Dtype | None = None,
    ) -> ImplicitVerifier:
        """
        Args:
            path: folder or hub name of pi.
            base_model: the same of pi_ref, if it is not where the family says.

        Raises:
            OSError: no such folder or name. ValueError: one of them is damaged, they have different tokenizers, or the
                reference is not known, or another one than that of the training.
        """
        if (reference := base_model or family.reference) is None:
            raise ValueError(
                f"{path}: an implicit PRM is the ratio of two models; give the one that training started from as"
                " base_model=, or as `reference:` in a YAML file that is `like: implicit`"
            )
        device = usual_device(device)
        tokenizer = load_tokenizer(path)
        if tokenizer_text(tokenizer) != tokenizer_text(load_tokenizer(reference)):
            raise ValueError(
                f"{path} and its reference {reference} have different tokenizers or chat templates: their likelihoods would"
                " be those of different texts; give the model that training started from"
            )
        if (right := family.reference_weights) and (found := hash_of_base(reference)) != right:
            raise ValueError(
                f"{path} was trained against a reference with weights {right}, but {reference} has weights {found}: the"
                " ratio would mean nothing; give the model that training started from as base_model="
            )
        policy, theirs = (_load(name, device, dtype) for name in (path, reference))
        codec = family.codec.at_most(min(model.config.max_position_embeddings for model in (policy, theirs)))
        for model in (policy, theirs):
            check_supported(model.config, codec.max_length)
        return cls(policy, theirs, tokenizer, codec, family.beta, family.aggregation)

    @cached_property
    def name(self) -> str:
        """Fingerprint of both models, the tokenizer and the settings."""
        names = [fingerprint(model, self.tokenizer, (self.codec, self.beta)) for model in (self.policy, self.reference)]
        return f"implicit-{'-'.join(names)}"

    def score(self, prompt: str, steps: Sequence[str]) -> list[float]:
        """sigmoid(q) of every step of one trace.

        Raises:
            ValueError: no steps, an empty step, or a trace longer than the models read.
        """
        return list(self._score_one(prompt, steps).steps)

    def score_trace(self, prompt: str, steps: Sequence[str]) -> float:
        """One score for a whole trace; errors as in `score`."""
        return self._score_one(prompt, steps).trace

    def _score_one(self, prompt: str, steps: Sequence[str]) -> Scores:
        (scores,) = self.score_batch([prompt], [steps])
        if scores is None:
            raise ValueError(
                f"a trace of {len(steps)} steps is longer than the {self.codec.max_length} tokens that are read"
                f" (prompt {prompt[:60]!r})"
            )
        return scores

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        """None for a trace that is longer than the models read."""
        return problem_by_problem(prompts, steps_N, self._score_problem)

    def _score_problem(self, prompt: str, steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        encoded_N = [self.codec.encode(self.tokenizer, prompt, steps) for steps in steps_N]
        start = self.codec.prompt_length(self.tokenizer, prompt)
        readable = [i for i, encoded in enumerate(encoded_N) if len(encoded.input_ids) <= self.codec.max_length]
        scores: dict[int, Scores] = {}
        for planned in plan_rows([encoded_N[i].input_ids for i in readable], self.row_tokens):
            row = [readable[place] for place in planned]
            ids_N = [encoded_N[i].input_ids for i in row]
            ours_N, positions_N = token_logprobs(self.policy, ids_N)
            theirs_N, _ = token_logprobs(self.reference, ids_N)
            computed: set[int] = set()
            for i, ours, theirs, positions in zip(row, ours_N, theirs_N, positions_N, strict=True):
                # Entry t is of token t + 1; those of the prompt are no part of the ratio.
                ratios = [a - b for a, b in zip(ours[start - 1 :], theirs[start - 1 :], strict=True)]
                sums = [math.fsum(ratios[: end + 1 - start]) for end in encoded_N[i].step_ends]
                steps = tuple(_sigmoid(self.beta * total) for total in sums)
                new = set(positions) - computed
                computed |= new
                scores[i] = Scores(
                    steps, aggregate(steps, self.aggregation), read=len(new), cached=len(positions) - len(new)
                )
        return [scores.get(i) for i in range(len(steps_N))]


def _load(path: str, device: str, dtype: Dtype | None) -> Any:
    model: Any = never_pack(load_weights(AutoModelForCausalLM, path, dtype="auto"))
    return (in_dtype(model, getattr(torch, dtype)) if dtype else model).to(device)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
