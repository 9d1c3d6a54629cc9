"""What stopping at some evidence does to problems of which all samples are known.

`coverage` says it of problems that were not learned from; `promise` of many random halves of the same problems, which shows
whether a bounded risk is kept as often as it should be:

    risk 0.05, learned from 350 problems, tried on 350 others: 84% of these stop early, 2.8% of the stopped are lost, which
    is within the risk, and 49% of the tokens are saved. So 200 times: kept in 197.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prm.evaluation.search_metrics import Estimate, bootstrap, bootstrap_ratio, paired_difference
from prm.search.calibration import SampledPool
from prm.search.risk import safe_evidence


@dataclass(frozen=True)
class Coverage:
    """What stopping does to some problems."""

    stopped: float
    """Share of the problems whose evidence was enough at some sample, the last one included."""
    accuracy_stopped: Estimate | None
    """Of those; at least the target if the chances are right. None if there are none."""
    accuracy: Estimate
    """Of all problems; those that were not stopped choose among all their samples."""
    difference: Estimate
    """The same minus the accuracy of all samples."""
    early: float
    """Share of the problems that were stopped before their last sample."""
    lost: Estimate | None
    """Share of those that are wrong where all samples would have been right. None if there are none."""
    samples: float
    """Mean number of samples."""
    tokens: float
    """Mean number of generated tokens."""
    saved: float
    """Share of the tokens of all samples that was not generated."""


def coverage(pools: Sequence[SampledPool], enough: Sequence[float], vote: bool) -> Coverage:
    """
    Args:
        enough: the evidence at which each problem stops; it must not have been learned from this problem.
    """
    walks = [_walk(pool, vote) for pool in pools]
    ends = [
        next((end for end in walk if end.evidence >= least), None) for walk, least in zip(walks, enough, strict=True)
    ]
    wholes = [_end(pool, len(pool.classes), 0.0, vote) for pool in pools]
    taken = [end or whole for end, whole in zip(ends, wholes, strict=True)]
    early = [end.samples < whole.samples for end, whole in zip(taken, wholes, strict=True)]
    lost = [float(end.right < whole.right) * yes for end, whole, yes in zip(taken, wholes, early, strict=True)]
    stopped = [end.right for end in ends if end]
    return Coverage(
        stopped=len(stopped) / len(pools),
        accuracy_stopped=bootstrap(stopped) if stopped else None,
        accuracy=bootstrap([end.right for end in taken]),
        difference=paired_difference([end.right for end in taken], [whole.right for whole in wholes]),
        early=sum(early) / len(pools),
        lost=bootstrap_ratio(lost, early) if any(early) else None,
        samples=sum(end.samples for end in taken) / len(pools),
        tokens=sum(end.tokens for end in taken) / len(pools),
        saved=1 - sum(end.tokens for end in taken) / sum(whole.tokens for whole in wholes),
    )


@dataclass(frozen=True)
class Promise:
    """What came of a bounded risk on random halves: means over these."""

    risk: float
    refused: float
    """Share of the halves after which nothing could be promised; all samples are taken then."""
    kept: float
    """Share of the halves in which at most `risk` of the stopped problems was lost; where nothing stops, nothing is. It lies
    below what it says of new problems: a half is small, and what it has too few of, the other half has too many of."""
    lost: float
    """Of the stopped problems of a half, the share that was lost."""
    low: float
    high: float
    """Of this share, the 5th and the 95th percentile of the halves."""
    early: float
    """Share of the problems that were stopped before their last sample."""
    difference: float
    """Accuracy minus that of all samples."""
    saved: float
    """Share of the tokens of all samples that was not generated."""


def promise(pools: Sequence[SampledPool], risk: float, vote: bool, halves: int = 200) -> Promise:
    """Learn from a random half of the problems, stop the other half, and so on `halves` times."""
    rng = random.Random(f"{risk}/{vote}")
    walks = [_walk(pool, vote) for pool in pools]
    wholes = [_end(pool, len(pool.classes), 0.0, vote) for pool in pools]
    stops = [pool.stop(vote) for pool in pools]
    refused, lost, early, difference, saved = 0, [], [], [], []
    for _ in range(halves):
        order = rng.sample(range(len(pools)), len(pools))
        learn, rest = order[: len(order) // 2], order[len(order) // 2 :]
        least = safe_evidence([stops[i] for i in learn], risk)
        refused += least == np.inf
        taken = [next((end for end in walks[i] if end.evidence >= least), wholes[i]) for i in rest]
        mine = [wholes[i] for i in rest]
        sooner = [end.samples < whole.samples for end, whole in zip(taken, mine, strict=True)]
        early.append(sum(sooner))
        lost.append(sum(yes and end.right < whole.right for end, whole, yes in zip(taken, mine, sooner, strict=True)))
        difference.append(np.mean([end.right - whole.right for end, whole in zip(taken, mine, strict=True)]))
        saved.append(1 - sum(end.tokens for end in taken) / sum(whole.tokens for whole in mine))
    shares = [k / m if m else 0.0 for k, m in zip(lost, early, strict=True)]
    low, high = np.percentile(shares, [5, 95]).tolist()
    return Promise(
        risk=risk,
        refused=refused / halves,
        kept=sum(share <= risk for share in shares) / halves,
        lost=float(np.mean(shares)),
        low=low,
        high=high,
        early=sum(early) / halves / (len(pools) - len(pools) // 2),
        difference=float(np.mean(difference)),
        saved=float(np.mean(saved)),
    )


@dataclass(frozen=True)
class _End:
    """A place at which the samples of a problem may end."""

    samples: int
    evidence: float
    right: float
    tokens: int


def _walk(pool: SampledPool, vote: bool) -> list[_End]:
    """All places at which some evidence is reached for the first time."""
    return [_end(pool, n, evidence, vote) for n, evidence in pool.maxima(range(len(pool.classes)), vote)]


def _end(pool: SampledPool, n: int, evidence: float, vote: bool) -> _End:
    return _End(n, evidence, pool.choice_right(range(n), vote), sum(pool.tokens[:n]))
