"""Menu: what a search could do with each problem of a run, what comes of it and what it costs; a policy chooses from it.

Every method of the run is one *arm*, with its parameters and its samples:

    weighted_vote prm samples=1    weighted_vote prm samples=16    rebase prm samples=4    rebase prm samples=16

Costs are those that the run charged. An arm that takes the first n samples of the pool is right as often as it would be in
several orders of the pool, since samples are exchangeable; in each order the first samples are also those that a difficulty
is predicted from, so what a policy would do is played through as it would happen. Any other arm has its one outcome.

A *probe* draws and scores the first k samples before anything is chosen (`Menu.probed`). It costs what a method with k
samples costs in the run. What an arm takes from the pool it need not draw again, but the generator reads the prompt for its
second request; an arm that grows a tree starts anew, and the probe comes on top. Left out: what a tree's verifier has
read with the probe already, so charged FLOPs are at most a few percent too high.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from prm.costs import forward_flops
from prm.evaluation.difficulty import WITHOUT_VERIFIER, difficulty
from prm.evaluation.estimates import ESTIMATORS, Pool, pools_of
from prm.evaluation.search_runs import Run
from prm.types import SearchResult

ORDERS = 8
"""Of the samples of a problem; the first one is that of the run."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One method of the run."""

    number: int
    """Of its result in a row."""
    strategy: str
    verifier: str | None
    parameters: tuple[tuple[str, Any], ...]
    """Those that its name states, without `samples`."""
    samples: int
    pool: bool
    """Whether it chooses among the first samples of the pool, in a way that `ESTIMATORS` knows."""

    @property
    def family(self) -> str:
        """Its words without its number of samples: `rebase prm temperature=0.1`."""
        settings = [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in self.parameters
        ]
        return " ".join([self.strategy, *([self.verifier] if self.verifier else []), *settings])

    @property
    def words(self) -> str:
        return f"{self.family} samples={self.samples}"


@dataclass(frozen=True)
class Probe:
    """A difficulty that is predicted from the first samples."""

    statistic: str
    """One of `prm.evaluation.difficulty.STATISTICS`."""
    samples: int


@dataclass(frozen=True)
class Menu:
    """See the module's docstring. Suffixes of arrays: problems P, orders R, arms A."""

    run: Run
    verifier: str | None
    arms: tuple[Arm, ...]
    orders_PR: tuple[tuple[tuple[int, ...], ...], ...]
    right_PRA: Array
    """Chance that the arm's answer is right."""
    tokens_PA: Array
    """Generated tokens."""
    flops_PA: Array
    """Of generator and verifier."""
    difficulty_PR: Array | None = None
    probe: Probe | None = None
    """None: difficulty costs nothing."""

    @property
    def problems(self) -> list[str]:
        return [row.problem.id for row in self.run.rows]

    def cost_PA(self, name: str) -> Array:
        """`generated_tokens`, or `flops`, which counts prompts and the verifier, too."""
        return {"generated_tokens": self.tokens_PA, "flops": self.flops_PA}[name]

    @cached_property
    def one_P(self) -> dict[str, Array]:
        """Name of a cost -> that of one sample of each problem that nobody scores."""
        largest = max((arm for arm in self.arms if arm.pool), key=lambda arm: arm.samples)
        results = [row.results[largest.number] for row in self.run.rows]
        tokens_P = np.array([r.cost.generated_tokens / len(r.candidates) for r in results])
        prompts_P = np.array([r.cost.prompt_tokens for r in results])
        size = self.run.meta["generator"]["num_parameters"]
        return {"generated_tokens": tokens_P, "flops": forward_flops(size, 1) * (tokens_P + prompts_P)}

    def families(self) -> dict[str, list[int]]:
        """Words without samples -> numbers of the arms, from few samples to many."""
        found: dict[str, list[int]] = {}
        for a in sorted(range(len(self.arms)), key=lambda a: self.arms[a].samples):
            found.setdefault(self.arms[a].family, []).append(a)
        return found

    def with_difficulty(self, difficulty_P: Sequence[float]) -> Menu:
        """The same with a difficulty that costs nothing, such as the oracle's."""
        return replace(self, difficulty_PR=np.repeat(np.asarray(difficulty_P, float)[:, None], ORDERS, axis=1))

    def oracle_P(self) -> list[float]:
        """1 - pass@1 of the pool of each problem."""
        return [1 - sum(pool.correct) / len(pool.correct) for pool in self._pools(None)]

    def predicted_P(self, statistic: str) -> list[float]:
        """From all samples of the pool."""
        return [_predict(statistic, pool, range(len(pool.classes))) for pool in self._pools(statistic)]

    def probed(self, probe: Probe) -> Menu:
        """The same with a difficulty that is predicted from the first samples and charged; arms of the pool that take
        fewer are left out.

        Raises:
            ValueError: no method of the run says what so many samples cost.
        """
        judge = None if probe.statistic in WITHOUT_VERIFIER else self.verifier
        own = next(
            (arm for arm in self.arms if (arm.pool, arm.verifier, arm.samples) == (True, judge, probe.samples)), None
        )
        if own is None:
            raise ValueError(
                f"{self.run.rows[0].where}: no method says what a probe of {probe.samples} samples costs;"
                f" {_search_with(judge, probe.samples)}, too"
            )
        kept = [a for a, arm in enumerate(self.arms) if not arm.pool or arm.samples >= probe.samples]
        difficulty_PR = [
            [_predict(probe.statistic, pool, order[: probe.samples]) for order in orders]
            for pool, orders in zip(self._pools(probe.statistic), self.orders_PR, strict=True)
        ]
        extra_PA = [[self._extra(row.results, own, self.arms[a]) for a in kept] for row in self.run.rows]
        return replace(
            self,
            arms=tuple(self.arms[a] for a in kept),
            right_PRA=self.right_PRA[:, :, kept],
            tokens_PA=self.tokens_PA[:, kept] + np.array(extra_PA)[:, :, 0],
            flops_PA=self.flops_PA[:, kept] + np.array(extra_PA)[:, :, 1],
            difficulty_PR=np.array(difficulty_PR),
            probe=probe,
        )

    def _extra(self, results: Sequence[SearchResult], probe: Arm, arm: Arm) -> tuple[float, float]:
        """(generated tokens, FLOPs) that a probe costs before this arm."""
        drawn, cost = results[probe.number].candidates, results[probe.number].cost
        taken = set(results[arm.number].candidates)
        share = sum(t.num_tokens or 0 for t in drawn if t not in taken) / max(1, sum(t.num_tokens or 0 for t in drawn))
        size = self.run.meta["generator"]["num_parameters"]
        drawing = forward_flops(size, cost.generated_tokens + cost.prompt_tokens)
        reused = share == 0
        flops = share * drawing
        if not (reused and arm.verifier == self.verifier):  # else its own cost has the scores of the probe
            flops += cost.flops - drawing
        if reused and arm.samples > probe.samples:
            flops += forward_flops(size, cost.prompt_tokens)
        return share * cost.generated_tokens, flops

    def _pools(self, statistic: str | None) -> list[Pool]:
        """The largest pool of each problem, as its verifier reads it if the statistic asks for scores."""
        judge = None if statistic in WITHOUT_VERIFIER else self.verifier
        known = [arm for arm in self.arms if arm.pool and (statistic is None or arm.verifier == judge)]
        if not known:
            raise ValueError(
                f"{self.run.rows[0].where}: no method chooses by {judge} from a pool; {_search_with(judge)}, too"
            )
        return pools_of(self.run, max(known, key=lambda arm: arm.samples).number)


