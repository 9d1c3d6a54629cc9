r"""What verifier and generator cost in beam search: ours, which keep what they have read, against every prefix read again.

Beam search (16 beams, width 4) on a problem with a prompt and steps as long as those of GSM8K in SmolLM2 tokens; the steps
are random, and so are the weights of the verifier, in fp32. What the search asks of a tiny verifier is recorded, and then
the verifier that is measured answers it in three ways, one call after the other:

- ours: keys and values are kept between calls, and a new step costs its own tokens (`StepVerifier`);
- packed: nothing is kept; every call is a packed prefix tree (`StepVerifier` with `keep_bytes=0`);
- padded: `AutoModelForTokenClassification` reads every prefix again, in padded batches of 8 rows, as search-and-learn does.

What the search asks of its generator is recorded, too, and a model of the same shape with a head over the vocabulary answers
it in two ways (`HfGenerator`): with what it keeps, and with every prefix read again. It draws every token, and then the one
that the search had is written instead.

The ways take turns, after one call each that is not counted. Tokens are also counted for half and for twice as many steps:
what is kept makes them grow with the number of steps instead of its square. Nothing else should run on the machine.

Reads   nothing
Writes  the last line of its output, JSON

    python eval/bench_search.py --model 135m
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING
from unittest import mock

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.encoding.codec import EncodedTrace, StepCodec
from prm.evaluation.workloads import PROMPT_TOKENS, SHAPES, STEPS, TRACE_TOKENS, draw, llama
from prm.generators.scripted import ScriptedGenerator
from prm.models.kept_tokens import KeptTokens
from prm.search import STRATEGIES
from prm.search.driver import search
from prm.search.methods import Method
from prm.types import Budget, Problem
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:  # help and a typo must not wait for torch
    import torch

    from prm.generators.hf import HfGenerator
    from prm.verifiers.step_verifier import StepVerifier

BEAMS, WIDTH = 16, 4
PADDED_ROWS = 8
CONFIG = VerifierConfig("prm", StepCodec(max_length=2048), "value", "last", "", "")

Calls = list[tuple[Sequence[str], Sequence[Sequence[str]]]]
"""Prompts and traces of each call of a verifier."""
Writing = list[tuple[list[list[int]], list[int], list[list[int]]]]
"""Prefixes, seeds and what is written, of each call of a generator."""


@dataclass
class Arguments:
    model: str = field(default="135m", metadata={"help": "shape of the model", "choices": list(SHAPES)})
    steps: int = field(default=8, metadata={"help": "steps of every trace", "least": 2})
    rounds: int = field(default=2, metadata={"help": "rounds; the ways take turns", "least": 1})


def main(args: Arguments) -> None:
    import torch
    from transformers import AutoModelForTokenClassification, LlamaForCausalLM

    from prm.models.loading import from_base
    from prm.verifiers.step_verifier import StepVerifier, largest_difference

    with tempfile.TemporaryDirectory() as folder:
        models = {}
        for shape in ("tiny", args.model):
            torch.manual_seed(0)
            LlamaForCausalLM(llama(shape)).save_pretrained(folder)
            models[shape] = from_base(folder)
        model = models[args.model]
        padded = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2, trust_remote_code=False).eval()
        padded.load_state_dict(model.state_dict())

    tokens, searches, writings = {}, {}, {}
    for steps in (args.steps // 2, args.steps, 2 * args.steps):
        verifier = StepVerifier(models["tiny"], tokenizer(), CONFIG)
        searches[steps], writings[steps], ours = beam_search(verifier, steps)
        packed, in_batches = packed_tokens(searches[steps]), padded_tokens(searches[steps])
        tokens[steps] = {"ours": ours, "packed": sum(packed), "padded": sum(in_batches)}
        print(f"{steps:2} steps:", ", ".join(f"{way} {count:,}" for way, count in tokens[steps].items()), "tokens")

    ways: dict[str, Callable[[Calls], list[float]]] = {
        "ours": lambda calls: score(StepVerifier(model, tokenizer(), CONFIG), calls),
        "packed": lambda calls: score(StepVerifier(model, tokenizer(), CONFIG, keep_bytes=0), calls),
        "padded": lambda calls: torch.inference_mode()(score_padded)(padded, calls),
    }
    calls = searches[args.steps]
    for way in ways.values():
        way(calls[:1])
    seconds, scores = dict.fromkeys(ways, 0.0), {}
    for _ in range(args.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            scores[name] = way(calls)
            seconds[name] += (time.perf_counter() - started) / args.rounds
    for name in ways:
        print(f"{name:7} {seconds[name]:7.2f} s  {tokens[args.steps][name]:7,} tokens")
    others = [scores["packed"], scores["padded"]]
    result = {
        "model": args.model,
        "threads": torch.get_num_threads(),
        "steps": args.steps,
        "tokens": tokens,
        "verifier_token_ratio": round(tokens[args.steps]["padded"] / tokens[args.steps]["ours"], 2),
        "verifier_speedup": round(seconds["padded"] / seconds["ours"], 2),
        "token_ratio_packed": round(tokens[args.steps]["packed"] / tokens[args.steps]["ours"], 2),
        "speedup_packed": round(seconds["packed"] / seconds["ours"], 2),
        "largest_difference": max(largest_difference(scores["ours"], other) for other in others),
    }
    print(json.dumps(result | generator_ways(args.model, writings[args.steps], args.rounds)))


def generator_ways(shape: str, writing: Writing, rounds: int) -> dict[str, float]:
    """The generator's part of the result."""
    import torch
    from transformers import LlamaForCausalLM

    from prm.generators.hf import HfGenerator
    from prm.verifiers.step_verifier import largest_difference

    torch.manual_seed(0)
    generator = HfGenerator(LlamaForCausalLM(llama(shape)), tokenizer(), name="bench")
    seconds, prefill, logits = {True: 0.0, False: 0.0}, {}, {}
    for keep in seconds:
        write(generator, writing[:1], keep)
    for _ in range(rounds):
        for keep in seconds:
            started = time.perf_counter()
            prefill[keep], logits[keep] = write(generator, writing, keep)
            seconds[keep] += (time.perf_counter() - started) / rounds
    written = sum(len(ids) for _, _, texts in writing for ids in texts)
    for keep, name in ((True, "kept"), (False, "prefilled again")):
        print(f"generator, {name}: {seconds[keep]:.2f} s, {prefill[keep]:,} tokens of prefixes, {written:,} written")
    return {
        "generator_prefill_ratio": round(prefill[False] / prefill[True], 2),
        "generator_speedup": round(seconds[False] / seconds[True], 2),
        "generator_largest_difference": largest_difference(logits[True], logits[False]),
    }


