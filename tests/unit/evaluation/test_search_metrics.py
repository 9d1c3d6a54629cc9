"""Estimators against enumeration of all subsets, and the bootstrap against what it promises."""

import random
from fractions import Fraction
from itertools import combinations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prm.evaluation.search_metrics import (
    Estimate,
    _subsets,
    best_of_n,
    bootstrap,
    bootstrap_counts,
    majority_at_n,
    paired_difference,
    pass_at_n,
    weighted_vote_at_n,
)

INF = float("inf")


def over_subsets(m, n, credit):
    """Mean credit over all subsets of n among m, as an exact fraction."""
    subsets = list(combinations(range(m), n))
    return float(sum(Fraction(credit(subset)) for subset in subsets) / len(subsets))


def vote_credit(classes, weights, correct_class, subset):
    """Credit of the correct class in a vote of one subset, ties shared."""
    totals = {}
    for i in subset:
        if classes[i] is not None:
            totals[classes[i]] = totals.get(classes[i], 0) + weights[i]
    winners = [answer for answer, total in totals.items() if total == max(totals.values())]
    return Fraction(winners.count(correct_class), len(winners)) if winners else 0


def best_credit(scores, correct, subset):
    top = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
    return Fraction(sum(correct[i] for i in top), len(top))


@st.composite
def samples(draw):
    """(classes, scores on a coarse grid so that ties abound, n); class 0 is correct."""
    classes = draw(st.lists(st.sampled_from([None, 0, 0, 1, 2, 3]), min_size=1, max_size=8))
    scores = [-INF if c is None else draw(st.integers(0, 4)) / 4 for c in classes]
    return classes, scores, draw(st.integers(1, len(classes)))


def test_pass_at_n_by_hand():
    # 2 of 5 correct: P(none among 2) = (3/5)(2/4) = 3/10; with 4 drawn one correct is always among them.
    assert pass_at_n([True, False, True, False, False], 2) == pytest.approx(0.7)
    assert pass_at_n([True, False, True, False, False], 4) == 1.0
    assert pass_at_n([False] * 5, 5) == 0.0


def test_best_of_n_by_hand():
    # The winner is sample 0 (wrong) in 3 of 6 pairs, sample 1 (right) in 2, sample 2 (wrong) in 1.
    assert best_of_n([0.9, 0.8, 0.3, 0.1], [False, True, False, True], 2) == pytest.approx(2 / 6)


def test_best_of_n_shares_ties():
    assert best_of_n([0.7, 0.7, 0.7, 0.1], [True, False, False, True], 4) == pytest.approx(1 / 3)
    assert best_of_n([0.5] * 4, [True, False, False, True], 3) == pytest.approx(0.5)


def test_majority_by_hand():
    # Classes 0 0 1 none, n = 3: {0,0,1} and {0,0,none} win, {0,1,none} twice is a tie -> (1 + 1 + 1/2 + 1/2) / 4.
    assert majority_at_n([0, 0, 1, None], 0, 3) == pytest.approx(0.75)
    assert majority_at_n([0, 1, 2, 3], 0, 4) == pytest.approx(0.25)


def test_no_answer_never_wins_a_vote():
    assert majority_at_n([None, None, None, 7], 7, 4) == 1.0
    assert majority_at_n([None, None, None, 7], 7, 1) == 0.25
    assert majority_at_n([None, None], None, 2) == 0.0
    assert weighted_vote_at_n([None, None, None, 7], [9.0, 9.0, -INF, 0.1], 7, 4, seed=0) == 1.0
    assert weighted_vote_at_n([None, None, None, 7], [9.0, 9.0, -INF, 0.1], 7, 1, seed=0) == 0.25
    assert weighted_vote_at_n([None, None], [1.0, 1.0], None, 2, seed=0) == 0.0


def test_votes_group_by_class():
    # 0.5, 1/2, 50% are one class (3 votes of 5) although no two strings are equal.
    assert majority_at_n([4, 9, 4, 9, 4], 4, 5) == 1.0
    # Three weak votes for one answer lose to one strong vote, and win together against a slightly weaker one.
    assert weighted_vote_at_n([4, 4, 4, 9], [0.2, 0.2, 0.2, 0.7], 4, 4, seed=0) == 0.0
    assert weighted_vote_at_n([4, 4, 4, 9], [0.2, 0.2, 0.2, 0.5], 4, 4, seed=0) == 1.0


def test_weighted_vote_shares_ties_whatever_the_order_of_addition():
    assert 0.1 + 0.2 != 0.3  # what a comparison by == would stumble over
    assert weighted_vote_at_n([0, 0, 1], [0.1, 0.2, 0.3], 0, 3, seed=0) == 0.5
    assert weighted_vote_at_n([0, 1, 2], [0.0, 0.0, 0.0], 0, 3, seed=0) == pytest.approx(1 / 3)


