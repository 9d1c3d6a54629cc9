"""Compute-optimal on scripted rows: choices and cross-validation against loops of a few lines, and what it saves by hand."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scripted_run import POOL, G, V

from prm.evaluation.compute_optimal import (
    Point,
    Table,
    bins_PR,
    budgets,
    cross_validate,
    edges_of,
    fit,
    in_halves,
    tabulate,
)
from prm.evaluation.difficulty import bin_of, difficulty, quantile_edges
from prm.evaluation.menus import ORDERS, Probe, menu_of
from prm.evaluation.savings import Curve, compute_optimal_report, crossing, curves_of, fixed_methods, merged, saving
from prm.evaluation.search_runs import Run
from prm.search.calibration import pools_of


def words(menu):
    return [arm.words for arm in menu.arms]


# --- What a menu says ---


def test_arms_are_the_methods_of_the_run_with_their_samples(menu):
    assert words(menu)[:4] == [
        "majority samples=1",
        "best_of_n v samples=1",
        "weighted_vote v samples=1",
        "majority samples=2",
    ]
    assert menu.families().keys() == {"majority", "best_of_n v", "weighted_vote v", "rebase v"}
    assert [menu.arms[a].samples for a in menu.families()["rebase v"]] == [2, 8]
    turned = replace(menu, arms=menu.arms[::-1])  # as in a run whose methods are listed from many samples to few
    assert [turned.arms[a].samples for a in turned.families()["rebase v"]] == [2, 8]
    without = menu_of(menu.run, None)
    assert {arm.strategy for arm in without.arms} == {"majority"}


def test_outcomes_are_those_of_the_first_samples_in_every_order(menu):
    for p, row in enumerate(menu.run.rows):
        pool = row.results[-4]  # all samples with their scores
        assert len(pool.candidates) == POOL
        assert menu.orders_PR[p][0] == tuple(range(POOL))
        assert len(set(menu.orders_PR[p])) == ORDERS == 8
        for r, order in enumerate(menu.orders_PR[p]):
            assert sorted(order) == list(range(POOL))
            for a, arm in enumerate(menu.arms):
                first = order[: arm.samples]
                if arm.strategy == "best_of_n":
                    expected = pool.candidates[max(first, key=lambda i: pool.scores[i].trace)].correct
                elif arm.strategy == "rebase":
                    expected = row.results[arm.number].correct
                else:
                    votes: dict[str, float] = {}
                    for i in first:
                        weight = pool.scores[i].trace if arm.strategy == "weighted_vote" else 1.0
                        votes[pool.candidates[i].answer] = votes.get(pool.candidates[i].answer, 0.0) + weight
                    winners = [answer for answer, its in votes.items() if its > max(votes.values()) - 1e-9]
                    expected = ("1" in winners) / len(winners)
                assert menu.right_PRA[p, r, a] == pytest.approx(float(expected))


def test_a_probe_is_charged_once_and_what_it_drew_is_not_drawn_again(menu, probed):
    """By hand: two samples of 10 tokens after a prompt of 4, scored at 6 tokens each."""
    assert "weighted_vote v samples=1" not in words(probed)
    drawing, scoring, prompt = 2.0 * G * 24, 2.0 * V * 12, 2.0 * G * 4
    extra = {
        "majority samples=2": (0, scoring),  # its own cost has no scores
        "majority samples=4": (0, scoring + prompt),
        "weighted_vote v samples=2": (0, 0),
        "best_of_n v samples=8": (0, prompt),  # the second request reads the prompt again
        "rebase v samples=2": (20, drawing + scoring),  # starts anew
    }
    for name, (tokens, flops) in extra.items():
        before, after = words(menu).index(name), words(probed).index(name)
        assert set(probed.tokens_PA[:, after] - menu.tokens_PA[:, before]) == {tokens}
        assert set(probed.flops_PA[:, after] - menu.flops_PA[:, before]) == {flops}
    assert set(menu.one_P["generated_tokens"]) == {10.0}
    assert set(menu.one_P["flops"]) == {2.0 * G * 14}


def test_one_sample_costs_what_a_sample_of_the_largest_pool_does(menu):
    """Whatever the trees and the smaller pools of the run cost."""
    largest = max(arm.samples for arm in menu.arms if arm.pool)
    others = {arm.number for arm in menu.arms if not arm.pool or arm.samples < largest}
    rows = []
    for row in menu.run.rows:
        dear = [
            replace(its, cost=replace(its.cost, generated_tokens=999)) if number in others else its
            for number, its in enumerate(row.results)
        ]
        rows.append(replace(row, results=tuple(dear)))
    arms = tuple(arm if arm.pool else replace(arm, samples=64) for arm in menu.arms)
    its = replace(menu, run=Run(menu.run.meta, tuple(rows)), arms=arms)
    assert set(its.one_P["generated_tokens"]) == {10.0}
    assert set(its.one_P["flops"]) == {2.0 * G * 14}


def test_agreement_is_predicted_without_a_verifier(menu):
    probed = menu.probed(Probe("agreement", 2))
    a = words(probed).index("majority samples=2")
    assert set(probed.flops_PA[:, a]) == {2.0 * G * 24}


def test_difficulties_are_those_of_the_samples(menu, probed):
    for p, row in enumerate(menu.run.rows):
        pool = row.results[-4]
        assert menu.oracle_P()[p] == pytest.approx(1 - sum(t.correct for t in pool.candidates) / POOL)
        scores = [its.trace for its in pool.scores]
        assert menu.predicted_P("score")[p] == pytest.approx(1 - sum(scores) / POOL)
        for r, order in enumerate(menu.orders_PR[p]):
            classes = [int(pool.candidates[i].answer) for i in order[:2]]
            assert probed.difficulty_PR[p, r] == difficulty("lead", classes, [scores[i] for i in order[:2]])
    assert (menu.oracle_P() == menu.with_difficulty(menu.oracle_P()).difficulty_PR.T).all()


def test_what_a_run_does_not_say_is_refused(menu):
    with pytest.raises(ValueError, match="a probe of 3 samples costs; search with `best_of_n v samples=3`, too"):
        menu.probed(Probe("lead", 3))
    with pytest.raises(ValueError, match="search with `majority samples=3`, too"):
        menu.probed(Probe("agreement", 3))
    with pytest.raises(ValueError, match="no method chooses from a pool; search with `best_of_n v`, too"):
        menu_of(menu.run, "v", lambda arm: arm.strategy == "rebase")
    votes = menu_of(menu.run, "v", lambda arm: arm.strategy in ("majority", "rebase"))
    with pytest.raises(ValueError, match="no method chooses by v from a pool; search with `best_of_n v`, too"):
        votes.predicted_P("score")
    with pytest.raises(
        ValueError, match="no method of the run has scores of w for a whole pool; search with `best_of_n w`"
    ):
        pools_of(menu.run.rows, "w")


# --- What is chosen ---


def cost_name(form):
    return "generated_tokens" if form == "per problem" else "flops"


def reference(menu, bins, form, settings, splits):
    """(accuracy, FLOPs) of each problem at each setting, by loops."""
    cost_PA, one_P = menu.cost_PA(cost_name(form)), menu.one_P[cost_name(form)]
    count = len(menu.run.rows)
    right, flops = np.zeros((len(settings), count)), np.zeros((len(settings), count))
    for split in range(splits):
        halves = in_halves(count, split)
        for mine, other in (halves, halves[::-1]):
            edges = (
                bins
                if isinstance(bins, tuple)
                else quantile_edges([d for p in mine for d in menu.difficulty_PR[p]], bins)
            )
            for s, setting in enumerate(settings):
                chosen = []
                for b in range(len(edges) + 1):
                    all_ = [(p, r) for p in mine for r in range(ORDERS)]
                    those = [(p, r) for p, r in all_ if bin_of(menu.difficulty_PR[p, r], edges) == b] or all_
                    options = []
                    for a in range(len(menu.arms)):
                        accuracy = sum(menu.right_PRA[p, r, a] for p, r in those) / len(those)
                        cost = sum(cost_PA[p, a] for p, _ in those) / len(those)
                        samples = sum(cost_PA[p, a] / one_P[p] for p, _ in those) / len(those)
                        if form == "on average":
                            value = accuracy - setting * cost / np.mean([one_P[p] for p in mine])
                        else:
                            value = accuracy if samples <= 1.02 * setting else -cost  # below every accuracy
                        options.append((-round(value, 12), cost, a))
                    chosen.append(min(options)[-1])
                for p in other:
                    for r in range(ORDERS):
                        a = chosen[bin_of(menu.difficulty_PR[p, r], edges)]
                        right[s, p] += menu.right_PRA[p, r, a] / ORDERS / splits
                        flops[s, p] += menu.flops_PA[p, a] / ORDERS / splits
    return right, flops


@pytest.mark.parametrize("form", ["per problem", "on average"])
@pytest.mark.parametrize("bins", [3, (0.3, 0.31, 0.7)])
def test_cross_validation_is_its_reference(probed, form, bins, monkeypatch):
    monkeypatch.setattr("prm.evaluation.compute_optimal.PRICES", (0.3, 0.02, 0.001))
    settings = budgets(probed) if form == "per problem" else [0.3, 0.02, 0.001]
    right, flops = reference(probed, bins, form, settings, 2)
    points = cross_validate(probed, bins, cost_name(form), form, 2)
    assert [point.setting for point in points] == settings
    assert np.array([point.right_P for point in points]) == pytest.approx(right)
    assert np.array([point.cost_P["flops"] for point in points]) == pytest.approx(flops)
    assert len({round(point.cost("flops")) for point in points}) == 3  # a probe of 2 costs more than a budget of 1


@pytest.mark.parametrize("form", ["per problem", "on average"])
def test_no_problem_takes_part_in_the_choice_for_it(probed, form):
    """Its outcomes decide nothing about what is spent on it, but something about what is spent on others."""
    before = cross_validate(probed, 3, "flops", form)
    moved = 0
    for p in range(0, 30, 7):
        right_PRA = probed.right_PRA.copy()
        right_PRA[p] = 1 - right_PRA[p]
        after = cross_validate(replace(probed, right_PRA=right_PRA), 3, "flops", form)
        for old, new in zip(before, after, strict=True):
            assert old.cost_P["flops"][p] == new.cost_P["flops"][p]
            moved += not np.array_equal(old.cost_P["flops"], new.cost_P["flops"])
    assert moved > 0


def test_halves_are_halves_and_always_the_same():
    seen = set()
    for split in range(5):
        one, other = in_halves(31, split)
        assert sorted(one + other) == list(range(31))
        assert abs(len(one) - len(other)) == 1
        assert in_halves(31, split) == (one, other)
        seen.add(tuple(one))
    assert len(seen) == 5
    assert sorted(in_halves(2, 0)) == [[0], [1]]
    with pytest.raises(ValueError, match="1 problem cannot be divided"):
        in_halves(1, 0)


def test_a_price_makes_the_most_of_a_total(probed):
    """No other choice of arms for the bins is more accurate at the same mean cost."""
    rows = range(30)
    edges = edges_of(probed, 3, rows)
    table = tabulate(probed, edges, "flops", rows)
    share_B = [(bins_PR(probed, edges) == b).mean() for b in range(len(edges) + 1)]
    spent = set()
    for price in (0.2, 0.05, 0.01, 0.001):
        chosen = table.choose("on average", price)
        accuracy, cost = ((share_B * its[range(3), chosen]).sum() for its in (table.right_BA, table.cost_BA))
        for arms in product(range(len(probed.arms)), repeat=3):
            other, its_cost = ((share_B * its[range(3), arms]).sum() for its in (table.right_BA, table.cost_BA))
            assert other <= accuracy + 1e-9 or its_cost > cost - 1e-9
        spent.add(cost)
    assert len(spent) > 2
    assert fit(probed, 3, "flops", "on average", 0.01) == (edges, table.choose("on average", 0.01))


def test_easy_problems_get_less_than_hard_ones_and_no_bin_more_than_its_budget(menu):
    oracle = menu.with_difficulty(menu.oracle_P())
    edges, chosen = fit(oracle, 3, "generated_tokens", "on average", 0.01)
    spent = [oracle.arms[a].samples for a in chosen]
    assert spent[0] < max(spent)
    table = tabulate(oracle, edges, "generated_tokens", range(30))
    for budget in budgets(oracle):
        arms = table.choose("per problem", budget)
        assert all(oracle.arms[a].samples <= budget for a in arms)
    assert fit(oracle, 3, "generated_tokens", "per problem", 0.1)[1] == [0, 0, 0]  # nothing fits: the cheapest


# --- What it saves ---


def point(right, cost):
    return Point(0.0, np.array(right, float), {"flops": np.full(len(right), float(cost))})


def test_a_saving_is_the_ratio_of_the_costs_at_equal_accuracy():
    curve = [point([1, 0, 0, 0], 10), point([1, 1, 1, 0], 30), point([1, 1, 1, 1], 100)]
    found = saving(curve, point([1, 1, 0, 0], 80), "flops")
    assert found == {"accuracy": 0.5, "rival_cost": 80.0, "cost": 20.0, "saving": 4.0, "low": None, "high": None}
    assert saving(curve[:1], point([1, 1, 0, 0], 80), "flops")["saving"] is None
    assert crossing([30.0, 10.0], [0.9, 0.5], 0.7) == 20.0  # in whatever order
    assert crossing([10.0, 20.0, 30.0], [0.8, 0.6, 0.9], 0.7) == 10.0


def test_the_interval_of_a_saving_redraws_both_curves():
    rng = random.Random(0)
    outcomes = [[rng.random() < p for _ in range(60)] for p in (0.4, 0.6, 0.8, 0.9)]
    curve = [point(right, cost) for right, cost in zip(outcomes, (10, 20, 40, 80), strict=True)]
    found = saving(curve, point([rng.random() < 0.7 for _ in range(60)], 120), "flops")
    assert found["low"] < found["saving"] < found["high"]
    # A rival with the very outcomes of a point costs as much in every redrawn sample.
    same = saving(curve, point(outcomes[1], 60), "flops")
    assert same["saving"] == pytest.approx(3.0)
    assert same["low"] == pytest.approx(3.0)
    never = saving(curve[:1], point(outcomes[3], 60), "flops")
    assert (never["saving"], never["low"], never["high"]) == (None, 0.0, 0.0)


def test_an_interval_needs_ten_problems():
    for count in (9, 10):
        curve = [point([1] * count, 10), point([1] * count, 20)]
        found = saving(curve, point([1] * count, 30), "flops")
        assert (found["low"], found["high"]) == ((None, None) if count == 9 else (3.0, 3.0))


def test_between_two_budgets_of_a_method_lies_their_mixture():
    its = Curve("f", (1, 2), (point([0, 0], 10), point([1, 0], 20)))
    assert its.at_cost("flops", 15).tolist() == [0.5, 0.0]
    assert its.at_cost("flops", 9) is its.at_cost("flops", 21) is None


def test_the_best_budget_is_the_most_accurate_and_of_these_the_cheapest():
    rights = ([0, 0], [1, 0], [1, 0], [0, 0])
    its = Curve("f", (1, 2, 4, 8), tuple(Point(np.mean(right), np.array(right, float), {}) for right in rights))
    assert its.best() == 1


def test_the_report_sets_every_accounting_against_every_rival(menu, probed):
    report = compute_optimal_report(menu, Probe("lead", 2), 3)
    kinds = {("generation", "oracle"), ("generation", "predicted"), ("charged", "probe")}
    assert {(s["accounting"], s["difficulty"]) for s in report["savings"]} == kinds
    assert len(report["savings"]) == 3 * 2 * 3 * 2
    methods = fixed_methods(menu)
    best = max(methods, key=lambda name: methods[name].points[-1].accuracy)
    entry = next(
        s
        for s in report["savings"]
        if (s["accounting"], s["form"], s["rival"], s["at"]) == ("charged", "on average", "best fixed", "largest")
    )
    assert (entry["family"], entry["samples"]) == (best, 8)
    assert report["compute_saving_charged"] == entry["saving"]
    points = cross_validate(probed, 3, "flops", "on average")
    expected = saving(points, methods[best].points[-1], "flops")
    assert {key: entry[key] for key in expected} == expected
    curve = next(c for c in report["curves"] if (c["accounting"], c["form"]) == ("charged", "on average"))
    assert [p["accuracy"] for p in curve["points"]] == pytest.approx([its.accuracy for its in points])
    assert any(p["minus"]["weighted_vote v"] for p in curve["points"])
    assert len(report["fixed"]["rebase v"]) == 2


def test_a_table_shows_a_rival_and_a_budget_once():
    def entry(rival, family, samples, at):
        its = {"accounting": "charged", "difficulty": "none", "form": "escalation v", "saving": 2.0}
        return its | {"rival": rival, "family": family, "samples": samples, "at": at}

    best = [entry("best fixed", "weighted_vote v", 8, at) for at in ("largest", "best")]
    again = [entry("weighted_vote v", "weighted_vote v", 8, at) for at in ("largest", "best")]
    other = [entry("best_of_n v", "best_of_n v", 8, "largest"), entry("best_of_n v", "best_of_n v", 4, "best")]
    assert merged([*best, *other, *again]) == [best[0] | {"at": "largest and best"}, *other]
    assert merged([best[0], again[1]]) == [best[0]]
    assert [its["at"] for its in best] == ["largest", "best"]  # as they were


def test_a_budget_holds_a_little_more_than_it_says():
    samples = np.array([[1.0, 51.0], [1.0, 52.0]])
    table = Table(np.array([[0.25, 0.75]] * 2), samples, samples, 1.0)
    assert table.choose("per problem", 50) == [1, 0]


@pytest.mark.slow
def test_an_adaptive_method_is_set_against_fixed_ones_and_is_no_rival_itself(menu):
    """The trees of the run under the name of an adaptive one, and right everywhere."""
    assert fixed_methods(menu).keys() == curves_of(menu).keys()
    run = menu.run
    rows = [
        replace(row, results=tuple(as_escalation(its) if its.strategy == "rebase" else its for its in row.results))
        for row in run.rows
    ]
    methods = {
        its.method: run.meta["methods"][old.method]
        for its, old in zip(rows[0].results, run.rows[0].results, strict=True)
    }
    its = menu_of(Run(run.meta | {"methods": methods}, tuple(rows)), "v")
    report = compute_optimal_report(its, Probe("lead", 2), 3)
    assert report["adaptive"].keys() == {"escalation v"}
    assert "escalation v" not in report["fixed"]
    best = max(points[-1]["accuracy"] for points in report["fixed"].values())
    gaps = [p["minus_rival"]["mean"] for p in report["adaptive"]["escalation v"]]
    assert gaps == pytest.approx([p["accuracy"] - best for p in report["adaptive"]["escalation v"]])
    assert {s["family"] for s in report["savings"]} == {
        "weighted_vote v",
        "best_of_n v",
    }  # the former is the best one, too
    for accounting, cost in (("generation", "generated_tokens"), ("charged", "flops")):
        (entry,) = (
            s
            for s in report["savings"]
            if (s["form"], s["accounting"], s["rival"], s["at"])
            == ("escalation v", accounting, "best fixed", "largest")
        )
        largest, small = report["fixed"][entry["family"]][-1], report["adaptive"]["escalation v"][0]
        assert entry["saving"] == pytest.approx(largest[cost] / small[cost])
        assert report[f"compute_saving_{accounting}"] == entry["saving"]
    by_bins = [
        s["saving"]
        for s in report["savings"]
        if (s["form"], s["rival"], s["at"], s["difficulty"]) == ("on average", "best fixed", "largest", "probe")
    ]
    assert [report["compute_saving_by_bins_charged"]] == by_bins


def as_escalation(its):
    right = replace(its.candidates[0], answer="1", correct=True)
    return replace(its, method=its.method.replace("rebase", "escalation"), strategy="escalation", candidates=(right,))


def test_a_method_that_the_run_lacks_is_no_rival(menu):
    run = menu.run
    rows = [
        replace(row, results=tuple(its for its in row.results if its.strategy != "weighted_vote")) for row in run.rows
    ]
    methods = {its.method: run.meta["methods"][its.method] for its in rows[0].results}
    report = compute_optimal_report(
        menu_of(Run(run.meta | {"methods": methods}, tuple(rows)), "v"), Probe("lead", 2), 3
    )
    assert {s["rival"] for s in report["savings"]} == {"best fixed", "best_of_n v"}
