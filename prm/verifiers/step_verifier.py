"""StepVerifier: a trained PRM or ORM that scores steps.

    verifier = load_verifier("outputs/prm")
    verifier.score("Start with 47, add 38.", ["47 + 38 = 75", "#### 75"])    # -> [0.03, 0.01]

One forward pass gives the scores of all steps of many traces, because the model is causal and because traces that begin
alike are packed into one row in which the shared part is computed once (`prm.models.packing`). There is no padding.

Between calls the verifier keeps the keys and values of what it has read where that may be asked for again, so that in a
search a new step costs its own tokens (`prm.models.prefix_cache`). Kept are the traces of a prompt that was asked for
before, and traces of one step, with which a search begins; whole traces that are scored once leave nothing behind. Scores
are those of reading everything again up to rounding, so after a kill, which empties the memory, they may differ by that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from itertools import groupby
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from prm.aggregation import aggregate
from prm.encoding.codec import EncodedTrace, StepCodec
from prm.encoding.vocabulary import KNOWN_TEXTS, UnknownWords
from prm.models.fingerprints import fingerprint
from prm.models.loading import in_dtype, load_tokenizer, usual_device
from prm.models.packing import pack, plan_rows
from prm.models.prefix_cache import PrefixCache
from prm.models.prefix_tree import StepScore
from prm.models.step_classifier import spread
from prm.models.token_tree import shared_length
from prm.models.tree_attention import check_supported
from prm.types import Aggregation, Dtype, Scores, StepRule
from prm.verifiers.checkpoint import VerifierConfig, check_files
from prm.verifiers.loading import load_classifier

TOLERANCE = 1e-5
"""Largest difference of scores between a model and the checkpoint that was saved of it."""


class StepVerifier:
    """See `prm.verifiers.Verifier`."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        config: VerifierConfig,
        batch_tokens: int = 16384,
        keep_bytes: int = 4 << 30,
        dtype: Dtype | None = None,
    ) -> None:
        """
        Args:
            model: its weights must not change any more.
            batch_tokens: tokens in one forward pass, shared ones counted once.
            keep_bytes: most memory, on the model's device, for what is kept between calls; one forward pass may exceed it
                for a moment. The usual 4 GiB fit beside a small model on any machine that runs one, and hold the open beams
                of 50 problems (16 beams, 8 steps as long as those of GSM8K, at the shape of SmolLM2-135M: 2.2 GB). Give a
                larger verifier more, or search fewer problems at a time; what there is no room for is read again.
                0 = keep nothing, and be charged for every prefix again.
            dtype: that of the body, if it was chosen; becomes part of the name.
        """
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.config = config
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self._cache = PrefixCache(keep_bytes)
        self._unknown_words = UnknownWords(tokenizer, "verifier")
        self._encode_text = config.codec.remembering(tokenizer)
        self._prompt_length = lru_cache(maxsize=KNOWN_TEXTS)(partial(config.codec.prompt_length, tokenizer))
        self.num_parameters = sum(p.numel() for p in model.parameters())

    @classmethod
    def from_pretrained(
        cls, path: str, device: str | None = None, base_model: str | None = None, dtype: Dtype | None = None
    ) -> StepVerifier:
        """As `load_verifier`, but for `dtype`: None = as the weights are stored, so that nothing is rounded."""
        device = usual_device(device)
        config = VerifierConfig.load(path)
        model = load_classifier(path, base_model)
        if dtype and config.quantization is not None:
            raise ValueError(
                f"{path} has 4-bit weights, which compute in numbers of their own; leave dtype {dtype} out"
            )
        if dtype:
            in_dtype(model.get_decoder(), getattr(torch, dtype))  # type: ignore[operator]
        model = model.to(device)
        check_supported(model.config, config.codec.max_length)  # type: ignore[arg-type]
        check_files(path)
        return cls(model, load_tokenizer(path), config, dtype=dtype)

    @cached_property
    def name(self) -> str:
        """Kind and fingerprint of weights, configs and tokenizer."""
        settings = (self.config, self.dtype) if self.dtype else (self.config,)
        return f"{self.kind}-{fingerprint(self.model, self.tokenizer, settings)}"

    @property
    def kind(self) -> Literal["prm", "orm"]:
        return self.config.kind

    @property
    def aggregation(self) -> Aggregation:
        """How step scores become a trace score for this verifier, from the meaning of its labels."""
        return self.config.aggregation

    def score(self, prompt: str, steps: Sequence[str]) -> list[float]:
        """P(good) for every step of one trace. Of an ORM the last number counts, the one it learned
        to give whole traces.

        Raises:
            ValueError: no prompt, no steps, an empty step, several traces (`score_batch` takes those), or a trace longer
                than the model reads.
        """
        return list(self._score_one(prompt, steps).steps)

    def score_trace(self, prompt: str, steps: Sequence[str]) -> float:
        """One score for a whole trace, aggregated as `aggregation` says; errors as in `score`."""
        return self._score_one(prompt, steps).trace

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores | None]:
        """P(good) for every step of every trace; equal to scoring each alone, up to rounding. None for a trace that is
        longer than the model reads: one such candidate must not end a search."""
        if len(prompts) != len(steps_N):
            raise ValueError(f"{len(prompts)} prompts but {len(steps_N)} traces; give one prompt per trace")
        whole_N = [self._encode(prompt, steps) for prompt, steps in zip(prompts, steps_N, strict=True)]
        readable = [i for i, encoded in enumerate(whole_N) if encoded.step_ends[-1] < self.config.codec.max_length]
        encoded_N = [whole_N[i] for i in readable]
        prompt_N = [prompts[i] for i in readable]
        steps = self._read(prompt_N, encoded_N)
        shared_N = shared_tokens(prompt_N, encoded_N)
        starts = {prompt: self._prompt_length(prompt) for prompt in set(prompt_N)}
        scores = {}
        for i, (place, encoded, shared) in enumerate(zip(readable, encoded_N, shared_N, strict=True)):
            good, spreads = zip(*steps[i], strict=True)
            scores[place] = Scores(
                steps=good,
                trace=aggregate(good, self.aggregation),
                read=len(encoded.input_ids) - shared,
                cached=shared,
                ends=(starts[prompts[place]], *(end + 1 for end in encoded.step_ends)) if self._cache.max_bytes else (),
                spreads=spreads if self.config.objective == "beta_binomial" else (),
            )
        return [scores.get(place) for place in range(len(prompts))]

    def check_generator(self, prompts: Sequence[str], step_rule: StepRule, max_new_tokens: int) -> str | None:
        """Whether traces of a generator can be scored: what to warn of, before anything is sampled.

        Raises:
            ValueError: it divides its texts into steps by another rule than the traces that this verifier learned from.
        """
        its = self.config
        return check_generator(its.codec, self.tokenizer, its.step_rule, prompts, step_rule, max_new_tokens)

    def _score_one(self, prompt: str, steps: Sequence[str]) -> Scores:
        (scores,) = self.score_batch([prompt], [steps])
        if scores is None:
            encoded = self._encode(prompt, steps)
            raise ValueError(
                f"a trace of {len(steps)} steps is {len(encoded.input_ids)} tokens long, this verifier reads"
                f" {self.config.codec.max_length}: only {self.config.codec.fit(encoded)} steps fit"
                f" (prompt {prompt[:60]!r})"
            )
        return scores

    def _encode(self, prompt: str, steps: Sequence[str]) -> EncodedTrace:
        check_trace(prompt, steps)
        encoded = self._encode_text(prompt, steps)
        self._unknown_words.watch(prompt, encoded.input_ids)
        return encoded

    def _read(self, prompt_N: Sequence[str], encoded_N: Sequence[EncodedTrace]) -> dict[int, list[StepScore]]:
        """The scores of every trace by its place; of what may be asked for again, only what is not kept is computed."""
        # Kept are prompts that were asked for before, and those whose traces have one step, with which a search begins.
        known = {prompt for prompt in dict.fromkeys(prompt_N) if self._cache.ask(prompt)}
        longer = {prompt for prompt, encoded in zip(prompt_N, encoded_N, strict=True) if len(encoded.step_ends) > 1}
        keeping = {prompt for prompt in prompt_N if prompt in known or prompt not in longer}
        if not self._cache.max_bytes:
            keeping = set()
        steps: dict[int, list[StepScore]] = {}
        # A row is either kept or not.
        for keep in (False, True):
            mine = [i for i, prompt in enumerate(prompt_N) if (prompt in keeping) == keep]
            for row in plan_rows([encoded_N[i].input_ids for i in mine], self.batch_tokens):
                places = [mine[k] for k in row]
                encoded = [encoded_N[i] for i in places]
                if keep:
                    ids, ends = [its.input_ids for its in encoded], [its.step_ends for its in encoded]
                    read = self._cache.read([prompt_N[i] for i in places], ids, ends, self._judge, keeping)
                else:
                    read = self._forward(encoded)
                steps |= zip(places, read, strict=True)
        return steps

    def _forward(self, encoded_N: Sequence[EncodedTrace]) -> list[list[StepScore]]:
        row = pack([encoded.input_ids for encoded in encoded_N])
        index = torch.cat(
            [positions[list(encoded.step_ends)] for positions, encoded in zip(row.positions_N, encoded_N, strict=True)]
        )
        scores = iter(self._judge(row.model_inputs() | {"step_index": index}))
        return [[next(scores) for _ in encoded.step_ends] for encoded in encoded_N]

    @torch.inference_mode()
    def _judge(self, batch: dict[str, Any]) -> list[StepScore]:
        """P(good) and its spread at every `step_index` of one row."""
        device = next(self.model.parameters()).device
        batch = {name: part.to(device) if isinstance(part, torch.Tensor) else part for name, part in batch.items()}
        logits = self.model(**batch).logits
        return list(zip(torch.softmax(logits, -1)[:, 1].tolist(), spread(logits).tolist(), strict=True))


