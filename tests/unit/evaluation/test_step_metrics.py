"""Step metrics against pair counting, hand-computed numbers and a report worked out on paper."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.aggregation import aggregate
from prm.evaluation.step_metrics import (
    ProcessBenchScore,
    ReliabilityRow,
    auc,
    auc_within_groups,
    balanced_accuracy,
    expected_calibration_error,
    first_error,
    first_error_accuracy,
    first_errors_found,
    length_correlation,
    length_correlation_within_groups,
    processbench,
    reliability,
    step_report,
)

NAN = float("nan")
items = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from(["gsm8k/17", "gsm8k/4", "math/1"])), max_size=25
)


def count_pairs(scores, labels, groups):
    """Share of rightly ordered pairs, one by one."""
    won = [
        (scores[i] > scores[j]) + (scores[i] == scores[j]) / 2
        for i in range(len(scores))
        for j in range(len(scores))
        if labels[i] and not labels[j] and groups[i] == groups[j]
    ]
    return sum(won) / len(won) if won else NAN


@given(items)
@settings(max_examples=200, deadline=None)
def test_auc_equals_counting_pairs(rows):
    scores, labels, groups = [r[0] / 5 for r in rows], [r[1] for r in rows], [r[2] for r in rows]
    one_group = count_pairs(scores, labels, [0] * len(rows))
    assert auc(scores, labels) == pytest.approx(one_group, nan_ok=True)
    assert auc_within_groups(scores, labels, groups) == pytest.approx(count_pairs(scores, labels, groups), nan_ok=True)


def test_auc_by_hand():
    assert auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    assert auc([0.5, 0.5, 0.5], [True, False, True]) == 0.5
    assert auc([0.9, 0.1], [False, True]) == 0.0
    assert math.isnan(auc([0.9, 0.1], [True, True]))
    assert math.isnan(auc([], []))


def test_auc_within_groups_does_not_reward_knowing_the_problem():
    # Easy problem: 4 good at .8, 1 bad at .9. Hard one: 1 good at .1, bad at .2 .2 .2 .1. Both are in the wrong order.
    scores = [0.8] * 4 + [0.9] + [0.1] + [0.2] * 3 + [0.1]
    labels = [True] * 4 + [False] + [True] + [False] * 4
    groups = ["easy"] * 5 + ["hard"] * 5
    assert auc_within_groups(scores, labels, groups) == pytest.approx(0.5 / 8)  # one tie in 4 + 4 pairs
    assert auc(scores, labels) == pytest.approx(16.5 / 25)
    assert math.isnan(auc_within_groups([0.9, 0.1], [True, False], ["a", "b"]))


def test_balanced_accuracy():
    # good: .9 and .5 (on the threshold counts as good) right, .2 wrong; bad: .1 right -> (2/3 + 1) / 2
    assert balanced_accuracy([0.9, 0.5, 0.2, 0.1], [True, True, True, False]) == pytest.approx(5 / 6)
    assert balanced_accuracy([1.0] * 10, [True] * 9 + [False]) == 0.5
    assert balanced_accuracy([0.9, 0.5, 0.2, 0.1], [True, True, True, False], threshold=0.15) == 1.0
    assert math.isnan(balanced_accuracy([0.9], [True]))


def test_reliability_and_calibration_error():
    scores, targets = [0.1, 0.3, 0.8, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0, 0.25]
    low, high = reliability(scores, targets, bins=2)
    assert low == ReliabilityRow(0.0, 0.5, 2, pytest.approx(0.2), 0.25)
    assert high == ReliabilityRow(0.5, 1.0, 3, pytest.approx(2.3 / 3), 0.75)  # .5 lies in the upper bin, 1.0 too
    assert expected_calibration_error(scores, targets, bins=2) == pytest.approx((0.1 + 0.05) / 5)
    assert [(row.low, row.count) for row in reliability([0.05, 0.95], [0, 1])] == [(0.0, 1), (0.9, 1)]
    assert math.isnan(expected_calibration_error([], []))


def test_a_calibrated_score_has_no_calibration_error():
    rng = np.random.default_rng(0)
    scores = rng.random(40000)
    labels = rng.random(40000) < scores
    assert expected_calibration_error(scores.tolist(), labels.tolist()) < 0.012
    assert expected_calibration_error((scores**2).tolist(), labels.tolist()) == pytest.approx(1 / 6, abs=0.01)


def test_length_correlation():
    assert length_correlation([0.9, 0.6, 0.3], [2, 4, 6]) == pytest.approx(-1.0)
    scores, lengths = [0.2, 0.9, 0.4, 0.7, 0.1], [3, 1, 4, 1, 5]
    assert length_correlation(scores, lengths) == pytest.approx(np.corrcoef(scores, lengths)[0, 1])
    assert length_correlation([0.1, 0.1, 0.1], [3, 1, 6]) == 0.0  # the mean of .1 .1 .1 is not .1 in floating point
    assert length_correlation([0.1, 0.7, 0.3], [4, 4, 4]) == 0.0
    assert length_correlation([], []) == 0.0


def test_length_correlation_within_groups():
    # Between problems long means low; within each problem long means high.
    scores, lengths, groups = [0.8, 0.9, 0.1, 0.2], [2, 3, 8, 9], ["easy", "easy", "hard", "hard"]
    assert length_correlation(scores, lengths) < -0.9
    assert length_correlation_within_groups(scores, lengths, groups) == pytest.approx(1.0)
    assert length_correlation_within_groups([0.1, 0.1, 0.1, 0.7], [1, 2, 3, 9], ["a", "a", "a", "b"]) == 0.0


@pytest.mark.parametrize(
    ("scores", "index"), [([0.9, 0.5, 0.6], -1), ([0.9, 0.49, 0.1], 1), ([0.2], 0), ([0.9, 0.9, 0.4], 2)]
)
def test_first_error(scores, index):
    assert first_error(scores) == index


def test_first_error_threshold_and_nan():
    assert first_error([0.9, 0.5, 0.6], threshold=0.6) == 1
    with pytest.raises(ValueError, match="score 1 of 2 is nan"):
        first_error([0.9, NAN])


def test_processbench_golden():
    scores_N = [
        [0.9, 0.2, 0.1],  # error at 1, found
        [0.9, 0.8, 0.4],  # error at 1, found at 2: not exact
        [0.9, 0.8, 0.7],  # error at 0, missed
        [0.1, 0.8, 0.7],  # error at 0, found
        [0.9, 0.9],  # no error, none found
        [0.9, 0.3],  # no error, false alarm
        [0.9, 0.9, 0.8],  # no error, none found
    ]
    first_errors = [1, 1, 0, 0, -1, -1, -1]
    score = processbench(scores_N, first_errors)
    assert score.error_accuracy == 0.5
    assert score.correct_accuracy == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(4 / 7)  # 2 * 1/2 * 2/3 / (1/2 + 2/3)
    # At 0.25 the second trace is missed instead of late (still wrong), and the false alarm is gone.
    assert processbench(scores_N, first_errors, threshold=0.25) == ProcessBenchScore(0.5, 1.0, pytest.approx(2 / 3))


def test_processbench_f1_is_the_harmonic_mean_of_rates_not_of_counts():
    # 72.0% and 96.4% give 82.4 (2 * 72.0 * 96.4 / 168.4), the arithmetic mean would be 84.2.
    traces = [([0.1], 0)] * 720 + [([0.9], 0)] * 280 + [([0.9], -1)] * 964 + [([0.1], -1)] * 36
    assert round(100 * processbench(*zip(*traces, strict=True)).f1, 1) == 82.4


def test_processbench_edges():
    assert processbench([[0.9], [0.1]], [0, -1]) == ProcessBenchScore(0.0, 0.0, 0.0)
    only_correct = processbench([[0.9]], [-1])
    assert only_correct.correct_accuracy == 1.0
    assert math.isnan(only_correct.error_accuracy)
    assert math.isnan(only_correct.f1)
    with pytest.raises(ValueError, match="trace 1: first error 2 with 2 step scores"):
        processbench([[0.9], [0.9, 0.1]], [-1, 2])
    with pytest.raises(ValueError, match="trace 0: first error -1 with 0 step scores"):
        processbench([[]], [-1])


def test_first_error_accuracy():
    scores_N = [[0.9, 0.1], [0.9, 0.9], [0.2, 0.9], [0.9, 0.9]]
    labels_N = [[True, False], [True, True], [True, False], [False, False]]
    assert first_error_accuracy(scores_N, labels_N) == 0.5


def test_aggregate():
    scores = (0.5, 0.2, 0.8)
    assert aggregate(scores, "last") == 0.8
    assert aggregate(scores, "min") == 0.2
    assert aggregate(scores, "product") == pytest.approx(0.08)
    assert aggregate(scores, "mean") == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one step"):
        aggregate((), "min")
    with pytest.raises(ValueError, match="NaN"):
        aggregate((0.5, NAN), "min")
    with pytest.raises(ValueError, match="'max' is not one of"):
        aggregate(scores, "max")


def report(**changes):
    arguments = {
        "scores_N": [[0.9, 0.8, 0.7], [0.9, 0.3], [0.6, 0.4], [0.8, 0.2, 0.1, 0.3]],
        "labels_N": [[True, True, True], [True, False], [True, True], [True, False, False, False]],
        "problem_ids": ["a", "a", "b", "b"],
    }
    return step_report(**(arguments | changes))


def test_step_report_by_hand():
    result = report()
    assert list(result) == [
        "auc",
        "auc_within_problem",
        "trace_auc",
        "trace_auc_within_problem",
        "balanced_accuracy",
        "first_error_accuracy",
        "calibration_error",
        "length_correlation",
        "length_correlation_within_problem",
        "label_balance",
        "n_steps",
        "n_traces",
    ]
    assert all(type(value) is float for value in result.values())
    assert result["auc"] == result["auc_within_problem"] == 1.0  # the lowest good step .4, the highest bad step .3
    assert result["trace_auc"] == result["trace_auc_within_problem"] == 1.0  # .7 .4 against .3 .3
    assert result["balanced_accuracy"] == pytest.approx((6 / 7 + 1) / 2)  # .4 is called bad
    assert result["first_error_accuracy"] == 0.75
    assert result["label_balance"] == pytest.approx(7 / 11)
    assert (result["n_steps"], result["n_traces"]) == (11.0, 4.0)
    # scores .7 .3 .4 .3, lengths 3 2 2 4; within: +-.2 with +-.5, and +-.05 with -+1
    assert result["length_correlation"] == pytest.approx(np.corrcoef([0.7, 0.3, 0.4, 0.3], [3, 2, 2, 4])[0, 1])
    assert result["length_correlation_within_problem"] == pytest.approx(0.1 / math.sqrt(0.085 * 2.5))
    # bins: .1 .2 .3 .3 (bad) .4 .6 .7 .8 .8 .9 .9 (good): distances .1 .2 .3 .3 .6 .4 .3 .2 .2 .1 .1
    assert result["calibration_error"] == pytest.approx(2.8 / 11)


def test_step_report_follows_its_options():
    # product: .504 .27 .24 .0048 for good, bad, good, bad: one pair of four is lost between problems, none within.
    product = report(aggregation="product")
    assert product["trace_auc"] == 0.75
    assert product["trace_auc_within_problem"] == 1.0
    assert product["auc"] == report()["auc"]
    soft = report(targets_N=[[0.9, 0.8, 0.7], [0.9, 0.3], [0.6, 0.4], [0.8, 0.2, 0.1, 0.3]])
    assert soft["calibration_error"] == pytest.approx(0.0, abs=1e-12)
    assert soft["balanced_accuracy"] == report()["balanced_accuracy"]


def test_step_report_with_one_class_is_nan_and_does_not_fail():
    result = step_report([[0.9, 0.8]], [[True, True]], ["a"])
    assert math.isnan(result["auc"])
    assert math.isnan(result["trace_auc_within_problem"])
    assert result["first_error_accuracy"] == result["label_balance"] == 1.0


def test_mismatches_are_refused_and_named():
    with pytest.raises(ValueError, match="trace 1: 2 labels but 1 scores"):
        report(scores_N=[[0.9, 0.8, 0.7], [0.9], [0.6, 0.4], [0.8, 0.2, 0.1, 0.3]])
    with pytest.raises(ValueError, match="'problem_ids': 3"):
        report(problem_ids=["a", "a", "b"])
    with pytest.raises(ValueError, match="trace 0: 0 labels but 0 scores"):
        step_report([[]], [[]], ["a"])
    with pytest.raises(ValueError, match="label 1 of 2 is -100"):
        auc([0.1, 0.2], [1, -100])
    with pytest.raises(ValueError, match=r"score 0 of 1 is 2\.5, out of"):
        reliability([2.5], [1.0])
    with pytest.raises(ValueError, match="score 1 of 2 is nan"):
        auc([0.1, NAN], [True, False])
    with pytest.raises(ValueError, match="score 0 of 2 is nan"):
        auc([None, 0.1], [True, False])
    with pytest.raises(ValueError, match=r"'scores': 2, 'labels': 1"):
        auc([0.1, 0.2], [True])
    with pytest.raises(ValueError, match=r"unequal lengths .*'scores': 2, 'targets': 1"):
        expected_calibration_error([0.1, 0.2], [1.0])
    with pytest.raises(ValueError, match="trace 0: 2 labels but 1 scores"):
        first_error_accuracy([[0.9]], [[True, False]])


def test_one_label_per_score_is_needed():
    for measure in (auc, balanced_accuracy):
        with pytest.raises(ValueError, match=r"unequal lengths \{.*\}; give one entry per item in each"):
            measure([0.5, 0.6], [True, False, True])


@pytest.mark.filterwarnings("error")
def test_what_needs_both_classes_is_nan_without_a_warning():
    for labels in ([True, True], [False, False], []):
        scores = [0.5] * len(labels)
        assert math.isnan(balanced_accuracy(scores, labels))
        assert math.isnan(auc(scores, labels))
    assert length_correlation([0.5, 0.5], [1, 2]) == 0
    assert math.isnan(expected_calibration_error([], []))


@pytest.mark.parametrize("figure", [auc_within_groups, length_correlation_within_groups])
def test_figures_within_groups_need_a_group_for_every_score(figure):
    with pytest.raises(ValueError, match="groups"):
        figure([0.5, 0.25, 0.75], [True, False, True], ["a", "b"])


def test_figures_of_unequal_lengths_are_refused_with_the_lengths():
    with pytest.raises(
        ValueError, match=r"unequal lengths \{'scores': 1, 'first_errors': 2\}; give one entry per item"
    ):
        processbench([[0.1]], [0, -1])
    with pytest.raises(ValueError, match=r"unequal lengths \{'named': 1, 'first_errors': 2\}"):
        first_errors_found([0], [0, -1])
