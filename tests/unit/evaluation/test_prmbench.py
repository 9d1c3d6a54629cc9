"""PRMBench's figures from its definition, on predictions that were made by hand."""

import math

import pytest

from prm.conversions.judged_traces import READERS
from prm.evaluation.prmbench import GROUPS, confusion, prmbench_summary
from prm.storage.step_scores import Prediction

NAN = float("nan")


def row(idx, kind, num_steps, wrong):
    return {
        "idx": idx,
        "classification": kind,
        "modified_question": f"question of {idx}",
        "modified_process": [f"step {i}" for i in range(1, num_steps + 1)],
        "error_steps": wrong,
    }


def summary(*rows):
    """Of (idx, class, wrong steps from 1, scores) rows."""
    traces = [READERS["prmbench"]("f:1", row(idx, kind, len(scores), wrong)) for idx, kind, wrong, scores in rows]
    return prmbench_summary(traces, [Prediction("", tuple(scores)) for *_, scores in rows])


def f1(hits, misses):
    return 2 * hits / (2 * hits + misses)


def test_a_half_is_called_wrong():
    assert confusion((0.5, 0.51, 0.5), (True, True, False)) == (1, 0, 1, 1)


def test_the_figures_of_the_definition():
    """Circular: right called right 2, wrong called right 1, wrong called wrong 1, right called wrong 1."""
    found = summary(
        ("a", "circular", [2, 3], [0.9, 0.1, 0.8]),  # right after wrong steps counts as any other
        ("b", "circular", [], [0.9, 0.4]),
        ("c", "deception", [1], [0.2, 0.9]),
    )
    circular = found["classes"]["circular"]
    assert (circular["f1"], circular["negative_f1"]) == (pytest.approx(f1(2, 2)), pytest.approx(f1(1, 2)))
    assert circular["prm_score"] == pytest.approx((f1(2, 2) + f1(1, 2)) / 2)
    assert (circular["traces"], circular["steps"], circular["wrong_steps"]) == (2, 5, 2)
    assert found["classes"]["deception"]["prm_score"] == 1.0
    # Over all steps, not the mean of the classes.
    assert found["prm_score"] == pytest.approx((f1(3, 2) + f1(2, 2)) / 2)


def test_of_multi_solutions_only_the_f1_of_right_steps_counts():
    found = summary(("a", "multi_solutions", [], [0.9, 0.9, 0.2]))["classes"]["multi_solutions"]
    assert found["prm_score"] == found["f1"] == pytest.approx(f1(2, 1))


def test_a_group_is_the_mean_of_its_classes_and_nan_without_one_of_them():
    right = ("a", "redundency", [1], [0.1, 0.9])
    half = ("b", "circular", [1], [0.1, 0.9, 0.2])  # 1, 0, 1, 1
    found = summary(right, half)
    assert found["groups"]["simplicity"] == pytest.approx((1 + f1(1, 1)) / 2)
    assert math.isnan(found["groups"]["soundness"])
    assert sorted(name for names in GROUPS.values() for name in names) == [
        "circular", "confidence", "counterfactual", "deception", "domain_inconsistency", "missing_condition",
        "multi_solutions", "redundency", "step_contradiction",
    ]  # fmt: skip


def test_wrong_steps_after_the_end_are_counted_and_change_nothing():
    with_them = summary(("a", "circular", [1, 3, 9], [0.1, 0.9]), ("b", "circular", [2], [0.9, 0.8]))
    without = summary(("a", "circular", [1], [0.1, 0.9]), ("b", "circular", [2], [0.9, 0.8]))
    assert (with_them["beyond"], with_them["traces_beyond"]) == (2, 1)
    assert with_them["prm_score"] == without["prm_score"]


def test_what_has_no_value_is_nan_and_what_is_never_right_is_zero():
    found = summary(("a", "circular", [], [0.9, 0.9]))["classes"]["circular"]
    assert found["f1"] == 1.0
    assert math.isnan(found["negative_f1"])
    assert math.isnan(found["prm_score"])
    found = summary(("a", "circular", [1], [0.9, 0.2]))["classes"]["circular"]
    assert (found["f1"], found["negative_f1"]) == (0.0, 0.0)


def test_a_trace_without_scores_is_left_out_and_counted():
    traces = [READERS["prmbench"]("f:1", row(idx, "circular", 2, [2])) for idx in ("a", "b")]
    found = prmbench_summary(traces, [Prediction("", (0.9, 0.1)), Prediction("", None, status="too_long")])
    assert (found["prm_score"], found["not_scored"], found["classes"]["circular"]["not_scored"]) == (1.0, 1, 1)
    assert found["steps"] == 2
    found = prmbench_summary(traces, [Prediction("", None, status="too_long")] * 2)
    assert found["classes"]["circular"]["not_scored"] == 2


def test_intervals_need_ten_problems():
    rows = [(f"p{i}", "circular", [2], [0.9, 0.1 if i % 3 else 0.9]) for i in range(12)]
    found = summary(*rows)
    assert found["low"] < found["prm_score"] < found["high"]
    assert summary(*rows[:9])["low"] is None
