r"""Scoring speed: the candidates of one problem, ours against padded batches and against one forward pass per step.

64 candidates of a GSM8K-shaped problem (a chat-templated prompt, lengths drawn from those of GSM8K in SmolLM2 tokens,
nothing shared except the prompt) are scored in three ways by random weights of one shape, in fp32:

- ours: packed prefix trees, two logits at step ends (`StepVerifier`);
- padded: `AutoModelForTokenClassification` on batches of 8 rows (`--padded_rows`) in the order given, as search-and-learn
  and TRL score;
- per step: one forward pass of a causal language model for every step of every candidate, with all logits, of which those
  of "+" and "-" are read (as the evaluations of RLHFlow and reward_hub do). Measured on the first 4 candidates.

The ways take turns; the first round of each is not counted. Tokenization is not measured. With `--device cuda` all of them
compute in bf16. Nothing else should run on the machine.

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
from pathlib import Path
from typing import TYPE_CHECKING

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.encoding.codec import EncodedTrace, StepCodec
from prm.evaluation.workloads import PROMPT_TOKENS, SHAPES, STEPS, TRACE_TOKENS, draw, llama, save_llama
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:
    import torch

    from prm.verifiers.step_verifier import StepVerifier

PER_STEP_CANDIDATES = 4


@dataclass
class Arguments:
    model: str = field(default="135m", metadata={"help": "shape of the model", "choices": list(SHAPES)})
    candidates: int = field(default=64, metadata={"help": "candidates of the problem", "least": 1})
    rounds: int = field(default=2, metadata={"help": "rounds that are counted; the ways take turns", "least": 1})
    device: str = field(default="cpu", metadata={"help": "where", "choices": ["cpu", "cuda"]})
    padded_rows: int = field(default=8, metadata={"help": "candidates in a padded batch", "least": 1})
    compile: bool = field(default=False, metadata={"help": "our layers through torch.compile, each apart"})
    base: Path | None = field(
        default=None, metadata={"help": "folder of the random weights, made if there is none; default: a temporary one"}
    )


def main(args: Arguments) -> None:
    # Not at the top: help and a typo must not wait for torch.
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

    from prm.models.folders import SAFELY
    from prm.models.loading import from_base
    from prm.models.packing import pack, plan_rows
    from prm.verifiers.step_verifier import StepVerifier

    rng = random.Random(0)
    config = llama(args.model)
    vocabulary = config.vocab_size
    prompt = [rng.randrange(100, vocabulary) for _ in range(draw(rng, PROMPT_TOKENS))]
    candidates = [make_candidate(rng, prompt, vocabulary) for _ in range(args.candidates)]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = arithmetic.build_tokenizer()
        base = save_llama(args.model, args.base or Path(folder) / "base", tokenizer, args.device)
        options = {"dtype": torch.float32 if args.device == "cpu" else torch.bfloat16}
        codec, on_device = StepCodec(max_length=2048), torch.device(args.device)
        ours = StepVerifier(
            from_base(base, **options).to(on_device),  # type: ignore[arg-type]
            tokenizer,
            VerifierConfig("prm", codec, "value", "last", base, ""),
        )
        if args.compile:
            for layer in ours.model.get_decoder().layers:  # type: ignore[operator, union-attr]
                layer.compile()
        padded = AutoModelForTokenClassification.from_pretrained(base, num_labels=2, **options, **SAFELY).eval()
        padded.load_state_dict(ours.model.state_dict())
        padded.to(on_device)
        causal = AutoModelForCausalLM.from_pretrained(base, **options, **SAFELY).eval().to(on_device)

    without_gradients, few = torch.inference_mode(), candidates[:PER_STEP_CANDIDATES]
    ways: dict[str, tuple[Callable[[], list[list[float]]], int]] = {
        "ours": (lambda: score_packed(ours, candidates), len(candidates)),
        "padded": (lambda: without_gradients(score_padded)(padded, candidates, args.padded_rows), len(candidates)),
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
    where = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    print(f"{args.model} shape, {where}; {computed:,} tokens computed, {alone:,} unshared;")
    print(f"ours and padded agree to {difference:.1g}")
    result = {
        "model": args.model,
        "device": where,
        "candidates": args.candidates,
        "candidates_per_second": {name: round(rate, 2) for name, rate in rates.items()},
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


def score_padded(model: torch.nn.Module, candidates: list[EncodedTrace], rows: int) -> list[list[float]]:
    import torch

    scores = []
    for start in range(0, len(candidates), rows):
        batch = candidates[start : start + rows]
        width = max(len(candidate.input_ids) for candidate in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, candidate in enumerate(batch):
            ids[i, : len(candidate.input_ids)] = torch.tensor(candidate.input_ids)
            mask[i, : len(candidate.input_ids)] = 1
        ids, mask = ids.to(model.device), mask.to(model.device)  # type: ignore[arg-type]
        good = model(input_ids=ids, attention_mask=mask).logits.float().softmax(-1)[..., 1].tolist()
        scores += [[good[i][end] for end in candidate.step_ends] for i, candidate in enumerate(batch)]
    return scores


def score_per_step(model: torch.nn.Module, candidates: list[EncodedTrace]) -> list[list[float]]:
    import torch

    scores = []
    for candidate in candidates:
        scores.append([])
        for end in candidate.step_ends:
            ids = torch.tensor([candidate.input_ids[: end + 1]], device=model.device)  # type: ignore[arg-type]
            logits = model(ids).logits[0, -1, [10, 11]]  # "-" and "+"
            scores[-1].append(logits.softmax(-1)[1].item())
    return scores


if __name__ == "__main__":
    run_script(main, Arguments)
