"""MR-GSM8K's figures from its definition."""

import math

import pytest

from prm.evaluation.mr_gsm8k import mr_gsm8k_summary
from prm.storage.step_scores import JudgedTrace, Prediction
from prm.types import labels_to_first_error


def summary(rows):
    """Of (first error, what was named, question type) rows of three steps."""
    traces = [
        JudgedTrace(str(i), kind, str(i), "p", ("a", "b", "c"), labels_to_first_error(3, first))
        for i, (first, _, kind) in enumerate(rows)
    ]
    return mr_gsm8k_summary(traces, [Prediction("", None, first_error=named) for _, named, _ in rows])


ROWS = [
    (-1, -1, "original"),
    (-1, -1, "original"),
    (-1, 2, "POT"),
    (0, 0, "original"),
    (1, 2, "original"),  # wrong, but at another step
    (2, -1, "POT"),
    (0, 0, "reversed"),
]


def test_the_figures_of_the_definition():
    """Right called right 2, wrong called wrong 3, wrong called right 1, right called wrong 1; two of four steps."""
    found = summary(ROWS)["all"]
    mcc = (2 * 3 - 1 * 1) / math.sqrt((2 + 1) * (2 + 1) * (3 + 1) * (3 + 1))
    assert found["mcc"] == pytest.approx(mcc)
    assert found["step_accuracy"] == 0.5
    assert found["mr_score_without_reasons"] == pytest.approx(0.2 * mcc + 0.3 * 0.5)
    assert (found["traces"], found["wrong"], found["not_scored"]) == (7, 4, 0)
    assert summary([*ROWS, (0, -1, "POT")])["all"]["wrong"] == 5


def test_each_type_of_question_has_its_figures():
    found = summary(ROWS)["types"]
    assert list(found) == ["original", "POT", "reversed"]
    assert (found["original"]["mcc"], found["original"]["step_accuracy"]) == (1.0, 0.5)
    assert math.isnan(found["reversed"]["mcc"]), "all are wrong"
    assert found["reversed"]["step_accuracy"] == 1.0


def test_a_negative_correlation_counts_as_none():
    found = summary([(-1, 0, "original"), (0, -1, "original")])["all"]
    assert (found["mcc"], found["mr_score_without_reasons"]) == (-1.0, 0.0)


def test_who_says_nothing_has_called_it_wrongly():
    found = summary([(-1, None, "original"), (-1, -1, "original"), (0, None, "original"), (0, 0, "original")])["all"]
    assert (found["mcc"], found["step_accuracy"], found["not_scored"]) == (0.0, 0.5, 2)
