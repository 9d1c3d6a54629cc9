"""How likely it is that what was chosen among the first n samples is right, learned on other problems.

A verifier's score is no such chance: it speaks of one trace, and the best of many is the one that fooled it most. What is
calibrated here is the choice. Its *evidence* is one number that rises with it,

    best-of-N        the highest score
    weighted vote    the lead of the first answer: its sum of scores minus that of the second (the statistic of Wald's
                     sequential test, if there were two answers)

and the chance is a step function of the evidence that never falls (isotonic regression by pooling adjacent violators,
Ayer et al. 1955; for probabilities Zadrozny and Elkan 2002). A search that stops at a chance stops at the first sample
whose evidence is high enough, which is always a new maximum. So that is what is learned from: the maxima on the way
through the samples of a problem, in several orders, because samples are exchangeable. One problem is added on which the
highest evidence is wrong, so that no chance is near 1 because it rests on few problems.

One file, shortened; of each step of the two functions it has the lowest evidence and the chance, and of each problem what
stopping does to it, from which the evidence for any bounded risk follows (`prm.search.risk`):

    {"verifier": "prm-91ab03fe", "generator": "arithmetic-generator-0c1d2e3f", "samples": 16,
     "problems": ["arithmetic/validation/0", ...], "best": [[0.11, 0.2], [0.97, 0.74]], "vote": [[0.4, 0.5], [3.1, 0.98]],
     "stops_best": [[0.98, 0.31], ...], "stops_vote": [[3.1, -1.0], ...]}

Left out: what the problem itself tells, and anything about other problems than those of the same kind.
"""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from prm.files import read_object, write_whole
from prm.search.learned import check_learned
from prm.search.risk import Stop, least_problems, safe_evidence
from prm.storage.search_rows import ProblemResults

ORDERS = 32
"""In which the samples of a problem are gone through."""
Steps = tuple[tuple[float, float], ...]
"""(lowest evidence, chance) of each step, both rising."""


@dataclass(frozen=True)
class Calibration:
    """See the module's docstring."""

    verifier: str
    """Fingerprint."""
    generator: str
    """Fingerprint."""
    samples: int
    """N: of so many samples per problem it was learned."""
    problems: tuple[str, ...]
    """Ids of those that it was learned from."""
    best: Steps
    vote: Steps
    stops_best: tuple[Stop, ...]
    stops_vote: tuple[Stop, ...]

    def likely(self, target: float, vote: bool) -> float:
        """The lowest evidence at which the choice is right with a chance of `target`; infinite if there is none."""
        if target <= 0:  # whatever the evidence
            return -1.0
        return next((low for low, chance in (self.vote if vote else self.best) if chance >= target), math.inf)

    def safe(self, risk: float, vote: bool) -> float:
        """The lowest evidence at which at most this share of the stopped problems is lost (`prm.search.risk`).

        Raises:
            ValueError: that cannot be promised.
        """
        stops = self.stops_vote if vote else self.stops_best
        evidence = safe_evidence(stops, risk)
        if evidence == math.inf:
            least, n = least_problems(risk), len(stops)
            reason = f"it takes {least} or more" if n < least else "too many of them are lost wherever stopping begins"
            raise ValueError(
                f"a risk of {risk:g} cannot be promised after {n} problems: {reason}; calibrate on more problems, or allow a"
                " higher risk"
            )
        return evidence

    def save(self, path: Path) -> None:
        write_whole(path, json.dumps(asdict(self)) + "\n")


