"""Methods compared at equal cost: a search against as many independent samples as it could have bought.

    PRM beam search         92.6% of the problems at 2.36e9 FLOPs
    PRM weighted vote       at 2.36e9 FLOPs: 34.1 samples, 97.0%: beam search loses 4.4 points

A pool of N samples gives the accuracy with any n <= N exactly (`prm.evaluation.search_metrics`), and n samples cost n/N of
the pool. Between two numbers of samples lies the mixture of both: for 4.3, 4 samples on seven problems of ten and 5 on the
others, so that the mean cost is equal to the last token. Samples share their prompt and what they begin alike, so a few cost
a little more than this; the independent samples are favored.

The lift over majority voting (`over_majority`) is the same for every method that asks a verifier, pools too: FLOPs of the
verifier buy votes instead. At every n <= N, since what looks good at a small n is often gone at a large one:

    PRM weighted vote, n = 4    4.3e8 FLOPs buy 6.8 votes: +22.8 points
    n = 16                      20.3 votes, of 16 in the pool: no comparison

n samples are charged the prompt once, n/N of what was written, and what a verifier reads of n traces: expected tokens of
the tree that they make together, if verifying shares what they begin alike. The votes are charged n/N of their pool.

Left out: a search that costs more than the whole pool, or less than one sample, has nothing to be compared with; give the
independent method more samples than the searches (`best_of_n prm samples=64`).
"""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean
from typing import Any

from prm.costs import forward_flops
from prm.evaluation.estimates import ESTIMATORS, Pool, accuracy_at, pools_of, votes_of
from prm.evaluation.search_metrics import paired_difference
from prm.evaluation.search_runs import Run, largest_pool
from prm.types import SearchResult, Trace

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
        with them, and the paired difference of the method to it; None in the last three if the rival has no such budget, or
        FLOPs are unknown as the size of the generator is.
    """
    first, known_size = run.rows[0].results, run.meta["generator"]["num_parameters"] > 0
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
                n = math.inf
                if known_size or cost != "flops":
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


def over_majority(run: Run, curves_P: dict[str, dict[int, list[float]]]) -> dict[str, list[dict[str, Any]]]:
    """Each method that asks a verifier, at each of its budgets, against as many votes as its FLOPs buy.

    The votes are those of the largest pool of the run, whether or not `majority` is among its methods.

    Args:
        curves_P: method -> number of samples -> accuracy of each problem (`prm.evaluation.estimates`).

    Returns:
        Method -> entries {"n", "flops", "votes", "accuracy", "majority", "difference"}; the last two are None where the
        pool has fewer votes than the FLOPs buy. Empty without a pool, and where the size of the generator is unknown.
    """
    first = run.rows[0].results
    largest = largest_pool(run)
    parameters = run.meta["generator"]["num_parameters"]
    if largest is None or not parameters:
        return {}
    votes_P, most = votes_of(run, largest), len(first[largest].candidates)
    pool = fmean(_generator_flops(row.results[largest], 1.0, parameters) for row in run.rows)
    found: dict[str, list[dict[str, Any]]] = {}
    for i, mine in enumerate(first):
        if mine.verifier is None:
            continue
        for n, own_P in curves_P[mine.method].items():
            if len(curves_P[mine.method]) > 1:
                flops = fmean(_flops_of(row.results[i], row.problem.prompt, n, parameters) for row in run.rows)
            else:
                flops = fmean(row.results[i].cost.flops for row in run.rows)
            votes = most * flops / pool
            entry: dict[str, Any] = {"n": n, "flops": flops, "votes": votes, "accuracy": fmean(own_P)}
            entry |= {"majority": None, "difference": None}
            if 1 <= votes <= ROUNDING * most:
                majority_P = mixture("majority", votes_P, min(votes, most))
                entry |= {"majority": fmean(majority_P), "difference": vars(paired_difference(own_P, majority_P))}
            found.setdefault(mine.method, []).append(entry)
    return found


def _flops_of(result: SearchResult, prompt: str, n: int, parameters: int) -> float:
    """Expected FLOPs of both models with n of the samples of a pool."""
    scored = result.cost.flops - _generator_flops(result, 1.0, parameters)
    share = n / len(result.candidates)
    if not result.cost.cached_verifier_tokens:  # nothing was shared
        return _generator_flops(result, share, parameters) + scored * share
    read = [trace for trace, scores in zip(result.candidates, result.scores, strict=True) if scores is not None]
    share_read = share_of_tree(prompt, read, len(result.candidates), n)
    return _generator_flops(result, share, parameters) + scored * share_read


def _generator_flops(result: SearchResult, share: float, parameters: int) -> float:
    """Of the prompt, and of a share of what was written."""
    return forward_flops(parameters, result.cost.prompt_tokens + share * result.cost.generated_tokens)


def share_of_tree(prompt: str, traces: list[Trace], most: int, n: int) -> float:
    """Which share of the tree of some traces the tree of n samples has on average, over all subsets; in characters.

    A beginning that c of the M samples share is read if one of them is drawn: 1 - C(M - c, n) / C(M, n). Of two traces
    that share half of themselves, one is 2/3 of both:

    >>> traces = [Trace("p", steps, "1", True) for steps in (("ab", "cd"), ("ab", "ef"))]
    >>> share_of_tree("", traces, most=2, n=1), share_of_tree("", traces, most=2, n=2)
    (0.6666666666666666, 1.0)

    Args:
        traces: those that are read.
        most: M, all samples.
    """
    shared = Counter(trace.steps[:depth] for trace in traces for depth in range(1, len(trace.steps) + 1))
    nodes = [(len(steps[-1]), count) for steps, count in shared.items()] + [(len(prompt), len(traces))]
    whole = sum(size for size, _ in nodes)
    if not whole:
        return 0.0
    return sum(size * (1 - math.comb(most - count, n) / math.comb(most, n)) for size, count in nodes) / whole


def mixture(strategy: str, pools_P: list[Pool], n: float) -> list[float]:
    """Expected accuracy of each problem with n samples of its pool on average: floor(n) of them, or one more."""
    fewer, share = int(n), n - int(n)
    low_P = accuracy_at(strategy, pools_P, fewer)
    if not share:
        return low_P
    high_P = accuracy_at(strategy, pools_P, fewer + 1)
    return [(1 - share) * low + share * high for low, high in zip(low_P, high_P, strict=True)]
