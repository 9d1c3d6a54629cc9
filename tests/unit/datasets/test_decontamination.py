"""Does the index find what is known, and only that?"""

import pytest

from prm.datasets.decontamination import Match, check_exemplars, index_problems
from prm.encoding.prompts import PROMPTS, PromptTemplate
from prm.types import Problem

LONG = "A train leaves the station at 9 in the morning and travels 60 miles every hour until noon."
SHORT = "What is 2 + 3?"


@pytest.fixture
def index():
    return index_problems([("long", LONG), ("short", SHORT)])


@pytest.mark.parametrize("text", [SHORT, "  what IS\n2 + 3 ?"])
def test_the_same_text(index, text):
    assert index.find(text) == Match("short", SHORT, "whole problem")


@pytest.mark.parametrize("text", ["What is 2 - 3?", "What is 2 + 3 + 1?", "", "?"])
def test_another_text(index, text):
    assert index.find(text) is None


def test_thirteen_words_in_a_row_and_not_twelve(index):
    words = LONG.lower().rstrip(".").split()
    assert len(words) == 18
    thirteen = "Once, " + ", ".join(words[2:15]).upper() + " $\\cdot$ more"
    assert index.find(thirteen) == Match("long", LONG, " ".join(words[2:15]))
    assert index.find("Once " + " ".join(words[2:14]) + " more and more and more") is None


def test_twelve_words_are_too_few_at_the_end_too():
    last = " ".join(LONG.lower().rstrip(".").split()[-12:])
    assert index_problems([("long", LONG)]).find(f"Now {last}") is None


def test_a_problem_of_twelve_words_is_found_as_a_whole_only():
    twelve = "Ann has two red pens and six blue pens in her bag."
    index = index_problems([("short", twelve)])
    assert index.find(twelve.upper()) == Match("short", twelve, "whole problem")
    assert index.find("Ann has two red pens, and six blue pens, in her bag.") is None


def test_n_is_a_choice():
    index = index_problems([("short", SHORT)], n=3)
    assert index.find("So what is 2, then?") == Match("short", SHORT, "what is 2")


def test_exemplars_are_kept_apart_from_the_problems_to_solve():
    problems = [Problem("set/test/7", LONG, "180", "set"), Problem("set/test/8", SHORT, "5", "set")]
    apart = ("What is 7 - 3?", "4")
    check_exemplars(PromptTemplate("{prompt}", exemplars=(apart,)), problems)
    check_exemplars(PROMPTS["few_shot_cot"], problems)
    check_exemplars(PROMPTS["plain"], problems)
    leaking = PromptTemplate(
        "{prompt}", exemplars=(apart, ("what is 2 + 3 ?", "5"), (f"Soon {LONG[:-1]} or one.", "180"))
    )
    with pytest.raises(ValueError, match="2 of the 3 exemplars") as refused:
        check_exemplars(leaking, problems)
    assert str(refused.value) == (
        "2 of the 3 exemplars of the prompt are among the problems to solve, such as 'what is 2 + 3 ?' (set/test/8: whole"
        " problem); take exemplars from other problems (`ids`, `seed` or another file), or leave these problems out"
    )
