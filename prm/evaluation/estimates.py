"""What each method of a run would score with n samples, for every n up to N.

A method whose candidates are a pool of independent samples has a curve, by an exact estimator, if `ESTIMATORS` knows its
strategy; any other method is one point, the share of problems that it solved at what it spent. Two entries are no methods
that ran: `single` (one sample) and `pass_at_n` (a perfect choice), both estimated from the largest pool.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from prm.evaluation.search_metrics import best_of_n, majority_at_n, pass_at_n, weighted_vote_at_n
from prm.evaluation.search_runs import Run, largest_pool
from prm.storage.search_rows import ProblemResults
from prm.types import SearchResult

SINGLE, CEILING = "single", "pass_at_n"


@dataclass(frozen=True)
class Pool:
    """Independent candidates of one problem, as the estimators take them: one entry per candidate."""

    number: int
    """Of the problem in the run: seeds the drawn subsets."""
    correct: tuple[bool, ...]
    classes: tuple[int | None, ...]
    gold_class: int | None
    scores: tuple[float, ...]
    """-inf where a candidate may not be chosen."""


ESTIMATORS: dict[str, Callable[[Pool, int], float]] = {
    "majority": lambda pool, n: majority_at_n(pool.classes, pool.gold_class, n),
    "best_of_n": lambda pool, n: best_of_n(pool.scores, pool.correct, n),
    "weighted_vote": lambda pool, n: weighted_vote_at_n(
        pool.classes, pool.scores, pool.gold_class, n, seed=pool.number
    ),
}
"""Strategy -> its expected accuracy with n of the samples of a pool."""

BLIND: dict[str, Callable[[Pool, int], float]] = {
    # Shuffled scores choose any candidate that may be chosen: as if all scores tied, which is exact.
    "best_of_n": lambda pool, n: best_of_n([min(score, 0.0) for score in pool.scores], pool.correct, n),
    "weighted_vote": lambda pool, n: weighted_vote_at_n(
        pool.classes, pool.scores, pool.gold_class, n, seed=pool.number, shuffled=True
    ),
}
"""Strategy -> its expected accuracy with n of the samples of a pool, the scores of the pool shuffled: what is left of it
without a verifier."""


def curves(run: Run) -> dict[str, dict[int, list[float]]]:
    """Method -> number of samples -> expected accuracy of each problem. Without an estimator there is one budget only."""
    curves: dict[str, dict[int, list[float]]] = {}
    pools_P = pools(run)
    if pools_P:
        curves[SINGLE] = {1: [pass_at_n(pool.correct, 1) for pool in pools_P]}
    for number, result in enumerate(run.rows[0].results):
        if result.independent and result.strategy in ESTIMATORS:
            mine_P = pools_of(run, number)
            curves[result.method] = {
                k: accuracy_at(result.strategy, mine_P, k) for k in budgets_up_to(len(result.candidates))
            }
        else:
            curves[result.method] = {
                run.meta["methods"][result.method]: [float(row.results[number].correct) for row in run.rows]
            }
    if pools_P:
        curves[CEILING] = {
            k: [pass_at_n(pool.correct, k) for pool in pools_P] for k in budgets_up_to(len(pools_P[0].correct))
        }
    return curves


def accuracy_at(strategy: str, pools_P: list[Pool], n: int, blind: bool = False) -> list[float]:
    """Expected accuracy of each problem with n samples of its pool, of which there are at least n.

    Args:
        strategy: one that `ESTIMATORS` knows.
        blind: with shuffled scores; `BLIND` must know the strategy.
    """
    estimator = (BLIND if blind else ESTIMATORS)[strategy]
    return [estimator(pool, n) for pool in pools_P]


def budgets_up_to(n: int) -> list[int]:
    """1, 2, 4, ... up to the size of the pool."""
    return sorted({2**k for k in range(n.bit_length())} | {n})


def pools(run: Run) -> list[Pool]:
    """The largest pool of each problem, as a vote sees it; empty if no method chooses from independent samples."""
    number = largest_pool(run)
    return [] if number is None else votes_of(run, number)


def pools_of(run: Run, number: int) -> list[Pool]:
    """The pool of each problem, as the method with this number chooses from it."""
    return [_pool(i, row, row.results[number]) for i, row in enumerate(run.rows)]


def votes_of(run: Run, number: int) -> list[Pool]:
    """The pool of each problem, as a vote sees it that asks no verifier."""
    return [_pool(i, row, replace(row.results[number], verifier=None)) for i, row in enumerate(run.rows)]


def _pool(number: int, row: ProblemResults, result: SearchResult) -> Pool:
    # What the verifier could not read is never chosen and has no vote, whatever it says.
    chosen_from = [
        trace.usable and (result.verifier is None or scores is not None)
        for trace, scores in zip(result.candidates, result.scores, strict=True)
    ]
    return Pool(
        number=number,
        correct=tuple(may and trace.correct is True for may, trace in zip(chosen_from, result.candidates, strict=True)),
        classes=tuple(
            row.class_of[trace] if may else None for may, trace in zip(chosen_from, result.candidates, strict=True)
        ),
        gold_class=row.gold_class,
        scores=tuple(
            scores.trace if trace.usable and scores is not None else -math.inf
            for trace, scores in zip(result.candidates, result.scores, strict=True)
        ),
    )
