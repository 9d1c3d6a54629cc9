"""What compute-optimal saves: the cost at which it is as accurate as a fixed method, set against the cost of that method.

    64 samples with the weighted vote       97.7% at 2,258 tokens
    escalation, up to 64 samples            97.7% at 958 tokens: 2.4 times less

A fixed method is met at its largest budget, as Snell et al. 2024 do (arXiv:2408.03314: "up to 4x"), and at the budget where
it is most accurate: one that falls with more samples is soon reached at its largest. Two accountings:

    generation      generated tokens; the difficulty is known and costs nothing: by the oracle, or predicted from a pool that
                    nobody paid for. That is how the paper counts.
    charged         FLOPs of generator and verifier, prompts read again and the samples of the probe included

Compute-optimal is what decides for each problem what to spend on it: a choice by its bin of difficulty, learned on other
problems (`prm.evaluation.compute_optimal`), or a method that finds out on the way (`ADAPTIVE`), which is charged for that in
both accountings.

Between two points of a curve lies the mixture of both, so a cost is interpolated. The interval is a bootstrap over problems:
the accuracy to be reached, both curves and their crossing are redrawn together, choices stay as they are. Where
compute-optimal does not get there, the saving is null; in a redrawn sample, 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prm.evaluation.compute_optimal import Bins, Form, Point, cross_validate
from prm.evaluation.menus import Array, Menu, Probe
from prm.evaluation.search_metrics import FEWEST, bootstrap, paired_difference

COSTS = {"generation": "generated_tokens", "charged": "flops"}
"""What each accounting counts."""

FORMS: tuple[Form, ...] = ("per problem", "on average")

ADAPTIVE = ("escalation", "adaptive_best_of_n", "adaptive_consistency")
"""Methods that spend on a problem what its samples ask for. They are set against fixed ones, never beside them."""

RESAMPLES = 1000


@dataclass(frozen=True)
class Curve:
    """One method for all problems, at each of its numbers of samples."""

    family: str
    samples: tuple[int, ...]
    points: tuple[Point, ...]

    def best(self) -> int:
        """Index of the point with the highest accuracy, the cheapest of them."""
        return max(range(len(self.points)), key=lambda i: (round(self.points[i].accuracy, 12), -i))

    def at_cost(self, name: str, cost: float) -> Array | None:
        """Chance of a right answer to each problem at this mean cost, by the mixture of two budgets; None outside."""
        for one, more in zip(self.points, self.points[1:], strict=False):
            low, high = one.cost(name), more.cost(name)
            if low <= cost <= high and low < high:
                share = (cost - low) / (high - low)
                return (1 - share) * one.right_P + share * more.right_P
        return None


def curves_of(menu: Menu) -> dict[str, Curve]:
    """By the words of a method without its samples. No difficulty is asked for, so nothing is charged for one."""
    found = {}
    for family, numbers in menu.families().items():
        points = [
            Point(
                menu.arms[a].samples,
                menu.right_PRA[:, :, a].mean(axis=1),
                {name: menu.cost_PA(name)[:, a] for name in menu.one_P},
            )
            for a in numbers
        ]
        found[family] = Curve(family, tuple(menu.arms[a].samples for a in numbers), tuple(points))
    return found


def fixed_methods(menu: Menu) -> dict[str, Curve]:
    """Those that spend as much on every problem."""
    return {family: its for family, its in curves_of(menu).items() if family.split()[0] not in ADAPTIVE}


def best_fixed(methods: dict[str, Curve]) -> Curve:
    """The method that is most accurate at its largest budget."""
    return max(methods.values(), key=lambda its: its.points[-1].accuracy)


def crossing(costs: Sequence[float], accuracies: Sequence[float], target: float) -> float | None:
    """The lowest cost on the way through these points at which the accuracy is reached.

    >>> crossing([10.0, 30.0, 50.0], [0.5, 0.7, 0.9], 0.8), crossing([10.0], [0.5], 0.4), crossing([10.0], [0.5], 0.6)
    (40.0, 10.0, None)
    """
    order = np.argsort(costs, kind="stable")
    reached = [i for i in order if accuracies[i] >= target - 1e-12]
    if not reached:
        return None
    place = int(np.flatnonzero(order == reached[0])[0])
    if place == 0:
        return float(costs[reached[0]])
    before, after = order[place - 1], reached[0]
    share = (target - accuracies[before]) / (accuracies[after] - accuracies[before])
    return float(costs[before] + max(0.0, share) * (costs[after] - costs[before]))


def saving(points: Sequence[Point], rival: Point, name: str) -> dict[str, float | None]:
    """How many times the cost of the rival is that of these points at its accuracy, with a 95% interval.

    Args:
        name: of the cost.
    """
    costs_SP, right_SP = np.array([p.cost_P[name] for p in points]), np.array([p.right_P for p in points])
    cost = crossing(costs_SP.mean(axis=1).tolist(), right_SP.mean(axis=1).tolist(), rival.accuracy)
    found: dict[str, float | None] = {"accuracy": rival.accuracy, "rival_cost": rival.cost(name), "cost": cost}
    found |= {"saving": rival.cost(name) / cost if cost else None, "low": None, "high": None}
    count = len(rival.right_P)
    if count < FEWEST:
        return found
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    weights_RP = np.array([np.bincount(those, minlength=count) for those in drawn]) / count
    costs_RS, right_RS = weights_RP @ costs_SP.T, weights_RP @ right_SP.T
    target_R, rival_R = weights_RP @ rival.right_P, weights_RP @ rival.cost_P[name]
    ratios = []
    for costs, right, target, its in zip(costs_RS, right_RS, target_R, rival_R, strict=True):
        there = crossing(costs, right, float(target))
        ratios.append(its / there if there else 0.0)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return found | {"low": float(low), "high": float(high)}


def difficulties(menu: Menu, probe: Probe) -> dict[tuple[str, str], Menu]:
    """(accounting, difficulty) -> the menu with this difficulty: known by the oracle, predicted from the whole pool, or
    by a probe that is paid for."""
    return {
        ("generation", "oracle"): menu.with_difficulty(menu.oracle_P()),
        ("generation", "predicted"): menu.with_difficulty(menu.predicted_P(probe.statistic)),
        ("charged", "probe"): menu.probed(probe),
    }


def compute_optimal_report(menu: Menu, probe: Probe, bins: Bins) -> dict[str, Any]:
    """Every number of compute-optimal against fixed methods, ready for JSON.

    Returns:
        `compute_saving_generation` and `compute_saving_charged`: against the best fixed method at its largest budget, by
        escalation if the run has it, and otherwise by bins of a predicted difficulty, which
        `compute_saving_by_bins_...` are in any case. `fixed`, `adaptive`: the curve of each method; an adaptive
        one minus the best fixed method at its largest budget, too. `curves`: those of
        compute-optimal by bins, each point with its paired differences to fixed methods at the same mean cost. `savings`:
        an entry for every accounting, difficulty, form of budget, rival, and its largest or most accurate budget.
    """
    methods = fixed_methods(menu)
    adaptive = {family: its for family, its in curves_of(menu).items() if family not in methods}
    rivals = {"best fixed": best_fixed(methods)}
    rivals |= {f: methods[f] for f in (f"{s} {menu.verifier}" for s in ("best_of_n", "weighted_vote")) if f in methods}
    curves, savings = [], []

    def compare(points: Sequence[Point], **kind: str) -> None:
        for name, rival in rivals.items():
            for at, i in (("largest", -1), ("best", rival.best())):
                entry = {"rival": name, "family": rival.family, "samples": rival.samples[i], "at": at}
                savings.append(kind | entry | saving(points, rival.points[i], COSTS[kind["accounting"]]))

    for (accounting, difficulty), its in difficulties(menu, probe).items():
        cost = COSTS[accounting]
        for form in FORMS:
            points = cross_validate(its, bins, cost, form)
            kind = {"accounting": accounting, "difficulty": difficulty, "form": form}
            curves.append(kind | {"points": [_point(p) | {"minus": _minus(p, rivals, cost)} for p in points]})
            compare(points, **kind)
    for family, curve in adaptive.items():
        for accounting in COSTS:
            compare(curve.points, accounting=accounting, difficulty="none", form=family)

    def against_best(accounting: str, form: str, difficulty: str) -> Any:
        wanted = {"accounting": accounting, "difficulty": difficulty, "form": form, "rival": "best fixed"}
        return next(s["saving"] for s in savings if s["at"] == "largest" and wanted.items() <= s.items())

    by_bins = {
        "generation": against_best("generation", "on average", "predicted"),
        "charged": against_best("charged", "on average", "probe"),
    }
    escalation = next((family for family in adaptive if family.startswith("escalation")), None)
    best = {name: against_best(name, escalation, "none") for name in COSTS} if escalation else by_bins
    return {
        **{f"compute_saving_{name}": its for name, its in best.items()},
        **{f"compute_saving_by_bins_{name}": its for name, its in by_bins.items()},
        "probe": vars(probe),
        "bins": bins,
        "fixed": {family: _curve(its) for family, its in methods.items()},
        "adaptive": {family: _curve(its, rivals["best fixed"].points[-1]) for family, its in adaptive.items()},
        "curves": curves,
        "savings": savings,
    }


def merged(savings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a table shows of `savings`: a rival that is the best fixed method, too, once, and one entry, with `at`
    "largest and best", for a budget that is both."""
    shown: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in savings:
        key = tuple(entry[name] for name in ("accounting", "difficulty", "form", "family", "samples"))
        before = shown.setdefault(key, dict(entry))
        if before["rival"] == entry["rival"] and before["at"] != entry["at"]:
            before["at"] += f" and {entry['at']}"
    return list(shown.values())


