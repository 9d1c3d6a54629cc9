"""The chance to win a vote by generating functions against counting with integers."""

import random

import pytest

from prm.evaluation import votes


def test_by_hand():
    # Of {0,0,1} {0,0,-} {0,1,-} {0,1,-} two are won and two tied.
    assert votes.win_chance(2, (1,), 1, 3) == 0.75
    assert votes.win_chance(1, (1, 1), 0, 3) == pytest.approx(1 / 3)
    assert votes.win_chance(0, (), 2, 2) == votes.win_chance(0, (1,), 0, 1) == 0.0
    assert votes.win_chance(500, (400,), 100, 1000) == 1.0  # the whole pool is the only subset
    assert votes.win_chance(400, (100, 400, 500), 0, 1400) == 0.0
    assert votes.win_chance(400, (400, 400), 300, 1500) == pytest.approx(1 / 3)


def test_generating_function_equals_integers():
    rng = random.Random(0)
    for answers in (1, 2, 3, 6, 40):
        for _ in range(8):
            drawn = [rng.randrange(answers) if rng.random() < 0.7 else 0 for _ in range(rng.choice([12, 65, 90]))]
            correct, *rivals = (drawn.count(answer) for answer in range(answers))
            case = correct, tuple(sorted(m for m in rivals if m)), rng.randrange(20), rng.randrange(1, len(drawn))
            assert votes._by_generating_function(*case) == pytest.approx(votes._counted(*case), rel=0, abs=1e-12)


def test_a_thousand_samples_equal_the_integers():
    # By `_counted`, which takes 5 to 15 seconds.
    assert votes.win_chance(260, (10, 20, 30, 60, 100, 200, 280), 64, 512) == pytest.approx(
        0.19496633211291634, 0, 1e-12
    )


def test_symmetry_of_a_thousand_samples():
    # Four equal camps, and 1,000 answers of one vote each.
    assert votes.win_chance(256, (256, 256, 256), 0, 300) == pytest.approx(0.25, rel=0, abs=1e-12)
    assert votes.win_chance(1, (1,) * 999, 24, 512) == pytest.approx(1 / 1000, rel=0, abs=1e-12)
    # One vote decides.
    assert votes.win_chance(24, (1,) * 1000, 0, 1) == pytest.approx(24 / 1024, rel=0, abs=1e-12)
    assert votes.win_chance(2000, (), 3000, 1) == pytest.approx(0.4, rel=0, abs=1e-12)


def test_chances_of_all_answers_add_up():
    camps = (300, 250, 200, 174, 100)
    parts = [votes.win_chance(c, tuple(sorted(m for m in camps if m != c)), 0, 400) for c in camps]
    assert sum(parts) == pytest.approx(1.0, rel=0, abs=1e-12)
    assert parts == sorted(parts, reverse=True)
