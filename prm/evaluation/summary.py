"""What a search run shows: accuracy and cost per method, gains with intervals, and how good its verifiers are.

Everything is estimated from the rows of a stored run (`prm.evaluation.search_runs`), so no model is needed; the rows say
which methods there are. `summarize` returns one JSON-ready dictionary, and `eval/write_report.py` only draws what
is in it. A method whose candidates are independent samples has a curve over all budgets up to N, by an exact estimator if
`ESTIMATORS` knows its strategy; any other method is one point, the share of problems it solved at what it spent.

One method of a summary, in the units that `UNITS` states:

    "prm_best_of_n": {"label": "PRM best-of-N", "strategy": "best_of_n", "verifier": "prm", "accuracy": 0.63, "low": 0.58,
                      "high": 0.68, "generated_tokens": 512.0, "verifier_tokens": 610.0, "flops": 1.1e9}

Two entries are no methods that ran: `single` (one sample) and `pass_at_n` (a perfect choice), both estimated from the pool.
"""

from __future__ import annotations

from dataclasses import fields
from statistics import fmean
from typing import Any

from prm.costs import forward_flops
from prm.evaluation.controls import blind_controls, false_positives, growth
from prm.evaluation.diagnostics import diagnose, shares, warnings
from prm.evaluation.equal_cost import equal_cost, over_majority
from prm.evaluation.estimates import CEILING, SINGLE, curves
from prm.evaluation.groups import by_difficulty, by_group, by_level
from prm.evaluation.labels import describe
from prm.evaluation.search_metrics import bootstrap, paired_difference
from prm.evaluation.search_runs import Run, largest_pool
from prm.evaluation.step_quality import pool_quality
from prm.storage.step_scores import StepTruth
from prm.types import Cost

UNITS = (
    "accuracy, low, high: share of problems solved with its 95% interval (null of too few problems); costs are means per "
    "problem, as in prm/types.py: generated_tokens (decode), prompt_tokens (prefill), verifier_tokens, cached_tokens (of "
    "both) and cached_verifier_tokens, calls, flops = 2 x parameters x tokens read or written by generator and verifier, "
    "flops_by_shape (attention included), search_seconds; prefill_flops, decode_flops, verifier_flops: what the flops "
    "consist of; by_difficulty: bins by the share of right samples in the pool, which is between the two numbers of right; "
    "duplicates: mean number of continuations that repeat an earlier "
    "one of their problem; seconds: whole run. At each number of samples n, differences are shares of problems, paired: "
    "over_majority: minus as many votes as the flops buy, verifier charged (null: the pool has fewer votes); blind: with "
    "scores shuffled within each pool, and the method minus that; growth: best_n, and change from there to the last n; "
    "false_positives: share of right choices that have a wrong step, by exact step truth; steps: of each verifier, what its "
    "scores of single steps are worth against that truth, over the pool (prm/evaluation/step_quality.py)"
)


def summarize(run: Run, group_by: str | None = None, step_truth: StepTruth | None = None) -> dict[str, Any]:
    """Every number of the report, ready for JSON (NaN becomes None); `UNITS` is in it and says what they mean.

    Args:
        group_by: a column that is kept with the problems; adds accuracy by its values.
        step_truth: such as `prm.datasets.step_truth.step_truth`; adds false positives, and what scores of single steps
            are worth, where it knows any.

    Raises:
        ValueError: no problem has this column.
    """
    curves_P = curves(run)
    at_n = {name: curve_P[max(curve_P)] for name, curve_P in curves_P.items()}
    costs = {name: _cost(run, name) for name in at_n}
    words = describe(run.rows[0].results)
    summary: dict[str, Any] = {
        "problems": run.meta["problems"],
        "split": run.meta["split"],
        "n_problems": len(run.rows),
        "N": run.meta["n"],
        "seconds": run.meta["seconds"],
        "units": UNITS,
        "methods": {
            name: words[name]
            | {"samples": max(curves_P[name])}
            | bootstrap(a_P).as_accuracy()
            | costs[name]
            | _duplicates(run, name)
            for name, a_P in at_n.items()
        },
        "differences": {f"{a} - {b}": vars(paired_difference(at_n[a], at_n[b])) for a, b in _pairs(run, list(at_n))},
        "curves": {
            name: [
                {
                    "n": k,
                    **bootstrap(a_P).as_accuracy(),
                    "generated_tokens": costs[name]["generated_tokens"] * k / max(curve_P),
                }
                for k, a_P in curve_P.items()
            ]
            for name, curve_P in curves_P.items()
            if len(curve_P) > 1
        },
        "budgets": _budgets(curves_P),
        "equal_cost": equal_cost(run, costs),
        "over_majority": over_majority(run, curves_P),
        "blind": blind_controls(run, curves_P),
        "growth": {name: growth(curve_P) for name, curve_P in curves_P.items() if len(curve_P) > 1 and name != CEILING},
        "false_positives": false_positives(run, step_truth) if step_truth else {},
        "steps": pool_quality(run, step_truth) if step_truth else {},
        **by_level(run, at_n),
        **by_difficulty(run, at_n),
        **(by_group(run, at_n, group_by) if group_by else {}),
        "verifiers": {name: diagnose(run, name) for name in run.meta["verifiers"]},
        **shares(run),
    }
    return summary | {"warnings": warnings(run, summary)}