def _curve(its: Curve, rival: Point | None = None) -> list[dict[str, Any]]:
    """
    Args:
        rival: what each point is compared with, paired over problems: `minus_rival`.
    """
    points = []
    for n, point in zip(its.samples, its.points, strict=True):
        points.append(_point(point) | {"samples": n})
        if rival is not None:
            gap = paired_difference(point.right_P.tolist(), rival.right_P.tolist(), resamples=RESAMPLES)
            points[-1]["minus_rival"] = vars(gap)
    return points


def _point(point: Point) -> dict[str, Any]:
    spread = bootstrap(point.right_P.tolist(), resamples=RESAMPLES)
    costs = {name: float(its.mean()) for name, its in point.cost_P.items()}
    return {"setting": point.setting, "accuracy": spread.mean, "low": spread.low, "high": spread.high} | costs


def _minus(point: Point, rivals: dict[str, Curve], cost: str) -> dict[str, Any]:
    """Paired differences to the rivals that have budgets around its mean cost."""
    found: dict[str, Any] = {}
    for name, rival in rivals.items():
        theirs = rival.at_cost(cost, point.cost(cost))
        found[name] = (
            None
            if theirs is None
            else vars(paired_difference(point.right_P.tolist(), theirs.tolist(), resamples=RESAMPLES))
        )
    return found