def test_weight_zero_cannot_win_without_a_vote():
    # Pairs of (0: weight 0), (1: weight 0), none: the correct class 0 is absent from {1, none}.
    assert weighted_vote_at_n([0, 1, None], [0.0, 0.0, 1.0], 0, 2, seed=0) == pytest.approx((0.5 + 1 + 0) / 3)


@given(samples())
@settings(max_examples=150, deadline=None)
def test_equal_enumeration_of_all_subsets(case):
    classes, scores, n = case
    m, correct = len(classes), [c == 0 for c in classes]
    ones, weights = [1] * m, [0.0 if s == -INF else s for s in scores]
    assert pass_at_n(correct, n) == pytest.approx(over_subsets(m, n, lambda s: any(correct[i] for i in s)))
    assert best_of_n(scores, correct, n) == pytest.approx(over_subsets(m, n, lambda s: best_credit(scores, correct, s)))
    by_votes = over_subsets(m, n, lambda s: vote_credit(classes, ones, 0, s))
    assert majority_at_n(classes, 0, n) == pytest.approx(by_votes)
    assert weighted_vote_at_n(classes, ones, 0, n, seed=0) == pytest.approx(by_votes)  # at most C(8, 4) = 70 subsets
    by_weight = over_subsets(m, n, lambda s: vote_credit(classes, weights, 0, s))
    assert weighted_vote_at_n(classes, scores, 0, n, seed=0) == pytest.approx(by_weight)


@given(samples())
@settings(max_examples=50, deadline=None)
def test_relations_between_estimators(case):
    classes, scores, n = case
    correct = [c == 0 for c in classes]
    accuracy = fmean(correct)
    passed = pass_at_n(correct, n)
    assert best_of_n([float(c) for c in correct], correct, n) == pytest.approx(passed)  # an oracle verifier
    assert best_of_n([0.5] * len(correct), correct, n) == pytest.approx(accuracy)  # a verifier that knows nothing
    assert best_of_n(scores, correct, 1) == pytest.approx(accuracy)
    assert majority_at_n(classes, 0, 1) == pytest.approx(accuracy)
    assert max(best_of_n(scores, correct, n), majority_at_n(classes, 0, n)) <= passed + 1e-12


def test_majority_with_many_samples_and_ties():
    rng = random.Random(0)
    for _ in range(5):
        classes = [rng.choice([None, 0, 1, 2, 3, 4]) for _ in range(14)]
        for n in (2, 5, 9):
            brute = over_subsets(14, n, lambda s, classes=classes: vote_credit(classes, [1] * 14, 0, s))
            assert majority_at_n(classes, 0, n) == pytest.approx(brute, abs=1e-12)


def test_majority_of_a_large_pool_does_not_overflow():
    # C(1000, 500) ~ 1e299; two equal camps must tie by symmetry.
    assert majority_at_n([0] * 500 + [1] * 500, 0, 500) == pytest.approx(0.5, abs=1e-12)


def test_weighted_vote_by_drawn_subsets_is_near_the_exact_value():
    rng = random.Random(1)
    classes = [rng.choice([None, 0, 0, 1, 1, 2]) for _ in range(14)]
    weights = [rng.randrange(1, 9) / 8 for _ in range(14)]
    exact = over_subsets(14, 5, lambda s: vote_credit(classes, weights, 0, s))  # 2002 subsets
    assert 0.2 < exact < 0.8
    drawn = [weighted_vote_at_n(classes, weights, 0, 5, seed) for seed in range(40)]
    assert weighted_vote_at_n(classes, weights, 0, 5, seed=0, subsets=2002) == pytest.approx(exact, abs=1e-12)
    assert len(set(drawn)) > 1
    assert fmean(drawn) == pytest.approx(exact, abs=0.02)  # 40 x 256 subsets: standard error below 0.005
    assert max(abs(value - exact) for value in drawn) < 0.13  # 256 subsets: standard error below 0.032


def test_methods_see_the_same_subsets():
    classes = [0, 1, 0, 1, 1, 0, 2, 0, 1, None, 0, 1, 2, 0, 1, 1]
    weights = [i / 16 for i in range(16)]
    first = weighted_vote_at_n(classes, weights, 0, 8, seed=3)
    assert weighted_vote_at_n(classes, [2 * w for w in weights], 0, 8, seed=3) == first  # scale does not matter
    # Without a tie between classes, the credits for all answers add up to 1 only if their subsets are the same.
    parts = [weighted_vote_at_n(classes, weights, answer, 8, seed=3) for answer in (0, 1, 2)]
    assert sum(parts) == pytest.approx(1.0, abs=1e-12)
    assert weighted_vote_at_n(classes, weights, 0, 8, seed=4) != first
    _subsets.cache_clear()  # another process draws the same ones
    assert weighted_vote_at_n(classes, weights, 0, 8, seed=3) == first


