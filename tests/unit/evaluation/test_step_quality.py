"""What step scores are worth, worked out by hand."""

import math

import pytest
from search_run import rows as search_rows
from search_run import write_run

from prm.evaluation.search_runs import read_runs
from prm.evaluation.step_quality import StepRow, finite, pool_quality, step_quality, step_rows
from prm.evaluation.step_tables import bias_table, depth_table, quality_table, step_run_sections
from prm.storage.step_scores import JudgedTrace, Prediction

NAN = float("nan")


def row(problem, scores, labels, correct=None, trace=None, steps=None):
    steps = steps or tuple("step" for _ in scores)
    return StepRow(problem, steps, scores, scores[-1] if trace is None else trace, labels, correct)


ROWS = [
    row("p", (0.9, 0.8, 0.7), (True, True, True), True),
    row("p", (0.9, 0.4, 0.3), (True, False, None), False),  # the last step is judged by nobody
    row("q", (0.6, 0.2), (False, False), True),  # right answer, wrong process, and found
    row("q", (0.8, 0.55), (True, True), True),
]


def test_auc_and_what_was_judged():
    found = step_quality(ROWS)
    assert (found["traces"], found["problems"], found["steps"], found["right_steps"]) == (4, 2, 9, pytest.approx(6 / 9))
    # Right: .9 .8 .7 .9 .8 .55. Wrong: .4 .6 .2. Only .55 against .6 is in the wrong order.
    assert found["auc"] == pytest.approx(17 / 18)
    # Within p: 4 right, 1 wrong, all in order; within q: .8 .55 against .6 .2, one of four is not.
    assert found["auc_within_problem"] == pytest.approx((4 + 3) / (4 + 4))
    assert found["low"] is None, "two problems have no interval"
    assert found["balanced_accuracy"] == pytest.approx((6 / 6 + 2 / 3) / 2)


def test_a_half_is_called_wrong():
    found = step_quality([row("p", (0.5, 0.9), (False, True), True)])
    assert found["balanced_accuracy"] == 1.0
    assert found["wrong_process"]["flagged"] == 1.0
    assert step_quality([row("p", (0.5, 0.9), (True, True), True)])["wrong_process"]["flagged_right"] == 1.0


def test_calibration_by_depth():
    found = step_quality(
        [row("p", (0.9, 0.5, 0.2, 0.4, 0.1), (True, True, False, True, False)), row("p", (0.7,), (False,))]
    )
    assert [(its["from"], its["to"], its["steps"]) for its in found["by_depth"]] == [
        (1, 1, 2),
        (2, 2, 1),
        (3, 4, 2),
        (5, 8, 1),
    ]
    first = found["by_depth"][0]
    assert (first["score"], first["right_steps"], first["auc"]) == (pytest.approx(0.8), 0.5, 1.0)
    assert first["calibration_error"] == pytest.approx((0.1 + 0.7) / 2)
    late = step_quality([row("p", (0.5,) * 40, (True,) * 40)])["by_depth"][-1]
    assert (late["from"], late["to"], late["steps"]) == (33, None, 8)


def test_the_share_of_lowest_scores_on_the_last_step():
    """Of traces of one step nothing is learned; of equal scores the first is the lowest."""
    rows = [
        row("p", (0.9, 0.2), (True, False)),
        row("p", (0.9, 0.5, 0.9), (True, False, True)),
        row("p", (0.3, 0.3), (True, True)),
        row("p", (0.9, 0.8, 0.7), (True, True, True)),
        row("p", (0.9, 0.8, 0.1), (True, True, False)),
        row("p", (0.1,), (False,)),
    ]
    last = step_quality(rows)["lowest_last"]
    assert last == {
        "traces": 5,
        "share": 0.6,
        "by_chance": pytest.approx((2 / 2 + 3 / 3) / 5),
        "by_truth": pytest.approx(2 / 3),  # of the three wrong ones
    }


