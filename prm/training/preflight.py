r"""What the training data look like, before the first step; data that cannot train a verifier are refused.

    train       36 traces, 142 labeled steps (64.1% good, mean target 0.641), 0 truncated, 1304 tokens
    validation  12 traces, 47 labeled steps (59.6% good, mean target 0.596), 0 truncated, 441 tokens

    train.jsonl:1
    Start with 47, add 38.
    47 + 38 = 85⟦\n → 1.00⟧
    #### 0⟦\n → 0.00⟧

Three traces are printed as the model will read them, decoded from their ids. The token in ⟦ ⟧ is the one at which the score
of the step is read; its target follows the arrow. Read them: a label at the wrong token, a truncated prompt or inverted
labels cost a training run and are visible in no loss curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prm.encoding.codec import StepCodec, show_positions
from prm.storage.rows import LabeledRow, read_statuses
from prm.training.examples import ExampleSet, TraceExample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def preflight(
    data: str, train: ExampleSet, validation: ExampleSet, codec: StepCodec, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Check rows and examples, then print what the module's docstring shows.

    Args:
        data: file of the training rows.

    Raises:
        ValueError: as `check_examples` and `check_targets`; names the file, the row and the fix.
    """
    for some in (train, validation):
        check_examples(some.rows, some.examples, codec, tokenizer)
    check_targets(data, train.examples)
    print(f"train       {train.report}\nvalidation  {validation.report}\n")
    for i in samples(train.examples):
        print(f"{train.rows[i].where}\n{show_targets(train.examples[i], tokenizer)}")


def check_examples(
    rows: Sequence[LabeledRow], examples: Sequence[TraceExample], codec: StepCodec, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Every target is a probability and belongs to a token that ends a step.

    Raises:
        ValueError: a position outside the ids or out of order, a target that is missing or not in 0..1, a score read at
            a token that is not the end of a step, or a marker within a prompt or step: servers that look for markers
            (vLLM) would read one score too many.
    """
    read_at = codec.step_end_ids(tokenizer)[-1]
    for row, example in zip(rows, examples, strict=True):
        ids, ends, targets = example.input_ids, example.step_ends, example.targets
        if len(ends) != len(targets):
            raise ValueError(f"{row.where}: {len(ends)} step ends but {len(targets)} targets; give every step end one")
        if list(ends) != sorted(set(ends)) or not 0 <= ends[0] <= ends[-1] < len(ids):
            raise ValueError(
                f"{row.where}: step ends {list(ends)} must increase and lie within the {len(ids)} tokens of the trace"
            )
        for target in targets:
            if not 0 <= target <= 1:
                raise ValueError(
                    f"{row.where}: target {target} is not in 0..1; correct `labels` or `values` of the row"
                )
        # With a target at every token, as an ORM may be trained, only the last one ends a step.
        for end in ends if len(ends) == len(example.steps) else ends[-1:]:
            if ids[end] != read_at:
                raise ValueError(
                    f"{row.where}: a score is read at token {end}, {tokenizer.decode([ids[end]])!r}, not at the end of a"
                    f" step, {codec.marker or codec.separator!r}; encode the trace with the codec that is trained"
                )
        if codec.marker is not None:
            for text in (row.problem.prompt, *row.labeled.trace.steps):
                if codec.marker in text:
                    raise ValueError(
                        f"{row.where}: the marker {codec.marker!r} occurs within the text {text[:60]!r}, where no label"
                        " is read; remove it from the row, or train with another --marker"
                    )


def check_targets(data: str, examples: Sequence[TraceExample]) -> None:
    """
    Raises:
        ValueError: there are no examples, or all their targets are equal: a constant would be the best verifier.
    """
    targets = {target for example in examples for target in example.targets}
    if not targets:
        raise ValueError(f"{data}: no training examples; every row was held out, unlabeled or cut by --limit")
    if len(targets) == 1:
        (target,) = targets
        kind = {0.0: "every labeled step is bad", 1.0: "every labeled step is good"}.get(target, "every value is equal")
        raise ValueError(
            f"{data}: all {len(examples)} rows have the same target {target:g} ({kind}), from which nothing can be learned;"
            " add traces of the other kind: sample more per problem, or harder or easier problems"
        )


def samples(examples: Sequence[TraceExample]) -> list[int]:
    """Which three to show: the first example, and of the second and the last third the first with a bad step, if any."""
    third = max(1, len(examples) // 3)
    parts = [[0], range(third, min(2 * third, len(examples))), range(2 * third, len(examples))]
    return [next((i for i in part if not all(examples[i].hard)), part[0]) for part in parts if part]


def unlabeled(data: str, rows_read: int) -> str:
    """How many rows of a file have no label, and the reasons where their statuses tell."""
    statuses = read_statuses(data)
    total = sum(statuses.values())
    reasons = {name: count for name, count in statuses.items() if name != "ok"}
    # An ORM also uses rows in which no step could be labeled, and leaves out those whose outcome is unknown.
    known = reasons and sum(reasons.values()) == total - rows_read
    why = f" ({', '.join(f'{name} {count}' for name, count in reasons.items())})" if known else ""
    return f"{total - rows_read} of {total} rows of {Path(data).name}{why}"


def show_targets(example: TraceExample, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of an example, with its target at every token at which a score is read."""
    notes = [f" → {target:.2f}" for target in example.targets]
    return show_positions(tokenizer, list(example.input_ids), list(example.step_ends), notes)
