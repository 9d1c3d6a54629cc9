"""Tables behind the figures of a study, against sums by hand on the scripted menu."""

import numpy as np
import pytest

from prm.costs import inference_multiple
from prm.evaluation.menus import Probe
from prm.evaluation.model_size import RATIOS, against_larger, bins_of, by_difficulty
from prm.evaluation.savings import COSTS, curves_of


def test_bins_are_of_equally_many_and_the_easiest_come_first():
    hard = [0.9, 0.1, 0.5, 0.3, 0.7, 0.0]
    assert bins_of(hard, 3) == [[1, 5], [2, 3], [0, 4]]
    assert bins_of([0.2, 0.2, 0.2], 3) == [[0, 1, 2]]  # equal ones stay together


def test_every_method_in_every_bin(menu):
    bins = bins_of(menu.oracle_P(), 3)
    assert sorted(p for those in bins for p in those) == list(range(len(menu.problems)))
    table = by_difficulty(menu, bins)
    families = menu.families()
    for those, its in zip(bins, table, strict=True):
        assert its["problems"] == len(those)
        assert its["methods"].keys() == families.keys()
        for family, arms in families.items():
            for a, point in zip(arms, its["methods"][family], strict=True):
                assert point["samples"] == menu.arms[a].samples
                assert point["accuracy"] == pytest.approx(np.mean([menu.right_PRA[p, :, a].mean() for p in those]))
                assert point["generated_tokens"] == pytest.approx(np.mean([menu.tokens_PA[p, a] for p in those]))
    first, *_, last = (its["methods"]["majority"][0]["accuracy"] for its in table)
    assert first > last + 0.3


@pytest.mark.parametrize("accounting", ["generation", "charged"])
def test_the_small_model_spends_at_most_what_the_larger_one_costs(menu, accounting):
    larger_P = [0.5] * len(menu.problems)
    groups = bins_of(menu.oracle_P(), 3)
    every = against_larger(menu, Probe("lead", 2), 3, larger_P, 5.0, groups)
    cases = [case for case in every if case["accounting"] == accounting]
    assert [case["R"] for case in cases] == list(RATIOS) == [0.16, 0.79, 22]  # of the paper
    cost = COSTS[accounting]
    one = menu.one_P[cost].mean()
    methods = {
        f"{family} samples={samples}": point
        for family, its in curves_of(menu).items()
        for samples, point in zip(its.samples, its.points, strict=True)
    }
    for case in cases:
        assert case["multiple"] == pytest.approx(inference_multiple(5.0, case["R"]))
        fixed, adaptive = case["rows"][0], case["rows"][1 + len(groups)]
        point = methods[fixed["choice"]]
        affordable = [its for its in methods.values() if its.cost(cost) <= case["multiple"] * one]
        assert point.accuracy == max(its.accuracy for its in affordable)
        assert fixed["multiple_spent"] == pytest.approx(point.cost(cost) / one)
        assert max(row["multiple_spent"] for row in case["rows"]) <= case["multiple"]
        assert adaptive["choice"] == "compute-optimal"
        for row in case["rows"]:
            assert row["larger"]["mean"] == 0.5
            assert row["difference"]["mean"] == pytest.approx(row["small"]["mean"] - 0.5)
        # The bins together are all problems.
        inside = case["rows"][1 : 1 + len(groups)]
        total = sum(row["small"]["mean"] * row["problems"] for row in inside)
        assert total == pytest.approx(fixed["small"]["mean"] * fixed["problems"])
    assert cases[0]["rows"][0]["small"]["mean"] >= cases[-1]["rows"][0]["small"]["mean"]  # small R leaves more


def test_where_even_the_probe_costs_too_much_only_methods_are_left(menu):
    cases = against_larger(menu, Probe("lead", 2), 3, [0.5] * len(menu.problems), 1.2, [])
    assert [row["choice"] for row in cases[-1]["rows"]] == ["majority samples=1"]
    assert [row["choice"] for row in cases[0]["rows"]][-1] == "compute-optimal"


def test_a_model_of_the_same_size_buys_one_sample_to_the_token(menu):
    cases = against_larger(menu, Probe("lead", 2), 3, [0.5] * len(menu.problems), 1.0, [])
    assert {case["multiple"] for case in cases} == {1.0}
    assert {case["rows"][0]["choice"] for case in cases} == {"majority samples=1"}
    for case in cases:
        chosen = {row["choice"]: row["multiple_spent"] for row in case["rows"]}
        assert all(spent <= 1.0 for spent in chosen.values())
        assert ("compute-optimal" in chosen) == (case["accounting"] == "generation")
