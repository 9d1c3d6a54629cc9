"""What early stopping would have done, on pools small enough to do by hand; against searches: test_adaptive_best_of_n.py."""

import pytest

from prm.search.calibration import SampledPool
from prm.search.coverage import coverage, promise


def pool(weights, right, classes=(0, 1, 2)):
    return SampledPool("p", classes, weights, right, (5, 5, 5))


SURE = pool((0.9, 0.2, 0.1), (True, False, False))
GAINED = pool((0.6, 0.9, 0.1), (True, False, False))
LOST = pool((0.6, 0.9, 0.1), (False, True, False))
LATE = pool((0.1, 0.2, 0.9), (False, False, True))
NOTHING = pool((0.0, 0.0, 0.0), (True, True, True), classes=(None, None, None))


@pytest.mark.parametrize("vote", [False, True])
def test_without_an_answer_nothing_is_right(vote):
    assert NOTHING.choice_right(range(3), vote) == 0.0
    assert SURE.choice_right([], vote) == 0.0


def test_what_stops_is_counted_what_it_loses_and_what_it_saves():
    its = coverage([SURE, GAINED, LOST, LATE, NOTHING], [0.5] * 5, vote=False)
    assert its.stopped == 4 / 5
    assert its.accuracy_stopped.mean == 3 / 4
    assert its.accuracy.mean == 3 / 5
    assert its.difference.mean == 0.0  # one gained, one lost
    assert its.early == 3 / 5
    assert its.lost.mean == pytest.approx(1 / 3)  # of those that were stopped early
    assert its.samples == pytest.approx((1 + 1 + 1 + 3 + 3) / 5)
    assert its.tokens == pytest.approx(9)
    assert its.saved == pytest.approx(1 - 45 / 75)


def test_each_problem_has_its_own_evidence_and_without_any_all_is_sampled():
    assert coverage([SURE, SURE], [0.5, 0.95], vote=False).stopped == 0.5
    none = coverage([SURE, LOST], [1.0, 1.0], vote=False)
    assert (none.stopped, none.accuracy_stopped, none.early, none.lost, none.saved) == (0, None, 0, None, 0)
    assert (none.accuracy.mean, none.samples) == (1.0, 3)


def test_what_is_never_lost_keeps_every_promise():
    its = promise([SURE] * 41, 0.3, vote=False, halves=20)
    assert (its.risk, its.refused, its.kept, its.lost, its.low, its.high) == (0.3, 0, 1, 0, 0, 0)
    assert its.early == pytest.approx(1)
    assert its.difference == 0
    assert its.saved == pytest.approx(2 / 3)


def test_what_is_lost_at_one_sample_stops_at_the_second():
    its = promise([LOST] * 40, 0.3, vote=False, halves=20)
    assert (its.refused, its.kept, its.lost, its.difference) == (0, 1, 0, 0)
    assert (its.early, its.saved) == (pytest.approx(1), pytest.approx(1 / 3))


def test_of_too_few_problems_nothing_is_promised_and_all_is_sampled():
    its = promise([SURE] * 4, 0.1, vote=False, halves=20)
    assert (its.refused, its.kept, its.lost, its.early, its.difference, its.saved) == (1, 1, 0, 0, 0, 0)


def test_a_share_that_is_lost_is_the_mean_over_the_halves():
    losing = pool((0.9, 0.95, 0.1), (False, True, False))
    its = promise([SURE] * 36 + [losing] * 4, 0.5, vote=False, halves=300)
    assert its.refused == 0
    assert its.early == pytest.approx(1)
    assert its.lost == pytest.approx(0.1, abs=0.01)
    assert its.difference == pytest.approx(-its.lost)
    assert its.low < 0.1 < its.high
    assert (its.low, its.high) == (pytest.approx(0, abs=0.051), pytest.approx(0.2, abs=0.051))
    assert its.kept == 1
    assert 0 < promise([SURE] * 36 + [losing] * 4, 0.3, vote=False, halves=300).kept <= 1


def test_evidence_counts_where_it_is_higher_than_ever_before():
    pool = SampledPool("p", (0, 1, 0, 1), (0.5, 0.5, 0.25, 0.75), (True, False, True, False), (1, 1, 1, 1))
    assert [n for n, _ in pool.maxima(range(4), vote=False)] == [1, 4]
    assert pool.stop(vote=False) == (0.5, -1.0)
