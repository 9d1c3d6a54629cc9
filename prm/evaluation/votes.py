"""Chance that an answer wins a vote among n of M samples, ties shared, over all subsets of n.

    win_chance(correct=2, rivals=(1,), silent=1, n=3)  ->  0.75   of {0,0,1} {0,0,-} {0,1,-} {0,1,-}: 1 + 1 + 1/2 + 1/2

Small pools count the subsets with integers. The integers of a pool of 1,024 have a thousand bits and there are millions of
them, so large pools use probabilities instead: every sample is in with chance p = n/M, each for itself, and only outcomes
with n samples count. Given their number, all subsets are equally likely, so nothing is approximated; but now the votes of
different answers are independent, and the generating function of all votes is a product with one factor per answer:

    sum over t votes of the correct answer, average over y in [0, 1], of the coefficient of z^n in
    P(correct = t) z^t  *  (1 - p + p z)^silent  *  product over rivals of (sum over s < t of P(s) z^s  +  y P(t) z^t)

The average of y^k is 1/(k + 1), the share of the winner of k + 1 that tie; Gauss-Legendre nodes take it exactly. The
coefficient is read from values on a circle. What is cut off (votes t, ties and powers of z that practically never occur)
is less than 1e-14 in all, so the result agrees with that of integers to 1e-12. Left out: weighted votes.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

COUNTED = 64
"""Samples of the largest pool that is counted by integers, in a millisecond."""
_TINY = 1e-17


@lru_cache(maxsize=65536)  # many problems have the same vote counts
def win_chance(correct: int, rivals: tuple[int, ...], silent: int, n: int) -> float:
    """Chance that the answer given by `correct` samples has the most votes in a subset of n, ties broken uniformly.

    Args:
        rivals: samples of every other answer.
        silent: samples without an answer.
        n: 1 to the number of all these samples.
    """
    samples = correct + sum(rivals) + silent
    if n == samples:  # the only subset
        return 1 / (1 + rivals.count(correct)) if correct and correct >= max(rivals, default=0) else 0.0
    return (_counted if samples <= COUNTED else _by_generating_function)(correct, rivals, silent, n)


def _counted(correct: int, rivals: tuple[int, ...], silent: int, n: int) -> float:
    """Count the subsets that the correct answer wins with t votes, by the number of rivals that also have t."""
    wins: defaultdict[int, int] = defaultdict(int)
    for t in range(1, min(correct, n) + 1):
        # Rivals with fewer than t samples cannot even tie: like silent samples they fill up the subset in any way.
        filler = silent + sum(m for m in rivals if m < t)
        ways = {
            (n - t, 0): math.comb(correct, t)
        }  # (places left in the subset, rivals tied) -> number of choices so far
        for m in (m for m in rivals if m >= t):
            extended: defaultdict[tuple[int, int], int] = defaultdict(int)
            for (places, tied), count in ways.items():
                for s in range(min(t, places) + 1):
                    extended[places - s, tied + (s == t)] += count * math.comb(m, s)
            ways = extended
        for (places, tied), count in ways.items():
            wins[tied] += count * math.comb(filler, places)
    subsets = math.comb(correct + sum(rivals) + silent, n)
    return sum(count / (subsets * (tied + 1)) for tied, count in wins.items())


def _by_generating_function(correct: int, rivals: tuple[int, ...], silent: int, n: int) -> float:
    samples = correct + sum(rivals) + silent
    p = n / samples
    size_chance = _binomial(samples, p)[n]  # of a subset of n
    groups = Counter(rivals)
    chances = {m: _binomial(m, p) for m in groups}

    # Votes t with which the correct answer may win, and how many rivals can tie with each: k of them have chance
    # below mean^k / k!.
    own = _binomial(correct, p)[: n + 1]
    votes = np.flatnonzero(own > _TINY * size_chance)
    votes = votes[votes > 0]
    means = sum((k * _at(chances[m], votes) for m, k in groups.items()), np.zeros(len(votes)))
    limits = zip(means.tolist(), votes.tolist(), strict=True)
    most = [min(_most_ties(mean, size_chance), n // t - 1, len(rivals)) for mean, t in limits]
    num_nodes = np.array([1 << (k // 2).bit_length() for k in most])  # q nodes are exact up to y^(2q - 1)

    # Points of a circle: with L of them, subsets of n + L and n - L count as n. Their chance is at most
    # 2 exp(-2 L^2 / M) (Hoeffding). The lower half circle mirrors the upper one.
    points = min(samples + 1, math.ceil(math.sqrt(21 * samples)))
    angles = 2 * np.pi / points * np.arange(points // 2 + 1)
    mirrored = np.where((angles > 0) & (angles < np.pi * (1 - 1e-9)), 2, 1)
    z = np.exp(1j * angles)
    outside = mirrored * np.exp(-1j * angles * n) * (1 - p + p * z) ** silent / points
    fewer = {
        m: np.cumsum(chances[m][:, None] * np.exp(1j * np.outer(np.arange(m + 1), angles)), axis=0) for m in groups
    }

    total = 0.0
    for q in set(num_nodes.tolist()):
        t = votes[num_nodes == q]
        y, shares = np.polynomial.legendre.leggauss(q)
        y, shares = (y + 1) / 2, shares / 2
        z_t = np.exp(1j * np.outer(t, angles))  # (votes, points)
        ways = np.ones((q, *z_t.shape), dtype=complex)
        for m, k in groups.items():
            below = fewer[m][np.minimum(t - 1, m)]
            factor = below + y[:, None, None] * (_at(chances[m], t)[:, None] * z_t)
            ways *= factor if k == 1 else factor**k
        total += float((np.tensordot(shares, ways, 1) * (own[t][:, None] * z_t) * outside).real.sum())
    return min(1.0, max(0.0, float(total / size_chance)))


def _binomial(m: int, p: float) -> NDArray[np.float64]:
    """Chances of 0 to m successes among m, 0 < p < 1: by ratios of neighbors from the most likely number outwards."""
    top = min(m, int((m + 1) * p))
    up = np.arange(top, m)
    down = np.arange(top, 0, -1)
    above = np.cumprod((m - up) / (up + 1) * (p / (1 - p)))
    below = np.cumprod(down / (m - down + 1) * ((1 - p) / p))
    chances = np.concatenate([below[::-1], [1.0], above])
    return chances / chances.sum()


def _at(chances: NDArray[np.float64], votes: NDArray[np.int_]) -> NDArray[np.float64]:
    """Chances of so many votes, 0 for more than there are samples."""
    return np.where(votes < len(chances), chances[np.minimum(votes, len(chances) - 1)], 0.0)


def _most_ties(mean: float, size_chance: float) -> int:
    """So many rivals tie, or fewer, but for a chance below `_TINY` if so many tie on average."""
    if not mean:
        return 0
    k, bound = 0, 0.0  # a logarithm: e^1000 is no float
    while bound > math.log(_TINY * size_chance):
        k += 1
        bound += math.log(mean / k)
    return k
