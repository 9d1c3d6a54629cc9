"""How hard a problem is for a generator: known from its outcomes (oracle), or predicted from a few of its samples.

A difficulty lies between 0 and 1 and is 1 minus one of these, so that bins are numbered from the easiest to the hardest:

    oracle       share of right samples, pass@1; needs the gold answers
    score        mean score of the samples, the predicted difficulty of Snell et al. 2024 (arXiv:2408.03314, sec. 3.2)
    best         highest score of the samples
    lead         sum of scores of the first answer minus that of the second, per sample: agreement and score in one
    agreement    share of the samples that give the most frequent answer; needs no verifier

Three samples that answer 73, 63 and 73, and one without an answer:

>>> classes, scores = [0, 1, 0, None], [0.9, 0.5, 0.7, 0.2]
>>> {name: round(difficulty(name, classes, scores), 3) for name in STATISTICS}
{'score': 0.475, 'best': 0.1, 'lead': 0.725, 'agreement': 0.5}

A bin reaches up to its edge, edge included. Edges are quantiles of what was seen (equally many problems in each bin, as
Snell et al. have five), or fixed ones: `ABSOLUTE` are those of Liu et al. 2025 (arXiv:2502.06703): a problem is easy if at
least half of its samples are right, hard if less than a tenth of them are. Equal quantiles are one edge: if most
problems have the same difficulty, there are fewer bins.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

Classes = Sequence[int | None]
"""Which samples give equal answers; None for one that may not be chosen."""


def _mean_score(classes: Classes, scores: Sequence[float]) -> float:
    return math.fsum(scores[i] for i, c in enumerate(classes) if c is not None) / len(classes)


def _best_score(classes: Classes, scores: Sequence[float]) -> float:
    return max((scores[i] for i, c in enumerate(classes) if c is not None), default=0.0)


def _lead(classes: Classes, scores: Sequence[float]) -> float:
    sums = {
        answer: math.fsum(scores[i] for i, c in enumerate(classes) if c == answer) for answer in set(classes) - {None}
    }
    first, second = [*sorted(sums.values(), reverse=True), 0.0, 0.0][:2]
    return (first - second) / len(classes)


def _agreement(classes: Classes, scores: Sequence[float]) -> float:
    return max(Counter(c for c in classes if c is not None).values(), default=0) / len(classes)


STATISTICS: dict[str, Callable[[Classes, Sequence[float]], float]] = {
    "score": _mean_score,
    "best": _best_score,
    "lead": _lead,
    "agreement": _agreement,
}
"""What is predicted from samples, each rising with how easy the problem looks."""

WITHOUT_VERIFIER = {"agreement"}

ABSOLUTE = (0.5, 0.9)
"""Edges for an oracle difficulty."""


def difficulty(statistic: str, classes: Classes, scores: Sequence[float]) -> float:
    """Predicted from the samples of a problem; 1 if there are none.

    Args:
        classes: with a verifier, None for what it could not read, too.
        scores: of each sample, in [0, 1]; not read where its class is None.
    """
    return 1.0 - STATISTICS[statistic](classes, scores) if classes else 1.0


def quantile_edges(difficulties: Sequence[float], bins: int) -> tuple[float, ...]:
    """Edges between at most so many bins of equally many problems.

    >>> quantile_edges([0.0, 0.0, 0.0, 0.4, 0.6, 0.9], 3), quantile_edges([0.2, 0.2], 5)
    ((0.0, 0.4), ())

    Raises:
        ValueError: there is no problem, or no bin.
    """
    if bins < 1 or not len(difficulties):
        raise ValueError(f"{bins} bins of {len(difficulties)} problems; at least one of each is needed")
    quantiles = np.quantile(difficulties, [i / bins for i in range(1, bins)], method="inverted_cdf")
    return tuple(sorted({float(edge) for edge in quantiles if edge < max(difficulties)}))


def bin_of(value: float, edges: Sequence[float]) -> int:
    """Number of the bin, 0 for the easiest.

    >>> [bin_of(value, (0.5, 0.9)) for value in (0.0, 0.5, 0.6, 0.95)]
    [0, 0, 1, 2]
    """
    return bisect_left(edges, value)
