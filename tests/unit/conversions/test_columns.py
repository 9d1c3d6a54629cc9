"""Own tables: every value is read as its owner says, and what he did not say is an error that names row and value."""

import hashlib
import json
import re

import pytest

from prm.conversions import convert, export_row
from prm.conversions.cells import group_steps
from prm.conversions.columns import Columns, describe
from prm.conversions.table_settings import published_formats
from prm.storage.rows import row_to_labeled

TABLE = {"semantics": "correctness", "prompt_column": "question", "steps_column": "steps"}
MARKS = TABLE | {"labels_column": "marks", "good": ["right", 1, "true"], "bad": ["wrong", 0, "false"]}
OUTCOME = {
    "prompt_column": "question",
    "steps_column": "steps",
    "outcome_column": "passed",
    "good": ["yes", 1],
    "bad": ["no", 0],
}
FIRST = TABLE | {"first_error_column": "error", "first_error_base": 1, "no_error": [-1, "null"]}


def read(row, **settings):
    (made,) = convert([("labels.csv:2", row)], "columns", columns=Columns(**settings))
    return made


def row(**columns):
    return {"question": "What is 2 + 2 + 1?", "steps": ["2 + 2 = 4", "4 + 1 = 6"]} | columns


def test_the_columns_that_every_row_has():
    kinds = (MARKS, FIRST, OUTCOME, MARKS | {"steps_column": "", "step_column": "steps", "id_column": "key"})
    needed = [Columns(**settings).needed for settings in kinds]
    assert needed == [("question", "steps", name) for name in ("marks", "error", "passed", "marks")]


def test_a_published_row_without_its_steps_names_that_column():
    with pytest.raises(
        ValueError, match=r"labels\.jsonl:2: no column 'solution_steps'; the row has error_labels, problem"
    ):
        list(convert([("labels.jsonl:2", {"problem": "?", "error_labels": [True]})], "fover"))


def test_a_whole_row():
    settings = MARKS | {"gold_column": "gold", "id_column": "key", "keep": ["topic", "level"], "name": "own"}
    made = read(row(marks=["right", "wrong"], gold=5.0, key=17, topic="sums", level=None), **settings)
    assert made == {
        "prompt": "What is 2 + 2 + 1?",
        "completions": ["2 + 2 = 4", "4 + 1 = 6"],
        "id": "own/70a43651c19d#0",
        "problem_id": "own/70a43651c19d",
        "gold": "5",
        "level": None,
        "answer": None,
        "correct": None,
        "finished": True,
        "num_tokens": None,
        "seed": None,
        "index": 0,
        "generator": "unknown",
        "step_rule": None,
        "status": "ok",
        "labels": [True, False],
        "labeler": None,
        "values": None,
        "counts": None,
        "method": "own labels",
        "semantics": "correctness",
        "kept": {"topic": "sums", "level": None, "key": "17"},
    }
    assert row_to_labeled("", made).labeled.first_error == 1


def test_an_index_of_the_table_is_not_the_number_of_a_trace():
    rows = [("t:1", row(marks=[1, 0], index=7)), ("t:2", row(marks=[1, 1], index=7))]
    assert [made["index"] for made in convert(rows, "columns", columns=Columns(**MARKS))] == [0, 1]


@pytest.mark.parametrize(
    ("marks", "labels"),
    [
        ([1, 0], [True, False]),
        ([1.0, 0.0], [True, False]),
        ([True, False], [True, False]),
        (["Right", " WRONG "], [True, False]),
        ([None, float("nan")], [None, None]),
        ("right wrong", [True, False]),
        ("1;0", [True, False]),
        ("true, false", [True, False]),
        ("[1, 0]", [True, False]),
        ("[null, 1]", [None, True]),
        ("['right', None]", [True, None]),
        ("none 1.0", [None, True]),
    ],
)
def test_labels(marks, labels):
    assert read(row(marks=marks), **MARKS)["labels"] == labels


def test_signs_and_values_without_a_label():
    settings = TABLE | {"labels_column": "marks", "good": ["+"], "bad": ["-"], "unlabeled": ["?"]}
    assert read(row(marks="+ -"), **settings)["labels"] == [True, False]
    assert read(row(marks="? -"), **settings)["labels"] == [None, False]


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        (["a", "b c"], None),
        ('["a", "b c"]', None),
        ("['a', 'b c']", None),  # as pandas writes a list
        ("a\nb c\n", "\n"),
        ("a\r\n\r\nb c", "\\n"),
        ("a | b c |", "|"),
        ("a\tb c", "\\t"),
    ],
)
def test_steps(cell, separator):
    assert read(row(steps=cell, marks="1 1"), **MARKS, separator=separator)["completions"] == ["a", "b c"]


