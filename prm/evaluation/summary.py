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

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from prm.costs import forward_flops
from prm.evaluation.equal_cost import equal_cost
from prm.evaluation.estimates import CEILING, SINGLE, curves, pools
from prm.evaluation.search_metrics import (
    Estimate,
    bootstrap,
    paired_difference,
)
from prm.evaluation.search_runs import Run
from prm.evaluation.step_metrics import (
    auc,
    auc_within_groups,
    expected_calibration_error,
    length_correlation_within_groups,
)
from prm.types import Cost

TITLES = {
    "best_of_n": "best-of-N",
    "adaptive_best_of_n": "adaptive best-of-N",
    "compute_optimal": "compute-optimal",
    "majority": "majority vote",
    "dvts": "DVTS",
    "rebase": "REBASE",
    "mcts": "MCTS",
    SINGLE: "single sample",
    CEILING: "pass@N (ceiling)",
}
"""Where the title of a strategy is not its name with blanks."""

NOTHING_CHOSEN = 0.05
"""Share of problems without any usable candidate above which a method is warned of."""

UNITS = (
    "accuracy, low, high: share of problems solved with its 95% interval (null of too few problems); costs are means per "
    "problem, as in prm/types.py: generated_tokens (decode), prompt_tokens (prefill), verifier_tokens, cached_tokens (of "
    "both) and cached_verifier_tokens, calls, flops = 2 x parameters x tokens read or written by generator and verifier, "
    "flops_by_shape (attention included), search_seconds; duplicates: mean number of continuations that repeat an earlier "
    "one of their problem; seconds: whole run"
)


def summarize(run: Run, group_by: str | None = None) -> dict[str, Any]:
    """Every number of the report, ready for JSON (NaN becomes None); `UNITS` is in it and says what they mean.

    Args:
        group_by: a column that is kept with the problems; adds accuracy by its values.

    Raises:
        ValueError: no problem has this column.
    """
    curves_P = curves(run)
    at_n = {name: curve_P[max(curve_P)] for name, curve_P in curves_P.items()}
    costs = {name: _cost(run, name) for name in at_n}
    summary: dict[str, Any] = {
        "problems": run.meta["problems"],
        "split": run.meta["split"],
        "n_problems": len(run.rows),
        "N": run.meta["n"],
        "seconds": run.meta["seconds"],
        "units": UNITS,
        "methods": {
            name: _describe(run, name)
            | {"samples": max(curves_P[name])}
            | _with_interval(bootstrap(a_P))
            | costs[name]
            | _duplicates(run, name)
            for name, a_P in at_n.items()
        },
        "differences": {f"{a} - {b}": vars(paired_difference(at_n[a], at_n[b])) for a, b in _pairs(run, list(at_n))},
        "curves": {
            name: [
                {
                    "n": k,
                    **_with_interval(bootstrap(a_P)),
                    "generated_tokens": costs[name]["generated_tokens"] * k / max(curve_P),
                }
                for k, a_P in curve_P.items()
            ]
            for name, curve_P in curves_P.items()
            if len(curve_P) > 1
        },
        "budgets": _budgets(curves_P),
        "equal_cost": equal_cost(run, costs),
        **_by_level(run, at_n),
        **(_by_group(run, at_n, group_by) if group_by else {}),
        "verifiers": {name: _diagnose(run, name) for name in run.meta["verifiers"]},
        **_shares(run),
    }
    return summary | {"warnings": _warnings(run, summary)}


def leading(summary: dict[str, Any]) -> str | None:
    """The method that a report speaks of first: the first one of the run's first verifier; None without verifiers."""
    verifier = next(iter(summary["verifiers"]), None)
    return next((name for name, m in summary["methods"].items() if verifier and m["verifier"] == verifier), None)


def _describe(run: Run, name: str) -> dict[str, str | None]:
    """What a method is, and what a reader calls it: `PRM best-of-N`, `PRM beam search [width=8]`."""
    result = next((result for result in run.rows[0].results if result.method == name), None)
    if result is None:
        return {"label": TITLES[name], "strategy": None, "verifier": None}
    title = TITLES.get(result.strategy, result.strategy.replace("_", " "))
    _, bracket, parameters = name.partition("[")
    words = [
        verifier_title(result.verifier),
        title,
        bracket + parameters.replace(",", ", "),
    ]  # so that a line can break
    return {"label": " ".join(filter(None, words)), "strategy": result.strategy, "verifier": result.verifier}


