r"""What revisions gain: accuracy by number of revisions, right attempts spoiled, and sequential against parallel.

Three tables. By attempt: how often the k-th attempt of a chain is right, how often the choice among the first k is, and how
often that among k independent samples of the same reviser (over all subsets of k), paired over problems. Changes: what
the next attempt does to a right one and to a wrong one. Ratios: every number of chains at the same N, minus N independent
samples with the same way of choosing; `repeated` counts attempts that are word for word an earlier one of the problem.
Equal N is equal generated tokens up to the lengths of attempts, which are shown; FLOPs are not equal, since a revision has
to read the attempts before it.

Reads   <run>/    a search by `revisions` (eval/run_search.py), for the first table with chains=1 and chains=N
Writes  nothing: prints Markdown; JSON as the last line of its output

    python eval/study_revisions.py --run outputs/revisions/search
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.command_line import run_script
from prm.evaluation.revisions import accuracy_by_attempt, spoiled_and_mended
from prm.evaluation.search_metrics import (
    Estimate,
    bootstrap,
    majority_at_n,
    paired_difference,
    weighted_vote_at_n,
)
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.tables import as_markdown
from prm.search.methods import settings_of
from prm.storage.search_rows import ProblemResults
from prm.types import SearchResult


@dataclass
class Arguments:
    run: Path = field(metadata={"help": "folder of eval/run_search.py, with methods `revisions`"})


def main(args: Arguments) -> None:
    run = read_runs([args.run])
    methods = {
        i: settings_of(result.method, "revisions") | {"samples": run.meta["methods"][result.method]}
        for i, result in enumerate(run.rows[0].results)
        if result.strategy == "revisions"
    }
    if not methods:
        raise ValueError(f"{args.run}: none of its methods is `revisions`; they are {', '.join(run.meta['methods'])}")
    results: dict[str, Any] = {
        "by_attempt": by_attempt(run, methods),
        "changes": changes(run, methods),
        "ratios": ratios(run, methods),
    }
    for name, rows in results.items():
        if rows:
            print(f"{name.replace('_', ' ')}, {len(run.rows)} problems, N = {run.meta['n']}\n\n{table(rows)}\n")
    print(json.dumps(results, default=vars))


def by_attempt(run: Run, methods: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for k = 1, 2, 4, ... and for every way of choosing that was run both in one chain and in N."""
    rows = []
    for i, settings in methods.items():
        n = settings["samples"]
        many = rival_of(run, methods, i)
        if settings["chains"] > 1 or n == 1 or many is None or settings["choose"] == "best":
            continue
        chain_P, pool_P = ([row.results[place] for row in run.rows] for place in (i, many))
        attempts = accuracy_by_attempt(chain_P, 1)
        for k in (2**e for e in range(n.bit_length())):
            sequential = [first(row, result, k, k) for row, result in zip(run.rows, chain_P, strict=True)]
            parallel = [first(row, result, n, k) for row, result in zip(run.rows, pool_P, strict=True)]
            rows.append(
                {
                    "choice": label(run, i, settings),
                    "k": k,
                    "attempt k": attempts[k - 1],
                    "first k of a chain": bootstrap(sequential),
                    "k independent": bootstrap(parallel),
                    "difference": paired_difference(sequential, parallel),
                    "tokens": round(statistics.fmean(tokens(result, k) for result in chain_P)),
                    "tokens, independent": round(statistics.fmean(tokens(result, n) for result in pool_P) * k / n),
                }
            )
    return rows


def first(row: ProblemResults, result: SearchResult, m: int, k: int) -> float:
    """Accuracy of the choice among k of the first m candidates, expected over all subsets of k; ties share the credit."""
    classes, weights = [], []
    for trace, scores in zip(result.candidates[:m], result.scores[:m], strict=True):
        may = trace.usable and (result.verifier is None or scores is not None)
        classes.append(row.class_of[trace] if may else None)
        weights.append(scores.trace if scores is not None else 0.0)
    if result.verifier is None:
        return majority_at_n(classes, row.gold_class, k)
    return weighted_vote_at_n(classes, weights, row.gold_class, k, seed=0)