def menu_of(run: Run, verifier: str | None, offered: Callable[[Arm], bool] = lambda arm: True) -> Menu:
    """All methods of a run that ask this verifier, or none.

    Args:
        verifier: name in the run; None for methods without.
        offered: which of them may be chosen.

    Raises:
        ValueError: none of them chooses from a pool.
    """
    results = enumerate(run.rows[0].results)
    arms = [_arm(i, its, run.meta["methods"][its.method]) for i, its in results if its.verifier in (None, verifier)]
    arms = [arm for arm in arms if offered(arm)]
    if not any(arm.pool for arm in arms):
        raise ValueError(f"{run.rows[0].where}: no method chooses from a pool; {_search_with(verifier)}, too")
    largest = {arm.verifier: arm for arm in sorted(arms, key=lambda arm: arm.samples) if arm.pool}
    sizes = [arm.samples for arm in largest.values()]
    orders_PR = tuple(_orders(row.problem.id, min(sizes), max(sizes)) for row in run.rows)
    pools_P = {judge: pools_of(run, arm.number) for judge, arm in largest.items()}
    right_PRA = np.empty((len(run.rows), ORDERS, len(arms)))
    for a, arm in enumerate(arms):
        for p, row in enumerate(run.rows):
            if not arm.pool:
                right_PRA[p, :, a] = row.results[arm.number].correct
                continue
            for r, order in enumerate(orders_PR[p]):
                right_PRA[p, r, a] = ESTIMATORS[arm.strategy](
                    _those(pools_P[arm.verifier][p], order[: arm.samples]), arm.samples
                )
    costs = [[row.results[arm.number].cost for arm in arms] for row in run.rows]
    return Menu(
        run,
        verifier,
        tuple(arms),
        orders_PR,
        right_PRA,
        np.array([[float(cost.generated_tokens) for cost in row] for row in costs]),
        np.array([[cost.flops for cost in row] for row in costs]),
    )


def _arm(number: int, result: SearchResult, samples: int) -> Arm:
    stated = [words.split("=", 1) for words in result.method.partition("[")[2].rstrip("]").split(",") if words]
    parameters = tuple((key, yaml.safe_load(value)) for key, value in stated if key != "samples")
    pool = result.independent and result.strategy in ESTIMATORS
    return Arm(number, result.strategy, result.verifier, parameters, samples, pool)


def _orders(problem_id: str, shuffled: int, size: int) -> tuple[tuple[int, ...], ...]:
    """The order of the run, and others of the first samples, which all verifiers have read."""
    rng = random.Random(problem_id)
    rest = tuple(range(shuffled, size))
    return (
        tuple(range(size)),
        *((*rng.sample(range(shuffled), shuffled), *rest) for _ in range(ORDERS - 1)),
    )


def _those(pool: Pool, order: Sequence[int]) -> Pool:
    correct, classes, scores = (tuple(its[i] for i in order) for its in (pool.correct, pool.classes, pool.scores))
    return Pool(pool.number, correct, classes, pool.gold_class, scores)  # type: ignore[arg-type]


def _predict(statistic: str, pool: Pool, order: Sequence[int]) -> float:
    return difficulty(statistic, [pool.classes[i] for i in order], [pool.scores[i] for i in order])


def _search_with(verifier: str | None, samples: int | None = None) -> str:
    words = f"best_of_n {verifier}" if verifier else "majority"
    return f"search with `{words}{'' if samples is None else f' samples={samples}'}`"
