r"""Learn a policy: how much of what to spend on which problems, by a difficulty that the first samples show.

The method `compute_optimal` of eval/run_search.py follows it. It is learned on problems that are not searched later (a
validation split), from a run with all the methods that it may choose from, each at several numbers of samples. Printed are
those methods, what compute-optimal saves against them by two-fold cross-validation (prm.evaluation.savings), and the policy
with what its card promises. With `--check`, a run of the policy on other problems is held against the promise.

`--mean_tokens` or `--mean_flops` is what a problem may cost on average, everything charged. Without either, the policy is
the cheapest one that is as accurate as the best fixed method at its largest budget, or else the most accurate one.

Reads   --run            folders of eval/run_search.py
        --check          folders of a run with `compute_optimal` on other problems
Writes  --output         the policy (prm/search/policy.py)
        --report         every number of the comparison, as JSON

    python eval/run_search.py --config eval/configs/arithmetic_policy.yaml

    python eval/fit_policy.py --run outputs/policy/validation --verifier prm --output outputs/policy/policy.json
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.command_line import run_script
from prm.evaluation.compute_optimal import Point, cross_validate
from prm.evaluation.difficulty import STATISTICS, WITHOUT_VERIFIER
from prm.evaluation.menus import Menu, Probe, menu_of
from prm.evaluation.reading import interval, percent, points
from prm.evaluation.savings import best_fixed, compute_optimal_report, fixed_methods, merged
from prm.evaluation.search_metrics import bootstrap
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.tables import Table, as_text
from prm.files import write_whole
from prm.search.policy import Policy, check_fits, fit_policy, offered
from prm.storage.jsonl import file_hash
from prm.types import SearchResult


@dataclass
class Arguments:
    run: list[Path] = field(metadata={"help": "folders of eval/run_search.py on validation problems"})
    output: Path = field(metadata={"help": "JSON file to write"})
    verifier: str | None = field(default=None, metadata={"help": "name of the verifier in the run; default: none"})
    statistic: str = field(
        default="lead",
        metadata={"help": "of the first samples, which predicts the difficulty", "choices": list(STATISTICS)},
    )
    probe: int = field(default=2, metadata={"help": "first samples that it is predicted from", "least": 1})
    bins: int = field(default=5, metadata={"help": "of equally many problems", "least": 1})
    mean_tokens: float | None = field(default=None, metadata={"help": "generated tokens per problem", "above": 0})
    mean_flops: float | None = field(default=None, metadata={"help": "FLOPs per problem", "above": 0})
    report: Path | None = field(default=None, metadata={"help": "JSON file of the comparison to write"})
    check: list[Path] = field(
        default_factory=list,
        metadata={"help": "folders of a run of this policy on other problems, such as test problems"},
    )

    def __post_init__(self) -> None:
        if self.mean_tokens is not None and self.mean_flops is not None:
            raise ValueError("--mean_tokens and --mean_flops: one budget is enough; leave one out")
        if self.verifier is None and self.statistic not in WITHOUT_VERIFIER:
            raise ValueError(
                f"--statistic {self.statistic} needs scores; name a --verifier, or give --statistic agreement"
            )


def main(args: Arguments) -> None:
    run = read_runs(args.run)
    if args.verifier is not None and args.verifier not in run.meta["verifiers"]:
        raise ValueError(f"--verifier {args.verifier}: {args.run[0]} has {', '.join(run.meta['verifiers']) or 'none'}")
    menu = menu_of(run, args.verifier, offered)
    left_out = {result.method for result in run.rows[0].results}
    left_out -= {run.rows[0].results[arm.number].method for arm in menu.arms}
    if left_out:
        print(f"left out, of another verifier or with more than the policy knows: {', '.join(sorted(left_out))}\n")

    probe = Probe(args.statistic, args.probe)
    report = compute_optimal_report(menu, probe, args.bins)
    print(f"{len(menu.problems)} {run.meta['split']} problems, each method for all of them")
    print(as_text(fixed_table(report)) + "\n")
    print("cost of a fixed method over that of compute-optimal at its accuracy, by two-fold cross-validation")
    print(as_text(saving_table(report)) + "\n")
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        write_whole(args.report, json.dumps(report, indent=1) + "\n")

    probed = menu.probed(probe)
    point = affordable(cross_validate(probed, args.bins, "flops", "on average"), menu, args)
    policy = fit_policy(probed, args.bins, point.setting, point)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    policy.save(args.output)
    print(f"{args.output}: learned from {policy.card['learned_from']}")
    print(as_text(bin_table(policy)) + "\n")

    found: dict[str, Any] = {}
    if args.check:
        there = read_runs(args.check)
        results = results_of(there, args)
        values = {
            "accuracy": [float(result.correct) for result in results],
            "generated_tokens": [float(result.cost.generated_tokens) for result in results],
            "flops": [result.cost.flops for result in results],
        }
        found = {name: vars(bootstrap(its)) for name, its in values.items()}
    print(as_text(promise_table(policy, found)))


def affordable(points: Sequence[Point], menu: Menu, args: Arguments) -> Point:
    """The point of the price at which the policy is made.

    Raises:
        ValueError: even the cheapest policy costs more than the budget.
    """
    name, most = ("flops", args.mean_flops) if args.mean_tokens is None else ("generated_tokens", args.mean_tokens)
    if most is None:
        target = best_fixed(fixed_methods(menu)).points[-1].accuracy
        as_good = [point for point in points if point.accuracy >= target]
        if as_good:
            return min(as_good, key=lambda point: point.cost("flops"))
        return max(points, key=lambda point: (round(point.accuracy, 12), -point.cost("flops")))
    within = [point for point in points if point.cost(name) <= most]
    if not within:
        least = min(point.cost(name) for point in points)
        raise ValueError(
            f"--mean_{name.removeprefix('generated_')} {most:g}: the cheapest policy costs {least:g} on average"
        )
    return min(within, key=lambda point: point.setting)  # the lowest price buys most


def results_of(run: Run, args: Arguments) -> list[SearchResult]:
    """What this policy found for each problem of another run.

    Raises:
        ValueError: the run has no such method or followed another policy, or one that does not fit it.
    """
    number = next((i for i, r in enumerate(run.rows[0].results) if r.strategy == "compute_optimal"), None)
    if number is None:
        raise ValueError(
            f"--check {args.check[0]}: no method is compute_optimal; search with `compute_optimal policy={args.output}`"
        )
    if file_hash(args.output) not in run.meta["inputs"].values():
        raise ValueError(
            f"--check {args.check[0]}: it followed another policy than the one that these flags make; search again, or"
            " learn as that one was learned"
        )
    name = run.rows[0].results[number].verifier
    fingerprint = None if name is None else run.meta["verifiers"][name]["fingerprint"]
    check_fits(str(args.output), fingerprint, run.meta["generator"]["name"], [row.problem.id for row in run.rows])
    return [row.results[number] for row in run.rows]


def fixed_table(report: dict[str, Any]) -> Table:
    rows = [["method", "accuracy", "95% interval", "generated tokens", "FLOPs", "minus best fixed, largest"]]
    for family, its in (report["fixed"] | report["adaptive"]).items():
        for p in its:
            costs = [f"{p['generated_tokens']:,.0f}", f"{p['flops']:.2e}"]
            gap = points(p["minus_rival"]) if "minus_rival" in p else ""
            rows.append([f"{family} samples={p['samples']}", percent(p["accuracy"]), interval(p), *costs, gap])
    return rows


def saving_table(report: dict[str, Any]) -> Table:
    rows = [
        ["accounting", "difficulty", "budget", "against", "accuracy", "its cost", "compute-optimal", "saving", "95%"]
    ]
    for s in merged(report["savings"]):
        against = f"{s['family']} samples={s['samples']} ({s['at']})"
        costs = [f"{s['rival_cost']:.3g}", "–" if s["cost"] is None else f"{s['cost']:.3g}"]
        ratio = "–" if s["saving"] is None else f"{s['saving']:.2f}x"
        spread = "–" if s["low"] is None else f"[{s['low']:.2f}, {s['high']:.2f}]"
        rows.append(
            [s["accounting"], s["difficulty"], s["form"], against, percent(s["accuracy"]), *costs, ratio, spread]
        )
    return rows


def bin_table(policy: Policy) -> Table:
    rows = [[f"difficulty by {policy.statistic} of {policy.samples}", "share of problems", "method"]]
    for low, high, its in zip((0.0, *policy.edges), (*policy.edges, 1.0), policy.card["bins"], strict=True):
        rows.append([f"{low:.3f} to {high:.3f}", percent(its["share"]), its["method"]])
    return rows


def promise_table(policy: Policy, found: dict[str, Any]) -> Table:
    """Promised and found, and their difference with its interval, as those of two independent means."""
    rows = [["", "promised", "95% interval", *(["found", "95% interval", "found minus promised"] if found else [])]]
    for name, its in policy.card["promise"].items():
        form = "{:.3f}" if name == "accuracy" else "{:.4g}"
        row = [name.replace("_", " "), form.format(its["mean"]), spread(its, form)]
        if found:
            there = found[name]
            row += [form.format(there["mean"]), spread(there, form)]
            gap = there["mean"] - its["mean"]
            if None in (its["low"], there["low"]):
                row.append(f"{gap:+.3g}")
            else:
                half = math.hypot(its["high"] - its["low"], there["high"] - there["low"]) / 2
                row.append(f"{gap:+.3g} [{gap - half:+.3g}, {gap + half:+.3g}]")
        rows.append(row)
    return rows


def spread(numbers: dict[str, Any], form: str) -> str:
    return "–" if numbers["low"] is None else f"[{form.format(numbers['low'])}, {form.format(numbers['high'])}]"


if __name__ == "__main__":
    run_script(main, Arguments)