@pytest.mark.parametrize(
    ("error", "base", "labels"),
    [
        (1, 1, [False, None]),
        (1, 0, [True, False]),
        ("2", 1, [True, False]),
        (2.0, 1, [True, False]),
        (-1, 0, [True, True]),
        (None, 1, [True, True]),
        ("", 1, [True, True]),
        ("None", 1, [True, True]),
        ("-1.0", 1, [True, True]),
    ],
)
def test_first_errors(error, base, labels):
    assert read(row(error=error), **FIRST | {"first_error_base": base})["labels"] == labels


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        (
            {"marks": ["right", "half"]},
            MARKS,
            "labels.csv:2: label 2 of column 'marks' is 'half', which is neither in --good right 1 true nor in --bad"
            " wrong 0 false nor in --unlabeled null",
        ),
        (
            {"marks": "right / wrong"},
            MARKS,
            "labels.csv:2: label 2 of column 'marks' is '/', which is neither in --good right 1 true nor in --bad"
            " wrong 0 false nor in --unlabeled null; white space and , ; | divide the labels of a text",
        ),
        ({"marks": [1, -1]}, MARKS, "labels.csv:2: label 2 of column 'marks' is -1, which is neither in --good"),
        ({"marks": "right"}, MARKS, "labels.csv:2: 2 steps but 1 labels; check --separator, or fix the row"),
        ({"steps": "a b", "marks": "1"}, MARKS, "'steps' is not a list of steps: 'a b'; say with --separator what"),
        ({"steps": "(['a', 'b'])", "marks": "1 1"}, MARKS, "'steps' is not a list of steps"),
        ({"steps": [{"text": "a"}], "marks": "1"}, MARKS, "step 1 of column 'steps' is {'text': 'a'}, not text"),
        ({"question": " ", "marks": "1 1"}, MARKS, "labels.csv:2: the question is empty; remove the row"),
        (
            {"mark": [1, 1], "topic": "sums"},
            MARKS,
            "labels.csv:2: no column 'marks', did you mean 'mark'? The columns are question, steps, mark, topic",
        ),
        ({"marks": "1 1"}, MARKS | {"keep": ["area"]}, "no column 'area'. The columns are question, steps, marks"),
        (
            {"error": 3},
            FIRST,
            "'error' is 3, which is neither a number from 1 to 2 (the row has 2 steps) nor in --no_error -1 null",
        ),
        ({"error": 0}, FIRST, "'error' is 0, which is neither"),
        ({"error": True}, FIRST, "'error' is True, which is neither"),
        ({"error": None}, FIRST | {"no_error": [-1]}, "'error' is None, which is neither"),
    ],
)
def test_what_is_not_understood_is_an_error(columns, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read(row(**columns), **settings)


@pytest.mark.parametrize(
    ("errors", "labels", "status"),
    [
        ([1], [False, True], "ok"),
        ("[2]", [True, False], "ok"),
        (None, [True, True], "ok"),
        ([], [True, True], "ok"),
        ([2, 7], [True, False], "error_after_end"),
    ],
)
def test_all_wrong_steps_are_named(errors, labels, status):
    made = read(row(errors=errors), **TABLE, errors_column="errors", first_error_base=1)
    assert (made["labels"], made["status"]) == (labels, status)


@pytest.mark.parametrize(
    ("error", "verdict", "labels", "status"),
    [
        (2, "no", [True, False], "ok"),
        (-1, "yes", [True, True], "ok"),
        (2, "yes", [None, None], "contradiction"),
        (-1, "no", [None, None], "contradiction"),
        (2, None, [True, False], "ok"),
    ],
)
def test_a_verdict_on_the_solution_finds_contradictions(error, verdict, labels, status):
    settings = FIRST | {"solution_column": "verdict", "good": ["yes"], "bad": ["no"]}
    made = read(row(error=error, verdict=verdict), **settings)
    assert (made["labels"], made["status"]) == (labels, status)


@pytest.mark.parametrize(
    ("steps", "error", "left", "labels", "status"),
    [
        (["a", "", "b"], -1, ["a", "b"], [True, True], "ok"),
        (["a", "", "b"], 1, ["a", "b"], [False, None], "ok"),
        (["a", "", "b"], 3, ["a"], [True], "empty_step"),
    ],
)
def test_a_blank_step_matters_only_before_an_error(steps, error, left, labels, status):
    made = read(row(steps=steps, error=error), **FIRST)
    assert (made["completions"], made["labels"], made["status"]) == (left, labels, status)


def test_soft_labels_options_marks_and_numbers_of_steps():
    soft = TABLE | {"semantics": "value", "values_column": "shares"}
    made = read(row(shares="0.5, 0"), **soft)
    assert (made["labels"], made["values"]) == ([True, False], [0.5, 0.0])
    assert read(row(shares=[None, 1]), **soft)["labels"] == [None, True]
    made = read(
        row(steps=["a ки", "b"], marks="1 1", choices=["A: 4", "B: 5"]),
        **MARKS,
        end_marker="ки",
        options_column="choices",
    )
    assert (made["completions"], made["prompt"]) == (["a", "b"], "What is 2 + 2 + 1?\nA: 4\nB: 5")
    text = "Step 1: a\n\nStep 2: as in\nstep 1\nStep 3: c"
    made = read(row(steps=text, marks="1 0 0"), **MARKS, numbered_steps=True)
    assert made["completions"] == ["Step 1: a", "Step 2: as in\nstep 1", "Step 3: c"]
    for unnumbered in ("a\nb", "Step 2: a", "Step 1: a\nStep 1: b", "So: Step 1: a"):
        assert read(row(steps=unnumbered, marks="1"), **MARKS, numbered_steps=True)["status"] == "unsplit_steps"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (MARKS | {"semantics": None}, "--semantics is missing"),
        (MARKS | {"prompt_column": None}, "--prompt_column is missing"),
        (MARKS | {"steps_column": None}, "give one of --steps_column"),
        (MARKS | {"step_column": "step", "id_column": "id"}, "give one of --steps_column"),
        (MARKS | {"steps_column": None, "step_column": "step"}, "--step_column needs --id_column"),
        (MARKS | {"bad": []}, "--labels_column and --outcome_column need --good and --bad"),
        (MARKS | {"bad": ["Right"]}, "right is twice among --good, --bad and --unlabeled"),
        (MARKS | {"first_error_column": "error"}, "give one of --labels_column"),
        (MARKS | {"no_error": [-1]}, "--first_error_base and --no_error belong to --first_error_column"),
        (FIRST | {"first_error_base": None}, "--first_error_column needs --first_error_base"),
        (FIRST | {"no_error": []}, "--first_error_column needs --no_error"),
        (FIRST | {"good": [1]}, "--good, --bad and --unlabeled belong to --labels_column"),
        (OUTCOME | {"semantics": "value"}, "--semantics is about labels of steps; leave it out with --outcome_column"),
        (TABLE | {"gold_column": "gold"}, "--semantics is about labels of steps; leave it out with --outcome_column"),
        (OUTCOME | {"labels_column": "marks"}, "give one of --labels_column"),
        (OUTCOME | {"good": []}, "--labels_column and --outcome_column need --good and --bad"),
        (MARKS | {"values_column": "v", "errors_column": "e"}, "give one of --labels_column"),
        (TABLE | {"values_column": "v"}, "--values_column alone needs --semantics value"),
        (MARKS | {"solution_column": "s"}, "--solution_column belongs to --first_error_column"),
        (FIRST | {"solution_column": "s"}, "need --good and --bad"),
        (MARKS | {"separator": "|", "numbered_steps": True}, "--separator and --numbered_steps divide the same text"),
        (OUTCOME | {"no_error": [-1]}, "--first_error_base and --no_error belong to --first_error_column"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        Columns(**settings)


@pytest.mark.parametrize(("cell", "right"), [("Yes", True), (1.0, True), (" no", False), (0, False)])
def test_an_outcome_is_the_label_of_every_step(cell, right):
    made = read(row(passed=cell), **OUTCOME)
    assert (made["correct"], made["labels"], made["semantics"], made["status"]) == (right, [right] * 2, "outcome", "ok")


@pytest.mark.parametrize(
    ("steps", "gold", "status", "correct"),
    [
        (["1 + 1 = 2", "#### 2"], 2, "ok", True),
        (["1 + 1 = 3", "#### 3"], "2", "ok", False),
        (["Who", "knows"], "2", "no_answer", None),
    ],
)
def test_gold_answers_alone_are_checked_against(steps, gold, status, correct):
    made = read(row(steps=steps, gold=gold), prompt_column="question", steps_column="steps", gold_column="gold")
    assert (made["status"], made["correct"], made["labels"]) == (status, correct, [correct] * 2)
    assert (made["semantics"], made["method"]) == ("outcome", "answer check")


def test_a_solution_without_marks_needs_its_gold_answer():
    with pytest.raises(ValueError, match=r"labels\.csv:2: column 'gold' is empty; a trace is checked against it"):
        read(row(gold=" "), prompt_column="question", steps_column="steps", gold_column="gold")


def test_a_trace_without_an_outcome_is_not_trained_on():
    made = read(row(passed=None), **OUTCOME)
    assert (made["correct"], made["status"]) == (None, "no_labels")
    with pytest.raises(
        ValueError, match=r"labels.csv:2: column 'passed' is 'maybe', which is neither in --good [^;,|]*$"
    ):
        read(row(passed="maybe"), **OUTCOME)


def test_an_orm_learns_outcomes_and_no_format_of_step_labels_holds_them(tmp_path, plain_tokenizer):
    from prm.encoding.codec import StepCodec
    from prm.storage.jsonl import write_jsonl
    from prm.storage.rows import read_outcomes
    from prm.training.examples import orm_examples

    made = [read(row(passed=cell), **OUTCOME) for cell in ("yes", "no", None)]
    write_jsonl(tmp_path / "rows.jsonl", made)
    examples = orm_examples(read_outcomes(tmp_path / "rows.jsonl"), StepCodec(), plain_tokenizer).examples
    assert [example.targets for example in examples] == [(1.0,), (0.0,)]
    with pytest.raises(ValueError, match="its label is the outcome of the whole trace"):
        export_row("trl", made[0])


STEPS = MARKS | {"steps_column": None, "step_column": "step", "id_column": "trace"}


def step_rows(*rows):
    return [
        (f"s.csv:{i}", dict(zip(("trace", "question", "step", "marks"), cells, strict=True)))
        for i, cells in enumerate(rows, 2)
    ]


def test_a_row_per_step():
    columns = Columns(**STEPS)
    rows = step_rows(("x", "Q?", "a", "1"), ("x", "", "b", ""), ("y", "Q?", "c", "0"))
    made = list(convert(group_steps(rows, columns), "columns", columns=columns))
    assert [(m["completions"], m["labels"], m["index"], m["kept"]) for m in made] == [
        (["a", "b"], [True, None], 0, {"trace": "x"}),
        (["c"], [False], 1, {"trace": "y"}),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("x", "Q", "a", 1), ("y", "Q", "b", 1), ("x", "Q", "c", 1)], "s.csv:4: rows with the trace 'x' came earlier"),
        (
            [("x", "Q", "a", 1), ("x", "R", "b", 1)],
            "s.csv:3: another question than in s.csv:2, which has the same trace",
        ),
        ([("", "Q", "a", 1)], "s.csv:2: column 'trace' is empty"),
    ],
)
def test_rows_of_steps_that_cannot_be_grouped(rows, message):
    with pytest.raises(ValueError, match=message):
        list(group_steps(step_rows(*rows), Columns(**STEPS)))


