"""What labels cost, and how well two methods agree, on traces that can be counted by hand."""

from dataclasses import replace

import pytest

from prm.labelers.reports import Spent, agreement, is_non_monotone, label_report
from prm.types import LabeledTrace, Rollout, Trace


def labeled(index, labels, values=None):
    trace = Trace("p", tuple(f"step {i}" for i in range(len(labels))), "3", False, index=index)
    return LabeledTrace(trace, tuple(labels), values, None, "monte_carlo@4", "value")


def rollout(index, tokens, outcome, prefix="5be1"):
    return Rollout("p", prefix, index, index, tokens, "text", "eos", "3", outcome)


def test_costs_are_added_up_problem_by_problem():
    spent = Spent()
    spent.add([rollout(0, (1, 2), "correct"), rollout(1, (1, 2), "correct"), rollout(2, (1, 2, 3), "wrong")])
    spent.add([rollout(0, (1, 2), "timeout", prefix="77aa")])
    assert (spent.rollouts, spent.tokens, spent.duplicates) == (4, 9, 1)
    assert spent.outcomes == {"correct": 2, "wrong": 1, "timeout": 1}
    traces = [labeled(0, [True, False, True]), labeled(1, [True, None]), labeled(2, [False])]
    assert label_report(traces, spent) == {
        "traces": 3,
        "labeled_steps": 5,
        "good": 3 / 5,
        "non_monotone": 1 / 3,
        "rollouts": 4,
        "generated_tokens": 9,
        "rollouts_per_labeled_step": 4 / 5,
        "tokens_per_labeled_step": 9 / 5,
        "duplicate_rate": 1 / 4,
        "outcomes": {"correct": 2, "wrong": 1, "timeout": 1},
    }


def test_a_report_of_nothing_is_all_zero():
    figures = label_report([], Spent())
    assert figures.pop("outcomes") == {}
    assert set(figures.values()) == {0}


def test_a_good_step_after_a_bad_one_with_or_without_gaps():
    recovered = ([False, True], [False, None, True], [True, False, True])
    steady = ([True, False], [None, True], [True, True], [True, None, True], [False, False], [])
    assert all(is_non_monotone(labeled(0, labels)) for labels in recovered)
    assert not any(is_non_monotone(labeled(0, labels)) for labels in steady)


def test_agreement_counts_what_both_have_labeled():
    ours = [
        labeled(0, [True, False, None], (1.0, 0.0, None)),
        labeled(1, [True, True], (0.5, 0.5)),
        labeled(2, [True]),
    ]
    others = [
        labeled(0, [True, True, False], (0.7, 0.4, 0.0)),
        labeled(1, [True, True], (0.5, 0.5)),
        labeled(3, [True]),
    ]
    assert agreement(ours, others) == {
        "traces": 2,
        "steps": 4,
        "labels": 3 / 4,
        "first_error": 1 / 2,
        "value_rmse": pytest.approx(((0.3**2 + 0.4**2) / 4) ** 0.5),
    }
    assert agreement(ours[2:], ours[2:])["value_rmse"] is None
    gap = [labeled(0, [True, True], (0.5, 0.9))], [labeled(0, [True, True], (0.5, None))]
    assert agreement(*gap)["value_rmse"] == agreement(*gap[::-1])["value_rmse"] == 0.0
    half = [labeled(0, [True, None], (0.5, 0.0))], [labeled(0, [True, True], (0.5, 0.5))]  # a value without a label
    assert agreement(*half)["value_rmse"] == agreement(*half[::-1])["value_rmse"] == 0.0
    one_sided = agreement([labeled(2, [True], (0.5,))], [labeled(2, [True])])  # only one of them has values
    assert one_sided["value_rmse"] is None


def test_traces_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="no trace in common"):
        agreement([labeled(0, [True])], [labeled(1, [True])])
    other = labeled(0, [True])
    with pytest.raises(ValueError, match="p#0 has other steps in the other file"):
        agreement([labeled(0, [True])], [replace(other, trace=replace(other.trace, steps=("another",)))])
    with pytest.raises(ValueError, match="2 traces are p#0"):
        agreement([labeled(0, [True]), labeled(0, [False])], [labeled(0, [True])])
