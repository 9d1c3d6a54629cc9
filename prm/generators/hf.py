"""HfGenerator: any Hugging Face causal language model as a generator, on the CPU or one GPU.

Why not `model.generate`: labeling needs many short continuations of few prefixes, with one seed per sample. Here every
distinct prefix is prefilled once and its KV cache is copied to its samples; finished sequences leave the batch instead
of being padded until the slowest one ends, and on a GPU others take their places, so that a batch stays full while any
wait; and a sample depends only on its own seed, not on the rest of the batch (`prm.generators.draws`). The logits still
depend on the shape of a batch, by float rounding; so a run that is repeated should form the same batches, as
`prm.sampling.rollouts` does.

In a search, whose calls go on from each other, keys and values stay from call to call (`prm.models.kept_tokens`), and a new
step costs its own tokens. Samples are those of reading everything again, up to that rounding.

Left out: speculative decoding, paged attention, tensor parallelism. Use vLLM for those.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from prm.encoding.prompts import PromptTemplate
from prm.generators import Ended, ignore
from prm.generators.draws import draw, uniform
from prm.generators.token_text import OpenStep, TokenText, Until
from prm.models.fingerprints import fingerprint
from prm.models.kept_tokens import KeptTokens
from prm.models.loading import in_dtype, load_model_and_tokenizer
from prm.models.roomy_layer import RoomyLayer, forgetful, join
from prm.types import Continuation, Dtype, StepRule, StopReason

REFILL = 8
"""Others take places of a batch when one in so many is free. On a GPU, reading new prefixes takes about as long as a token
of the whole batch: with fewer places at a time it would be paid more often, with more of them more stand empty."""


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
        # Rows that were read apart can be joined if their layers keep all keys and values. On a CPU an empty row costs
        # nothing, but one whose prefix is padded does: filled up, the embedded generators take 1.3 to 1.8 times as long.
        self.refills = model.device.type != "cpu" and forgetful(model.config) is None

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
        watched: tuple[int, int] | None = None,
    ) -> list[Continuation]:
        """One continuation per (prefix, seed). Of two `watched` token ids it tells the log-odds (`Continuation.odds`).

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
        asked = [tuple(prefixes[i]) for i in order], [seeds[i] for i in order], [limits_N[i] for i in order]
        sampled = dict(zip(order, self._decode(*asked, until, ended, greedy, kept, watched), strict=True))
        continuations = []
        for i, prefix in enumerate(prefixes):
            ids, stop, odds = sampled[i]
            text, its_odds = self._ids.text(ids), self._ids.places(ids, odds, watched or ())
            continuations.append(Continuation(tuple(ids), text, stop, len(prefix), kept is not None, odds=its_odds))
        return continuations

    def _can_keep(self) -> bool:
        """Whether keys and values of one call are of use in the next; warns if the model is not one of those."""
        if self.keep_bytes and (reason := forgetful(self.model.config)):
            warnings.warn(f"every step of a search reads its prefix again, because the model {reason}", stacklevel=3)
            return False
        return self.keep_bytes > 0

    @torch.inference_mode()
    def _decode(
        self,
        prefixes: list[tuple[int, ...]],
        seeds: list[int],
        limits: list[int],
        until: Until,
        ended: Ended,
        greedy: bool,
        kept: KeptTokens | None,
        watched: tuple[int, int] | None,
    ) -> list[tuple[list[int], StopReason, list[float]]]:
        """The sampled ids of each (prefix, seed), why they end, their odds; `batch_size` at once, in the order given."""
        tokens: list[list[int]] = [[] for _ in prefixes]
        steps = [OpenStep() for _ in prefixes]
        odds: list[list[float]] = [[] for _ in prefixes]
        stops: list[StopReason | None] = [None] * len(prefixes)
        rows: list[int] = []  # row of the batch -> index of the sample
        running: list[int] = []  # rows that have not ended
        asked = 0  # samples that have, or had, a row
        seeds_N, turns_N = np.array(seeds, dtype=np.uint64), np.zeros(len(seeds), dtype=np.uint64)
        cache, logits, mask = DynamicCache(), torch.empty(0), torch.empty(0)  # of no rows
        while running or asked < len(prefixes):
            if new := self._admitted(prefixes, asked, len(running), kept is not None):
                # Prefill every distinct prefix once. Fork: then a row per sample, with a copy of its prefix's cache.
                fresh = range(asked, asked + new)
                distinct = {prefix: i for i, prefix in enumerate(dict.fromkeys(prefixes[i] for i in fresh))}
                fresh_cache, fresh_logits, fresh_mask, columns = self._prefill(list(distinct), kept)
                forks = {i: distinct[prefixes[i]] for i in fresh}
                fork = torch.tensor(list(forks.values()), device=fresh_mask.device)
                fresh_cache.batch_select_indices(fork)
                if running:
                    keep = torch.tensor(running, device=fork.device)
                    mask = join(cache, mask[keep], keep, fresh_cache, fresh_mask[fork])
                    logits = torch.cat([logits[keep], fresh_logits[fork]])
                else:
                    cache, logits, mask, length = fresh_cache, fresh_logits[fork], fresh_mask[fork], fresh_mask.shape[1]
                rows = [*(rows[k] for k in running), *fresh]
                asked += new
                waiting = len(rows)

            # Decode one token per turn. `rows` shrinks as samples end; the lists of samples keep the order of the request.
            if greedy:
                sampled = logits.argmax(-1)
            else:
                numbers = uniform(seeds_N[rows], turns_N[rows])
                turns_N[rows] += 1
                sampled = draw(logits, numbers, self.temperature, self.top_p)
            its_odds = [] if watched is None else (logits[:, watched[0]] - logits[:, watched[1]]).tolist()
            for k, (i, token) in enumerate(zip(rows, sampled.tolist(), strict=True)):
                if stops[i] is None:
                    tokens[i].append(token)
                    odds[i] += its_odds[k : k + 1]
                    full: StopReason | None = "length" if len(tokens[i]) == limits[i] else None
                    stops[i] = self._ids.stop(token, until, steps[i]) or full
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
                if kept is not None:
                    kept.make_room(self.keep_bytes)
                continue
            if leaving:
                keep = torch.tensor(running, device=mask.device)
                cache.batch_select_indices(keep)
                rows, sampled, mask = [rows[k] for k in running], sampled[keep], mask[keep]
                running = list(range(len(rows)))
            # Positions count the real tokens; a row that ended but stayed could run beyond the last position.
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            logits = self.model(
                input_ids=sampled[:, None],
                attention_mask=mask,
                position_ids=(mask.sum(-1, keepdim=True) - 1).clamp(max=self.context - 1),
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        return list(zip(tokens, stops, odds, strict=True))  # type: ignore[arg-type]  # every row has stopped

    def _admitted(self, prefixes: list[tuple[int, ...]], asked: int, running: int, keeps: bool) -> int:
        """How many of the samples from `asked` on get a row now: a whole batch where none runs, else what is free."""
        left = len(prefixes) - asked
        most = min(left, self.batch_size - running)
        if not running or not most:
            return most
        # What a search keeps is known by its column in the batch, and columns move when batches are joined.
        if not self.refills or keeps or most < min(left, math.ceil(self.batch_size / REFILL)):
            return 0
        # Samples of one prefix come together where they fit, so that it is read once.
        whole = most
        while whole and asked + whole < len(prefixes) and prefixes[asked + whole - 1] == prefixes[asked + whole]:
            whole -= 1
        return whole or most

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
