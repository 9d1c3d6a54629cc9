"""HfGenerator: any Hugging Face causal language model as a generator, on the CPU or one GPU.

Why not `model.generate`: labeling needs many short continuations of few prefixes, with one seed per sample. Here every
distinct prefix is prefilled once and its KV cache is copied to its samples; finished sequences leave the batch instead
of being padded until the slowest one ends; and a sample depends only on its own seed, not on the rest of the batch (its
uniform numbers are a hash of seed and position, and the token is the inverse CDF at that number). The logits still
depend on the shape of a batch, by float rounding; so a run that is repeated should form the same batches, as
`prm.sampling.rollouts` does.

In a search, whose calls go on from each other, keys and values stay from call to call (`prm.models.kept_tokens`), and a new
step costs its own tokens. Samples are those of reading everything again, up to that rounding.

Left out: speculative decoding, paged attention, tensor parallelism. Use vLLM for those.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from prm.encoding.prompts import PromptTemplate
from prm.generators import Ended, ignore
from prm.generators.token_text import OpenStep, TokenText, Until
from prm.models.fingerprints import fingerprint
from prm.models.kept_tokens import KeptTokens
from prm.models.loading import in_dtype, load_model_and_tokenizer
from prm.models.roomy_layer import RoomyLayer
from prm.types import Continuation, Dtype, StepRule, StopReason


class HfGenerator:
    """Samples continuations of token-id prefixes. See `prm.generators.Generator`."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        template: PromptTemplate | None = None,
        step_rule: StepRule | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 512,
        batch_size: int = 256,
        dtype: Dtype | None = None,
        keep_bytes: int = 4 << 30,
    ) -> None:
        """
        Args:
            name: name of the weights; a hash of weights and sampling settings is appended.
            template: turns a problem into the ids before the first step.
            step_rule: where its steps end; the usual one of the template if None.
            temperature: 0 = greedy.
            max_new_tokens: limit of one continuation; one that reaches it has `stop == "length"`.
            batch_size: number of sequences decoded at once.
            dtype: that of the model, if it was chosen and is not the device's usual one; becomes part of the name.
            keep_bytes: most memory, on the model's device, for what a search keeps between calls; one batch may exceed it
                for a moment. As that of `prm.verifiers.step_verifier`. 0 = keep nothing, and be charged for every prefix.
        """
        template = template or PromptTemplate()
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.step_rule: StepRule = step_rule or template.step_rule
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.keep_bytes = keep_bytes
        self.num_parameters = model.num_parameters()
        self.ledger: Counter[str] = Counter()
        settings = (template, self.step_rule, temperature, top_p, max_new_tokens, *filter(None, [dtype]))
        self.name = f"{name}-{fingerprint(model, tokenizer, settings)}"
        self._ids = TokenText(
            tokenizer, template=template, step_rule=self.step_rule, end_ids=model.generation_config.eos_token_id
        )
        self.context = model.config.max_position_embeddings

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        gguf_file: str | None = None,
        device: str | None = None,
        dtype: Dtype | None = None,
        **settings,
    ) -> HfGenerator:
        """Load a folder or hub name, or a GGUF file in it; without `dtype`, fp32 on the CPU, bf16 on a GPU that has it."""
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        usual = torch.bfloat16 if device.startswith("cuda") and torch.cuda.is_bf16_supported() else torch.float32
        numbers = getattr(torch, dtype) if dtype else usual
        model, tokenizer = load_model_and_tokenizer(path, gguf_file, numbers)
        model = in_dtype(model, numbers).to(device)  # type: ignore
        return cls(model, tokenizer, name=Path(path).name, dtype=dtype, **settings)

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        """Prompt ids, then the ids of every step with its separator, each tokenized separately."""
        return self._ids.encode(prompt, steps)

    def generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        until: Until = "end",
        limits: Sequence[int] | None = None,
        ended: Ended = ignore,
        greedy: bool = False,
        kept: KeptTokens | None = None,
    ) -> list[Continuation]:
        """One continuation per (prefix, seed).

        Raises:
            ValueError: prefixes and seeds differ in number, or a prefix leaves no room in the model's context.
        """
        self._ids.check(prefixes, seeds, until, self.context)
        # Sorted, so that a batch has prefixes of similar length (little padding) and equal prefixes share a batch.
        order = sorted(range(len(prefixes)), key=lambda i: (len(prefixes[i]), tuple(prefixes[i])))
        limits_N = [min(self.max_new_tokens, self.context - len(prefix)) for prefix in prefixes]
        if limits is not None:
            limits_N = list(map(min, limits_N, limits))
        if kept is not None and not self._can_keep():
            kept = None
        if kept is not None:
            kept.ask({tuple(prefix) for prefix in prefixes})
        sampled: dict[int, tuple[list[int], StopReason]] = {}
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = self._generate_batch(
                [tuple(prefixes[i]) for i in rows],
                [seeds[i] for i in rows],
                [limits_N[i] for i in rows],
                until,
                ended,
                greedy,
                kept,
            )
            sampled |= zip(rows, batch, strict=True)
            if kept is not None:
                kept.make_room(self.keep_bytes)
        return [
            Continuation(ids := tuple(sampled[i][0]), self._ids.text(ids), sampled[i][1], len(prefix), kept is not None)
            for i, prefix in enumerate(prefixes)
        ]

    def _can_keep(self) -> bool:
        """Whether keys and values of one call are of use in the next; warns if the model is not one of those."""
        if self.keep_bytes and (reason := _forgetful(self.model.config)):
            warnings.warn(f"every step of a search reads its prefix again, because the model {reason}", stacklevel=3)
            return False
        return self.keep_bytes > 0

    @torch.inference_mode()
    def _generate_batch(
        self,
        prefixes: list[tuple[int, ...]],
        seeds: list[int],
        limits: list[int],
        until: Until,
        ended: Ended,
        greedy: bool,
        kept: KeptTokens | None,
    ) -> list[tuple[list[int], StopReason]]:
        """The sampled ids of each (prefix, seed) of one batch, and why they end."""
        # Prefill every distinct prefix once. Fork: from here on, one row per sample, with a copy of its prefix's cache.
        distinct = {prefix: i for i, prefix in enumerate(dict.fromkeys(prefixes))}
        forks = [distinct[prefix] for prefix in prefixes]
        cache, logits, mask, columns = self._prefill(list(distinct), kept)
        fork = torch.tensor(forks, device=mask.device)
        cache.batch_select_indices(fork)
        logits, mask, length = logits[fork], mask[fork], mask.shape[1]

        # Decode one token per turn. `rows` shrinks as samples end; the other lists keep the order of the request.
        rows = list(range(len(prefixes)))  # row of the batch -> index of the sample
        tokens: list[list[int]] = [[] for _ in rows]
        steps = [OpenStep() for _ in rows]
        stops: list[StopReason | None] = [None] * len(rows)
        waiting = len(rows)
        for t in range(max(limits)):
            sampled = logits.argmax(-1) if greedy else self._sample(logits, _uniform([seeds[i] for i in rows], t))
            for i, token in zip(rows, sampled.tolist(), strict=True):
                if stops[i] is None:
                    tokens[i].append(token)
                    stops[i] = self._ids.stop(token, until, steps[i]) or ("length" if t + 1 == limits[i] else None)
            running = [k for k, i in enumerate(rows) if stops[i] is None]
            ended(waiting - len(running))
            waiting = len(running)
            # Removing rows copies the whole cache, so they leave in groups of at least 5%.
            leaving = len(running) < 0.95 * len(rows)
            if kept is not None and leaving:
                # What may go on is kept, all but its last token, which was not read.
                going = {k: i for k, i in enumerate(rows) if stops[i] == "step"}
                kept.add(
                    [(*prefixes[i], *tokens[i][:-1]) for i in going.values()],
                    [(k, [*columns[forks[i]], *range(length, length + len(tokens[i]) - 1)]) for k, i in going.items()],
                    cache.layers,
                )
            if not running:
                break
            if leaving:
                keep = torch.tensor(running, device=mask.device)
                cache.batch_select_indices(keep)
                rows, sampled, mask = [rows[k] for k in running], sampled[keep], mask[keep]
            # Positions count the real tokens; a row that ended but stayed could run beyond the last position.
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = self.model(
                input_ids=sampled[:, None],
                attention_mask=mask,
                position_ids=(mask.sum(-1, keepdim=True) - 1).clamp(max=self.context - 1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        return list(zip(tokens, stops, strict=True))  # type: ignore[arg-type]  # every row has stopped

    def _prefill(
        self, prefixes: list[tuple[int, ...]], kept: KeptTokens | None
    ) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, list[list[int]]]:
        """Read the prefixes, without what is kept of them.

        Returns:
            The cache, with a row per prefix; (prefixes, vocabulary) logits of what comes next; (prefixes, columns of the
            cache) mask, 1 at real tokens; of each prefix the columns of its tokens.
        """
        device = self.model.device
        known = [kept.find(prefix) if kept is not None else [] for prefix in prefixes]
        old = [len(numbers) for numbers in known]
        new = [len(prefix) - n for prefix, n in zip(prefixes, old, strict=True)]
        # First kept tokens and then new ones, both padded on the left, so that all prefixes end in the same column.
        before, length = max(old), max(old) + max(new)
        columns = [[*range(before - k, before), *range(length - n, length)] for k, n in zip(old, new, strict=True)]
        mask = torch.zeros(len(prefixes), length, dtype=torch.long)
        for row, mine in zip(mask, columns, strict=True):
            row[mine] = 1
        mask = mask.to(device)
        ids = [[0] * (max(new) - n) + list(prefix[-n:]) for prefix, n in zip(prefixes, new, strict=True)]

        # Layers that reserve room to grow; the usual ones copy the whole cache at every token.
        cache = DynamicCache(config=self.model.config)
        cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
        if kept is not None and before:
            for layer, (keys, values) in zip(cache.layers, kept.gather(known), strict=True):
                layer.update(keys, values)  # type: ignore[union-attr]
        output = self.model(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, before:],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        if kept is not None:
            kept.add(prefixes, list(enumerate(columns)), cache.layers)
        return cache, output.logits[:, -1], mask, columns

    def _sample(self, logits: torch.Tensor, uniform: np.ndarray) -> torch.Tensor:
        """(rows, vocabulary) logits and one uniform number per row -> (rows,) token ids."""
        if self.temperature == 0:
            return logits.argmax(-1)
        probabilities = torch.softmax(logits.float() / self.temperature, -1)
        # Nucleus: a token stays if the more likely ones together have less than top_p. So the most likely one always does.
        if self.top_p < 1:
            ranked, order = probabilities.sort(-1, descending=True)
            beyond = ranked.cumsum(-1) - ranked >= self.top_p
            probabilities = torch.zeros_like(probabilities).scatter(-1, order, ranked.masked_fill(beyond, 0))
        # Inverse CDF, in fp64 because in fp32 a sum near 1 swallows rare tokens. The threshold is a share of the actual
        # sum, which the nucleus and rounding have made smaller than 1.
        cumulative = probabilities.double().cumsum(-1)
        threshold = torch.from_numpy(uniform).to(cumulative.device)[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def _uniform(seeds: Sequence[int], position: int) -> np.ndarray:
    """One uniform number in [0, 1) per seed: splitmix64 of seed and position (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = np.array(seeds, dtype=np.uint64) + np.uint64(position + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _forgetful(config: PreTrainedConfig) -> str | None:
    """Why what this model has read is not the same in a later call; None if it is."""
    kinds = {type(layer) for layer in DynamicCache(config=config).layers} - {DynamicLayer}
    if kinds:
        return f"has layers that keep other than all keys and values ({', '.join(sorted(kind.__name__ for kind in kinds))})"
    scaling = (config.get_text_config().to_dict().get("rope_parameters") or {}).get("rope_type")
    return (
        f"rotates keys by the length of the text (rope_type {scaling})" if scaling in ("dynamic", "longrope") else None
    )
