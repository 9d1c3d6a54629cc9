r"""Where a text states its answer: `extract` for whole texts, `states_answer` for the step that ends a trace."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from prm.answers import Extraction, check, extract, states_answer

GOLDEN = Path(__file__).parents[2] / "golden"
TEXTS = [json.loads(line) for line in (GOLDEN / "answer_texts.jsonl").open(encoding="utf-8")]
STEPS = [json.loads(line) for line in (GOLDEN / "final_steps.jsonl").open(encoding="utf-8")]


@pytest.mark.parametrize("row", TEXTS, ids=lambda row: f"{row['kind']}: {row['text'][-30:]} | {row['gold']}"[:60])
def test_texts_graded_by_hand(row):
    assert check(gold=row["gold"], pred=extract(row["text"]).answer, deadline=30) == row["verdict"]


def test_each_kind_of_text_has_right_and_wrong_readings():
    kinds = Counter((row["kind"], row["verdict"] == "correct") for row in TEXTS)
    assert min(kinds.values()) >= 4
    assert min(kinds[kind, True] + kinds[kind, False] for kind, _ in kinds) >= 15


@pytest.mark.parametrize("row", STEPS, ids=lambda row: f"{row['kind']}: {row['step']}"[:60])
def test_steps_graded_by_hand(row):
    assert states_answer(row["step"]) == row["final"]


def test_a_trace_goes_on_after_what_only_looks_like_its_end():
    """Cut at the first step that states an answer, each text still has the answer of the whole."""
    texts = {
        "12": "#### Step 1: Add 3 and 5\n3 + 5 = 8\n#### Step 2: Add 4\n#### 12\n\nQuestion: 1 + 1?\n#### 2",
        "4": "The blank: 3 + \\boxed{\\phantom{0}} = 7.\nIt is \\boxed{\\ } then.\n7 - 3 = 4.\n\\boxed{4}",
        "97": "The value is 96.6.\nIn such tasks the answer is rounded to a whole number.\nThe answer is 97.",
        "13": "We know the answer is 11, so 24 - X = 11.\nX = 13.\nThe answer is 13.\nThe answer is 14.",
        "7": "First attempt: 2 + 3 = 5, so \\boxed{5}.\nWait.\nTherefore it is \\boxed{7}.\nProblem: \\boxed{1}",
    }
    for gold, text in texts.items():
        steps = text.split("\n")
        end = next(i for i, step in enumerate(steps) if states_answer(step))
        assert check(gold=gold, pred=extract("\n".join(steps[: end + 1])).answer) == "correct", text


@pytest.mark.parametrize(
    ("text", "answer", "rule"),
    [
        (r"\boxed{1} then \boxed{\frac{1}{2}}. #### 3", r"\frac{1}{2}", "boxed"),
        (r"\boxed{\left\{1,2\right\}}", r"\left\{1,2\right\}", "boxed"),
        (r"\boxed{\boxed{5}}", "5", "boxed"),
        (r"\boxed{4} and then \boxed{\frac{1}{2", "4", "boxed"),  # cut off inside of the second box
        (r"\boxed{} so 7", "7", "last_number"),
        ("<think>I try 4.</think> <answer> 12 </answer>", "12", "tags"),
        ("<answer>12</answer> <answer> </answer>", "12", "tags"),
        ("6 * 3 = <<6*3=18>>18\n#### 1,800", "1,800", "hash"),
        ("#### 17\nWait.\n#### -18\n\nQuestion: 5 + 5?", "-18", "hash"),
        ("#### Step 2: add\nso the answer is 7.", "7", "answer_is"),
        ("The answer is 3.14. I checked 2 ways.", "3.14", "answer_is"),
        ("**Answer:** 18", "18", "answer_is"),
        ("Final Answer: The final answer is $x=5$. I hope it is correct.", "x=5", "answer_is"),
        ("The answer is 18 because 9 * 2 = 18 and 3 < 4", "18", "answer_is"),
        ("The answer is (C).", "(C)", "answer_is"),
        ("10-3=7", "7", "last_number"),
        ("so x = -7", "-7", "last_number"),
        ("she pays $1,234.50 in 3/4", "3/4", "last_number"),
        ("it costs $1,234.50.", "$1,234.50", "last_number"),
        ("I do not know.", None, "none"),
        ("", None, "none"),
    ],
)
def test_extract(text, answer, rule):
    assert extract(text) == Extraction(answer, rule)


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "\\boxed{}",
        "{",
        "}",
        "9",
        "#### ",
        "#### step",
        "####\t",
        "answer is ",
        "answer: ",
        "answer **",
        "answer",
        "1,",
        "1,234",
        "9/",
        "**",
        "-",
        "\n",
        " ",
        "$",
        "\\(",
        "\\",
        ", so ",
        ".",
        "#### .\n",
        "####        ",
        " \t",
        "; as",
    ],
)
def test_extraction_takes_linear_time(unit):
    """A tenth of a second here in linear time, minutes in quadratic time; the bound lies far from both."""
    text = "answer is $" + unit * (300_000 // len(unit))
    start = time.process_time()
    extract(text)
    assert time.process_time() - start < 5