def write(generator: HfGenerator, writing: Writing, keep: bool) -> tuple[int, list[float]]:
    """Answer the calls. Returns the tokens of prefixes that were computed, padding left out, and the largest logit of every
    token."""
    import torch

    from prm.generators import decoding
    from prm.generators.draws import uniform

    # A token's seed and place give the number that it is drawn with, so this number says what is to be written.
    script = {
        float(uniform([seed], [t])[0]): token
        for _, seeds, texts in writing
        for seed, ids in zip(seeds, texts, strict=True)
        for t, token in enumerate(ids)
    }
    largest: list[float] = []
    computed = 0
    sampler = decoding.draw

    def scripted(logits: torch.Tensor, numbers: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
        sampler(logits, numbers, temperature, top_p)  # the time of sampling is part of the time
        drawn = numbers.tolist()
        largest.extend(value for value, u in zip(logits.amax(-1).tolist(), drawn, strict=True) if u in script)
        return torch.tensor([script.get(u, 0) for u in drawn])  # what has ended may stay for some turns

    def count(module: torch.nn.Module, inputs: tuple, named: dict) -> None:
        nonlocal computed
        if "logits_to_keep" in named:  # a pass that reads prefixes
            computed += int(named["attention_mask"][:, -named["input_ids"].shape[1] :].sum())

    hook = generator.model.register_forward_pre_hook(count, with_kwargs=True)
    kept = KeptTokens() if keep else None
    with mock.patch.object(decoding, "draw", scripted):
        for prefixes, seeds, texts in writing:
            found = generator.generate(prefixes, seeds, until="step", kept=kept)
            assert [list(one.token_ids) for one in found] == texts
    hook.remove()
    return computed, largest


def beam_search(verifier: StepVerifier, steps: int) -> tuple[Calls, Writing, int]:
    """What a beam search asks of its verifier and of its generator, and the tokens that the verifier computes for it."""
    rng = random.Random(0)
    problem = Problem("p", text(rng, draw(rng, PROMPT_TOKENS)), "1", "bench")

    def continue_(prefix: str, seed: int) -> str:
        rng = random.Random(f"{prefix}{seed}")
        if prefix.count("\n") == steps:  # the prompt's line and all steps but one
            return "#### 1\n"
        return text(rng, max(4, round(draw(rng, TRACE_TOKENS) / draw(rng, STEPS)))) + "\n"

    calls: Calls = []
    writing: Writing = []
    computed = 0
    generator = ScriptedGenerator(continue_)
    score_batch, generate = verifier.score_batch, generator.generate

    def record(prompts: Sequence[str], steps_N: Sequence[Sequence[str]]):
        calls.append((prompts, steps_N))
        return score_batch(prompts, steps_N)

    def record_written(prefixes: Sequence[Sequence[int]], seeds: Sequence[int], **settings):
        found = generate(prefixes, seeds, **settings)
        texts = ["".join(map(chr, prefix)) for prefix in prefixes]
        writing.append((token_ids(texts), list(seeds), token_ids([one.text for one in found])))
        return found

    def count(module: torch.nn.Module, inputs: tuple, named: dict) -> None:
        nonlocal computed
        computed += named["input_ids"].numel()

    generator.generate = record_written  # type: ignore[method-assign]
    verifier.score_batch = record  # type: ignore[method-assign]
    hook = verifier.model.register_forward_pre_hook(count, with_kwargs=True)
    method = Method("beam_search", STRATEGIES["beam_search"], "verifier", {"width": WIDTH})
    search(method, [problem], generator, verifier, Budget(BEAMS), seed=0)
    hook.remove()
    return calls, writing, computed


def token_ids(texts: list[str]) -> list[list[int]]:
    return tokenizer()(texts, add_special_tokens=False, verbose=False)["input_ids"]


@cache
def tokenizer():
    return arithmetic.build_tokenizer()


def text(rng: random.Random, tokens: int) -> str:
    """So many tokens and a line end, or one less: the tokenizer knows numbers and what stands between them."""
    return " + ".join(str(rng.randrange(100)) for _ in range((tokens + 1) // 2))


def encode(calls: Calls) -> Iterator[list[EncodedTrace]]:
    """The encoded traces of each call."""
    for prompts, steps_N in calls:
        yield [CONFIG.codec.encode(tokenizer(), prompt, steps) for prompt, steps in zip(prompts, steps_N, strict=True)]


def padded_batches(encoded_N: list[EncodedTrace]) -> list[list[EncodedTrace]]:
    return [encoded_N[i : i + PADDED_ROWS] for i in range(0, len(encoded_N), PADDED_ROWS)]


def packed_tokens(calls: Calls) -> Iterator[int]:
    from prm.models.packing import pack

    for encoded_N in encode(calls):
        yield len(pack([encoded.input_ids for encoded in encoded_N]).input_ids)


def padded_tokens(calls: Calls) -> Iterator[int]:
    for encoded_N in encode(calls):
        for rows in padded_batches(encoded_N):
            yield len(rows) * max(len(row.input_ids) for row in rows)


def score(verifier: StepVerifier, calls: Calls) -> list[float]:
    """The scores of the last steps."""
    return [its.steps[-1] for call in calls for its in verifier.score_batch(*call) if its is not None]


def score_padded(model: torch.nn.Module, calls: Calls) -> list[float]:
    import torch

    scores = []
    for encoded_N in encode(calls):
        for rows in padded_batches(encoded_N):
            width = max(len(row.input_ids) for row in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for i, row in enumerate(rows):
                ids[i, : len(row.input_ids)] = torch.tensor(row.input_ids)
                mask[i, : len(row.input_ids)] = 1
            good = model(input_ids=ids, attention_mask=mask).logits.softmax(-1)[..., 1]
            scores += [good[i, row.step_ends[-1]].item() for i, row in enumerate(rows)]
    return scores


if __name__ == "__main__":
    run_script(main, Arguments)
