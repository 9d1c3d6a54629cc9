"""Which problems are labeled together."""

import pytest

from prm import labelers
from prm.labelers import FirstError, MonteCarlo, divide
from prm.types import Problem, Trace


def groups(count, steps=4, tokens=100):
    return [
        (Problem(f"p/{i}", "1 + 1", "2", "p"), [Trace(f"p/{i}", ("a",) * steps, "2", True, num_tokens=tokens)] * 2)
        for i in range(count)
    ]


def sizes(units):
    return [len(unit) for unit in units]


def test_a_planner_that_asks_for_little_gets_more_problems():
    some = groups(40)
    units = divide(MonteCarlo(8), some, 16)
    assert sizes(units) == [16, 16, 8]
    assert [group for unit in units for group in unit] == some
    assert sizes(divide(FirstError(), some, 2)) == [16, 16, 8]
    assert divide(MonteCarlo(8), [], 16) == []


@pytest.mark.parametrize(("held", "expected"), [(3 * 3200, [3, 3, 1]), (3 * 3200 - 1, [2, 2, 2, 1]), (1, [1] * 7)])
def test_rollouts_that_do_not_fit_into_memory_are_not_held_together(monkeypatch, held, expected):
    # 8 rollouts after each of 4 steps of 2 traces, half of 100 tokens each: 3,200 tokens of a problem.
    monkeypatch.setattr(labelers, "HELD_TOKENS", held)
    assert sizes(divide(MonteCarlo(8), groups(7), 16)) == expected


def test_where_nobody_counted_tokens_characters_tell(monkeypatch):
    monkeypatch.setattr(labelers, "HELD_TOKENS", 2 * 3200)
    assert sizes(
        divide(MonteCarlo(8), [(p, [Trace(p.id, ("x" * 75,) * 4, "2", True)] * 2) for p, _ in groups(5)], 16)
    ) == [2, 2, 1]


def test_a_unit_that_is_full_leaves_its_tokens_behind(monkeypatch):
    monkeypatch.setattr(labelers, "HELD_TOKENS", 2 * 3200)
    assert sizes(divide(MonteCarlo(8), groups(4), 16)) == [2, 2]
    monkeypatch.setattr(labelers, "HELD_TOKENS", 17 * 3200)
    assert sizes(divide(MonteCarlo(8), groups(40), 16)) == [16, 16, 8]