def verifier_title(name: str | None) -> str:
    """A verifier's name as a reader knows it."""
    return name.upper() if name in ("prm", "orm") else name or ""


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
        ranked = sorted((name for name in rivals if n in rivals[name]), key=lambda name: -_mean(rivals[name][n]))
        if len(ranked) > 1:
            best, second = ranked[:2]
            difference = vars(paired_difference(rivals[best][n], rivals[second][n]))
            found.append({"n": n, "best": best, "second": second, "difference": difference})
    return found


def _cost(run: Run, name: str) -> dict[str, float]:
    """Mean cost per problem at the full budget, as the search charged it; of what did not run, the first columns."""
    number = next((i for i, result in enumerate(run.rows[0].results) if result.method == name), None)
    if number is not None:
        spent = {f.name: _mean([getattr(row.results[number].cost, f.name) for row in run.rows]) for f in fields(Cost)}
        return {"search_seconds" if key == "seconds" else key: value for key, value in spent.items()}
    # One sample, and the pool without a verifier: the generator's part of any method that draws the pool.
    shared = next(i for i, result in enumerate(run.rows[0].results) if result.independent)
    generated, prompt = (
        _mean([getattr(row.results[shared].cost, key) for row in run.rows])
        for key in ("generated_tokens", "prompt_tokens")
    )
    generated /= len(run.rows[0].results[shared].candidates) if name == SINGLE else 1
    flops = forward_flops(run.meta["generator"]["num_parameters"], prompt + generated)
    return {"generated_tokens": generated, "verifier_tokens": 0.0, "flops": flops}


def _duplicates(run: Run, name: str) -> dict[str, float]:
    """Nothing for the two that did not run."""
    mine = [result.duplicates for row in run.rows for result in row.results if result.method == name]
    return {"duplicates": _mean(mine)} if mine else {}


def _by_level(run: Run, at_n: dict[str, list[float]]) -> dict[str, Any]:
    """Problems without a level are in the totals only."""
    rows: dict[int, list[int]] = {}
    for i, row in enumerate(run.rows):
        if row.problem.level is not None:
            rows.setdefault(row.problem.level, []).append(i)
    estimates = {
        str(level): {name: bootstrap([a_P[i] for i in rows[level]]) for name, a_P in at_n.items()}
        for level in sorted(rows)
    }
    return {
        "by_level": {level: {name: e.mean for name, e in row.items()} for level, row in estimates.items()},
        "by_level_intervals": {level: {k: [e.low, e.high] for k, e in row.items()} for level, row in estimates.items()},
        "problems_by_level": {str(level): len(rows[level]) for level in sorted(rows)},
    }


def _by_group(run: Run, at_n: dict[str, list[float]], column: str) -> dict[str, Any]:
    """Accuracy by the values of a kept column, the most frequent one first; where it is empty, the value is "(none)"."""
    if column not in (known := {name for row in run.rows for name in row.problem.kept}):
        there = f"they have {', '.join(sorted(known))}" if known else "their file has none but those that were read"
        raise ValueError(f"--group_by {column!r}: the problems have no such column; {there}")
    values = [" ".join((row.problem.kept.get(column) or "(none)").split()) for row in run.rows]
    groups = {
        value: {
            "problems": count,
            "methods": {
                name: _with_interval(bootstrap([a for a, its in zip(a_P, values, strict=True) if its == value]))
                for name, a_P in at_n.items()
            },
        }
        for value, count in Counter(values).most_common()
    }
    return {"group_by": column, "groups": groups}


_DIAGNOSTICS = ("trace_auc", "trace_auc_within_problem", "length_correlation_within_problem", "calibration_error")


