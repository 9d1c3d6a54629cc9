"""Compute-optimal: for each difficulty, the method and the number of samples that spend a budget best (Snell et al. 2024).

Snell et al. (arXiv:2408.03314, sec. 3) choose in each bin of difficulty what did best there on half of the problems, apply
it to the other half, and the other way round; so no problem takes part in the choice that is made for it. Their budget is
the same for every problem. A stronger form is a budget on average: easy problems leave what they do not need to hard ones.

    per problem     in each bin, the highest accuracy among the arms that cost at most n samples of a problem
    on average      in each bin, the highest accuracy - price x cost: one price for all bins makes the most of a total (the
                    price is the multiplier of Lagrange); a high one buys a sample per problem, a low one everything

An arm is a method of a stored run (`prm.evaluation.menus`). Edges of bins are learned on the same half as the choices. The
halves are drawn several times and the results averaged, since half of few problems chooses by luck. Where two arms are
equally good, the cheaper one is taken. A bin that has no problem takes what is best for all.

Left out: arms between which a coin decides, which would meet a budget on average to the token.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prm.evaluation.difficulty import bin_of, quantile_edges
from prm.evaluation.equal_cost import ROUNDING
from prm.evaluation.menus import ORDERS, Array, Menu

Bins = int | tuple[float, ...]
"""A number of bins of equally many problems, or fixed edges."""

Form = Literal["per problem", "on average"]

SPLITS = 5
"""Times that the problems are divided into halves."""

PRICES = tuple(float(price) for price in np.geomspace(1, 1e-5, 21))
"""Share of a right answer that the cost of one sample must gain at least."""


@dataclass(frozen=True)
class Table:
    """What each arm does on the problems of each bin, in the mean. Suffixes: bins B, arms A."""

    right_BA: Array
    cost_BA: Array
    samples_BA: Array
    """Costs in samples of the same problem."""
    one: float
    """Mean cost of a sample."""

    def choose(self, form: Form, setting: float) -> list[int]:
        """Number of the arm of each bin; the cheapest one where none is within the budget.

        Args:
            setting: samples per problem, or a price as in `PRICES`.
        """
        return [self._choose(b, form, setting) for b in range(len(self.right_BA))]

    def _choose(self, b: int, form: Form, setting: float) -> int:
        right_A, cost_A = self.right_BA[b], self.cost_BA[b]
        value_A = right_A if form == "per problem" else right_A - setting * cost_A / self.one
        may_A = self.samples_BA[b] <= setting * ROUNDING if form == "per problem" else np.full(len(cost_A), True)
        if not may_A.any():
            return int(cost_A.argmin())
        return min(np.flatnonzero(may_A), key=lambda a: (-round(value_A[a], 12), cost_A[a], a)).item()


def edges_of(menu: Menu, bins: Bins, rows: Sequence[int]) -> tuple[float, ...]:
    """Edges of the bins of these problems."""
    assert menu.difficulty_PR is not None, "a menu without a difficulty"
    return bins if isinstance(bins, tuple) else quantile_edges(menu.difficulty_PR[list(rows)].ravel().tolist(), bins)


def tabulate(menu: Menu, edges: Sequence[float], cost: str, rows: Sequence[int]) -> Table:
    """
    Args:
        cost: `generated_tokens` or `flops`.
        rows: numbers of the problems that are looked at.
    """
    those = list(rows)
    inside_PRB = bins_PR(menu, edges)[those][:, :, None] == np.arange(len(edges) + 1)
    # The outcomes of a problem in its orders count as much as one problem, in whatever bins they are.
    inside_PRB = np.where(inside_PRB.any(axis=(0, 1)), inside_PRB, True) / ORDERS
    inside_PB, right_PRA = inside_PRB.sum(axis=1), menu.right_PRA[those]
    weight_B1 = inside_PB.sum(axis=0)[:, None]
    cost_PA, one_P = menu.cost_PA(cost)[those], menu.one_P[cost][those]
    return Table(
        np.einsum("prb,pra->ba", inside_PRB, right_PRA) / weight_B1,
        inside_PB.T @ cost_PA / weight_B1,
        inside_PB.T @ (cost_PA / one_P[:, None]) / weight_B1,
        float(one_P.mean()),
    )


def bins_PR(menu: Menu, edges: Sequence[float]) -> NDArray[np.int64]:
    """Number of the bin of each problem in each order."""
    assert menu.difficulty_PR is not None, "a menu without a difficulty"
    return np.array([[bin_of(value, edges) for value in row] for row in menu.difficulty_PR])


@dataclass(frozen=True)
class Point:
    """What comes of one budget or price, on problems that had no part in the choice for them."""

    setting: float
    right_P: Array
    """Chance of a right answer to each problem."""
    cost_P: dict[str, Array]
    """Generated tokens, and FLOPs."""

    @property
    def accuracy(self) -> float:
        return float(self.right_P.mean())

    def cost(self, name: str) -> float:
        return float(self.cost_P[name].mean())


def budgets(menu: Menu) -> list[float]:
    """1, 2, 4, ... samples, as many as the largest arm has."""
    most = max(arm.samples for arm in menu.arms)
    return [float(2**k) for k in range(most.bit_length())]


def cross_validate(menu: Menu, bins: Bins, cost: str, form: Form, splits: int = SPLITS) -> list[Point]:
    """One point for each of the budgets in samples, or of the prices.

    Args:
        cost: in which a choice is made: `generated_tokens` or `flops`.
        splits: times that the problems are divided into halves; each problem is the mean of so many results.
    """
    settings = budgets(menu) if form == "per problem" else list(PRICES)
    count = len(menu.run.rows)
    right_SP = np.zeros((len(settings), count))
    cost_SP = {name: np.zeros((len(settings), count)) for name in menu.one_P}
    for split in range(splits):
        halves = in_halves(count, split)
        for learned_from, applied_to in (halves, halves[::-1]):
            edges = edges_of(menu, bins, learned_from)
            table = tabulate(menu, edges, cost, learned_from)
            bins_there = bins_PR(menu, edges)[applied_to]
            for s, setting in enumerate(settings):
                arms_PR = np.array(table.choose(form, setting))[bins_there]
                those_P1 = np.array(applied_to)[:, None]
                right_PR = menu.right_PRA[those_P1, np.arange(ORDERS)[None, :], arms_PR]
                right_SP[s, applied_to] += right_PR.mean(axis=1) / splits
                for name, its_SP in cost_SP.items():
                    its_SP[s, applied_to] += menu.cost_PA(name)[those_P1, arms_PR].mean(axis=1) / splits
    return [
        Point(setting, right_SP[s], {name: its_SP[s] for name, its_SP in cost_SP.items()})
        for s, setting in enumerate(settings)
    ]


def fit(menu: Menu, bins: Bins, cost: str, form: Form, setting: float) -> tuple[tuple[float, ...], list[int]]:
    """(edges, number of the arm of each bin), learned from all problems."""
    rows = range(len(menu.run.rows))
    edges = edges_of(menu, bins, rows)
    return edges, tabulate(menu, edges, cost, rows).choose(form, setting)


def in_halves(count: int, split: int) -> tuple[list[int], list[int]]:
    """Numbers of the problems in two halves.

    Raises:
        ValueError: there are fewer than two.
    """
    if count < 2:
        raise ValueError(f"{count} problem cannot be divided into halves; search more of them")
    shuffled = random.Random(f"halves/{split}").sample(range(count), count)
    return sorted(shuffled[::2]), sorted(shuffled[1::2])