def usual_dtype(path: str, device: str | None) -> Dtype | None:
    """The numbers of the body where none are chosen: bf16 on a GPU that computes in it, else (None) as they are stored."""
    on_gpu = torch.cuda.is_available() and (device is None or device.startswith("cuda"))
    if not on_gpu or not torch.cuda.is_bf16_supported() or VerifierConfig.load(path).quantization is not None:
        return None
    return "bfloat16"


def check_trace(prompt: str, steps: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the prompt is no text of a problem, or the steps are no list of texts.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"the prompt is {prompt!r:.60}; give the text of one problem (score_batch takes several)")
    if isinstance(steps, str):  # a sequence of strings, too: each letter would be a step
        raise ValueError(f"steps are one text ({steps[:60]!r}); give a list with one string per step")
    if other := [step for step in steps if not isinstance(step, str)]:
        raise ValueError(f"a step is {other[0]!r:.60}; give a list with one string per step of one trace")


def check_generator(
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    learned: StepRule | None,
    prompts: Sequence[str],
    step_rule: StepRule,
    max_new_tokens: int,
) -> str | None:
    """See `StepVerifier.check_generator`; `learned` is the step rule of the training traces, if it is known."""
    if learned is not None and learned != step_rule:
        raise ValueError(
            f"was trained on traces divided by the step rule {learned}, the generator divides by {step_rule};"
            f" give --step_rule {learned}, or a verifier trained on {step_rule} steps"
        )
    longest = max(codec.prompt_length(tokenizer, prompt) for prompt in prompts)
    most = codec.max_length
    if longest + max_new_tokens <= most:
        return None
    return (
        f"reads {most} tokens, the longest prompt has {longest} and --max_new_tokens is {max_new_tokens}: a trace that"
        f" is too long gets no score and is never chosen. To be sure, give --max_new_tokens {max(1, most - longest)}, or"
        " train with a larger --max_length"
    )


def shared_tokens(prompts: Sequence[str], encoded_N: Sequence[EncodedTrace]) -> list[int]:
    """How many tokens of each trace are computed with another trace of its problem: neighbors with the same prompt.

    In sorted order a trace shares most with the one before it, as in the rows of `prm.models.packing`. Traces of
    other problems share nothing here, so that the cost of a problem does not depend on its company.
    """
    shared_N = [0] * len(encoded_N)
    for _, problem in groupby(range(len(prompts)), key=lambda i: prompts[i]):
        before: tuple[int, ...] = ()
        for i in sorted(problem, key=lambda i: encoded_N[i].input_ids):
            shared_N[i] = shared_length(before, encoded_N[i].input_ids)
            before = encoded_N[i].input_ids
    return shared_N


def largest_difference(scores: Sequence[float], expected: Sequence[float]) -> float:
    """Of two lists of scores, place by place; NaN if any score is NaN, which `max` alone may miss."""
    differences = [abs(a - b) for a, b in zip(scores, expected, strict=True)]
    return math.nan if any(map(math.isnan, differences)) else max(differences)