def test_bias_is_set_beside_that_of_the_truth():
    """Longer traces score lower in both problems, and are no worse in one of them."""
    rows = [
        row("p", (0.9,), (True,), steps=("ab",)),
        row("p", (0.9, 0.8, 0.5), (True, True, True), steps=("ab", "c", "d")),
        row("q", (0.8, 0.8), (True, True), steps=("a", "b")),
        row("q", (0.9, 0.2, 0.4, 0.4), (True, False, False, False), steps=("a", "b", "c", "d")),
    ]
    bias = step_quality(rows)["bias"]
    assert bias["steps"] == pytest.approx(-1.0)
    assert bias["steps_truth"] == pytest.approx(-1 / math.sqrt(2))
    assert bias["characters"] == pytest.approx(-1.0)


def test_right_answers_by_a_wrong_process():
    found = step_quality(ROWS)["wrong_process"]
    assert found == {"right_answers": 3, "wrong_process": 1, "auc": 1.0, "flagged": 1.0, "flagged_right": 0.0}
    none = step_quality(ROWS[:1])["wrong_process"]
    assert none["wrong_process"] == 0
    assert math.isnan(none["flagged"])
    assert math.isnan(none["auc"])


def test_an_interval_is_over_problems():
    rows = [row(str(i), (0.9, 0.6 if i % 4 else 0.95), (True, False)) for i in range(40)]
    found = step_quality(rows)
    assert found["auc_within_problem"] == 0.75
    assert 0.55 < found["low"] < 0.75 < found["high"] < 0.95


def test_rows_of_predictions():
    traces = [JudgedTrace(name, "all", "p", "p", ("a", "b"), (True, True), True) for name in "abcd"]
    said = [
        Prediction("a", (0.9, 0.8), trace=0.72),
        Prediction("b", (0.9, 0.8)),
        Prediction("c", (0.2,)),  # stopped
        Prediction("d", None, first_error=1),
    ]
    assert [its.trace for its in step_rows(traces, said)] == [0.72, 0.8]


def test_nan_is_null_in_json_and_nan_in_a_table():
    named = {"prm": finite(step_quality([row("p", (0.9, 0.8), (True, True))])), "mine": finite(step_quality(ROWS))}
    assert named["prm"]["auc"] is None
    table = quality_table(named)
    assert table[1][:7] == ["PRM", "1", "2", "100.0%", "NaN", "–", "NaN"]
    assert table[2][-2:] == ["100.0% of 1", "0.0%"]
    assert [line[0] for line in depth_table(named)] == ["step", "1", "2", "3 to 4"]
    assert depth_table(named)[3][3:5] == ["", ""], "no step of the PRM is so late"
    assert bias_table(named)[1][4] == "+0.000"


def test_the_pool_of_a_search_run_is_judged_for_each_verifier(tmp_path):
    """14 of 16 candidates are usable and scored; all have two steps but one, which has four."""
    run = read_runs([write_run(tmp_path / "search", search_rows())])
    found = pool_quality(run, lambda problem, steps: (*(True for _ in steps[1:]), steps[-1] == "#### 0"))
    assert list(found) == ["prm", "orm"]
    assert (found["prm"]["traces"], found["prm"]["steps"], found["prm"]["problems"]) == (14, 30, 4)
    # Steps before the last score 0.5. Within a problem, wrong last steps of the PRM: .35 .25, three .15, .35, and .95.
    wins = (2 * 6) + (3 * 5) + (1 * 3) + 0
    assert found["prm"]["auc_within_problem"] == pytest.approx(wins / ((6 * 2) + (5 * 3) + (3 * 1) + (9 * 1)))
    assert found["orm"]["auc_within_problem"] < found["prm"]["auc_within_problem"]
    assert pool_quality(run, lambda problem, steps: None) == {}
    assert pool_quality(run, lambda problem, steps: (False,) * len(steps)) == {}, (
        "a notation that the truth does not know"
    )


def test_nothing_at_all_has_no_figures():
    found = step_quality([])
    assert found["traces"] == 0
    assert math.isnan(found["auc_within_problem"])
    assert found["by_depth"] == []


def test_sections_of_a_run_name_its_verifier():
    summary = {"benchmark": "rows", "verifier": "prm", "truth": "the labels of the rows", "official": None}
    summary["steps"] = finite(step_quality(ROWS))
    assert [heading for heading, *_ in step_run_sections(summary)] == [
        "Step scores against the labels of the rows (prm)", "Calibration by depth (prm)", "Biases of step scores (prm)"
    ]  # fmt: skip
