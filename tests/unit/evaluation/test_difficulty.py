"""Difficulties by hand, and bins that are the same whatever the order of the problems."""

import random

import pytest

from prm.evaluation.difficulty import ABSOLUTE, STATISTICS, bin_of, difficulty, quantile_edges


@pytest.mark.parametrize(
    ("classes", "scores", "expected"),
    [
        ([0], [0.75], {"score": 0.25, "best": 0.25, "lead": 0.25, "agreement": 0.0}),
        ([0, 0], [0.5, 1.0], {"score": 0.25, "best": 0.0, "lead": 0.25, "agreement": 0.0}),
        ([0, 1], [0.5, 0.75], {"score": 0.375, "best": 0.25, "lead": 0.875, "agreement": 0.5}),
        ([0, 1, 1, None], [0.75, 0.5, 0.5, 0.9], {"score": 0.5625, "best": 0.25, "lead": 0.9375, "agreement": 0.5}),
        ([None, None], [0.9, 0.9], {"score": 1.0, "best": 1.0, "lead": 1.0, "agreement": 1.0}),
        ([], [], {"score": 1.0, "best": 1.0, "lead": 1.0, "agreement": 1.0}),
    ],
)
def test_every_statistic_by_hand(classes, scores, expected):
    assert {name: difficulty(name, classes, scores) for name in STATISTICS} == expected


def test_quantile_bins_have_equally_many_problems_and_know_no_order():
    values = [i / 100 for i in range(100)]
    edges = quantile_edges(values, 5)
    assert edges == (0.19, 0.39, 0.59, 0.79)
    assert [sum(bin_of(value, edges) == b for value in values) for b in range(5)] == [20] * 5
    for seed in range(3):
        assert quantile_edges(random.Random(seed).sample(values, 100), 5) == edges


def test_equal_difficulties_are_in_one_bin():
    values = [0.0] * 7 + [0.5, 0.8, 1.0]
    edges = quantile_edges(values, 5)
    assert edges == (0.0, 0.5)
    assert [bin_of(value, edges) for value in values] == [0] * 7 + [1, 2, 2]
    assert quantile_edges([1.0, 1.0], 4) == ()
    assert quantile_edges([0.3, 0.7], 1) == ()


def test_absolute_bins_are_half_and_a_tenth_of_right_samples():
    assert [bin_of(1 - right, ABSOLUTE) for right in (1.0, 0.5, 0.49, 0.1, 0.09, 0.0)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("values", "bins"), [([], 3), ([0.5], 0)])
def test_no_bins_of_nothing(values, bins):
    with pytest.raises(ValueError, match=f"{bins} bins of {len(values)} problems"):
        quantile_edges(values, bins)
