"""Labeled rows -> token ids, positions and targets: literal positions, and the same ids as in scoring."""

import pytest
import torch

from prm.arithmetic import build_tokenizer
from prm.encoding import StepCodec
from prm.formats import LabeledRow
from prm.training.data import StepCollator, orm_examples, prm_examples
from prm.types import LabeledTrace, Problem, Trace
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.step_verifier import StepVerifier

PROMPT = "Let x be 4.\n\nWhat is x + 3?"
STEPS = ("Let x be 4.", "Then x + 3 = 7.", "So\n\nx = 7.")
ARITHMETIC = ("47 + 38 = 85", "85 - 12 = 63", "#### 63")


def row(prompt, steps, labels, values=None, semantics="value"):
    problem = Problem("set/train/7", prompt, "7", "set")
    trace = Trace(problem.id, steps, "7", False, index=3)
    return LabeledRow(problem, LabeledTrace(trace, labels, values, None, "test", semantics), "rows.jsonl:5")


def arithmetic_row(labels, values=None):
    return row("Start with 47, add 38, subtract 12.", ARITHMETIC, labels, values)


@pytest.mark.parametrize(
    ("fixture", "step_ends"), [("plain_tokenizer", [25, 34, 43]), ("merging_tokenizer", [23, 33, 41])]
)
def test_training_and_scoring_read_the_same_ids_at_the_same_places(request, fixture, step_ends):
    """Counted by hand from `tokenizer.tokenize` of prompt (18 | 17 tokens), steps (6, 7, 7 | 6, 9, 7), separator (2 | 1)."""
    tokenizer, codec = request.getfixturevalue(fixture), StepCodec(separator="\n\n")
    ((example,), _) = prm_examples([row(PROMPT, STEPS, (True, True, False))], codec, tokenizer, "hard")
    assert example["step_ends"] == step_ends

    config = VerifierConfig("prm", codec, "value", "last", "base", "hash")
    scored = StepVerifier(torch.nn.Linear(1, 1), tokenizer, config)._encode(PROMPT, STEPS)
    assert example["input_ids"] == list(scored.input_ids)
    assert example["step_ends"] == list(scored.step_ends)
    text = PROMPT + "\n" + "".join(step + "\n\n" for step in STEPS)
    assert tokenizer.decode(example["input_ids"]) == text


def test_example_of_the_module_docstring():
    """Prompt tokens 0 to 7, then `47 + 38 = 85 \\n` at 8 to 13, `85 - 12 = 63 \\n` at 14 to 19, `#### 63 \\n` to 22."""
    rows = [arithmetic_row((True, False, False), (0.75, 0.25, 0.0))]
    ((soft,), report) = prm_examples(rows, StepCodec(), build_tokenizer(), "soft")
    assert soft["step_ends"] == [13, 19, 22]
    assert soft["targets"] == [0.75, 0.25, 0.0]
    assert soft["hard"] == [True, False, False]
    assert (soft["problem"], len(soft["input_ids"])) == ("set/train/7", 23)
    ((hard,), _) = prm_examples(rows, StepCodec(), build_tokenizer(), "hard")
    assert hard["targets"] == [1.0, 0.0, 0.0]
    assert str(report) == "1 traces, 3 labeled steps (33.3% good), 0 truncated"


def test_steps_without_label_are_read_but_not_trained_on():
    rows = [arithmetic_row((True, None, False), (0.75, None, 0.0))]
    ((example,), report) = prm_examples(rows, StepCodec(), build_tokenizer(), "soft")
    assert (example["step_ends"], example["targets"], example["hard"]) == ([13, 22], [0.75, 0.0], [True, False])
    assert len(example["input_ids"]) == 23
    assert report.labeled_steps == 2


def test_row_without_any_label_is_an_error_that_names_it():
    with pytest.raises(
        ValueError, match=r"rows\.jsonl:5: no labeled step is left in set/train/7#3 \(3 steps, 23 tokens"
    ):
        prm_examples([arithmetic_row((None, None, None))], StepCodec(), build_tokenizer(), "hard")


@pytest.mark.parametrize(("max_length", "step_ends"), [(23, [13, 19, 22]), (22, [13, 19]), (19, [13]), (14, [13])])
def test_truncation_drops_whole_steps_and_is_counted(max_length, step_ends):
    rows = [arithmetic_row((True, False, False)), row("Start with 1, add 1.", ("#### 2",), (True,))]
    examples, report = prm_examples(rows, StepCodec(max_length=max_length), build_tokenizer(), "hard")
    assert examples[0]["step_ends"] == step_ends
    assert len(examples[0]["input_ids"]) == step_ends[-1] + 1
    assert examples[0]["hard"] == [True, False, False][: len(step_ends)]
    assert (report.rows, report.truncated) == (2, int(len(step_ends) < 3))


@pytest.mark.parametrize(("labels", "max_length"), [((True, True, True), 13), ((None, True, True), 19)])
def test_truncation_that_leaves_no_label_is_an_error_with_the_flag_to_use(labels, max_length):
    with pytest.raises(ValueError, match=rf"rows\.jsonl:5: .*max_length {max_length}\); raise --max_length"):
        prm_examples([arithmetic_row(labels)], StepCodec(max_length=max_length), build_tokenizer(), "hard")


@pytest.mark.parametrize(("values", "step"), [(None, 0), ((0.5, None, 0.5), 1)])
def test_soft_targets_without_values_are_refused(values, step):
    with pytest.raises(ValueError, match=rf"rows\.jsonl:5: soft targets need `values`, step {step} .*--targets hard"):
        prm_examples([arithmetic_row((True, True, True), values)], StepCodec(), build_tokenizer(), "soft")


def test_orm_learns_the_outcome_at_the_last_step_only():
    rows = [row("Start with 47, add 38, subtract 12.", ARITHMETIC, (False,) * 3, semantics="outcome")]
    ((example,), report) = orm_examples(rows, StepCodec(), build_tokenizer())
    assert (example["step_ends"], example["targets"], example["hard"]) == ([22], [0.0], [False])
    assert (report.labeled_steps, report.good_steps) == (1, 0)
    with pytest.raises(ValueError, match=r"rows\.jsonl:5: no labeled step is left"):
        orm_examples(rows, StepCodec(max_length=22), build_tokenizer())


def test_batch_is_padded_on_the_right_and_points_at_its_steps():
    short = {"input_ids": [5, 6, 7], "step_ends": [2], "targets": [0.5]}
    long = {"input_ids": [8, 9, 10, 11, 12], "step_ends": [1, 4], "targets": [1.0, 0.0]}
    batch = StepCollator(pad_id=3)([short, long])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 3, 3], [8, 9, 10, 11, 12]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["step_index"].tolist() == [2, 6, 9]
    assert batch["input_ids"].flatten()[batch["step_index"]].tolist() == [7, 9, 12]
    assert (batch["labels"].tolist(), batch["labels"].dtype) == ([0.5, 1.0, 0.0], torch.float32)
