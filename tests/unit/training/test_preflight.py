"""What preflight prints, and data that cannot train: each is refused by file, row and fix."""

from dataclasses import replace

import pytest

from prm.datasets.arithmetic import build_tokenizer
from prm.encoding.codec import StepCodec
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import LabeledRow, labeled_to_row
from prm.training.examples import orm_examples, prm_examples
from prm.training.preflight import check_examples, check_targets, preflight, samples, show_targets, unlabeled
from prm.types import LabeledTrace, Problem, Trace

PROBLEM = Problem("set/train/7", "Start with 47, add 38.", "85", "set")
TOKENIZER, CODEC = build_tokenizer(), StepCodec()


def row(steps, labels, values=None, line=1, semantics="value"):
    trace = Trace(PROBLEM.id, steps, "85", labels[-1], index=line)
    return LabeledRow(PROBLEM, LabeledTrace(trace, labels, values, None, "test", semantics), f"train.jsonl:{line}")


RIGHT = row(("47 + 38 = 85", "#### 85"), (True, True), (1.0, 0.75), 1)
WRONG = row(("47 + 38 = 75", "#### 75"), (False, False), (0.25, 0.0), 2)


def encode(rows, targets="hard"):
    return prm_examples(rows, CODEC, TOKENIZER, targets).examples


def test_report_and_samples(capsys):
    rows = [RIGHT, replace(RIGHT, where="train.jsonl:3"), WRONG]
    train, validation = (prm_examples(some, CODEC, TOKENIZER, "soft") for some in (rows, rows[2:]))
    preflight("train.jsonl", train, validation, CODEC, TOKENIZER)
    sample = r"""Start with 47, add 38.
47 + 38 = 85⟦\n → 1.00⟧
#### 85⟦\n → 0.75⟧
"""
    assert (
        capsys.readouterr().out
        == rf"""train       3 traces, 6 labeled steps (66.7% good, mean target 0.625), 0 truncated, 0 dropped, 45 tokens
validation  1 traces, 2 labeled steps (0.0% good, mean target 0.125), 0 truncated, 0 dropped, 15 tokens

train.jsonl:1
{sample}
train.jsonl:3
{sample}
train.jsonl:2
Start with 47, add 38.
47 + 38 = 75⟦\n → 0.25⟧
#### 75⟦\n → 0.00⟧

"""
    )


def test_targets_that_are_all_alike_end_it(capsys):
    one = prm_examples([RIGHT], CODEC, TOKENIZER, "hard")
    with pytest.raises(ValueError, match=r"train\.jsonl"):
        preflight("train.jsonl", one, one, CODEC, TOKENIZER)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("at", [0, 1])
def test_examples_that_cannot_train_end_it_in_training_and_validation(at, capsys):
    sets = [prm_examples([RIGHT, WRONG], CODEC, TOKENIZER, "hard") for _ in range(2)]
    sets[at] = replace(sets[at], examples=[sets[at].examples[0], replace(sets[at].examples[1], step_ends=(14,))])
    with pytest.raises(ValueError, match=r"train\.jsonl:2: 1 step ends but 2 targets"):
        preflight("train.jsonl", *sets, CODEC, TOKENIZER)
    assert capsys.readouterr().out == ""


def test_the_token_that_is_read_is_shown(merging_tokenizer):
    def shown(separator):
        codec = StepCodec(separator=separator)
        steps = row(("It is 8.", "Then 9."), (True, False)).labeled
        (example,) = prm_examples([LabeledRow(PROBLEM, steps, "x")], codec, merging_tokenizer, "hard").examples
        return show_targets(example, merging_tokenizer).removeprefix(PROBLEM.prompt)

    assert shown("\n\n") == "\nIt is 8.⟦\\n\\n → 1.00⟧\nThen 9.⟦\\n\\n → 0.00⟧\n"
    assert shown(" ки") == "\nIt is 8. к�⟦� → 1.00⟧Then 9. к�⟦� → 0.00⟧"  # its last token is half a letter


def test_samples_are_spread_and_prefer_traces_with_an_error():
    good, bad = encode([RIGHT])[0], replace(encode([RIGHT])[0], hard=(True, False))
    assert samples([good] * 9) == [0, 3, 6]
    assert samples([bad, bad, good, good, good, bad, good, bad, bad]) == [0, 5, 7]
    assert samples([good, bad]) == [0, 1]
    assert samples([good]) == [0]


