"""Labeled rows -> token ids, positions and targets: literal positions, and the same ids as in scoring."""

import pytest
import torch

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.storage.rows import LabeledRow
from prm.training.examples import ProblemSampler, StepCollator, orm_examples, pair_examples, prm_examples
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
    assert soft["steps"] == [0, 1, 2]
    assert str(report) == "1 traces, 3 labeled steps (33.3% good, mean target 0.333), 0 truncated, 23 tokens"


def test_steps_without_label_are_read_but_not_trained_on():
    rows = [arithmetic_row((True, None, False), (0.75, None, 0.0))]
    ((example,), report) = prm_examples(rows, StepCodec(), build_tokenizer(), "soft")
    assert (example["step_ends"], example["targets"], example["hard"]) == ([13, 22], [0.75, 0.0], [True, False])
    assert len(example["input_ids"]) == 23
    assert report.labeled_steps == 2
    assert example["steps"] == [0, 2]


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


def test_batch_is_one_row_without_padding_that_points_at_its_steps():
    short = {"input_ids": [5, 6, 7], "step_ends": [2], "targets": [0.5]}
    long = {"input_ids": [5, 6, 10, 11, 12], "step_ends": [1, 4], "targets": [1.0, 0.0]}
    batch = StepCollator()([long, short])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 10, 11, 12]]  # 5 and 6 are shared
    assert batch["position_ids"].tolist() == [[0, 1, 2, 2, 3, 4]]
    assert batch["step_index"].tolist() == [1, 5, 2]
    assert batch["step_trace"].tolist() == [0, 0, 1]
    assert (batch["labels"].tolist(), batch["labels"].dtype) == ([1.0, 0.0, 0.5], torch.float32)


def test_shared_steps_count_once_per_trace_or_once():
    a = {"input_ids": [5, 6, 7], "step_ends": [1, 2], "targets": [1.0, 0.25]}
    b = {"input_ids": [5, 6, 8], "step_ends": [1, 2], "targets": [0.5, 0.0]}
    per_trace, once = StepCollator()([a, b]), StepCollator("once")([a, b])
    assert per_trace["step_index"].tolist() == [1, 2, 1, 3]
    assert per_trace["labels"].tolist() == [1.0, 0.25, 0.5, 0.0]
    assert once["step_index"].tolist() == [1, 2, 3]
    assert once["labels"].tolist() == [0.75, 0.25, 0.0]  # the shared step has the mean of its targets


def test_tokens_behind_the_last_labeled_step_are_not_kept():
    ((example,), _) = prm_examples([arithmetic_row((True, None, None), None)], StepCodec(), build_tokenizer(), "hard")
    assert len(example["input_ids"]) == example["step_ends"][-1] + 1
    assert example["targets"] == [1.0]


def test_steps_behind_the_first_error_have_no_target_if_asked():
    labels = (True, False, True)
    ((example,), report) = prm_examples(
        [arithmetic_row(labels, None)], StepCodec(), build_tokenizer(), "hard", until_first_error=True
    )
    assert (example["hard"], report.labeled_steps) == ([True, False], 2)
    ((example,), _) = prm_examples(
        [arithmetic_row((True,) * 3, None)], StepCodec(), build_tokenizer(), "hard", until_first_error=True
    )
    assert example["hard"] == [True, True, True]


def test_orm_may_learn_the_outcome_at_every_token_behind_the_prompt():
    rows = [row("Start with 47, add 38, subtract 12.", ARITHMETIC, (True,) * 3, semantics="outcome")]
    ((example,), report) = orm_examples(rows, StepCodec(), build_tokenizer(), tokens="all")
    assert example["step_ends"] == list(range(8, 23))  # 8 tokens of prompt
    assert example["targets"] == [1.0] * 15
    assert report.labeled_steps == 1


def outcome(problem, good, ids):
    return {"problem": problem, "input_ids": ids, "step_ends": [1], "targets": [float(good)], "hard": [good]}


def test_pairs_join_a_right_and_a_wrong_trace_of_one_problem():
    examples = [
        outcome("a", True, [1, 2]),
        outcome("a", False, [1, 3]),
        outcome("a", False, [1, 4]),
        outcome("b", True, [5, 6]),
        outcome("c", False, [7, 8]),
    ]
    pairs = sorted(pair_examples(examples), key=lambda pair: pair["pair"][1]["input_ids"])
    assert [(pair["problem"], *(t["input_ids"][1] for t in pair["pair"])) for pair in pairs] == [
        ("a", 2, 3),
        ("a", 2, 4),
    ]
    assert len(pair_examples(examples, per_problem=1)) == 1
    batch = StepCollator()(pairs)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4]]  # the right trace is in both pairs and in the row once
    assert (batch["step_index"].tolist(), batch["labels"].tolist()) == ([1, 2, 1, 3], [1.0, 1.0])
    with pytest.raises(ValueError, match="none of 2 problems has a right and a wrong trace"):
        pair_examples(examples[3:])


def test_sampler_keeps_problems_together_and_repeats_its_order():
    problems = [f"p{i % 7}" for i in range(21)]
    sampler = ProblemSampler(problems, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(21))
    assert all(len({problems[i] for i in first[k : k + 3]}) == 1 for k in range(0, 21, 3))
    assert list(sampler) == first == list(ProblemSampler(problems, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(ProblemSampler(problems, seed=4)) != first