def _diagnose(run: Run, verifier: str) -> dict[str, float | None]:
    """Trace scores of the usable candidates of a pool against their outcomes and numbers of steps."""
    results = enumerate(run.rows[0].results)
    number = next((i for i, result in results if result.independent and result.verifier == verifier), None)
    scores, correct, lengths, problems = [], [], [], []
    for i, row in enumerate(run.rows if number is not None else ()):
        result = row.results[number]  # type: ignore[index]
        for trace, its in zip(result.candidates, result.scores, strict=True):
            if trace.usable and its is not None:
                scores.append(its.trace)
                correct.append(trace.correct is True)
                lengths.append(len(trace.steps))
                problems.append(i)
    too_long = {"too_long_share": _too_long(run, verifier)}
    if not scores:  # nothing was usable; the shares and their warnings say so
        return dict.fromkeys(_DIAGNOSTICS) | too_long
    values = (
        auc(scores, correct),
        auc_within_groups(scores, correct, problems),
        length_correlation_within_groups(scores, lengths, problems),
        expected_calibration_error(scores, correct),
    )
    return {name: None if math.isnan(x) else x for name, x in zip(_DIAGNOSTICS, values, strict=True)} | too_long


def _too_long(run: Run, verifier: str) -> float:
    """Share of the usable candidates that a verifier was shown and could not read."""
    shown = [
        scores
        for row in run.rows
        for result in row.results
        if result.verifier == verifier
        for trace, scores in zip(result.candidates, result.scores, strict=True)
        if trace.usable
    ]
    return _mean([scores is None for scores in shown]) if shown else 0.0


def _shares(run: Run) -> dict[str, float]:
    candidates = [trace for row in run.rows for trace in row.candidates]
    top_votes = [Counter(c for c in pool.classes if c is not None).most_common(2) for pool in pools(run)]
    return {
        "truncated_share": _mean([not trace.finished for trace in candidates]),
        "no_answer_share": _mean([trace.finished and trace.answer is None for trace in candidates]),
        "undecided_share": _mean([trace.status in ("timeout", "error") for trace in candidates]),
        "vote_tie_rate": _mean([len(top) == 2 and top[0][1] == top[1][1] for top in top_votes]) if top_votes else 0.0,
    }


def _warnings(run: Run, summary: dict[str, Any]) -> list[str]:
    """What a reader should know before trusting the numbers."""
    left = run.meta["unfinished_problems"]
    found = (
        [f"A limit stopped the run: {left} of its {left + len(run.rows)} problems were not searched."] if left else []
    )
    found += [
        f"{summary[key]:.1%} of the candidates {what}."
        for key, limit, what in (
            ("truncated_share", 0.05, "were cut at the token limit and count as wrong; raise the limit"),
            (
                "no_answer_share",
                0.05,
                "ended without a final answer and count as wrong; check the prompt and the extraction",
            ),
            ("undecided_share", 0.0, "could not be checked (timeout or error) and count as wrong"),
        )
        if summary[key] > limit
    ]
    choosing = {result.verifier for result in run.rows[0].results if result.independent}
    for name, numbers in summary["verifiers"].items():
        inside = numbers["trace_auc_within_problem"]
        if numbers["too_long_share"]:
            found.append(
                f"{numbers['too_long_share']:.1%} of the finished candidates are longer than {name} reads: they have no"
                " score and are never chosen; lower --max_new_tokens, or train with a larger --max_length."
            )
        if inside is None and name in choosing:
            found.append(f"No problem has both right and wrong candidates: {name} had nothing to choose.")
        elif inside is not None and inside < 0.5:
            found.append(f"{name} ranks the candidates of one problem worse than chance (AUC {inside:.3f}).")
    for number, result in enumerate(run.rows[0].results):
        nothing = _mean([row.results[number].chosen is None for row in run.rows])
        if nothing > NOTHING_CHOSEN:
            name = summary["methods"][result.method]["label"]
            found.append(f"{name} found no answer to choose in {nothing:.1%} of the problems, whatever it spent.")
        # Where the table at equal cost compares it, nothing is to be warned of.
        at_equal = any(e["method"] == result.method and e["n"] is not None for e in summary["equal_cost"])
        if not result.independent and not at_equal and CEILING in summary["methods"]:
            mine, pool = (summary["methods"][name] for name in (result.method, CEILING))
            ratio = mine["generated_tokens"] / pool["generated_tokens"]
            if not 0.8 <= ratio <= 1.25:
                found.append(
                    f"{mine['label']} generated {ratio:.2f} times the tokens of {pool['samples']} samples: their budgets"
                    " differ, so compare them at equal cost."
                )
    return found


def _with_interval(estimate: Estimate) -> dict[str, float | None]:
    return {"accuracy": estimate.mean, "low": estimate.low, "high": estimate.high}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