def test_rows_without_labels_are_counted(tmp_path):
    rows = [
        labeled_to_row(PROBLEM, RIGHT.labeled) | {"status": s} for s in ("ok", "timeout", "ok", "no_steps", "timeout")
    ]
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert unlabeled(str(tmp_path / "a.jsonl"), 2) == "3 of 5 rows of a.jsonl (timeout 2, no_steps 1)"
    assert unlabeled(str(tmp_path / "a.jsonl"), 4) == "1 of 5 rows of a.jsonl"  # an ORM takes other rows


def test_data_without_two_targets_are_refused():
    with pytest.raises(ValueError, match=r"a\.jsonl: all 2 rows have the same target 1 \(every labeled step is good\)"):
        check_targets("a.jsonl", encode([RIGHT, RIGHT]))
    with pytest.raises(ValueError, match=r"the same target 0 \(every labeled step is bad\).* sample more per problem"):
        check_targets("a.jsonl", encode([WRONG]))
    same = row(("#### 85",), (True,), (0.5,))
    with pytest.raises(ValueError, match=r"the same target 0\.5 \(every value is equal\)"):
        check_targets("a.jsonl", encode([same, same], "soft"))
    with pytest.raises(ValueError, match=r"a\.jsonl: no training examples; .*--limit"):
        check_targets("a.jsonl", [])
    check_targets("a.jsonl", encode([RIGHT], "soft"))  # all good, but not equal
    check_targets("a.jsonl", encode([RIGHT, WRONG]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_ends": (11, 15)}, r"train\.jsonl:2: step ends \[11, 15\] must increase and lie within the 15 tokens"),
        ({"step_ends": (14, 11)}, r"train\.jsonl:2: step ends \[14, 11\] must increase"),
        ({"step_ends": (-1, 14)}, r"train\.jsonl:2: step ends \[-1, 14\] must increase"),
        ({"step_ends": (14,)}, r"train\.jsonl:2: 1 step ends but 2 targets"),
        (
            {"step_ends": (10, 14)},
            r"train\.jsonl:2: a score is read at token 10, '75', not at the end of a step, '\\n'",
        ),
        ({"targets": (0.0, 1.5)}, r"train\.jsonl:2: target 1\.5 is not in 0\.\.1"),
        ({"targets": (float("nan"), 1.0)}, r"train\.jsonl:2: target nan is not in 0\.\.1"),
    ],
)
def test_examples_that_read_a_label_where_no_step_ends_are_refused(changes, message):
    right, wrong = encode([RIGHT, WRONG])
    assert wrong.step_ends == (11, 14)
    check_examples([RIGHT, WRONG], [right, wrong], CODEC, TOKENIZER)
    with pytest.raises(ValueError, match=message):
        check_examples([RIGHT, WRONG], [right, replace(wrong, **changes)], CODEC, TOKENIZER)


def test_examples_of_another_codec_and_texts_with_the_marker_are_refused(plain_tokenizer):
    marked = StepCodec(marker="<eos>")
    problem = replace(PROBLEM, prompt="Add 4.")

    def make(*steps):
        return LabeledRow(problem, row(steps, (True,) * len(steps), line=5).labeled, "train.jsonl:5")

    rows = [make("It is 8.", "Then 9.")]
    examples = prm_examples(rows, marked, plain_tokenizer, "hard").examples
    check_examples(rows, examples, marked, plain_tokenizer)
    with pytest.raises(
        ValueError, match=r"train\.jsonl:5: a score is read at token .*'<eos>', not at the end of a step, '\\n"
    ):
        check_examples(rows, examples, StepCodec(separator="\n"), plain_tokenizer)
    rows = [make("It is 8.", "Then <eos> 9.")]
    examples = prm_examples(rows, marked, plain_tokenizer, "hard").examples
    with pytest.raises(ValueError, match=r"train\.jsonl:5: the marker '<eos>' occurs within the text 'Then <eos> 9\.'"):
        check_examples(rows, examples, marked, plain_tokenizer)


def test_an_orm_may_have_a_target_at_every_token():
    outcome = row(("47 + 38 = 85", "#### 85"), (True, True), semantics="outcome")
    (example,) = orm_examples([outcome], CODEC, TOKENIZER).examples
    everywhere = replace(example, step_ends=tuple(range(6, 15)), targets=(1.0,) * 9)
    check_examples([outcome], [everywhere], CODEC, TOKENIZER)
    with pytest.raises(ValueError, match="a score is read at token 13, '85'"):
        check_examples([outcome], [replace(everywhere, step_ends=tuple(range(5, 14)))], CODEC, TOKENIZER)
