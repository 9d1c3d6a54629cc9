"""The figures of a verifier report on traces worked out by hand, and the tables that say what they are."""

import pytest
from search_run import rows as search_rows
from search_run import write_run

from prm.evaluation.search_runs import read_runs
from prm.evaluation.step_quality import StepRow
from prm.evaluation.style_attacks import Shift
from prm.evaluation.verifier_report import (
    card_text,
    comparison_table,
    growth_table,
    is_right,
    report_figures,
    report_sections,
    search_figures,
    style_table,
    with_interval,
)

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


def test_traces_that_nobody_has_judged_are_left_out():
    judged = StepRow("q", ("a",), (0.75,), 0.75, (True,), None)  # by its steps alone
    unknown = StepRow("p", ("a",), (0.25,), 0.25, (None,), None)
    figures = report_figures([unknown, judged, judged], {})["traces"]
    assert (figures["traces"], figures["problems"], figures["right"]) == (2, 1, 1.0)
    none = report_figures([unknown], {})["traces"]
    assert (none["traces"], none["problems"], none["right"], none["reliability"]) == (0, 0, None, [])


def test_of_a_search_only_what_chooses_from_a_pool_by_this_verifier(tmp_path):
    run = read_runs([write_run(tmp_path, search_rows())])

    def truth(problem, steps):  # of the right answers, those to the first problem have wrong steps
        return (problem.id != run.rows[0].problem.id,) * len(steps)

    figures = search_figures(run, "prm", truth)
    assert (figures["problems"], list(figures["growth"])) == (4, ["prm_best_of_n", "prm_weighted_vote"])
    assert list(figures["false_positives"]) == ["single", "prm_best_of_n", "prm_weighted_vote"]
    assert search_figures(run, "other", truth)["growth"] == {}
    assert search_figures(run, "prm", lambda problem, steps: None)["false_positives"] == {}


CURVES = {
    "prm_weighted_vote": {
        "points": [{"n": 1, "accuracy": 0.5}, {"n": 2, "accuracy": 0.25}],
        "best_n": 1,
        "change": {"mean": -0.25, "low": -0.5, "high": -0.125},
    },
    "prm_best_of_n": {"points": [{"n": 2, "accuracy": 0.75}], "best_n": 2, "change": None},
}
WRONG = {
    "single": {"right": 1000, "share": 0.5, "low": None, "high": None},
    "prm_best_of_n": {"right": 0, "share": None},
}


def test_a_row_for_every_method_with_a_curve_or_with_right_answers_by_wrong_steps():
    head, *rows = growth_table({"growth": CURVES, "false_positives": WRONG})
    assert head == [*("method", "N = 1", "2", "best N", "from there to the last", "right answer, wrong step")]
    assert rows == [
        ["prm_weighted_vote", "50.0%", "25.0%", "1", "-25.0 [-50.0, -12.5]", ""],
        ["prm_best_of_n", "", "75.0%", "2", "0 (it is the last)", "– of 0"],
        ["single", "", "", "", "", "50.0% of 1,000"],
    ]
    head, *rows = growth_table({"growth": CURVES, "false_positives": {}})
    assert head[-1] == "from there to the last"
    assert [len(row) for row in rows] == [5, 5]


@pytest.mark.parametrize(
    ("growth", "cells"),
    [
        (CURVES, ["2", "0 (it is the last)"]),
        ({"prm_weighted_vote": CURVES["prm_weighted_vote"]}, ["1", "-25.0 [-50.0, -12.5]"]),
        ({}, ["–", "–"]),
    ],
)
def test_the_best_number_is_that_of_best_of_n_where_there_is_one(growth, cells):
    assert comparison_table([report({"growth": growth})])[1][8:10] == cells


def test_the_worst_style_may_be_harmless_or_unknown():
    its = report()
    for crossed, cell in ((0.0, "none crosses"), (None, "–")):
        its["figures"]["styles"] = {"longer": {"crossed": {"mean": crossed}}}
        assert comparison_table([its])[1][10] == cell
    its["figures"]["styles"] = {name: {"crossed": {"mean": mean}} for name, mean in (("b", 0.5), ("c", 0.25))}
    assert comparison_table([its])[1][10] == "b: 50.0% cross"


def test_figures_with_their_intervals():
    assert with_interval({"auc_within_problem": 0.75, "low": 0.5, "high": 0.875}) == "0.750 [0.500, 0.875]"
    moved = {"mean": 0.25, "low": -0.125, "high": 0.5}
    style = {"traces": 1234, "not_scored": 1000, "right": moved, "wrong": moved | {"low": None}, "auc": 0.5}
    style |= {"crossed": {"mean": 0.5, "of": 1000}, "above_best": {"mean": None}, "auc_wrong_restyled": 0.25}
    assert style_table({"longer": style})[1] == [
        *("longer", "1,234", "1,000", "+0.250 [-0.125, +0.500]", "+0.250", "50.0% of 1,000", "– of 0", "0.500", "0.250")
    ]
