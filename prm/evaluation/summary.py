"""What a search run shows: accuracy and cost per method, gains with intervals, and how good its verifiers are.

Everything is estimated from the candidates of a stored run (`prm.evaluation.search_runs`), so no model is needed.
`summarize` returns one JSON-ready dictionary, and `eval/write_report.py` only draws what is in it. Left out: drawing,
and beam search at smaller budgets (its candidates are not exchangeable, so each budget needs a run of its own).

One method of a summary, in the units that `UNITS` states:

    "prm_best_of_n": {"accuracy": 0.63, "low": 0.58, "high": 0.68,
                      "generated_tokens": 512.0, "verifier_tokens": 610.0, "flops": 1.1e9}
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

from prm.costs import forward_flops
from prm.evaluation.search_metrics import (
    Estimate,
    best_of_n,
    bootstrap,
    majority_at_n,
    paired_difference,
    pass_at_n,
    weighted_vote_at_n,
)
from prm.evaluation.search_runs import ProblemPool, Run
from prm.evaluation.step_metrics import (
    auc,
    auc_within_groups,
    expected_calibration_error,
    length_correlation_within_groups,
)

LABELS = {
    "single": "single sample",
    "majority": "majority vote",
    "orm_best_of_n": "ORM best-of-N",
    "prm_best_of_n": "PRM best-of-N",
    "prm_weighted": "PRM-weighted vote",
    "prm_beam": "PRM beam search",
    "pass_at_n": "pass@N (ceiling)",
}
DIFFERENCES = (
    ("prm_best_of_n", "majority"),
    ("prm_best_of_n", "single"),
    ("prm_best_of_n", "orm_best_of_n"),
    ("prm_beam", "prm_best_of_n"),
)
UNITS = (
    "accuracy, low, high: share of problems solved with its 95% interval; generated_tokens, verifier_tokens, flops: "
    "mean per problem, flops = 2 x parameters x tokens read or written by generator and verifier; seconds: whole run"
)


def summarize(run: Run) -> dict[str, Any]:
    """Every number of the report, ready for JSON (NaN becomes None); `UNITS` is in it and says what they mean."""
    n = run.meta["n"]
    budgets = sorted({2**k for k in range(n.bit_length())} | {n})
    accuracy_P = {budget: _accuracy_per_problem(run, budget) for budget in budgets}
    at_n = {"single": accuracy_P[1]["pass_at_n"], **accuracy_P[n]}
    if run.beams:
        at_n["prm_beam"] = [float(row["correct"]) for row in run.beams]
    tokens = _mean([pool.row["cost"]["generated_tokens"] for pool in run.pools])
    summary: dict[str, Any] = {
        "problems": run.meta["problems"],
        "split": run.meta["split"],
        "n_problems": len(run.pools),
        "N": n,
        "seconds": run.meta["seconds"],
        "units": UNITS,
        "methods": {name: _with_interval(bootstrap(a_P)) | _cost(run, name) for name, a_P in at_n.items()},
        "differences": {
            f"{a}-{b}": vars(paired_difference(at_n[a], at_n[b])) for a, b in DIFFERENCES if a in at_n and b in at_n
        },
        "curves": {
            name: [
                {"n": k, **_with_interval(bootstrap(accuracy_P[k][name])), "generated_tokens": tokens * k / n}
                for k in budgets
            ]
            for name in accuracy_P[n]
        },
        **_by_level(run, at_n),
        "verifiers": {name: _diagnose(run, name) for name in run.meta["verifiers"]},
        **_shares(run),
    }
    return summary | {"warnings": _warnings(summary)}


def _accuracy_per_problem(run: Run, n: int) -> dict[str, list[float]]:
    """Method -> expected accuracy with n candidates, one value per problem."""
    best = {
        f"{name}_best_of_n": [best_of_n(pool.scores[name], pool.correct, n) for pool in run.pools]
        for name in sorted(run.meta["verifiers"])
    }
    return {
        "majority": [majority_at_n(pool.classes, pool.row["gold_class"], n) for pool in run.pools],
        **best,
        "prm_weighted": [
            weighted_vote_at_n(pool.classes, pool.scores["prm"], pool.row["gold_class"], n, seed=i)
            for i, pool in enumerate(run.pools)
        ],
        "pass_at_n": [pass_at_n(pool.correct, n) for pool in run.pools],
    }


def _cost(run: Run, method: str) -> dict[str, float]:
    """Mean cost per problem at the full budget. Prompts are read once, however many candidates follow them."""
    if method == "prm_beam":
        return {
            key: _mean([row["cost"][key] for row in run.beams])
            for key in ("generated_tokens", "verifier_tokens", "flops")
        }
    verifier = method.split("_")[0]
    generated = _mean([pool.row["cost"]["generated_tokens"] for pool in run.pools])
    if method == "single":
        generated /= run.meta["n"]
    prompt = _mean([pool.row["cost"]["prompt_tokens"] for pool in run.pools])
    flops, read = forward_flops(run.meta["generator"]["num_parameters"], 1) * (prompt + generated), 0.0
    if verifier in run.meta["verifiers"]:
        read = _mean([pool.row["verifier_tokens"][verifier] for pool in run.pools])
        flops += forward_flops(run.meta["verifiers"][verifier]["num_parameters"], 1) * read
    return {"generated_tokens": generated, "verifier_tokens": read, "flops": flops}


def _by_level(run: Run, at_n: dict[str, list[float]]) -> dict[str, Any]:
    """Problems without a level are in the totals only."""
    rows: dict[int, list[int]] = {}
    for i, pool in enumerate(run.pools):
        if pool.row["level"] is not None:
            rows.setdefault(pool.row["level"], []).append(i)
    estimates = {
        str(level): {name: bootstrap([a_P[i] for i in rows[level]]) for name, a_P in at_n.items()}
        for level in sorted(rows)
    }
    return {
        "by_level": {level: {name: e.mean for name, e in row.items()} for level, row in estimates.items()},
        "by_level_intervals": {level: {k: [e.low, e.high] for k, e in row.items()} for level, row in estimates.items()},
        "problems_by_level": {str(level): len(rows[level]) for level in sorted(rows)},
    }


def _diagnose(run: Run, verifier: str) -> dict[str, float | None]:
    """Trace scores of the usable candidates against their outcomes and numbers of steps."""
    scores, correct, lengths, problems = [], [], [], []
    for i, pool in enumerate(run.pools):
        for k in (k for k, ok in enumerate(pool.usable) if ok):
            scores.append(pool.scores[verifier][k])
            correct.append(pool.correct[k])
            lengths.append(len(pool.row["candidates"][k]["completions"]))
            problems.append(i)
    if not scores:  # nothing was usable; the shares and their warnings say so
        return dict.fromkeys(_DIAGNOSTICS)
    values = (
        auc(scores, correct),
        auc_within_groups(scores, correct, problems),
        length_correlation_within_groups(scores, lengths, problems),
        expected_calibration_error(scores, correct),
    )
    return {name: None if math.isnan(x) else x for name, x in zip(_DIAGNOSTICS, values, strict=True)}


_DIAGNOSTICS = ("trace_auc", "trace_auc_within_problem", "length_correlation_within_problem", "calibration_error")


def _shares(run: Run) -> dict[str, float]:
    candidates = list(chain.from_iterable(pool.row["candidates"] for pool in run.pools))
    top_votes = [Counter(a for a in pool.classes if a is not None).most_common(2) for pool in run.pools]
    return {
        "truncated_share": _mean([not c["finished"] for c in candidates]),
        "no_answer_share": _mean([c["finished"] and c["answer"] is None for c in candidates]),
        "undecided_share": _mean([c["status"] in ("timeout", "error") for c in candidates]),
        "vote_tie_rate": _mean([len(top) == 2 and top[0][1] == top[1][1] for top in top_votes]),
    }


def _warnings(summary: dict[str, Any]) -> list[str]:
    """What a reader should know before trusting the numbers."""
    found = [
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
    for name, numbers in summary["verifiers"].items():
        inside = numbers["trace_auc_within_problem"]
        if inside is None:
            found.append(f"No problem has both right and wrong candidates: {name} had nothing to choose.")
        elif inside < 0.5:
            found.append(f"{name} ranks the candidates of one problem worse than chance (AUC {inside:.3f}).")
    if "prm_beam" in summary["methods"]:
        ratio = summary["methods"]["prm_beam"]["generated_tokens"] / summary["methods"]["majority"]["generated_tokens"]
        if not 0.8 <= ratio <= 1.25:
            found.append(f"Beam search generated {ratio:.2f} times the tokens of best-of-N: their budgets differ.")
    return found


def traces_to_show(run: Run) -> list[dict[str, Any]]:
    """Problems for a trace browser, in the order of the run; at most 60 and 2 MB of JSON.

    Problems are of a kind by who is right (PRM, vote, anyone); kinds take turns, the rarest first, so that a reader
    finds some of each: "PRM right, vote wrong" is there even if it happened twice in a thousand problems.
    """
    beams = {row["problem_id"]: row for row in run.beams}
    kinds: dict[tuple[bool, bool, bool], list[int]] = {}
    for i, pool in enumerate(run.pools):
        picks = pool.picks()
        prm, vote = (choice is not None and pool.correct[choice] for choice in (picks["prm"], picks["majority"]))
        kinds.setdefault((prm, vote, any(pool.correct)), []).append(i)
    turns = [i for turn in zip_longest(*sorted(kinds.values(), key=len)) for i in turn if i is not None]
    shown, size = [], 0
    for i in turns[:60]:
        entry = _problem_to_show(run.pools[i], beams.get(run.pools[i].row["problem_id"]))
        size += len(json.dumps(entry, ensure_ascii=False).encode())
        if size > 2_000_000:
            break
        shown.append((i, entry))
    return [entry for _, entry in sorted(shown, key=lambda pair: pair[0])]


def _problem_to_show(pool: ProblemPool, beam: dict[str, Any] | None) -> dict[str, Any]:
    candidates = []
    for i, candidate in enumerate(pool.row["candidates"]):
        scores = {name: round(scores[i], 4) if pool.usable[i] else None for name, scores in pool.scores.items()}
        candidates.append(
            {
                "steps": candidate["completions"],
                "step_scores": [round(score, 3) for score in candidate["scores"].get("prm", ())],
                "answer": candidate["answer"],
                "correct": pool.correct[i],
                "status": candidate["status"],
                "usable": pool.usable[i],
                "votes": pool.classes.count(pool.classes[i]) if pool.classes[i] is not None else 0,
                "scores": scores,
            }
        )
    return {
        "id": pool.row["problem_id"],
        "prompt": pool.row["prompt"],
        "gold": pool.row["gold"],
        "level": pool.row["level"],
        "picks": pool.picks(),
        "candidates": candidates,
        "beam": None if beam is None else {"answer": beam["answer"], "correct": beam["correct"]},
    }


def reading(summary: dict[str, Any]) -> str:
    """The numbers in sentences. A difference whose interval includes 0 is never called a gain or a loss."""
    methods, n = summary["methods"], summary["N"]
    single, best, ceiling = (methods[name] for name in ("single", "prm_best_of_n", "pass_at_n"))
    sentences = [
        f"One sample solves {percent(single['accuracy'])} of the {summary['n_problems']} problems. Choosing among {n} "
        f"by the PRM solves {percent(best['accuracy'])} {interval(best)}, where a perfect choice would solve "
        f"{percent(ceiling['accuracy'])}."
    ]
    for name, difference in summary["differences"].items():
        a, b = (LABELS[method] for method in name.split("-"))
        points = (
            f"{100 * difference['mean']:+.1f} points [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
        )
        if difference["low"] > 0:
            sentences.append(f"{a} beats {b} by {points}.")
        elif difference["high"] < 0:
            sentences.append(f"{a} falls behind {b}: {points}.")
        else:
            sentences.append(f"{a} and {b} cannot be told apart: {points} includes 0.")
    return " ".join(sentences)


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def interval(numbers: dict[str, float]) -> str:
    return f"[{100 * numbers['low']:.1f}, {100 * numbers['high']:.1f}]"


def _with_interval(estimate: Estimate) -> dict[str, float]:
    return {"accuracy": estimate.mean, "low": estimate.low, "high": estimate.high}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
