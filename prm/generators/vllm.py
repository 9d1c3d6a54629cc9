"""VllmGenerator: vLLM's offline engine as a generator, for GPUs, large models and long traces.

The engine runs in this process and is advanced token by token (`LLMEngine.step`). The rule of all engines
(`prm.generators.token_text`) decides whether a continuation has ended, and if so its request is removed before the next
token. So a continuation ends where it would with `HfGenerator`, no token is sampled after its end, and the count is
exact. vLLM's own stop strings cannot express "the line that states the answer", and `LLM.generate` would write beyond it.

Every sample has its own seed (`SamplingParams.seed`). Blocks of equal prefixes are computed once (prefix caching). The
same seed gives another text than with `HfGenerator`, from the same distribution, so the engine is part of the name.
Samples are reproducible up to float rounding, which depends on the rest of the batch; on GPUs for which vLLM supports
it, `VLLM_BATCH_INVARIANT=1` removes this, too.

Left out: GGUF files, several engines at once (start `vllm serve` and use `prm.generators.openai`).
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from prm.encoding.prompts import PromptTemplate
from prm.generators import Ended, ignore
from prm.generators.token_text import OpenStep, TokenText, Until
from prm.models.fingerprints import read_weights
from prm.models.folders import SAFELY, check_config, local_folder, stored_tensors
from prm.models.kept_tokens import KeptTokens
from prm.models.loading import load_tokenizer
from prm.types import Continuation, Dtype, StepRule


class VllmGenerator:
    """Samples continuations of token-id prefixes. See `prm.generators.Generator`."""

    def __init__(
        self,
        engine: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        name: str,
        num_parameters: int,
        end_ids: int | Sequence[int] | None = None,
        template: PromptTemplate | None = None,
        step_rule: StepRule | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 512,
    ) -> None:
        """
        Args:
            engine: a `vllm.LLMEngine` in this process, without asynchronous scheduling.
            name: name of the weights; a hash of the sampling settings is appended.
            end_ids: tokens that end a continuation, in addition to the tokenizer's own end token.
            temperature, top_p, max_new_tokens, template: as in `HfGenerator`.
        """
        template = template or PromptTemplate()
        self.tokenizer = tokenizer
        self.step_rule: StepRule = step_rule or template.step_rule
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.num_parameters = num_parameters
        self.ledger: Counter[str] = Counter()
        settings = (template, self.step_rule, temperature, top_p, max_new_tokens)
        self.name = f"{name}-vllm-{hashlib.sha256(repr(settings).encode()).hexdigest()[:8]}"
        self._engine = engine
        self.context = engine.model_config.max_model_len
        self._ids = TokenText(tokenizer, template=template, step_rule=self.step_rule, end_ids=end_ids)

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        batch_size: int = 256,
        dtype: Dtype | None = None,
        engine_options: dict[str, Any] | None = None,
        **settings,
    ) -> VllmGenerator:
        """Start an engine for a folder or hub name; its numbers are those of `HfGenerator`.

        Args:
            batch_size: number of sequences decoded at once (vLLM's `max_num_seqs`).
            engine_options: further arguments of vLLM's engine: `tensor_parallel_size`, `gpu_memory_utilization`, ...
        """
        # vLLM reads this when an engine starts. An engine in its own process would sample ahead of our rule for the end.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import EngineArgs, LLMEngine

        folder = local_folder(path)
        check_config(folder, stored_tensors(folder))
        num_parameters, weights = read_weights(folder)
        gpu = torch.cuda.is_available()
        options = {
            "dtype": dtype or ("bfloat16" if gpu and torch.cuda.is_bf16_supported() else "float32"),
            "max_num_seqs": batch_size,
            # For a prompt read in two chunks vLLM rewinds the seed's random generator, which fails on the CPU (vLLM 0.32).
            "enable_chunked_prefill": gpu,
            **(engine_options or {}),
        }
        engine = LLMEngine.from_engine_args(
            EngineArgs(model=str(folder), enable_prefix_caching=True, async_scheduling=False, **SAFELY, **options)
        )
        try:
            generation = GenerationConfig.from_pretrained(folder)
        except OSError:  # no generation_config.json
            generation = GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder, **SAFELY))
        ends = generation.eos_token_id
        return cls(
            engine,
            load_tokenizer(str(folder)),
            name=f"{Path(path).name}-{weights}{dtype or ''}",
            num_parameters=num_parameters,
            end_ids=ends,
            **settings,
        )

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
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        self._ids.check(prefixes, seeds, until, self.context)
        # Equal prefixes are submitted one after the other, so that their blocks are still cached.
        for i in sorted(range(len(prefixes)), key=lambda i: (len(prefixes[i]), tuple(prefixes[i]))):
            params = SamplingParams(
                temperature=0.0 if greedy else self.temperature,
                top_p=self.top_p,
                seed=seeds[i],
                max_tokens=min(
                    self.max_new_tokens,
                    self.context - len(prefixes[i]),
                    limits[i] if limits is not None else self.max_new_tokens,
                ),
                stop_token_ids=sorted(self._ids.end_ids),
                detokenize=False,
                output_kind=RequestOutputKind.DELTA,  # only the new tokens
            )
            self._engine.add_request(str(i), tokens_input(list(prefixes[i])), params)

        # Each turn samples one token for every running request. Requests that have ended are removed before the next turn.
        tokens: list[list[int]] = [[] for _ in prefixes]
        steps = [OpenStep() for _ in prefixes]
        results: list[Continuation | None] = [None] * len(prefixes)
        while self._engine.has_unfinished_requests():
            aborted, newly = [], 0
            for output in self._engine.step():
                i = int(output.request_id)
                stop = None
                for token in output.outputs[0].token_ids:  # one: neither asynchronous nor speculative
                    tokens[i].append(token)
                    stop = self._ids.stop(token, until, steps[i])
                # vLLM ends a request by itself at an end token, which the rule has seen, or at the token limit.
                if stop is None and output.finished:
                    stop = "length"
                if stop is not None:
                    newly += 1
                    results[i] = Continuation(tuple(tokens[i]), self._ids.text(tokens[i]), stop, len(prefixes[i]))
                if stop is not None and not output.finished:
                    aborted.append(output.request_id)
            self._engine.abort_request(aborted)
            ended(newly)
        return results  # type: ignore[return-value]
