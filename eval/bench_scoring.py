r"""Scoring speed: the candidates of one problem, ours against padded batches and against one forward pass per step.

64 candidates of a GSM8K-shaped problem (a chat-templated prompt, lengths drawn from those of GSM8K in SmolLM2 tokens,
nothing shared except the prompt) are scored in three ways by random weights of one shape, in fp32:

- ours: packed prefix trees, two logits at step ends (`StepVerifier`);
- padded: `AutoModelForTokenClassification` on batches of 8 rows in the order given, as search-and-learn and TRL score;
- per step: one forward pass of a causal language model for every step of every candidate, with all logits, of which those
  of "+" and "-" are read (as the evaluations of RLHFlow and reward_hub do). Measured on the first 4 candidates.

The ways take turns; the first round of each is not counted. Tokenization is not measured. Nothing else should run on the
machine.

Reads   nothing
Writes  the last line of its output, JSON

    python eval/bench_scoring.py --model 135m
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.encoding.codec import EncodedTrace, StepCodec
from prm.evaluation.workloads import PROMPT_TOKENS, SHAPES, STEPS, TRACE_TOKENS, draw, llama
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:
    import torch

    from prm.verifiers.step_verifier import StepVerifier

PADDED_ROWS = 8
PER_STEP_CANDIDATES = 4


@dataclass
class Arguments:
    model: str = field(default="135m", metadata={"help": "shape of the model", "choices": list(SHAPES)})
    candidates: int = field(default=64, metadata={"help": "candidates of the problem", "least": 1})
    rounds: int = field(default=2, metadata={"help": "rounds that are counted; the ways take turns", "least": 1})


def main(args: Arguments) -> None:
    # Not at the top: help and a typo must not wait for torch.
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, LlamaForCausalLM

    from prm.models.loading import from_base
    from prm.models.packing import pack, plan_rows
    from prm.verifiers.step_verifier import StepVerifier

    rng = random.Random(0)
    config = llama(args.model)
    vocabulary = config.vocab_size
    prompt = [rng.randrange(100, vocabulary) for _ in range(draw(rng, PROMPT_TOKENS))]
    candidates = [make_candidate(rng, prompt, vocabulary) for _ in range(args.candidates)]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer = arithmetic.build_tokenizer()
        codec = StepCodec(max_length=2048)
        ours = StepVerifier(from_base(folder), tokenizer, VerifierConfig("prm", codec, "value", "last", folder, ""))
        padded = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2, trust_remote_code=False).eval()
        padded.load_state_dict(ours.model.state_dict())
        causal = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).eval()

    without_gradients, few = torch.inference_mode(), candidates[:PER_STEP_CANDIDATES]
    ways: dict[str, tuple[Callable[[], list[list[float]]], int]] = {
        "ours": (lambda: score_packed(ours, candidates), len(candidates)),
        "padded": (lambda: without_gradients(score_padded)(padded, candidates), len(candidates)),
        "per_step": (lambda: without_gradients(score_per_step)(causal, few), PER_STEP_CANDIDATES),
    }
    rates, scores = {}, {}
    seconds = dict.fromkeys(ways, 0.0)
    for turn in range(args.rounds + 1):
        for name, (score, _) in ways.items():
            started = time.perf_counter()
            scores[name] = score()
            if turn:
                seconds[name] += time.perf_counter() - started
    for name, (_, count) in ways.items():
        rates[name] = count * args.rounds / seconds[name]
        print(f"{name:9} {rates[name]:8.2f} candidates/s")
    difference = max(
        abs(a - b) for x, y in zip(scores["ours"], scores["padded"], strict=True) for a, b in zip(x, y, strict=True)
    )
    rows = plan_rows([candidate.input_ids for candidate in candidates], ours.batch_tokens)
    computed = sum(len(pack([candidates[i].input_ids for i in row]).input_ids) for row in rows)
    alone = sum(len(candidate.input_ids) for candidate in candidates)
    print(f"{args.model} shape, {torch.get_num_threads()} threads; {computed:,} tokens computed, {alone:,} unshared;")
    print(f"ours and padded agree to {difference:.1g}")
    result = {
        "model": args.model,
        "candidates": args.candidates,
        "speedup_padded": round(rates["ours"] / rates["padded"], 2),
        "speedup_per_step": round(rates["ours"] / rates["per_step"], 2),
        "largest_difference": difference,
    }
    print(json.dumps(result))


def make_candidate(rng: random.Random, prompt: list[int], vocabulary: int) -> EncodedTrace:
    tokens, steps = draw(rng, TRACE_TOKENS), draw(rng, STEPS)
    ends = [*sorted(rng.sample(range(tokens - 1), steps - 1)), tokens - 1]
    ids = prompt + [rng.randrange(100, vocabulary) for _ in range(tokens)]
    return EncodedTrace(tuple(ids), tuple(len(prompt) + end for end in ends))


def score_packed(verifier: StepVerifier, candidates: list[EncodedTrace]) -> list[list[float]]:
    from prm.models.packing import plan_rows

    scores: list[list[float]] = [[] for _ in candidates]
    for row in plan_rows([candidate.input_ids for candidate in candidates], verifier.batch_tokens):
        for i, steps in zip(row, verifier._forward([candidates[i] for i in row]), strict=True):
            scores[i] = [score for score, _ in steps]
    return scores


def score_padded(model: torch.nn.Module, candidates: list[EncodedTrace]) -> list[list[float]]:
    import torch

    scores = []
    for start in range(0, len(candidates), PADDED_ROWS):
        batch = candidates[start : start + PADDED_ROWS]
        width = max(len(candidate.input_ids) for candidate in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, candidate in enumerate(batch):
            ids[i, : len(candidate.input_ids)] = torch.tensor(candidate.input_ids)
            mask[i, : len(candidate.input_ids)] = 1
        good = model(input_ids=ids, attention_mask=mask).logits.softmax(-1)[..., 1]
        scores += [good[i, list(candidate.step_ends)].tolist() for i, candidate in enumerate(batch)]
    return scores


def score_per_step(model: torch.nn.Module, candidates: list[EncodedTrace]) -> list[list[float]]:
    import torch

    scores = []
    for candidate in candidates:
        scores.append([])
        for end in candidate.step_ends:
            logits = model(torch.tensor([candidate.input_ids[: end + 1]])).logits[0, -1, [10, 11]]  # "-" and "+"
            scores[-1].append(logits.softmax(-1)[1].item())
    return scores


if __name__ == "__main__":
    run_script(main, Arguments)
