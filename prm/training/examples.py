"""Labeled rows -> training examples: token ids, the positions at which a score is learned, and their targets.

One example of the embedded set (two steps, both labeled; 0.75 is 6 of 8 rollouts):

    TraceExample(input_ids=(6, 61, 3, 52, 7, 12, 61, 8, 52, 11, 99, 12, 13, 99, 12), step_ends=(11, 14),
                 targets=(0.75, 1.0), hard=(True, True), steps=(0, 1), problem="arithmetic/train/7", truncated=False)

A trace that is longer than `max_length` is an error that says how many there are and what length would hold them, unless
the user decides: `drop` leaves such traces out, `truncate` leaves their last steps out. Both are counted. A row with no
labeled step left is an error that names the row: its loss would be 0/0. Tokens after the last labeled step are dropped,
since nothing reads them.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from prm.encoding.codec import EncodedTrace, StepCodec
from prm.storage.rows import LabeledRow
from prm.training.columns import Columns, encode_together
from prm.types import LabeledTrace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TraceExample:
    """One trace, with a target at every labeled step."""

    input_ids: tuple[int, ...]
    step_ends: tuple[int, ...]
    """Positions in `input_ids` at which a score is learned: the ends of labeled steps, or every token of an ORM's trace
    (`orm_examples`)."""
    targets: tuple[float, ...]
    """What the score is to be at each of them, in [0, 1]."""
    hard: tuple[bool, ...]
    """The hard label at each of them, for metrics."""
    steps: tuple[int, ...]
    """Indices of the labeled steps in the trace."""
    problem: str
    """Id of its problem."""
    truncated: bool
    """Whether the trace lost steps because it is longer than `max_length`."""
    rollouts: tuple[int, ...] = ()
    """Of how many rollouts each target is the share; empty where targets are no counts."""


@dataclass(frozen=True)
class PairExample:
    """A right and a wrong trace of one problem, to be compared."""

    right: TraceExample
    wrong: TraceExample

    @property
    def problem(self) -> str:
        return self.right.problem


Example = TraceExample | PairExample

NUMBERS = {"input_ids": "i", "step_ends": "i", "targets": "d", "hard": "?", "steps": "i", "rollouts": "i"}
"""Fields of a `TraceExample` that `Columns` holds as numbers."""

Overlong = Literal["error", "drop", "truncate"]
"""What becomes of traces that are longer than the model reads."""


@dataclass(frozen=True)
class DatasetReport:
    """Counts of the rows that became examples."""

    rows: int
    truncated: int
    """Rows that lost steps because they are longer than `max_length`."""
    dropped: int
    """Rows that were left out because they are longer than `max_length`; not counted in `rows`."""
    labeled_steps: int
    good_steps: int
    mean_target: float
    tokens: int
    """Of all rows, without sharing."""

    def __str__(self) -> str:
        share = self.good_steps / self.labeled_steps
        return (
            f"{self.rows} traces, {self.labeled_steps} labeled steps ({share:.1%} good, mean target"
            f" {self.mean_target:.3f}), {self.truncated} truncated, {self.dropped} dropped, {self.tokens} tokens"
        )


@dataclass(frozen=True)
class ExampleSet:
    """Rows, the example made of each of them, and their counts."""

    rows: Sequence[LabeledRow]
    examples: Sequence[TraceExample]
    report: DatasetReport


def prm_examples(
    rows: Sequence[LabeledRow],
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    targets: Literal["soft", "hard", "counts"],
    until_first_error: bool = False,
    overlong: Overlong = "error",
) -> ExampleSet:
    """One example per labeled trace, with a target at every labeled step.

    Args:
        targets: `soft` = the values (which the rows must have), `hard` = the labels, `counts` = the successes among the
            rollouts after a step. A label without a rollout, as bisection infers it (`prm.labelers.first_error`), is no
            target then: its step is left out, and so is not among the labeled steps of the report.
        until_first_error: steps after the first bad one have no target (Lightman et al. 2305.20050: what right means is
            unclear there).
        overlong: what becomes of traces that are longer than the codec's `max_length`.

    Raises:
        ValueError: traces are too long and nobody decided what to do, no labeled step is left in a row, or targets are soft
            and a row has no values, or counts and it has none.
    """
    kept, encoded_N = _encode(rows, codec, tokenizer, overlong)
    examples = Columns(TraceExample, NUMBERS)
    for row, encoded in zip(kept, encoded_N, strict=True):
        labeled = _until_first_error(row.labeled) if until_first_error else row.labeled
        targets_S: Sequence[float | None] = labeled.labels
        rollouts_S: Sequence[int] = ()
        if targets == "counts":
            labeled, targets_S, rollouts_S = _counted(row.where, labeled)
        if targets == "soft":
            targets_S = labeled.values or (None,) * len(labeled.labels)
            for i, (label, value) in enumerate(zip(labeled.labels, targets_S, strict=True), 1):
                if label is not None and value is None:
                    raise ValueError(
                        f"{row.where}: soft targets need `values`, step {i} has none; train with --targets hard"
                    )
        example = _example(row, encoded, codec, targets_S, labeled.labels)
        examples.append(
            replace(example, rollouts=tuple(rollouts_S[i] for i in example.steps)) if rollouts_S else example
        )
    return ExampleSet(kept, examples, _report(examples, dropped=len(rows) - len(kept)))


def orm_examples(
    rows: Sequence[LabeledRow],
    codec: StepCodec,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Literal["last", "all"] = "last",
    overlong: Overlong = "error",
) -> ExampleSet:
    """One example per trace, with its outcome as target. Rows are those of `read_outcomes`.

    Args:
        tokens: `last` = at the last step, where an ORM is read; `all` = at every token after the prompt (Cobbe et al.
            2110.14168: learns more slowly at first and overfits later). The report counts one step per trace either way.
        overlong: as in `prm_examples`; a truncated trace has lost the step that has the outcome, and is an error.
    """
    kept, encoded_N = _encode(rows, codec, tokenizer, overlong)
    examples = Columns(TraceExample, NUMBERS)
    for row, encoded in zip(kept, encoded_N, strict=True):
        outcome = row.labeled.labels[-1]
        only_last = (*[None] * (len(row.labeled.labels) - 1), outcome)
        examples.append(_example(row, encoded, codec, only_last, only_last))
    report = _report(examples, dropped=len(rows) - len(kept))
    if tokens == "last":
        return ExampleSet(kept, examples, report)
    everywhere = Columns(TraceExample, NUMBERS)
    for row, example in zip(kept, examples, strict=True):
        positions = range(len(codec.prompt.encode(tokenizer, row.problem.prompt)), len(example.input_ids))
        everywhere.append(
            replace(
                example,
                step_ends=tuple(positions),
                targets=example.targets * len(positions),
                hard=example.hard * len(positions),
            )
        )
    return ExampleSet(kept, everywhere, report)


def pair_examples(examples: Sequence[TraceExample], per_problem: int = 16, seed: int = 0) -> list[PairExample]:
    """Pairs of a right and a wrong trace of one problem, at most `per_problem` drawn from each problem.

    Args:
        examples: of `orm_examples` with `tokens="last"`.

    Raises:
        ValueError: no problem has both.
    """
    rng = random.Random(seed)
    by_problem: dict[str, tuple[list[TraceExample], list[TraceExample]]] = {}
    for example in examples:
        right, wrong = by_problem.setdefault(example.problem, ([], []))
        (right if example.hard[-1] else wrong).append(example)
    pairs = []
    for right, wrong in by_problem.values():
        all_pairs = [PairExample(r, w) for r in right for w in wrong]
        pairs += rng.sample(all_pairs, min(per_problem, len(all_pairs)))
    if not pairs:
        raise ValueError(
            f"none of {len(by_problem)} problems has a right and a wrong trace, so there is nothing to compare; sample more"
            " traces per problem, or train on single traces"
        )
    return pairs


def _encode(
    rows: Sequence[LabeledRow], codec: StepCodec, tokenizer: PreTrainedTokenizerBase, overlong: Overlong
) -> tuple[Sequence[LabeledRow], Sequence[EncodedTrace]]:
    """The rows that stay, and their tokens of any length."""
    traces = [(row.problem.prompt, row.labeled.trace.steps) for row in rows]
    encoded_N = encode_together(codec, tokenizer, traces)
    fits = [codec.fit(encoded) == len(encoded.step_ends) for encoded in encoded_N]
    if overlong == "truncate" or all(fits):
        return rows, encoded_N
    if overlong == "error":
        lengths = sorted(sizes := [len(encoded.input_ids) for encoded in encoded_N])
        longest = max(range(len(rows)), key=sizes.__getitem__)
        raise ValueError(
            f"{fits.count(False)} of {len(rows)} traces are longer than --max_length {codec.max_length}, the longest"
            f" ({rows[longest].where}) has {lengths[-1]} tokens; {lengths[(99 * len(rows) - 1) // 100]} would hold 99% of"
            " them. Raise --max_length, or leave them out with --overlong drop, or their last steps with --overlong truncate"
        )
    kept = [i for i, fit in enumerate(fits) if fit]
    if not kept:
        raise ValueError(f"all {len(rows)} traces are longer than --max_length {codec.max_length}; raise it")
    return [rows[i] for i in kept], [encoded_N[i] for i in kept]


def _example(
    row: LabeledRow,
    whole: EncodedTrace,
    codec: StepCodec,
    targets: Sequence[float | bool | None],
    hard: Sequence[bool | None],
) -> TraceExample:
    steps = row.labeled.trace.steps
    encoded = codec.truncate(whole)
    labeled = [i for i, label in enumerate(hard[: len(encoded.step_ends)]) if label is not None]
    if not labeled:
        raise ValueError(
            f"{row.where}: no labeled step is left in {row.labeled.trace.id} ({len(steps)} steps, {len(whole.input_ids)}"
            f" tokens, max_length {codec.max_length}); raise --max_length or remove the row"
        )
    last = encoded.step_ends[labeled[-1]]
    return TraceExample(
        input_ids=encoded.input_ids[: last + 1],
        step_ends=tuple(encoded.step_ends[i] for i in labeled),
        targets=tuple(float(targets[i]) for i in labeled),  # type: ignore[arg-type]
        hard=tuple(bool(hard[i]) for i in labeled),
        steps=tuple(labeled),
        problem=row.problem.id,
        truncated=len(encoded.step_ends) < len(steps),
    )


def _counted(where: str, labeled: LabeledTrace) -> tuple[LabeledTrace, list[float], list[int]]:
    """The trace with the labels of the steps that have rollouts; per step, the share of successes and the rollouts."""
    if labeled.counts is None:
        raise ValueError(
            f"{where}: the row has no `counts` of rollouts, from which --objective beta_binomial learns; label traces with"
            " data/label_steps.py, or train with --objective cross_entropy"
        )
    shares, rollouts = [good / n if n else 0.0 for good, n in labeled.counts], [n for _, n in labeled.counts]
    labels = tuple(label if n else None for label, n in zip(labeled.labels, rollouts, strict=True))
    return replace(labeled, labels=labels), shares, rollouts


def _until_first_error(labeled: LabeledTrace) -> LabeledTrace:
    first = labeled.first_error
    if first < 0:
        return labeled
    return replace(labeled, labels=(*labeled.labels[: first + 1], *[None] * (len(labeled.labels) - first - 1)))


def _report(examples: Sequence[TraceExample], dropped: int) -> DatasetReport:
    truncated = good_steps = tokens = 0
    targets = array("d")
    for example in examples:
        truncated += example.truncated
        good_steps += sum(example.hard)
        tokens += len(example.input_ids)
        targets.extend(example.targets)
    return DatasetReport(len(examples), truncated, dropped, len(targets), good_steps, fmean(targets), tokens)
