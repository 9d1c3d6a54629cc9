"""Labeled rows -> token ids, positions and targets: literal positions, and the same ids as in scoring."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.storage.rows import LabeledRow
from prm.training.examples import TraceExample, orm_examples, pair_examples, prm_examples
from prm.types import LabeledTrace, Problem, Trace
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.step_verifier import StepVerifier

PROMPT = "Let x be 4.\n\nWhat is x + 3?"
STEPS = ("Let x be 4.", "Then x + 3 = 7.", "So\n\nx = 7.")
ARITHMETIC = ("47 + 38 = 85", "85 - 12 = 63", "#### 63")


class Recorder(torch.nn.Linear):
    """A model that remembers what it is asked to read: token ids of a row, and where its scores are."""

    def __init__(self):
        super().__init__(1, 1)
        self.seen = []

    def forward(self, input_ids, step_index, **others):
        self.seen.append((input_ids[0].tolist(), step_index.tolist()))
        return SimpleNamespace(logits=torch.zeros(len(step_index), 2))


def row(prompt, steps, labels, values=None, semantics="value"):
    problem = Problem("set/train/7", prompt, "7", "set")
    trace = Trace(problem.id, steps, "7", False, index=3)
    return LabeledRow(problem, LabeledTrace(trace, labels, values, None, "test", semantics), "rows.jsonl:5")


def arithmetic_row(labels, values=None):
    return row("Start with 47, add 38, subtract 12.", ARITHMETIC, labels, values)


@pytest.mark.parametrize(
    ("fixture", "step_ends"), [("plain_tokenizer", (25, 34, 43)), ("merging_tokenizer", (23, 33, 41))]
)
def test_training_and_scoring_read_the_same_ids_at_the_same_positions(request, fixture, step_ends):
    """Counted by hand from `tokenizer.tokenize` of prompt (18 | 17 tokens), steps (6, 7, 7 | 6, 9, 7), separator (2 | 1)."""
    tokenizer, codec = request.getfixturevalue(fixture), StepCodec(separator="\n\n")
    (example,) = prm_examples([row(PROMPT, STEPS, (True, True, False))], codec, tokenizer, "hard").examples
    assert example.step_ends == step_ends
    text = PROMPT + "\n" + "".join(step + "\n\n" for step in STEPS)
    assert tokenizer.decode(example.input_ids) == text

    model = Recorder()
    StepVerifier(model, tokenizer, VerifierConfig("prm", codec, "value", "last", "base", "hash")).score(PROMPT, STEPS)
    ((ids, step_index),) = model.seen
    assert (tuple(ids), tuple(step_index)) == (example.input_ids, example.step_ends)


def examples_of(rows, *arguments, codec=None, **options):
    return prm_examples(rows, codec or StepCodec(), build_tokenizer(), *arguments, **options)


def test_example_of_the_module_docstring():
    """Prompt tokens 0 to 7, then `47 + 38 = 85 \\n` at 8 to 13, `85 - 12 = 63 \\n` at 14 to 19, `#### 63 \\n` to 22."""
    rows = [arithmetic_row((True, False, False), (0.75, 0.25, 0.0))]
    made = examples_of(rows, "soft")
    (soft,) = made.examples
    assert soft.step_ends == (13, 19, 22)
    assert soft.targets == (0.75, 0.25, 0.0)
    assert soft.hard == (True, False, False)
    assert (soft.problem, len(soft.input_ids)) == ("set/train/7", 23)
    assert soft.steps == (0, 1, 2)
    assert examples_of(rows, "hard").examples[0].targets == (1.0, 0.0, 0.0)
    assert (
        str(made.report)
        == "1 traces, 3 labeled steps (33.3% good, mean target 0.333), 0 truncated, 0 dropped, 23 tokens"
    )
    assert made.rows == rows


def test_steps_without_label_are_read_but_not_trained_on():
    made = examples_of([arithmetic_row((True, None, False), (0.75, None, 0.0))], "soft")
    (example,) = made.examples
    assert (example.step_ends, example.targets, example.hard) == ((13, 22), (0.75, 0.0), (True, False))
    assert len(example.input_ids) == 23
    assert made.report.labeled_steps == 2
    assert example.steps == (0, 2)


def test_row_without_any_label_is_an_error_that_names_it():
    with pytest.raises(
        ValueError, match=r"rows\.jsonl:5: no labeled step is left in set/train/7#3 \(3 steps, 23 tokens"
    ):
        examples_of([arithmetic_row((None, None, None))], "hard")


@pytest.mark.parametrize(("max_length", "step_ends"), [(23, (13, 19, 22)), (22, (13, 19)), (19, (13,)), (14, (13,))])
def test_truncation_drops_whole_steps_and_is_counted(max_length, step_ends):
    rows = [arithmetic_row((True, False, False)), row("Start with 1, add 1.", ("#### 2",), (True,))]
    made = examples_of(rows, "hard", codec=StepCodec(max_length=max_length), overlong="truncate")
    cut = made.examples[0]
    assert cut.step_ends == step_ends
    assert len(cut.input_ids) == step_ends[-1] + 1
    assert cut.hard == (True, False, False)[: len(step_ends)]
    assert (made.report.rows, made.report.truncated) == (2, int(len(step_ends) < 3))


@pytest.mark.parametrize(("labels", "max_length"), [((True, True, True), 13), ((None, True, True), 19)])
def test_truncation_that_leaves_no_label_is_an_error_with_the_flag_to_use(labels, max_length):
    with pytest.raises(ValueError, match=rf"rows\.jsonl:5: .*max_length {max_length}\); raise --max_length"):
        examples_of([arithmetic_row(labels)], "hard", codec=StepCodec(max_length=max_length), overlong="truncate")


def test_traces_that_are_too_long_stop_training_with_their_number_or_are_left_out_and_counted():
    rows = [arithmetic_row((True, False, False)), row("Start with 1, add 1.", ("#### 2",), (True,))] * 2
    codec = StepCodec(max_length=22)
    message = (
        r"2 of 4 traces are longer than --max_length 22, the longest \(rows\.jsonl:5\) has 23 tokens; 23 would hold 99%"
        r" of them\. Raise --max_length, or leave them out with --overlong drop"
    )
    with pytest.raises(ValueError, match=message):
        examples_of(rows, "hard", codec=codec)
    with pytest.raises(ValueError, match=r"the longest \(rows\.jsonl:5\) has 23 tokens"):
        examples_of(
            [row("Start with 1, add 1.", ("#### 2",), (True,)), *rows[::-1]], "hard", codec=StepCodec(max_length=5)
        )
    longer = [*rows[:1] * 99, row("Start with 1, add 1.", ("1 + 1 = 2",) * 9, (True,) * 9)]
    with pytest.raises(ValueError, match=r"100 of 100 traces .* 23 would hold 99%"):
        examples_of(longer, "hard", codec=codec)
    made = examples_of(rows, "hard", codec=codec, overlong="drop")
    assert made.rows == rows[1::2]
    assert [example.truncated for example in made.examples] == [False, False]
    assert (made.report.rows, made.report.truncated, made.report.dropped) == (2, 0, 2)
    with pytest.raises(ValueError, match="all 2 traces are longer than --max_length 22; raise it"):
        examples_of(rows[::2], "hard", codec=codec, overlong="drop")


def test_an_orm_counts_what_it_leaves_out_too():
    rows = [arithmetic_row((True, False, False)), row("Start with 1, add 1.", ("#### 2",), (True,))] * 2
    report = orm_examples(rows, StepCodec(max_length=22), build_tokenizer(), overlong="drop").report
    assert (report.rows, report.truncated, report.dropped) == (2, 0, 2)


@pytest.mark.parametrize(("values", "step"), [(None, 1), ((0.5, None, 0.5), 2)])
def test_soft_targets_without_values_are_refused(values, step):
    with pytest.raises(ValueError, match=rf"rows\.jsonl:5: soft targets need `values`, step {step} .*--targets hard"):
        examples_of([arithmetic_row((True, True, True), values)], "soft")


def test_orm_learns_the_outcome_at_the_last_step_only():
    rows = [row("Start with 47, add 38, subtract 12.", ARITHMETIC, (False,) * 3, semantics="outcome")]
    made = orm_examples(rows, StepCodec(), build_tokenizer())
    (example,) = made.examples
    assert (example.step_ends, example.targets, example.hard) == ((22,), (0.0,), (False,))
    assert (made.report.labeled_steps, made.report.good_steps) == (1, 0)
    with pytest.raises(ValueError, match=r"rows\.jsonl:5: no labeled step is left"):
        orm_examples(rows, StepCodec(max_length=22), build_tokenizer(), overlong="truncate")
    with pytest.raises(ValueError, match="1 of 1 traces are longer"):
        orm_examples(rows, StepCodec(max_length=22), build_tokenizer())


def test_tokens_after_the_last_labeled_step_are_not_kept():
    (example,) = examples_of([arithmetic_row((True, None, None), None)], "hard").examples
    assert len(example.input_ids) == 14
    assert (example.step_ends, example.targets) == ((13,), (1.0,))


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ((True, False, True), (True, False)),
        ((False, True, True), (False,)),  # the error is the first step
        ((True, True, True), (True, True, True)),
    ],
)
def test_steps_after_the_first_error_have_no_target_if_asked(labels, kept):
    made = examples_of([arithmetic_row(labels, None)], "hard", until_first_error=True)
    assert (made.examples[0].hard, made.report.labeled_steps) == (kept, len(kept))


def test_orm_may_learn_the_outcome_at_every_token_after_the_prompt():
    rows = [row("Start with 47, add 38, subtract 12.", ARITHMETIC, (True,) * 3, semantics="outcome")]
    made = orm_examples(rows, StepCodec(), build_tokenizer(), tokens="all")
    (example,) = made.examples
    assert example.step_ends == tuple(range(8, 23))  # 8 tokens of prompt
    assert (example.targets, example.hard) == ((1.0,) * 15, (True,) * 15)
    assert made.report.labeled_steps == 1


def outcome(problem, good, ids):
    return TraceExample(ids, (1,), (float(good),), (good,), (0,), problem, False)


def test_pairs_join_a_right_and_a_wrong_trace_of_one_problem():
    examples = [
        outcome("a", True, (1, 2)),
        outcome("a", False, (1, 3)),
        outcome("a", False, (1, 4)),
        outcome("b", True, (5, 6)),
        outcome("c", False, (7, 8)),
    ]
    pairs = pair_examples(examples)
    assert sorted((pair.problem, pair.right.input_ids, pair.wrong.input_ids) for pair in pairs) == [
        ("a", (1, 2), (1, 3)),
        ("a", (1, 2), (1, 4)),
    ]
    assert len(pair_examples(examples, per_problem=1)) == 1
    many = [outcome("a", i < 5, (i, i)) for i in range(10)]
    drawn = pair_examples(many)
    assert len(set(drawn)) == len(drawn) == 16  # of 25
    assert pair_examples(many) == drawn != pair_examples(many, seed=1)
    with pytest.raises(ValueError, match="none of 2 problems has a right and a wrong trace"):
        pair_examples(examples[3:])


def counted_row(counts, labels=(True, True, False)):
    labeled = arithmetic_row(labels)
    return replace(labeled, labeled=replace(labeled.labeled, counts=counts))


def test_counts_are_shares_with_their_rollouts_and_only_where_there_are_any():
    """The middle step was labeled without a rollout of its own."""
    (example,) = examples_of([counted_row(((6, 8), (0, 0), (0, 1)))], "counts").examples
    assert (example.targets, example.rollouts) == ((0.75, 0.0), (8, 1))
    assert (example.steps, example.step_ends, example.hard) == ((0, 2), (13, 22), (True, False))
    (until,) = examples_of([counted_row(((6, 8), (0, 4), (0, 1)), (True, False, False))], "counts", True).examples
    assert (until.targets, until.rollouts) == ((0.75, 0.0), (8, 4))


def test_rows_without_counts_are_refused_where_counts_are_learned():
    with pytest.raises(
        ValueError, match=r"rows\.jsonl:5: the row has no `counts` of rollouts, from which --objective beta"
    ):
        examples_of([arithmetic_row((True, True, False))], "counts")
    with pytest.raises(ValueError, match=r"rows\.jsonl:5: no labeled step is left"):
        examples_of([counted_row(((0, 0),) * 3)], "counts")
