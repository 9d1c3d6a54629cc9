"""Labeled rows -> training examples: token ids, the positions of labeled steps, and their targets.

One example of the embedded set (two steps, both labeled; 0.75 is 6 of 8 rollouts):

    {"input_ids": [6, 61, 3, 52, 7, 12, 61, 8, 52, 11, 99, 12, 13, 99, 12], "step_ends": [11, 14],
     "targets": [0.75, 1.0], "hard": [True, True], "problem": "arithmetic/train/7"}

Truncation happens at a step boundary and is counted. A row with no labeled step left is an error that names the row:
its loss would be 0/0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedTokenizerBase

from prm.encoding import EncodedTrace, StepCodec
from prm.formats import LabeledRow
from prm.verifiers.step_verifier import pad_batch

Example = dict[str, Any]


@dataclass(frozen=True)
class DatasetReport:
    """What became of the rows."""

    rows: int
    truncated: int
    """Rows that lost steps because they are longer than `max_length`."""
    labeled_steps: int
    good_steps: int

    def __str__(self) -> str:
        share = self.good_steps / self.labeled_steps
        return f"{self.rows} traces, {self.labeled_steps} labeled steps ({share:.1%} good), {self.truncated} truncated"


def prm_examples(
    rows: Sequence[LabeledRow], codec: StepCodec, tokenizer: PreTrainedTokenizerBase, targets: Literal["soft", "hard"]
) -> tuple[list[Example], DatasetReport]:
    """One example per labeled trace, with a target at every labeled step.

    Args:
        targets: `soft` = the values (needs them), `hard` = the labels.

    Raises:
        ValueError: no labeled step is left in a row, or soft targets are asked of rows that have none.
    """
    examples = []
    for row in rows:
        labeled = row.labeled
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
    rows: Sequence[LabeledRow], codec: StepCodec, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Example], DatasetReport]:
    """One example per trace with its outcome as the target of the last step. Rows are those of `read_outcomes`."""
    examples = []
    for row in rows:
        outcome = row.labeled.labels[-1]
        only_last = (*[None] * (len(row.labeled.labels) - 1), outcome)
        examples.append(_example(row, codec, tokenizer, only_last, only_last))
    return examples, _report(examples)


class StepCollator:
    """Examples -> a right-padded batch; `labels` are the targets of all labeled steps, (steps,) fp32."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        encoded_N = [EncodedTrace(tuple(e["input_ids"]), tuple(e["step_ends"])) for e in examples]
        labels = torch.tensor([target for e in examples for target in e["targets"]], dtype=torch.float32)
        return {**pad_batch(encoded_N, self.pad_id), "labels": labels}


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
    return {
        "input_ids": list(encoded.input_ids),
        "step_ends": [encoded.step_ends[i] for i in labeled],
        "targets": [float(targets[i]) for i in labeled],  # type: ignore[arg-type]
        "hard": [bool(hard[i]) for i in labeled],
        "problem": row.problem.id,
        "truncated": len(encoded.step_ends) < len(steps),
    }


def _report(examples: Sequence[Example]) -> DatasetReport:
    return DatasetReport(
        rows=len(examples),
        truncated=sum(e["truncated"] for e in examples),
        labeled_steps=sum(len(e["hard"]) for e in examples),
        good_steps=sum(sum(e["hard"]) for e in examples),
    )