@pytest.mark.parametrize("n", [0, -1, 4])
def test_budget_outside_the_pool_is_refused(n):
    message = rf"n = {n} with M = 3 stored"
    with pytest.raises(ValueError, match=message):
        pass_at_n([True, False, True], n)
    with pytest.raises(ValueError, match=message):
        best_of_n([0.1, 0.2, 0.3], [True, False, True], n)
    with pytest.raises(ValueError, match=message):
        majority_at_n([0, 1, None], 0, n)
    with pytest.raises(ValueError, match=message):
        weighted_vote_at_n([0, 1, None], [1.0, 1.0, 1.0], 0, n, seed=0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="score of sample 1 is NaN"):
        best_of_n([0.1, float("nan")], [True, False], 1)
    with pytest.raises(ValueError, match=r"'scores': 2, 'correct': 3"):
        best_of_n([0.1, 0.2], [True, False, True], 1)
    with pytest.raises(ValueError, match="outcome of sample 1 of 2 is None"):
        pass_at_n([True, None], 1)
    with pytest.raises(ValueError, match="outcome of sample 0 of 2 is None"):
        best_of_n([0.1, 0.2], [None, True], 1)
    for weight in (-0.5, INF, float("nan")):
        with pytest.raises(ValueError, match="weight of sample 1 is"):
            weighted_vote_at_n([0, 1], [0.5, weight], 0, 2, seed=0)


def test_bootstrap_of_constant_values_has_no_width():
    constant = bootstrap([0.3] * 10)
    assert constant.low == constant.mean == constant.high == pytest.approx(0.3)


@pytest.mark.parametrize("values", [[1.0], [0.0, 0.0], [0.0, 1.0], [1.0] * 9])
def test_too_few_problems_have_no_interval(values):
    assert bootstrap(values) == Estimate(fmean(values), None, None)
    assert paired_difference(values, [0.0] * len(values)) == Estimate(fmean(values), None, None)


def test_bootstrap_of_one_right_in_ten_by_the_binomial():
    # The mean of a resample is k/10 with k of a binomial(10, 1/10): P(k = 0) = 0.35, P(k <= 2) = 0.93, P(k <= 3) = 0.987.
    assert bootstrap([1.0] + [0.0] * 9) == Estimate(0.1, 0.0, 0.3)


def test_bootstrap_matches_the_normal_interval_and_its_seed():
    values = np.random.default_rng(0).normal(size=400).tolist()
    estimate = bootstrap(values)
    half_width = 1.96 * np.std(values) / 20
    assert estimate.mean == pytest.approx(fmean(values))
    assert estimate.high - estimate.mean == pytest.approx(half_width, rel=0.08)
    assert estimate.mean - estimate.low == pytest.approx(half_width, rel=0.08)
    assert bootstrap(values) == estimate
    assert bootstrap(values, seed=1) != estimate


def test_bootstrap_covers_the_truth():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        estimate = bootstrap(rng.beta(2, 5, size=60).tolist(), resamples=500)
        hits += estimate.low <= 2 / 7 <= estimate.high
    assert 0.91 <= hits / 400 <= 0.98  # nominal 0.95, binomial standard error 0.011


def test_paired_difference_cancels_what_problems_share():
    rng = np.random.default_rng(0)
    difficulty = rng.random(200)
    a, b = difficulty + 0.05 + 0.01 * rng.random(200), difficulty
    estimate = paired_difference(a.tolist(), b.tolist())
    assert 0.05 < estimate.low < estimate.mean < estimate.high < 0.06
    unpaired = bootstrap(a.tolist())
    assert unpaired.high - unpaired.low > 0.05  # each alone is far too uncertain to show the gain
    with pytest.raises(ValueError, match=r"'a': 2, 'b': 1"):
        paired_difference([0.1, 0.2], [0.1])


def test_bootstrap_refuses_nothing_and_nan():
    with pytest.raises(ValueError, match="at least one"):
        bootstrap([])
    with pytest.raises(ValueError, match="value of problem 1 is nan"):
        bootstrap([0.1, float("nan")])


def test_resamples_are_as_many_as_asked_for_however_many_problems_there_are():
    """Of 5,000 problems, 838 resamples are drawn at a time."""
    *_, drawn = bootstrap_counts([[1.0]] * 5000, list(range(5000)), lambda sums: sums[:, 0], resamples=850)
    assert drawn.tolist() == [5000.0] * 850