@lru_cache(maxsize=8)
def read_calibration(path: str) -> Calibration:
    """
    Raises:
        FileNotFoundError, ValueError: there is none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"calibration {path} does not exist; eval/calibrate_verifier.py writes one")
    try:
        values = read_object(path, "eval/calibrate_verifier.py writes one")
        names = ("best", "vote", "stops_best", "stops_vote")
        curves = {name: tuple((float(a), float(b)) for a, b in values[name]) for name in names}
        return Calibration(**{**values, **curves, "problems": tuple(values["problems"])})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no calibration ({error!r:.80}); eval/calibrate_verifier.py writes one") from error


def check_fits(path: str, verifier: str | None, generator: str, problems: Collection[str]) -> None:
    """Refuse a calibration that says nothing of a search, or too much.

    Args:
        verifier, generator: fingerprints of those of the search.
        problems: ids of those that are to be searched.

    Raises:
        ValueError: it was learned of another verifier or generator, or of one of these problems.
    """
    its = read_calibration(path)
    check_learned(
        path,
        {"verifier": (its.verifier, verifier), "generator": (its.generator, generator)},
        its.problems,
        problems,
        "calibrate again, with eval/calibrate_verifier.py",
        "what it says of them is no forecast: search other ones, or calibrate on those of another --split",
    )


def evidence_of(classes: Sequence[int | None], weights: Sequence[float], vote: bool) -> float:
    """What speaks for the choice among some candidates; -1 if none may be chosen.

    Args:
        classes: which of them give equal answers, None for one that may not be chosen.
        weights: their scores.

    >>> classes, weights = [0, 1, 0, None], [0.5, 0.75, 0.5, 0.9]
    >>> evidence_of(classes, weights, vote=False), evidence_of(classes, weights, vote=True)
    (0.75, 0.25)
    """
    sums: defaultdict[int, float] = defaultdict(float)
    for answer_class, weight in zip(classes, weights, strict=True):
        if answer_class is not None:
            sums[answer_class] = sums[answer_class] + weight if vote else max(sums[answer_class], weight)
    if not sums:
        return -1.0
    if not vote:
        return max(sums.values())
    first, second = [*sorted(sums.values(), reverse=True), 0.0][:2]
    return first - second


def isotonic(evidence: Sequence[float], right: Sequence[float], weights: Sequence[float]) -> Steps:
    """The step function that never falls and is nearest to the outcomes: pool adjacent violators.

    >>> isotonic([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], [1, 1, 1, 1])
    ((0.1, 0.0), (0.2, 0.5), (0.4, 1.0))

    Args:
        right: outcomes in [0, 1].
    """
    blocks: list[tuple[float, float, float]] = []  # lowest evidence, weight, weighted sum of outcomes
    pooled: defaultdict[float, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for e, r, w in zip(evidence, right, weights, strict=True):
        pooled[e][0] += w
        pooled[e][1] += w * r
    for low, (weight, total) in sorted(pooled.items()):
        while blocks and blocks[-1][2] * weight >= total * blocks[-1][1]:  # not above the one before
            low, before, more = blocks.pop()
            weight, total = weight + before, total + more
        blocks.append((low, weight, total))
    return tuple((low, total / weight) for low, weight, total in blocks)


@dataclass(frozen=True)
class SampledPool:
    """The samples of one problem, as far as a choice needs them."""

    problem_id: str
    classes: tuple[int | None, ...]
    weights: tuple[float, ...]
    right: tuple[bool, ...]
    tokens: tuple[int, ...]

    def choice_right(self, order: Sequence[int], vote: bool) -> float:
        """Of the choice among these samples: 1 or 0, between equal votes the share of right ones."""
        mine = [i for i in order if self.classes[i] is not None]
        if not mine:
            return 0.0
        if not vote:
            return float(self.right[max(mine, key=lambda i: self.weights[i])])
        sums: defaultdict[int, float] = defaultdict(float)
        for i in mine:
            sums[self.classes[i]] += self.weights[i]  # type: ignore[index]
        winners = [c for c, total in sums.items() if total == max(sums.values())]
        return sum(any(self.right[i] for i in mine if self.classes[i] == c) for c in winners) / len(winners)

    def stop(self, vote: bool) -> Stop:
        """What stopping early does, in the order in which the samples were drawn (`prm.search.risk`)."""
        samples = range(len(self.classes))
        whole = self.choice_right(samples, vote)
        highest = losing = -1.0
        for n, highest in self.maxima(samples[:-1], vote):
            if self.choice_right(samples[:n], vote) < whole:
                losing = highest
        return highest, losing

    def maxima(self, order: Sequence[int], vote: bool) -> Iterator[tuple[int, float]]:
        """(number of samples, evidence) wherever the evidence is higher than ever before in this order."""
        highest = -math.inf
        for n in range(1, len(order) + 1):
            those = order[:n]
            evidence = evidence_of([self.classes[i] for i in those], [self.weights[i] for i in those], vote)
            if evidence > highest:
                highest = evidence
                yield n, evidence


def pools_of(rows: Sequence[ProblemResults], verifier: str) -> list[SampledPool]:
    """The samples of each problem with the scores of a verifier.

    Raises:
        ValueError: no method of the run chose among independent samples by this verifier.
    """
    number = next((i for i, r in enumerate(rows[0].results) if r.independent and r.verifier == verifier), None)
    if number is None:
        raise ValueError(
            f"{rows[0].where}: no method of the run has scores of {verifier} for a whole pool; search with"
            f" `best_of_n {verifier}`"
        )
    found = []
    for row in rows:
        result = row.results[number]
        both = list(zip(result.candidates, result.scores, strict=True))
        found.append(
            SampledPool(
                problem_id=row.problem.id,
                classes=tuple(row.class_of[t] if t.usable and its is not None else None for t, its in both),
                weights=tuple(0.0 if its is None else its.trace for _, its in both),
                right=tuple(t.correct is True for t, _ in both),
                tokens=tuple(t.num_tokens or 0 for t, _ in both),
            )
        )
    return found


def calibrate(pools: Sequence[SampledPool], verifier: str, generator: str) -> Calibration:
    """Learn from the pools of some problems."""
    curves: dict[bool, Steps] = {}
    for vote in (False, True):
        evidence, right, weights = [], [], []
        for pool in pools:
            rng = random.Random(f"{pool.problem_id}/{vote}")
            samples = range(len(pool.classes))
            for _ in range(ORDERS):
                order = rng.sample(samples, len(samples))
                for n, its in pool.maxima(order, vote):
                    evidence.append(its)
                    right.append(pool.choice_right(order[:n], vote))
                    weights.append(1 / ORDERS)
        # One problem more, with as many maxima as the others have, all of them at the top and wrong.
        wrong = math.fsum(weights) / len(pools)
        curves[vote] = isotonic([*evidence, math.inf], [*right, 0.0], [*weights, wrong])
    ids = tuple(pool.problem_id for pool in pools)
    stops = {vote: tuple(pool.stop(vote) for pool in pools) for vote in curves}
    return Calibration(
        verifier, generator, len(pools[0].classes), ids, curves[False], curves[True], stops[False], stops[True]
    )
