"""Training examples shaped like real ones, for benchmarks: the sixteen traces of a problem, of random tokens.

Lengths are those of GSM8K (`prm.evaluation.workloads`); the labels alternate. A problem is of one of two kinds:

    gsm8k   independent traces, which share the prompt and nothing else
    tree    a trace of five steps, and four rollouts from the end of each of its first four steps, as in Monte Carlo labeling

`pad` makes the batches that every other trainer makes of them, to compare with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from prm.evaluation.workloads import PROMPT_TOKENS, STEPS, TRACE_TOKENS, draw, sums
from prm.storage.rows import LabeledRow
from prm.training.examples import TraceExample
from prm.types import LabeledTrace, Problem, Trace

if TYPE_CHECKING:
    import torch

HEADER = list(range(10, 34))
"""The chat template's system turn, the same tokens in front of every prompt."""
TRACES_PER_PROBLEM = 16
MODEL_INPUTS = ("input_ids", "position_ids", "subtree_end", "step_index")
"""What a packed batch holds for the model, beside targets."""


def make_example(problem: str, prompt: list[int], steps: Sequence[list[int]]) -> TraceExample:
    """A trace of these tokens, its steps labeled wrong and right in turn."""
    ids, ends = list(prompt), []
    for step in steps:
        ids += step
        ends.append(len(ids) - 1)
    return TraceExample(
        input_ids=tuple(ids),
        step_ends=tuple(ends),
        targets=tuple(float(i % 2) for i in range(len(steps))),
        hard=tuple(i % 2 == 1 for i in range(len(steps))),
        steps=tuple(range(len(steps))),
        problem=problem,
        truncated=False,
    )


def labeled_rows(count: int) -> list[LabeledRow]:
    """Traces of four steps and 100 tokens with their prompt, eight of each problem, in the arithmetic set's texts."""
    rng, rows = random.Random(0), []
    for i in range(count):
        if i % 8 == 0:
            problem = Problem(f"p/{i}", sums(rng, 30), "1", "bench")
        trace = Trace(problem.id, tuple(sums(rng, 18) for _ in range(4)), "1", True, index=i % 8)
        labeled = LabeledTrace(trace, (True, False) * 2, (0.5,) * 4, None, "m", "value")
        rows.append(LabeledRow(problem, labeled, f"rows:{i}"))
    return rows


def random_ids(rng: random.Random, count: int, vocabulary: int) -> list[int]:
    return [rng.randrange(100, vocabulary) for _ in range(count)]


def make_prompt(rng: random.Random, vocabulary: int) -> list[int]:
    return HEADER + random_ids(rng, draw(rng, PROMPT_TOKENS) - len(HEADER), vocabulary)


def gsm8k_problem(rng: random.Random, name: str, vocabulary: int) -> list[TraceExample]:
    """Independent traces of one problem: they share the prompt and nothing else."""
    prompt = make_prompt(rng, vocabulary)
    examples = []
    for _ in range(TRACES_PER_PROBLEM):
        tokens, count = draw(rng, TRACE_TOKENS), draw(rng, STEPS)
        cuts = sorted(rng.sample(range(1, tokens), count - 1))
        steps = [random_ids(rng, b - a, vocabulary) for a, b in zip([0, *cuts], [*cuts, tokens], strict=True)]
        examples.append(make_example(name, prompt, steps))
    return examples


def tree_problem(rng: random.Random, name: str, vocabulary: int) -> list[TraceExample]:
    """Four rollouts from the end of each of the first four steps of a trace of five."""
    prompt = make_prompt(rng, vocabulary)
    trunk = [random_ids(rng, draw(rng, TRACE_TOKENS) // 5 or 1, vocabulary) for _ in range(5)]
    examples = []
    for kept in range(1, 5):
        for _ in range(4):
            rest = [random_ids(rng, draw(rng, TRACE_TOKENS) // 5 or 1, vocabulary) for _ in range(5 - kept)]
            examples.append(make_example(name, prompt, [*trunk[:kept], *rest]))
    return examples


def pad(examples: Sequence[TraceExample]) -> dict[str, torch.Tensor]:
    """Batches of the stock collator: rows padded to the longest on the right, labels -100 except at step ends."""
    import torch

    width = max(len(e.input_ids) for e in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, e in enumerate(examples):
        ids[i, : len(e.input_ids)] = torch.tensor(e.input_ids)
        mask[i, : len(e.input_ids)] = 1
        labels[i, : len(e.input_ids)] = torch.tensor(labels_of(e))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def labels_of(example: TraceExample) -> list[int]:
    """A label for every token: -100 except at step ends."""
    labels = [-100] * len(example.input_ids)
    for end, target in zip(example.step_ends, example.targets, strict=True):
        labels[end] = int(target)
    return labels


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