def _pairs(run: Run, names: list[str]) -> list[tuple[str, str]]:
    """Which methods are compared: each with majority voting and a single sample, with the same strategy listed before it
    (another verifier, other parameters), and what adapts to its scores with best-of-N by the same verifier."""
    by_name = {result.method: result for result in run.rows[0].results}
    found = []
    for a in (name for name in names if name in by_name):
        one = by_name[a]
        references = [name for name, other in by_name.items() if other.strategy == "majority"] + [SINGLE]
        if one.verifier is not None:
            found += [(a, b) for b in references if b in names]
        for b, other in by_name.items():
            earlier = names.index(b) < names.index(a)
            if earlier and one.strategy == other.strategy and None not in (one.verifier, other.verifier):
                found.append((a, b))
            if not one.independent and other.strategy == "best_of_n" and one.verifier == other.verifier:
                found.append((a, b))
    return found


def _budgets(curves_P: dict[str, dict[int, list[float]]]) -> list[dict[str, Any]]:
    """For every number of samples that several methods have: the best method, the next one, and their difference."""
    rivals = {name: curve_P for name, curve_P in curves_P.items() if name not in (SINGLE, CEILING)}
    found = []
    for n in sorted({n for curve_P in rivals.values() for n in curve_P if n > 1}):
        ranked = sorted((name for name in rivals if n in rivals[name]), key=lambda name: -fmean(rivals[name][n]))
        if len(ranked) > 1:
            best, second = ranked[:2]
            difference = vars(paired_difference(rivals[best][n], rivals[second][n]))
            found.append({"n": n, "best": best, "second": second, "difference": difference})
    return found


def _cost(run: Run, name: str) -> dict[str, float]:
    """Mean cost per problem at the full budget, as the search charged it; of what did not run, the first columns."""
    number = next((i for i, result in enumerate(run.rows[0].results) if result.method == name), None)
    if number is not None:
        costs = [row.results[number].cost for row in run.rows]
        spent = {f.name: fmean([getattr(cost, f.name) for cost in costs]) for f in fields(Cost)}
        size = run.meta["generator"]["num_parameters"]
        for key, tokens in (("prefill_flops", "prompt_tokens"), ("decode_flops", "generated_tokens")):
            spent[key] = forward_flops(size, spent[tokens])
        # What is not the generator's; per problem, where all are whole numbers and nothing is rounded.
        theirs = [its.flops - forward_flops(size, its.prompt_tokens + its.generated_tokens) for its in costs]
        spent["verifier_flops"] = fmean(theirs)
        return {"search_seconds" if key == "seconds" else key: value for key, value in spent.items()}
    # One sample, and the pool without a verifier: the generator's part of a method that draws the pool.
    shared = largest_pool(run)
    assert shared is not None  # or neither would be there
    generated, prompt = (
        fmean([getattr(row.results[shared].cost, key) for row in run.rows])
        for key in ("generated_tokens", "prompt_tokens")
    )
    generated /= len(run.rows[0].results[shared].candidates) if name == SINGLE else 1
    flops = forward_flops(run.meta["generator"]["num_parameters"], prompt + generated)
    return {"generated_tokens": generated, "verifier_tokens": 0.0, "flops": flops}


def _duplicates(run: Run, name: str) -> dict[str, float]:
    """Nothing for the two that did not run."""
    mine = [result.duplicates for row in run.rows for result in row.results if result.method == name]
    return {"duplicates": fmean(mine)} if mine else {}
