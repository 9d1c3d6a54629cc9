"""Bounded risk: against exact binomials, on made-up problems whose true risk is known, and where nothing can be promised."""

import math
import random
from itertools import pairwise

import pytest

from prm.search.risk import CONFIDENCE, at_most, least_problems, safe_evidence


def test_the_least_number_of_problems_is_that_without_a_loss_by_chance():
    for risk in (0.01, 0.05, 0.1, 0.5):
        n = least_problems(risk)
        assert (1 - risk) ** n <= 1 - CONFIDENCE < (1 - risk) ** (n - 1)


def test_the_binomial_chance_is_the_sum_of_its_terms():
    for k, m, p in ((0, 5, 0.3), (2, 7, 0.1), (7, 7, 0.4), (30, 400, 0.05)):
        assert at_most(k, m, p) == pytest.approx(sum(math.comb(m, i) * p**i * (1 - p) ** (m - i) for i in range(k + 1)))


def test_one_loss_more_than_the_binomial_allows_ends_the_sequence():
    """Of 22 without a loss, a risk of 0.1 may be promised, with one loss of 38: 0.9^38 + 38 x 0.1 x 0.9^37 = 0.0952."""
    safe = [((100 - i) / 100, -1.0) for i in range(40)]
    assert safe_evidence(safe[:22], 0.1) == 0.79
    assert safe_evidence(safe[:21], 0.1) == math.inf
    assert safe_evidence(safe, 0.1) == 0.61
    lost = [*safe[:22], (0.78, 0.78), *safe[23:]]  # the 23rd is lost where it is stopped at all
    assert safe_evidence(lost, 0.1) == 0.79
    early = [(1.0, 0.65), *safe[1:]]  # lost from the 36th on: 36 stopped with one loss are too few
    assert safe_evidence(early, 0.1) == 0.66
    late = [(1.0, 0.62), *safe[1:]]  # lost from the 39th on: of 39, one loss is allowed
    assert safe_evidence(late, 0.1) == 0.61


def test_equal_evidence_stops_all_or_none():
    ties = [(0.9, -1.0)] * 20 + [(0.5, -1.0)] * 20
    assert safe_evidence(ties, 0.1) == 0.5  # 20 alone are too few
    ties[0] = (0.9, 0.5)
    assert safe_evidence(ties, 0.1) == 0.5  # 40 with one loss
    ties[1] = (0.9, 0.5)
    assert safe_evidence(ties, 0.1) == math.inf  # 40 with two: 0.22
    assert safe_evidence([(0.9, 0.9)] * 100, 0.1) == math.inf


def test_problems_without_a_choice_never_stop():
    assert safe_evidence([(-1.0, -1.0)] * 100, 0.1) == math.inf
    assert safe_evidence([], 0.1) == math.inf
    assert safe_evidence([(-1.0, -1.0)] * 100 + [(0.7, -1.0)] * 22, 0.1) == 0.7


def test_a_higher_risk_never_stops_later():
    rng = random.Random(1)
    for _ in range(20):
        stops = [made_up(rng, 0.5) for _ in range(120)]
        found = [safe_evidence(stops, risk) for risk in (0.05, 0.1, 0.2, 0.4)]
        assert all(a >= b for a, b in pairwise(found))


@pytest.mark.parametrize("risk", [0, 1, -0.1, 1.5])
def test_a_risk_is_a_share(risk):
    with pytest.raises(ValueError, match=f"risk {risk}: a share of the stopped problems, more than 0 and less than 1"):
        safe_evidence([(0.5, -1.0)], risk)


def made_up(rng, slope):
    """Evidence is uniform; a problem is lost with `slope` x (1 - evidence)^2 where stopping at its evidence begins, whatever
    the evidence at which it is stopped."""
    evidence = rng.random()
    return evidence, evidence if rng.random() < slope * (1 - evidence) ** 2 else -1.0


@pytest.mark.parametrize("risk", [0.05, 0.1])
@pytest.mark.parametrize("n", [60, 300])
def test_the_promise_is_kept_as_often_as_it_says_and_not_much_more_often_than_it_must(risk, n):
    """Problems are drawn again and again; the true risk of a threshold t is slope x (1 - t)^2 / 3."""
    rng, slope, broken, stopped = random.Random(f"{risk}/{n}"), 0.9, 0, []
    for _ in range(400):
        threshold = safe_evidence([made_up(rng, slope) for _ in range(n)], risk)
        broken += threshold < math.inf and slope * (1 - threshold) ** 2 / 3 > risk
        stopped.append(max(0.0, 1 - threshold))
    assert broken / 400 <= 1 - CONFIDENCE + 0.03  # three standard errors of a share of 0.1 are 0.045
    best = math.sqrt(3 * risk / slope)  # the share of problems that could be stopped if the risk were known
    if n == 300:
        assert max(stopped) > 0.8 * best
        assert broken > 0  # it can break: the test sees it
        assert sum(stopped) / 400 > 0.4 * best


def test_an_adversary_who_is_wrong_where_it_is_surest_gets_nothing():
    """The more evidence, the more is lost: no threshold is safe, and none is promised."""
    rng, promised = random.Random(0), 0
    for _ in range(200):
        stops = []
        for _ in range(200):
            evidence = rng.random()
            stops.append((evidence, evidence if rng.random() < 0.25 * evidence else -1.0))
        threshold = safe_evidence(stops, 0.1)
        promised += threshold < math.inf  # the true risk of any threshold is 0.125 or more
    assert promised / 200 <= 1 - CONFIDENCE + 0.03
