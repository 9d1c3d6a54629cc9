"""The row that every importer ends with: what is cut, which status it has, and what its texts lose."""

import pytest

from prm.conversions.rows import continues, end_at_answer, fields, labeled_row, question, signs


def row(steps, labels, **more):
    return labeled_row("s", "1 + 1?", steps, labels, semantics="correctness", method="human", **more)


@pytest.mark.parametrize(
    ("steps", "labels", "status", "kept", "kept_labels"),
    [
        ([" a\n", "b"], [True, None], "ok", ["a", "b"], [True, None]),
        (["a", " \n", "b"], [True, True, False], "empty_step", ["a"], [True]),
        (["", "b"], [True, False], "empty_step", [], []),
        (["a"], [None], "no_labels", ["a"], [None]),
        ([], [], "no_steps", [], []),
    ],
)
def test_a_trace_ends_before_a_blank_step_and_says_why_it_is_of_no_use(steps, labels, status, kept, kept_labels):
    found = row(steps, labels, correct=True, values=[0.5] * len(steps))
    assert (found["status"], found["completions"], found["labels"]) == (status, kept, kept_labels)
    assert found["values"] == [0.5] * len(kept)
    assert found["correct"] is (True if status == "ok" else None)


def test_a_status_that_is_given_stays():
    assert row(["", "b"], [True, True], status="gave_up")["status"] == "gave_up"
    assert row([], [], status="gave_up")["status"] == "gave_up"


def test_problems_with_one_text_have_one_name():
    a, b = row(["a"], [True]), labeled_row("s", "1 + 1?", [], [], semantics="value", method="x")
    assert a["problem_id"] == b["problem_id"]
    source, digits = a["problem_id"].split("/")
    assert (source, len(digits)) == ("s", 12)
    assert (a["finished"], a["generator"], a["gold"], a["values"]) == (True, "unknown", None, None)


def test_texts_lose_the_white_space_around_them():
    assert question("r:1", " \n1 + 1?\t\n") == "1 + 1?"
    with pytest.raises(ValueError, match="r:1: the question is empty; remove the row"):
        question("r:1", " \n")


@pytest.mark.parametrize(
    ("text", "does"), [("x = 1", False), ("x = 12", False), ("x = 1\n", True), ("x = 1 y", True), ("y", False)]
)
def test_a_text_goes_on_after_white_space(text, does):
    assert continues("x = 1", text) == does


def test_signs_and_objects():
    assert signs("r:1", ["+", "-"]) == [True, False]
    with pytest.raises(ValueError, match=r"r:1: label 2 is '\*'; it must be \+ or -"):
        signs("r:1", ["+", "*"])
    assert fields("r:1", {"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match=r"r:1: \[1\] must be an object with named values"):
        fields("r:1", [1])


@pytest.mark.parametrize(
    ("steps", "kept", "states", "left_out"),
    [
        (["2 + 2 = 4", "#### 4", "And more."], ["2 + 2 = 4", "#### 4"], True, True),
        (["2 + 2 = 4", "#### 4"], ["2 + 2 = 4", "#### 4"], True, False),
        (["So \\boxed{4}.\nMore."], ["So \\boxed{4}."], True, True),
        (["So \\boxed{4}. \n"], ["So \\boxed{4}. "], True, False),
        (["2 + 2 = 4", "4 + 1 = 5"], ["2 + 2 = 4", "4 + 1 = 5"], False, False),
    ],
)
def test_a_trace_ends_where_it_states_its_answer(steps, kept, states, left_out):
    assert end_at_answer(steps) == (kept, states, left_out)
