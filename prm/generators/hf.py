"""HfGenerator: any Hugging Face causal language model as a generator, on the CPU or one GPU.

Why not `model.generate`: labeling needs many short continuations of few prefixes, with one seed per sample. Here every
distinct prefix is prefilled once and its KV cache is copied to its samples; finished sequences leave the batch instead
of being padded until the slowest one ends; and a sample depends only on its own seed, not on the rest of the batch
(`prm.generators.draws`). The logits still depend on the shape of a batch, by float rounding; so a run that is repeated
should form the same batches, as `prm.sampling.rollouts` does.

On a GPU others take the places of finished sequences, so that a batch stays full while any wait; the engine looks at its
tokens only every `BLOCK` of them (`prm.generators.decoding`); and a token of all sequences is one launch, where the model
allows it (`prm.models.slots`). None of it changes a sample, or what is counted.

In a search, whose calls go on from each other, keys and values stay from call to call (`prm.models.kept_tokens`), and a new
step costs its own tokens. Samples are those of reading everything again, up to that rounding.

Left out: speculative decoding, paged attention, tensor parallelism. Use vLLM for those.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from prm.encoding.prompts import PromptTemplate
from prm.generators import Ended, ignore
from prm.generators.decoding import Sample, Way, write
from prm.generators.token_text import TokenText, Until
from prm.models.fingerprints import fingerprint
from prm.models.growing_rows import GrowingRows
from prm.models.kept_tokens import KeptTokens
from prm.models.loading import in_dtype, load_model_and_tokenizer, usual_device
from prm.models.roomy_layer import forgetful
from prm.models.slots import Slots, can_have_slots
from prm.types import Continuation, Dtype, StepRule

BLOCK = 8
"""Tokens that are written on a GPU before the engine looks at them. A sample that ends writes 4 too many on average."""


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
                On a GPU also the most that a batch's places hold between calls.
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
        on_cpu = model.device.type == "cpu"
        self.block = 1 if on_cpu else BLOCK
        slots = not on_cpu and can_have_slots(model.config)
        self.rows: GrowingRows | Slots = (Slots if slots else GrowingRows)(self.model, self.context)

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
        device = usual_device(device)
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
        samples = [Sample(tuple(prefixes[i]), seeds[i], limits_N[i]) for i in range(len(prefixes))]
        temperature = 0.0 if greedy else self.temperature
        way = Way(self._ids, until, temperature, self.top_p, self.batch_size, self.block, watched)
        write([samples[i] for i in order], self.rows, way, ended, kept, self.keep_bytes)
        return [
            Continuation(
                tuple(sample.ids),
                self._ids.text(sample.ids),
                sample.stop,  # type: ignore[arg-type]  # every sample has ended
                len(sample.prefix),
                kept is not None,
                odds=self._ids.places(sample.ids, sample.odds, watched or ()),
            )
            for sample in samples
        ]

    def _can_keep(self) -> bool:
        """Whether keys and values of one call are of use in the next; warns if the model is not one of those."""
        if self.keep_bytes and (reason := forgetful(self.model.config)):
            warnings.warn(f"every step of a search reads its prefix again, because the model {reason}", stacklevel=3)
            return False
        return self.keep_bytes > 0
