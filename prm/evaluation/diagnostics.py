"""How good the verifiers of a run are, what became of its candidates, and what a reader should know before trusting its
numbers."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean
from typing import Any

from prm.evaluation.controls import is_loss
from prm.evaluation.estimates import CEILING, pools
from prm.evaluation.labels import largest
from prm.evaluation.reading import points
from prm.evaluation.search_runs import Run, largest_pool
from prm.evaluation.step_metrics import (
    auc,
    auc_within_groups,
    expected_calibration_error,
    length_correlation_within_groups,
)

NOTHING_CHOSEN = 0.05
"""Share of problems without any usable candidate above which a method is warned of."""

_DIAGNOSTICS = ("trace_auc", "trace_auc_within_problem", "length_correlation_within_problem", "calibration_error")


def diagnose(run: Run, verifier: str) -> dict[str, float | None]:
    """Trace scores of the usable candidates of its largest pool against their outcomes and numbers of steps."""
    number = largest_pool(run, verifier)
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
    return fmean([scores is None for scores in shown]) if shown else 0.0


def shares(run: Run) -> dict[str, float]:
    candidates = [trace for row in run.rows for trace in row.candidates]
    top_votes = [Counter(c for c in pool.classes if c is not None).most_common(2) for pool in pools(run)]
    return {
        "truncated_share": fmean([not trace.finished for trace in candidates]),
        "no_answer_share": fmean([trace.finished and trace.answer is None for trace in candidates]),
        "undecided_share": fmean([trace.status in ("timeout", "error") for trace in candidates]),
        "vote_tie_rate": fmean([len(top) == 2 and top[0][1] == top[1][1] for top in top_votes]) if top_votes else 0.0,
    }


def warnings(run: Run, summary: dict[str, Any]) -> list[str]:
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
    most = largest(summary["methods"])
    for name, growth in summary["growth"].items():
        if name in most and is_loss(growth["change"]):
            m = summary["methods"][name]
            found.append(
                f"More samples hurt {m['label']}: {points(growth['change'])} from N = {growth['best_n']} to"
                f" N = {m['samples']}. Choose among {growth['best_n']}, or in another way."
            )
    for number, result in enumerate(run.rows[0].results):
        nothing = fmean([row.results[number].chosen is None for row in run.rows])
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
