"""Every method of a run at every number of samples, each against majority voting with as many of the same run.

    {"method": "PRM weighted vote", "n": 4, "accuracy": Estimate(0.41, 0.33, 0.49), "difference": Estimate(0.06, 0.01, 0.11),
     "generated_tokens": 1124.0, "verifier_tokens": 1310.0, "flops": 1.9e12, "seconds": 9.1}

Differences are paired over problems. Runs that differ in prompt or model are compared on the problems that all have. With n
of N samples a method costs n/N of what it spent, as everywhere in the reports; a method that adapts is one row.

Left out: methods at equal cost (`prm.evaluation.equal_cost`), except what a larger model costs (`against_larger`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from prm.evaluation.equal_cost import mixture
from prm.evaluation.estimates import CEILING, ESTIMATORS, SINGLE, curves, pools_of
from prm.evaluation.reading import percent, points
from prm.evaluation.search_metrics import Estimate, bootstrap, paired_difference
from prm.evaluation.search_runs import Run
from prm.evaluation.summary import summarize
from prm.evaluation.tables import Table

MAJORITY = "majority"
COSTS = {
    "generated_tokens": "generated_tokens",
    "verifier_tokens": "verifier_tokens",
    "flops": "flops",
    "seconds": "search_seconds",
}
"""Of a row, and their names in a summary."""


def on_common_problems(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs with the problems that all of them have, in the order of the first.

    Raises:
        ValueError: there is none.
    """
    by_run = [{row.problem.id: row for row in run.rows} for run in runs.values()]
    common = [name for name in by_run[0] if all(name in rows for rows in by_run)]
    if not common:
        raise ValueError(f"the runs {', '.join(runs)} have no problem in common")
    return {
        name: replace(run, rows=tuple(rows[problem] for problem in common))
        for (name, run), rows in zip(runs.items(), by_run, strict=True)
    }


def equal_samples(run: Run, rival: Run, prompt: str = "") -> list[dict[str, Any]]:
    """One row for each method of the run and each number of samples.

    Args:
        rival: whose majority voting is compared with; on the same problems in the same order. Its own has no difference.
        prompt: what the names of the methods begin with.
    """
    methods = summarize(run)["methods"]
    rival_P = curves(rival)[MAJORITY]
    rows = []
    for name, curve in curves(run).items():
        if name in (SINGLE, CEILING):  # a vote of one sample is a single sample
            continue
        spent, most = methods[name], max(curve)
        for n, solved_P in curve.items():
            if n == 1 < most and spent["verifier"]:  # nothing to choose
                continue
            same = run is rival and name == MAJORITY
            label = "single sample" if name == MAJORITY and n == 1 else spent["label"]
            rows.append(
                {
                    "method": f"{prompt}{label}",
                    "verifier": spent["verifier"],
                    "n": n,
                    "accuracy": bootstrap(solved_P),
                    "difference": None if same or n not in rival_P else paired_difference(solved_P, rival_P[n]),
                }
                | {key: spent[its] * n / most for key, its in COSTS.items()}
            )
    return rows


def against_larger(run: Run, larger: Run) -> list[dict[str, Any]]:
    """Every method that chooses among independent samples, with as many as cost the FLOPs of one sample of a larger model.

    Returns:
        Rows {"method", "n", "accuracy", "difference"}, the last one minus the larger model's single sample; "n" alone where
        the method has no such budget (None in the others).
    """
    mine, theirs = summarize(run)["methods"], summarize(larger)["methods"]
    answers_P = curves(larger)[MAJORITY][1]
    flops = theirs[SINGLE]["flops"]
    rows = []
    for i, result in enumerate(run.rows[0].results):
        if not result.independent or result.strategy not in ESTIMATORS:
            continue
        most = len(result.candidates)
        n = most * flops / mine[result.method]["flops"] if mine[result.method]["flops"] else math.inf
        row: dict[str, Any] = {"method": mine[result.method]["label"], "n": n, "accuracy": None, "difference": None}
        if 1 <= n <= most:
            solved_P = mixture(result.strategy, pools_of(run, i), n)
            row |= {"accuracy": bootstrap(solved_P), "difference": paired_difference(solved_P, answers_P)}
        rows.append(row)
    return rows


def problems_needed(difference: Estimate, problems: int) -> int | None:
    """About how many problems this gain would have to be measured on for its interval to end at 0; None if it is no gain.

    The width of an interval falls with the root of the number of problems.
    """
    if difference.mean <= 0 or difference.low is None:
        return None
    return math.ceil(problems * ((difference.mean - difference.low) / difference.mean) ** 2)


def method_table(rows: list[dict[str, Any]]) -> Table:
    names = [
        "method",
        "N",
        "accuracy",
        "minus majority at N",
        "generated tokens",
        "verifier tokens",
        "FLOPs",
        "seconds",
    ]
    table = [names]
    for row in rows:
        costs = [f"{row['generated_tokens']:,.0f}", f"{row['verifier_tokens']:,.0f}", f"{row['flops']:.2e}"]
        cells = [_with_interval(row["accuracy"]), _points(row["difference"]), *costs, f"{row['seconds']:.1f}"]
        table.append([row["method"], str(row["n"]), *cells])
    return table


def exchange_table(rows: list[dict[str, Any]]) -> Table:
    table = [["at the FLOPs of one sample of the larger model", "N", "accuracy", "minus the larger model"]]
    for row in rows:
        accuracy = _with_interval(row["accuracy"]) if row["accuracy"] else "–"
        table.append([row["method"], f"{row['n']:.1f}", accuracy, _points(row["difference"])])
    return table


def gains(rows: list[dict[str, Any]], problems: int) -> list[str]:
    """Which choices by a verifier are told from majority voting; where none is, what is missing."""
    chosen = [row for row in rows if row["verifier"] and row["difference"] and row["difference"].low is not None]
    better = [row for row in chosen if row["difference"].low > 0]
    if better:
        told = "; ".join(f"{row['method']} with {row['n']}: {_points(row['difference'])}" for row in better)
        return [f"Better than majority voting with as many samples, the interval above 0: {told}."]
    needed = [(problems_needed(row["difference"], problems), row) for row in chosen]
    enough = sorted(((n, row) for n, row in needed if n), key=lambda pair: pair[0])
    if not enough:
        return ["No choice by a verifier is better than majority voting with as many samples."]
    n, row = enough[0]
    return [
        f"No choice by a verifier can be told from majority voting with as many samples. The nearest is {row['method']} with"
        f" {row['n']}, {_points(row['difference'])}: for such a gain, about {n} problems would be enough."
    ]


def _with_interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return percent(estimate.mean)
    return f"{percent(estimate.mean)} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _points(difference: Estimate | None) -> str:
    return points(vars(difference)).replace(" points", "") if difference else ""