def tokens(result: SearchResult, k: int) -> int:
    return sum(trace.num_tokens or 0 for trace in result.candidates[:k])


def changes(run: Run, methods: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the next attempt does to a right and to a wrong one, once for all methods that have the same attempts."""
    rows: dict[tuple[int, ...], dict[str, Any]] = {}
    for i, settings in methods.items():
        chains = settings["chains"]
        same = settings["samples"], chains, settings["memory"]
        if chains < settings["samples"] and same not in rows:
            its_P = [row.results[i] for row in run.rows]
            spoiled, mended = spoiled_and_mended(its_P, chains)
            by_place = accuracy_by_attempt(its_P, chains)
            rows[same] = {
                "chains": chains,
                "attempts": len(by_place),
                "memory": settings["memory"],
                "first": by_place[0],
                "last": by_place[-1],
                "right ones spoiled by the next": spoiled,
                "wrong ones mended by the next": mended,
            }
    return [rows[same] for same in sorted(rows)]


def ratios(run: Run, methods: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every method at what it spent, minus N chains with the same way of choosing."""
    rows = []
    for i, settings in methods.items():
        its_P = [row.results[i] for row in run.rows]
        right = [float(result.correct) for result in its_P]
        rival = rival_of(run, methods, i)
        rows.append(
            {
                "choice": label(run, i, settings),
                "chains x attempts": f"{settings['chains']} x {settings['samples'] // settings['chains']}",
                "accuracy": bootstrap(right),
                "difference": None
                if rival in (None, i)
                else paired_difference(right, [float(row.results[rival].correct) for row in run.rows]),
                "repeated": f"{statistics.fmean(result.duplicates for result in its_P):.1f}",
                "generated tokens": round(statistics.fmean(result.cost.generated_tokens for result in its_P)),
                "prompt tokens": round(statistics.fmean(result.cost.prompt_tokens for result in its_P)),
                "verifier tokens": round(statistics.fmean(result.cost.verifier_tokens for result in its_P)),
                "FLOPs": statistics.fmean(result.cost.flops for result in its_P),
            }
        )
    return rows


def rival_of(run: Run, methods: dict[int, dict[str, Any]], number: int) -> int | None:
    """The method with as many samples, each a chain of its own, that chooses in the same way; None if there is none."""
    n, name = methods[number]["samples"], choice(run, number, methods[number])
    return next(
        (i for i, its in methods.items() if its["chains"] == its["samples"] == n and choice(run, i, its) == name), None
    )


def choice(run: Run, number: int, settings: dict[str, Any]) -> str:
    """Who chooses and how: `majority`, `weighted prm`."""
    return " ".join(filter(None, [settings["choose"], run.rows[0].results[number].verifier]))


def label(run: Run, number: int, settings: dict[str, Any]) -> str:
    """The same, with what else is not as usual: `weighted prm, history=true`."""
    usual = settings_of("", "revisions") | {"samples": run.meta["n"]}
    own = {name: settings[name] for name in ("memory", "history", "samples") if settings[name] != usual[name]}
    return ", ".join([choice(run, number, settings), *(f"{name}={value}".lower() for name, value in own.items())])


def table(rows: list[dict[str, Any]]) -> str:
    cells = [[cell(value, signed=name == "difference") for name, value in row.items()] for row in rows]
    return as_markdown([list(rows[0]), *cells])


def cell(value: Any, signed: bool) -> str:
    """`58.2% [52.0, 64.1]`, or a difference in points; without an interval where there are too few problems."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2e}"
    if not isinstance(value, Estimate):
        return str(value)
    sign, unit = ("+", "") if signed else ("", "%")
    mean = f"{100 * value.mean:{sign}.1f}{unit}"
    if value.low is None or value.high is None:
        return mean
    return f"{mean} [{100 * value.low:{sign}.1f}, {100 * value.high:{sign}.1f}]"


if __name__ == "__main__":
    run_script(main, Arguments)