def test_a_row_is_described_as_it_is_read():
    described = describe("t.csv:2", row(marks="0 null"), Columns(**MARKS))
    assert described == ("t.csv:2  What is 2 + 2 + 1?\n  step 1 bad       2 + 2 = 4\n  step 2 no label  4 + 1 = 6")
    described = describe("t.csv:2", row(marks="1 0"), Columns(**MARKS))
    assert described == ("t.csv:2  What is 2 + 2 + 1?\n  step 1 good      2 + 2 = 4\n  step 2 bad       4 + 1 = 6")


def test_own_rows_keep_their_numbers_and_foreign_ones_get_some():
    foreign = [json.loads('{"prompt": "Q", "completions": ["a"], "labels": [true], "index": 0}')] * 2
    rows = [("rows.jsonl:1", row) for row in foreign]
    ids = [made["id"].split("#")[1] for made in convert(rows, "trl", semantics="value")]
    assert ids == ["0", "1"]
    own = foreign[0] | {"problem_id": "p", "index": 4, "semantics": "value"}
    assert [made["id"] for made in convert([("x", own)], "trl")] == ["p#4"]
    of_others = foreign[0] | {"problem_id": "p", "index": 4}
    ids = [made["id"] for made in convert([("x", of_others)] * 2, "trl", semantics="value")]
    assert ids == [f"prompt/{hashlib.sha256(b'Q').hexdigest()[:12]}#{i}" for i in (0, 1)]


def test_the_columns_that_copies_of_a_published_set_may_lack():
    both = Columns(**MARKS | {"values_column": "values", "id_column": "id", "keep": ["steps", "why"]})
    assert both.needed == ("question", "steps", "marks")
    formats = published_formats()
    assert {name: table.name for name, table in formats.items()} == {name: name for name in formats}
    assert formats["bigbench_mistake"].optional == ("target", "answer")
    assert formats["med_prm"].optional == ("options", "prm_soft_label", "correct_answer", "orm_label")
    assert formats["fover"].optional == ()


@pytest.mark.parametrize("value", [1.5, -0.25, True, "much", [0.5]])
def test_a_soft_label_lies_between_0_and_1(value):
    settings = TABLE | {"values_column": "chances", "semantics": "value"}
    with pytest.raises(ValueError, match=r"value 2 of column 'chances' is .*; a soft label lies in 0\.\.1"):
        read(row(chances=[0.5, value]), **settings)
    assert read(row(chances=[0, 1]), **settings)["values"] == [0.0, 1.0]
