"""A search without a language model, for benchmarks: how its time grows with the depth is that of the toolkit's own work.

The steps are sums that follow from the seed, and a verifier's scores of them follow from their places:

    Writer(steps=2)     7 + 88 + ...\n   3 + 54 + ...\n   #### 1\n
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.evaluation.workloads import llama, sums
from prm.generators.token_text import TokenText
from prm.search import STRATEGIES
from prm.search.driver import search
from prm.search.methods import Method
from prm.types import Budget, Continuation, Problem, SearchResult

if TYPE_CHECKING:  # a search need not load torch
    import torch


class Writer:
    """A generator without a model: steps of 20 tokens that follow from the seed, `steps` of them, and then the answer."""

    name, step_rule, num_parameters, max_new_tokens, context = "writer", "line", 0, 64, None

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.ledger: Counter[str] = Counter()
        self.ids = TokenText(arithmetic.build_tokenizer(), template=PromptTemplate(), step_rule="line", end_ids=None)
        self.encode = self.ids.encode
        (self.end,) = self.ids.tokenizer("\n")["input_ids"]

    def generate(self, prefixes: Sequence[Sequence[int]], seeds: Sequence[int], **options: Any) -> list[Continuation]:
        return [self.step(prefix, seed) for prefix, seed in zip(prefixes, seeds, strict=True)]

    def step(self, prefix: Sequence[int], seed: int) -> Continuation:
        last = prefix.count(self.end) > self.steps  # the prompt ends with a line, too
        text = "#### 1\n" if last else sums(random.Random(seed), 20) + "\n"
        ids = self.ids.tokenizer(text)["input_ids"]
        return Continuation(tuple(ids), text, "answer" if last else "step", len(prefix), keeps=True)


def deep_beam_search(steps: int, computes: bool = True, beams: int = 16) -> Callable[[], list[SearchResult]]:
    """A beam search of so many steps of one problem, to be run.

    Args:
        computes: with a tiny verifier, in which a step attends to all before it; or with one that computes nothing.
    """
    from prm.verifiers.checkpoint import VerifierConfig
    from prm.verifiers.step_verifier import StepVerifier

    config = VerifierConfig("prm", StepCodec(max_length=1 << 16), "value", "last", "", "")
    verifier = StepVerifier(tiny_model() if computes else blank_model(), arithmetic.build_tokenizer(), config)
    verifier.name = "bench"  # else that of its weights, which takes longer than the search
    method = Method("beam_search", STRATEGIES["beam_search"], "verifier", {"max_steps": steps + 1})
    problem = Problem("p", sums(random.Random(0), 100), "1", "bench")
    writer: Any = Writer(steps)  # which takes no notice of options
    return lambda: search(method, [problem], writer, verifier, Budget(beams), seed=0)


def blank_model() -> torch.nn.Module:
    """A verifier's model that computes nothing: the time of a search with it is that of the search."""
    import torch

    class Blank(torch.nn.Linear):
        def forward(self, input_ids, step_index, kept=None, **rest):  # type: ignore[override]
            states = torch.zeros(1, 1, input_ids.numel(), 1)  # keys and values of one layer, to be kept
            if kept is not None:
                kept.update(states, states, 0)
            return SimpleNamespace(logits=torch.stack([torch.zeros(len(step_index)), step_index.sin()], 1))

    return Blank(1, 1)


def tiny_model() -> torch.nn.Module:
    import torch
    from transformers import LlamaForCausalLM

    from prm.models.loading import from_base

    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        LlamaForCausalLM(llama("tiny")).save_pretrained(folder)
        return from_base(folder)
