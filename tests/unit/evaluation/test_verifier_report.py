"""The figures of a verifier report on traces worked out by hand, and the tables that say what they are."""

import pytest

from prm.evaluation.step_quality import StepRow
from prm.evaluation.style_attacks import Shift
from prm.evaluation.verifier_report import card_text, comparison_table, is_right, report_figures, report_sections

ROWS = [
    StepRow("p", ("a", "#### 1"), (0.9, 0.85), 0.85, (True, True), True),
    StepRow("p", ("b", "#### 2"), (0.9, 0.15), 0.15, (True, False), False),
    StepRow(
        "p", ("c", "#### 1"), (0.3, 0.95), 0.95, (False, False), True
    ),  # right by a wrong step, and scored as right
]
SHIFTS = {
    "praised": [Shift("p", True, 0.85, 0.85), Shift("p", False, 0.15, 0.65), Shift("p", False, 0.95, 0.95)],
    "longer": [Shift("p", False, 0.15, 0.05)],
}


def report(search=None):
    figures = report_figures(ROWS, SHIFTS)
    return {"verifier": "mine", "data": "rows.jsonl", "truth": "labels", "figures": figures, "search": search}


def test_a_right_answer_with_a_wrong_step_is_not_right():
    assert [is_right(row) for row in ROWS] == [True, False, False]
    assert is_right(StepRow("p", ("a",), (0.5,), 0.5, (None,), True)) is None
    assert is_right(StepRow("p", ("a",), (0.5,), 0.5, (None,), False)) is False


def test_whole_traces_are_set_against_their_answers():
    traces = report()["figures"]["traces"]
    assert (traces["traces"], traces["right"], traces["auc_within_problem"]) == (3, pytest.approx(2 / 3), 1.0)
    assert traces["calibration_error"] == pytest.approx((0.15 + 0.15 + 0.05) / 3)
    assert [its["count"] for its in traces["reliability"]] == [1, 1, 1]


def test_the_row_of_a_verifier():
    search = {
        "problems": 20,
        "growth": {
            "prm_best_of_n": {
                "points": [{"n": 1, "accuracy": 0.5}, {"n": 2, "accuracy": 0.6}, {"n": 4, "accuracy": 0.4}],
                "best_n": 2,
                "change": {"mean": -0.2, "low": -0.3, "high": -0.1},
            }
        },
        "false_positives": {"prm_best_of_n": {"right": 10, "share": 0.1, "low": 0.0, "high": 0.25}},
    }
    head, row = comparison_table([report(search)])
    assert dict(zip(head, row, strict=True)) == {
        "verifier": "mine",
        "traces": "3",
        "AUC of traces": "1.000",
        "AUC of steps": "0.667",
        "calibration error of traces": "0.117",
        "calibration error of steps": "0.225",
        "wrong process found": "100.0% of 1",
        "right one called so": "0.0%",
        "best N": "2",
        "from there to the last": "-20.0 [-30.0, -10.0]",
        "worst style": "praised: 100.0% cross",
    }
    tables = {heading: table for heading, table, _ in report_sections(report(search))}
    assert tables["More samples (20 problems)"][1] == [
        *("prm_best_of_n", "50.0%", "60.0%", "40.0%", "2", "-20.0 [-30.0, -10.0]", "10.0% [0.0, 25.0] of 10")
    ]
    assert tables["Attacks on style"][1:] == [
        *(["praised", "3", "0", "+0.000", "+0.250", "100.0% of 1", "0.0% of 1", "0.500", "0.500"],),
        *(["longer", "1", "0", "–", "-0.100", "0.0% of 1", "– of 0", "NaN", "NaN"],),
    ]


def test_without_a_search_the_card_says_nothing_of_samples():
    text = card_text(report(), "verifier_report.md")
    assert text.startswith(
        "[verifier_report.md](verifier_report.md) was measured on 3 traces of rows.jsonl, against labels:"
    )
    assert "AUC of steps: 0.667" in text
    assert "best N" not in text
