"""Stopping early with a promise: at most this share of the stopped problems is lost.

A problem is *lost* where stopping chose a wrong answer and all N samples would have chosen a right one. A search stops
at the first sample whose evidence (`prm.search.calibration`) reaches a threshold. Of a problem with all its samples,
two numbers say what any threshold would do:

    highest     the highest evidence before the last sample: thresholds up to it stop the problem
    losing      the highest evidence at which stopping would lose it; -1 if none does

    {"highest": 3.1, "losing": 0.6}      stopped by 3.1 and below, lost by 0.6 and below

So of m problems that a threshold stops, k are lost; if more than `risk` of all such problems were lost, the chance of
so few would be at most P(Bin(m, risk) <= k). Thresholds are tested one after the other, from the highest down, as long
as this is at most 1 - CONFIDENCE: fixed-sequence testing of Learn then Test (Angelopoulos et al. 2021,
arXiv:2110.01052, sec. 3). The first one is the highest that stops `least_problems(risk)`, with fewer of which not even
k = 0 is evidence enough. The promise: with a probability of CONFIDENCE over the problems it was learned from, at most
`risk` of the stopped problems of the same kind are lost. Which threshold is tested first depends on the data; that is
harmless where more evidence means less risk, and has not been proved where it does not.

A threshold below `losing` counts as losing too, even if it stops at a right answer again: this errs on the safe side,
and two numbers are enough. Left out: conformal risk control (arXiv:2208.02814), whose promise is about the mean over
all problems, stopped or not, and is kept on average over calibrations: a single one may well break it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CONFIDENCE = 0.9
"""Probability, over the problems learned from, that the promise is kept."""

Stop = tuple[float, float]
"""(highest, losing) of one problem."""


def least_problems(risk: float) -> int:
    """How many stopped problems, none of them lost, show with CONFIDENCE that the risk is not higher.

    >>> least_problems(0.01), least_problems(0.05), least_problems(0.1)
    (230, 45, 22)
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - risk))


def at_most(k: int, m: int, chance: float) -> float:
    """P(Bin(m, chance) <= k): the sum of its terms, each made of the logarithm of the one before."""
    log, total = m * math.log1p(-chance), 0.0
    for i in range(k + 1):
        total += math.exp(log)
        log += math.log((m - i) / (i + 1) * chance / (1 - chance)) if i < m else 0.0
    return total


def safe_evidence(stops: Sequence[Stop], risk: float) -> float:
    """The lowest evidence at which a search may stop; infinite if there is none.

    Args:
        stops: of the problems learned from.
        risk: the share of stopped problems that may be lost, between 0 and 1.
    """
    if not 0 < risk < 1:
        raise ValueError(f"risk {risk}: a share of the stopped problems, more than 0 and less than 1")
    highest = sorted((its for its, _ in stops if its >= 0), reverse=True)
    losing = sorted((its for _, its in stops if its >= 0), reverse=True)
    safe, k = math.inf, 0
    for i, evidence in enumerate(highest):
        if i + 1 < len(highest) and highest[i + 1] == evidence:  # of equal ones the last, which counts them all
            continue
        while k < len(losing) and losing[k] >= evidence:
            k += 1
        m = i + 1
        if m < least_problems(risk):
            continue
        if at_most(k, m, risk) > 1 - CONFIDENCE:
            break
        safe = evidence
    return safe
