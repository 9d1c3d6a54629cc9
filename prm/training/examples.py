"""Labeled rows -> training examples: token ids, the positions of labeled steps, and their targets.

One example of the embedded set (two steps, both labeled; 0.75 is 6 of 8 rollouts):

    {"input_ids": [6, 61, 3, 52, 7, 12, 61, 8, 52, 11, 99, 12, 13, 99, 12], "step_ends": [11, 14],
     "targets": [0.75, 1.0], "hard": [True, True], "steps": [0, 1], "problem": "arithmetic/train/7",
     "truncated": False}

`StepCollator` packs the examples of a micro-batch into one row (`prm.models.packing`), and `ProblemSampler` puts the
traces of a problem next to each other so that they have something to share.

Truncation happens at a step boundary and is counted. A row with no labeled step left is an error that names the row:
its loss would be 0/0. Tokens behind the last labeled step are not kept, since nothing reads them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

import torch
from torch.utils.data import Sampler
from transformers import PreTrainedTokenizerBase

from prm.encoding.codec import StepCodec
from prm.models.packing import pack
from prm.storage.rows import LabeledRow
from prm.types import LabeledTrace

Example = dict[str, Any]


@dataclass(frozen=True)
class DatasetReport:
    """What became of the rows."""

    rows: int
    truncated: int
    """Rows that lost steps because they are longer than `max_length`."""
    labeled_steps: int
    good_steps: int
    mean_target: float
    tokens: int
    """Of all rows, each on its own."""

    def __str__(self) -> str:
        share = self.good_steps / self.labeled_steps
        return (
            f"{self.rows} traces, {self.labeled_steps} labeled steps ({share:.1%} good, mean target"
            f" {self.mean_target:.3f}), {self.truncated} truncated, {self.tokens} tokens"
        )


def prm_examples(
    rows: Sequence[LabeledRow],
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    targets: Literal["soft", "hard"],
    until_first_error: bool = False,
) -> tuple[list[Example], DatasetReport]:
    """One example per labeled trace, with a target at every labeled step.

    Args:
        targets: `soft` = the values (needs them), `hard` = the labels.
        until_first_error: steps behind the first bad one have no target (Lightman et al. 2305.20050: there it is unclear
            what right means).

    Raises:
        ValueError: no labeled step is left in a row, or soft targets are asked of rows that have none.
    """
    examples = []
    for row in rows:
        labeled = _until_first_error(row.labeled) if until_first_error else row.labeled
        targets_S: Sequence[float | None] = labeled.labels
        if targets == "soft":
            targets_S = labeled.values or (None,) * len(labeled.labels)
            for i, (label, value) in enumerate(zip(labeled.labels, targets_S, strict=True)):
                if label is not None and value is None:
                    raise ValueError(
                        f"{row.where}: soft targets need `values`, step {i} has none; train with --targets hard"
                    )
        examples.append(_example(row, codec, tokenizer, targets_S, labeled.labels))
    return examples, _report(examples)


def orm_examples(
    rows: Sequence[LabeledRow],
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Literal["last", "all"] = "last",
) -> tuple[list[Example], DatasetReport]:
    """One example per trace with its outcome as target. Rows are those of `read_outcomes`.

    Args:
        tokens: `last` = at the last step, where an ORM is read; `all` = at every token behind the prompt (Cobbe et al.
            2110.14168: learns slower at first and overfits later).
    """
    examples = []
    for row in rows:
        outcome = row.labeled.labels[-1]
        only_last = (*[None] * (len(row.labeled.labels) - 1), outcome)
        examples.append(_example(row, codec, tokenizer, only_last, only_last))
    report = _report(examples)  # before tokens count as steps
    if tokens == "all":
        for row, example in zip(rows, examples, strict=True):
            start = len(codec.prompt.encode(tokenizer, row.problem.prompt))
            count = len(example["input_ids"]) - start
            example["step_ends"] = list(range(start, start + count))
            example["targets"], example["hard"] = example["targets"] * count, example["hard"] * count
    return examples, report


def pair_examples(examples: Sequence[Example], per_problem: int = 16, seed: int = 0) -> list[Example]:
    """Pairs of a right and a wrong trace of one problem, {"pair": (right, wrong)}, at most `per_problem` drawn from each.

    Args:
        examples: of `orm_examples` with `tokens="last"`.

    Raises:
        ValueError: no problem has both.
    """
    rng = random.Random(seed)
    by_problem: dict[str, tuple[list[Example], list[Example]]] = {}
    for example in examples:
        by_problem.setdefault(example["problem"], ([], []))[not example["hard"][-1]].append(example)
    pairs = []
    for problem, (right, wrong) in by_problem.items():
        all_pairs = [(r, w) for r in right for w in wrong]
        chosen = rng.sample(all_pairs, min(per_problem, len(all_pairs)))
        pairs += [{"pair": pair, "problem": problem} for pair in chosen]
    if not pairs:
        raise ValueError(
            f"none of {len(by_problem)} problems has a right and a wrong trace, so there is nothing to compare; sample more"
            " traces per problem, or train on single traces"
        )
    return pairs


class StepCollator:
    """Examples -> one packed row, the places in it where scores are read, and their targets.

    `step_trace` (steps,) says which example of the batch a step belongs to; `labels` (targets,) fp32 are the targets of all
    labeled steps. A step that several traces share has a target for each of them (`per_trace`: the loss is that of separate
    sequences, whatever shares a row), or `once` the mean of them (a step that 16 traces begin with then counts as one, and
    how often depends on what shares a micro-batch).
    """

    def __init__(self, shared_steps: Literal["per_trace", "once"] = "per_trace") -> None:
        self.shared_steps = shared_steps

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        traces = [trace for example in examples for trace in example.get("pair", (example,))]
        row = pack([trace["input_ids"] for trace in traces])
        index = torch.cat([places[trace["step_ends"]] for places, trace in zip(row.places_N, traces, strict=True)])
        owner = torch.tensor([i for i, trace in enumerate(traces) for _ in trace["step_ends"]])
        targets = [[1.0] if "pair" in example else example["targets"] for example in examples]
        labels = torch.tensor([target for targets_S in targets for target in targets_S], dtype=torch.float32)
        if self.shared_steps == "once":
            index, back = index.unique(return_inverse=True)
            labels = torch.zeros(len(index)).index_reduce(0, back, labels, "mean", include_self=False)
            owner = torch.zeros(len(index), dtype=owner.dtype).index_reduce(0, back, owner, "amin", include_self=False)
        apart = torch.tensor(sum(len(trace["input_ids"]) for trace in traces))
        return row.model_inputs() | {
            "step_index": index,
            "step_trace": owner,
            "labels": labels,
            "sequence_tokens": apart,
        }


class ProblemSampler(Sampler[int]):
    """Examples in random order, those of one problem one after the other, so that a micro-batch has prefixes to share.

    The order depends on seed and epoch alone, so a resumed run sees the same. A batch then holds fewer problems than one
    drawn trace by trace: take batches of several problems.
    """

    def __init__(self, problems: Sequence[str], seed: int) -> None:
        self.problems = problems
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}/{self.epoch}")
        groups: dict[str, list[int]] = {}
        for i, problem in enumerate(self.problems):
            groups.setdefault(problem, []).append(i)
        order = list(groups.values())
        rng.shuffle(order)
        for group in order:
            rng.shuffle(group)
            yield from group


def _example(
    row: LabeledRow,
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    targets: Sequence[float | bool | None],
    hard: Sequence[bool | None],
) -> Example:
    steps = row.labeled.trace.steps
    whole = codec.encode(tokenizer, row.problem.prompt, steps)
    encoded = codec.truncate(whole)
    labeled = [i for i, label in enumerate(hard[: len(encoded.step_ends)]) if label is not None]
    if not labeled:
        raise ValueError(
            f"{row.where}: no labeled step is left in {row.labeled.trace.id} ({len(steps)} steps, {len(whole.input_ids)}"
            f" tokens, max_length {codec.max_length}); raise --max_length or remove the row"
        )
    last = encoded.step_ends[labeled[-1]]
    return {
        "input_ids": list(encoded.input_ids[: last + 1]),
        "step_ends": [encoded.step_ends[i] for i in labeled],
        "targets": [float(targets[i]) for i in labeled],  # type: ignore[arg-type]
        "hard": [bool(hard[i]) for i in labeled],
        "steps": labeled,
        "problem": row.problem.id,
        "truncated": len(encoded.step_ends) < len(steps),
    }


def _until_first_error(labeled: LabeledTrace) -> LabeledTrace:
    first = labeled.first_error
    if first < 0:
        return labeled
    return replace(labeled, labels=(*labeled.labels[: first + 1], *[None] * (len(labeled.labels) - first - 1)))


def _report(examples: Sequence[Example]) -> DatasetReport:
    return DatasetReport(
        rows=len(examples),
        truncated=sum(e["truncated"] for e in examples),
        labeled_steps=sum(len(e["hard"]) for e in examples),
        good_steps=sum(sum(e["hard"]) for e in examples),
        mean_target=fmean(target for e in examples for target in e["targets"]),
        tokens=sum(len(e["input_ids"]) for e in examples),
    )
