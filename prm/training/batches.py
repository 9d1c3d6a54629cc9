"""Training examples -> batches: which examples come together, and how they become one packed row.

`ProblemSampler` puts the traces of a problem next to each other, so that a micro-batch has prefixes to share;
`StepCollator` packs a micro-batch into one row in which each shared prefix is computed once (`prm.models.packing`).
`RowCollator` cuts all traces of an optimizer step into rows by their tokens, which is what fills a GPU; the loss is the
same, because it is a sum over targets.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler

from prm.models.packing import pack, plan_rows
from prm.training.examples import Example, PairExample, TraceExample


class ProblemSampler(Sampler[int]):
    """Examples in random order, those of one problem one after another, so that a micro-batch has prefixes to share.

    The order depends on seed and epoch alone, so a resumed run sees the same one. A batch holds fewer problems than one
    drawn trace by trace: use batches of several problems.
    """

    def __init__(self, problems: Sequence[str], seed: int) -> None:
        """
        Args:
            problems: the problem id of each example.
        """
        self.problems = problems
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[int]:
        # A generator for each epoch, not one that goes on: a run that is resumed in epoch 3 never ran epochs 1 and 2.
        rng = random.Random(f"{self.seed}/{self.epoch}")
        groups: dict[str, list[int]] = {}
        for i, problem in enumerate(self.problems):
            groups.setdefault(problem, []).append(i)
        # Problems in random order.
        order = list(groups.values())
        rng.shuffle(order)
        # Within a problem too: with more traces than a micro-batch holds, other ones meet in every epoch.
        for group in order:
            rng.shuffle(group)
            yield from group


class StepCollator:
    """Examples -> one packed row, the positions in it at which scores are read, and their targets.

    `step_index` (steps,) are the positions, trace by trace; `step_trace` (steps,) says which trace of the batch each
    belongs to; `labels` (targets,) are the targets in fp32: one per position, or one per pair. A position that several
    traces share occurs once for each of them: the loss is that of separate sequences, whatever shares a row. `rollouts`
    (targets,) says how many rollouts each target is the share of, 1 where it is none.
    """

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        # The traces in the order of their targets. Of a pair, the right one comes first (`losses.bradley_terry`).
        traces: list[TraceExample] = []
        targets: list[float] = []
        rollouts: list[int] = []
        for example in examples:
            if isinstance(example, PairExample):
                traces += (example.right, example.wrong)
                targets.append(1.0)
                rollouts.append(1)
            else:
                traces.append(example)
                targets += example.targets
                rollouts += example.rollouts or (1,) * len(example.targets)
        # One row for all of them: traces of one problem, and pairs with a trace in common, share tokens.
        row = pack([trace.input_ids for trace in traces])
        # From positions in each trace to positions in the row.
        index = [positions[list(trace.step_ends)] for positions, trace in zip(row.positions_N, traces, strict=True)]
        # Losses that compare the steps of one trace need to know which steps these are.
        owner = [i for i, trace in enumerate(traces) for _ in trace.step_ends]
        return row.model_inputs() | {
            "step_index": torch.cat(index),
            "step_trace": torch.tensor(owner),
            "labels": torch.tensor(targets, dtype=torch.float32),
            "rollouts": torch.tensor(rollouts),
            # Not for the model: what the row would be without sharing (`prm.training.throughput`).
            "sequence_tokens": torch.tensor(sum(len(trace.input_ids) for trace in traces)),
        }


class RowCollator:
    """The examples of an optimizer step -> `{"rows": [row, ...], "input_ids": ..., "labels": ...}`, each row as a
    `StepCollator` makes it and with at most `tokens_per_row` tokens. The Trainer counts by the ids and targets of all rows.
    """

    def __init__(self, tokens_per_row: int | None) -> None:
        """
        Args:
            tokens_per_row: shared tokens counted once; a longer trace has its own row. None = set before the first batch.
        """
        self.tokens_per_row = tokens_per_row

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        assert self.tokens_per_row is not None
        planned = plan_rows([sequence_of(example) for example in examples], self.tokens_per_row)
        rows = [StepCollator()([examples[i] for i in row]) for row in planned]
        ids, labels = (torch.cat([row[name] for row in rows], -1) for name in ("input_ids", "labels"))
        return {"rows": rows, "input_ids": ids, "labels": labels}


def sequence_of(example: Example) -> tuple[int, ...]:
    """The tokens by which an example is planned into a row; of a pair those of both traces, as if they shared none."""
    if isinstance(example, PairExample):
        return example.right.input_ids + example.wrong.input_ids
    return example.input_ids
