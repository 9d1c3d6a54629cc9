"""Methods compared at equal cost: a search against as many independent samples as it could have bought.

    PRM beam search         92.6% of the problems at 2.36e9 FLOPs
    PRM weighted vote       at 2.36e9 FLOPs: 34.1 samples, 97.0%: beam search loses 4.4 points

A pool of N samples gives the accuracy with any n <= N exactly (`prm.evaluation.search_metrics`), and n samples cost n/N of
the pool. Between two numbers of samples lies the mixture of both: for 4.3, 4 samples on seven problems of ten and 5 on the
others, so that the mean cost is equal to the last token. Samples share their prompt and what they begin alike, so a few cost
a little more than this; the independent samples are favored.

Left out: a search that costs more than the whole pool, or less than one sample, has nothing to be compared with; give the
independent method more samples than the searches (`best_of_n prm samples=64`).
"""

from __future__ import annotations

import math
from typing import Any

from prm.evaluation.estimates import ESTIMATORS, Pool, accuracy_at, pools_of
from prm.evaluation.search_metrics import paired_difference
from prm.evaluation.search_runs import Run

COSTS = ("generated_tokens", "flops")

ROUNDING = 1.02
"""A search that costs up to so many times the whole pool is compared with the whole pool: a search of N samples spends about
what the pool does, seldom to the token."""


def equal_cost(run: Run, costs: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """One entry for each method that is no pool, each pool that is chosen from with the same verifier, and each cost.

    Args:
        costs: method -> mean cost per problem at its full budget.

    Returns:
        Entries {"method", "rival", "cost", "n", "accuracy", "difference"}: the rival's samples of this cost, its accuracy
        with them, and the paired difference of the method to it; None in the last three if the rival has no such budget.
    """
    first = run.rows[0].results
    pools = {j: pools_of(run, j) for j, rival in enumerate(first) if rival.independent and rival.strategy in ESTIMATORS}
    found = []
    for i, mine in enumerate(first):
        if mine.independent:
            continue
        solved_P = [float(row.results[i].correct) for row in run.rows]
        for j, pools_P in pools.items():
            rival = first[j]
            if rival.verifier not in (None, mine.verifier):
                continue
            most = len(rival.candidates)
            for cost in COSTS:
                n = most * costs[mine.method][cost] / costs[rival.method][cost]
                entry: dict[str, Any] = {"method": mine.method, "rival": rival.method, "cost": cost}
                entry |= {"n": None, "accuracy": None, "difference": None}
                if 1 <= n <= ROUNDING * most:
                    n = min(n, most)
                    rival_P = mixture(rival.strategy, pools_P, n)
                    entry |= {"n": n, "accuracy": math.fsum(rival_P) / len(rival_P)}
                    entry["difference"] = vars(paired_difference(solved_P, rival_P))
                found.append(entry)
    return found


def mixture(strategy: str, pools_P: list[Pool], n: float) -> list[float]:
    """Expected accuracy of each problem with n samples of its pool on average: floor(n) of them, or one more."""
    fewer, share = int(n), n - int(n)
    low_P = accuracy_at(strategy, pools_P, fewer)
    if not share:
        return low_P
    high_P = accuracy_at(strategy, pools_P, fewer + 1)
    return [(1 - share) * low + share * high for low, high in zip(low_P, high_P, strict=True)]
