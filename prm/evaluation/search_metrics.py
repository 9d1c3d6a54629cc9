"""What a strategy would score with a budget of n samples, from M >= n samples stored once per problem.

Every estimator speaks of one problem and averages over *all* subsets of n of its M samples, so one run of the generator
gives the whole accuracy-against-n curve without the noise of "the first n". Pass@N, best-of-N and majority are exact
(closed forms, and `prm.evaluation.votes`); the weighted vote has no closed form and averages over drawn subsets.
These formulas need exchangeable samples: never use them on the output of a beam search or another adaptive search.

A number for a whole test set is the mean over problems, with an interval from a bootstrap over *problems*: the subsets
of one problem share samples, so they are no independent evidence. Left out: deciding which answers are equal
(`prm.answers` does; here an answer is an integer class) and metrics of single steps (`prm.evaluation.step_metrics`).

Four samples of 47 + 38 - 12: the answers 73, 63, 73 and none, as classes 0, 1, 0 and None, the right one being 0:

>>> correct, classes, scores = [True, False, True, False], [0, 1, 0, None], [0.9, 0.95, 0.4, float("-inf")]
>>> [round(pass_at_n(correct, n), 3) for n in (1, 2, 4)]
[0.5, 0.833, 1.0]
>>> [round(best_of_n(scores, correct, n), 3) for n in (1, 2, 4)]
[0.5, 0.5, 0.0]
>>> [round(majority_at_n(classes, 0, n), 3) for n in (1, 2, 4)]
[0.5, 0.667, 1.0]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from prm.evaluation.votes import win_chance


def pass_at_n(correct: Sequence[bool], n: int) -> float:
    """Chance that at least one of n samples is correct: 1 - C(M-c, n) / C(M, n) with c of M correct (2107.03374).

    Raises ValueError if n < 1 or n > M, or if an outcome is None (undecided).
    """
    _check_budget(len(correct), n)
    _check_decided(correct)
    total = comb(len(correct), n)
    wrong = sum(not c for c in correct)
    return (total - comb(wrong, n)) / total


def best_of_n(scores: Sequence[float], correct: Sequence[bool], n: int) -> float:
    """Expected accuracy of "take the highest score" over all subsets of n samples; ties are broken uniformly.

    The sample of rank i (1 = highest) is the best of C(M-i, n-1) subsets. Tied samples share their weights equally.
    Give samples without an answer the score -inf. Raises ValueError if n is out of 1..M, on unequal lengths, a NaN,
    or an outcome None (undecided).
    """
    _check_lengths(scores=scores, correct=correct)
    _check_budget(len(scores), n)
    _check_decided(correct)
    values = np.asarray(scores, dtype=float)
    if np.isnan(values).any():
        raise ValueError(f"score of sample {np.isnan(values).argmax()} is NaN; give samples without an answer -inf")
    _, tie = np.unique(-values, return_inverse=True)
    weight = np.bincount(np.sort(tie), _rank_weights(len(values), n))  # per group of equal scores, highest first
    return float(weight @ (np.bincount(tie, np.asarray(correct, dtype=bool)) / np.bincount(tie)))


@lru_cache(maxsize=1024)
def _rank_weights(m: int, n: int) -> NDArray[np.float64]:
    return np.array([comb(m - rank, n - 1) / comb(m, n) for rank in range(1, m + 1)])


def majority_at_n(classes: Sequence[int | None], correct_class: int | None, n: int) -> float:
    """Expected accuracy of the most frequent answer over all subsets of n samples; ties are broken uniformly.

    `classes` holds one answer class per sample, None for no answer: it never wins but uses up a sample, and a subset
    without any answer counts as wrong. `correct_class` is the class of the gold answer, None if no sample has it.
    Raises ValueError if n is out of 1..M.
    """
    _check_budget(len(classes), n)
    votes = Counter(classes)
    silent = votes.pop(None, 0)
    correct = votes.pop(correct_class, 0)
    return win_chance(correct, tuple(sorted(votes.values())), silent, n)


def weighted_vote_at_n(
    classes: Sequence[int | None],
    weights: Sequence[float],
    correct_class: int | None,
    n: int,
    seed: int,
    subsets: int = 256,
    shuffled: bool = False,
) -> float:
    """Expected accuracy of the answer with the largest sum of weights over subsets of n samples; ties share the credit.

    Exact if there are at most `subsets` subsets (always for n = M), else a mean over that many random ones. These
    depend on (M, n, seed) only, so that methods compared on one problem see the same subsets. Sums within 1e-9 of each
    other tie, as their order of addition must not decide. Weights of samples without an answer (None) are not read.

    Args:
        shuffled: deal the weights anew, by lot, to the samples that have an answer: a mean over at least `subsets` deals.

    Raises ValueError if n is out of 1..M, on unequal lengths, and on a weight that is negative or not finite.
    """
    _check_lengths(classes=classes, weights=weights)
    _check_budget(len(classes), n)
    for i, (answer, weight) in enumerate(zip(classes, weights, strict=True)):
        if answer is not None and not 0 <= weight < float("inf"):
            raise ValueError(f"weight of sample {i} is {weight}; a vote needs finite weights >= 0")
    if correct_class is None or correct_class not in classes:
        return 0.0
    answers = sorted({answer for answer in classes if answer is not None})
    ballot = np.array([[answer == a for a in answers] for answer in classes])  # (M, answers)
    chosen = _subsets(len(classes), n, seed, subsets)
    if shuffled:
        chosen = np.tile(chosen, (-(-subsets // len(chosen)), 1))
        voters = ballot.any(axis=1)
        dealt = np.tile(np.asarray(weights, dtype=float)[voters], (len(chosen), 1))
        rng = np.random.default_rng((seed, len(classes), n, 1))  # other numbers than those that drew the subsets
        totals = (chosen[:, voters] * rng.permuted(dealt, axis=1)) @ ballot[voters]
    else:
        totals = chosen @ np.where(ballot, np.asarray(weights, dtype=float)[:, None], 0.0)
    totals[chosen @ ballot == 0] = -np.inf  # an answer that nobody in the subset gave cannot win, even at weight 0
    top = totals.max(axis=1, keepdims=True)
    winners = totals >= top * (1 - 1e-9)
    credit = winners[:, answers.index(correct_class)] / winners.sum(axis=1)
    return float(np.where(np.isneginf(top[:, 0]), 0.0, credit).mean())


@lru_cache(maxsize=256)
def _subsets(m: int, n: int, seed: int, limit: int) -> NDArray[np.float64]:
    """Rows of 0 and 1 with n ones among m: every subset if they are at most `limit`, else `limit` random ones."""
    if comb(m, n) <= limit:
        members = np.array(list(combinations(range(m), n)))
    else:
        members = np.random.default_rng((seed, m, n)).random((limit, m)).argsort(axis=1)[:, :n]
    chosen = np.zeros((len(members), m))
    np.put_along_axis(chosen, members, 1.0, axis=1)
    return chosen


FEWEST = 10
"""Problems that an interval needs. A percentile bootstrap of n values is 1.96 sqrt((n - 1) / n) / t(n - 1) times as wide as
Student's interval: 0.82 times for 10, 0.63 for 5, 0.11 for 2, and of one value or of equal ones it has no width at all."""


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its 95% interval, None where there are fewer than `FEWEST` problems."""

    mean: float
    low: float | None
    high: float | None

    def as_accuracy(self) -> dict[str, float | None]:
        """As an entry of a summary."""
        return {"accuracy": self.mean, "low": self.low, "high": self.high}


def bootstrap(values_P: Sequence[float], seed: int = 0, resamples: int = 10000) -> Estimate:
    """Mean over problems with a 95% percentile bootstrap interval: problems are redrawn with replacement.

    Of fewer than `FEWEST` problems there is no interval. Where the values do not vary (all right), its width is zero and
    says nothing.

    Raises ValueError if there is no problem or a value is not finite.
    """
    values = np.asarray(values_P, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"one value per problem is needed, at least one; got an array of shape {values.shape}")
    if not np.isfinite(values).all():
        row = int(np.isfinite(values).argmin())
        raise ValueError(f"value of problem {row} is {values[row]}; leave it out on purpose or count it as 0")
    if len(values) < FEWEST:
        return Estimate(float(values.mean()), None, None)
    rng = np.random.default_rng(seed)
    rows = max(1, 2**20 // len(values))  # resamples per block, to bound memory
    means = np.concatenate(
        [
            values[rng.integers(len(values), size=(min(rows, resamples - start), len(values)))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


def bootstrap_ratio(
    parts_P: Sequence[float], wholes_P: Sequence[float], seed: int = 0, resamples: int = 10000
) -> Estimate:
    """Sum of the parts over the sum of the wholes with a 95% percentile bootstrap interval over problems: for a share of
    what problems have in unequal numbers. No interval where fewer than `FEWEST` problems have any.

    Raises ValueError on unequal lengths, and if all wholes are 0.
    """
    _check_lengths(parts=parts_P, wholes=wholes_P)
    parts, wholes = (np.array(values, dtype=float)[np.array(wholes_P) > 0] for values in (parts_P, wholes_P))
    if not len(wholes):
        raise ValueError(f"no share of nothing: the wholes of all {len(wholes_P)} problems are 0")
    ratio = float(parts.sum() / wholes.sum())
    if len(wholes) < FEWEST:
        return Estimate(ratio, None, None)
    drawn = np.random.default_rng(seed).integers(len(wholes), size=(resamples, len(wholes)))
    low, high = np.percentile(parts[drawn].sum(axis=1) / wholes[drawn].sum(axis=1), [2.5, 97.5])
    return Estimate(ratio, float(low), float(high))


def bootstrap_counts(
    counts_N: Sequence[Sequence[float]],
    problems: Sequence[str],
    statistic: Callable[[NDArray], NDArray],
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[float | None, float | None, NDArray]:
    """95% percentile bootstrap interval over problems of a figure that is made of sums, such as an F1, and its values in the
    resamples (NaN where there are fewer than `FEWEST` problems, and no interval).

    Args:
        counts_N: what each trace adds to the sums.
        problems: of each trace; its traces are redrawn together.
        statistic: rows of sums -> the figure of each row; where it is NaN, as of a resample that has no wrong step, that
            resample is left out of the interval.
    """
    _check_lengths(counts=counts_N, problems=problems)
    number = {problem: i for i, problem in enumerate(dict.fromkeys(problems))}
    if len(number) < FEWEST:
        return None, None, np.full(resamples, np.nan)
    counts = np.asarray(counts_N, dtype=float)
    sums = np.zeros((len(number), counts.shape[1]))
    np.add.at(sums, [number[problem] for problem in problems], counts)
    rng, block = np.random.default_rng(seed), max(1, 2**22 // len(number))  # resamples at a time, to bound memory
    drawn = [
        statistic(rng.multinomial(len(number), np.full(len(number), 1 / len(number)), size) @ sums)
        for size in (min(block, resamples - start) for start in range(0, resamples, block))
    ]
    return *percentiles(np.concatenate(drawn)), np.concatenate(drawn)


def percentiles(values: NDArray) -> tuple[float | None, float | None]:
    """Between which 95% of the values lie that are no NaN; None where there are none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(a_P: Sequence[float], b_P: Sequence[float], seed: int = 0, resamples: int = 10000) -> Estimate:
    """Mean of a - b over the same problems, redrawn jointly: what both methods find hard cancels out.

    An interval without 0 is a significant gain of a over b; without an interval nothing is known. Raises ValueError on
    unequal lengths and as `bootstrap`.
    """
    _check_lengths(a=a_P, b=b_P)
    return bootstrap(np.subtract(a_P, b_P, dtype=float).tolist(), seed, resamples)


def _check_budget(m: int, n: int) -> None:
    if not 1 <= n <= m:
        raise ValueError(f"n = {n} with M = {m} stored samples: n must lie in 1..M; lower n or sample more")


def _check_decided(correct: Sequence[bool]) -> None:
    for i, outcome in enumerate(correct):
        if outcome is None:  # a check that timed out or failed must not be counted as wrong in silence
            raise ValueError(
                f"outcome of sample {i} of {len(correct)} is None; leave it out or decide that it is wrong"
            )


def _check_lengths(**columns: Sequence) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"unequal lengths {lengths}; give one entry per sample in each")
