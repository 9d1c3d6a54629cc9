"""Test-time compute against a larger model, and every method by difficulty: the tables behind the figures of a study.

By difficulty: the problems are divided into bins of equally many, by the difficulty that the verifier predicts from the
whole pool or by the oracle's, and each method is looked at within a bin, at each of its numbers of samples.

Against a larger model: one sample of a model M times as large costs as much, pretraining included, as `inference_multiple`
samples of the small one (`prm.costs`). For that the small one may search: the most accurate method that costs no more,
or compute-optimal. Both accountings of `prm.evaluation.savings` are shown: generated tokens alone, as the paper counts, and
all FLOPs, with the verifier, which may be larger than the small model, and the probe. Both models answer the same problems,
so differences are paired:

    larger  R     may cost    counted     compute-optimal  larger model  difference
    13.7x   0.79  62 samples  generation  61.2%            41.7%         +19.5 [+15.2, +23.6]

A budget holds for every problem (the form "per problem" of `prm.evaluation.compute_optimal`), so it holds in each bin, too.
Left out: what the verifier's own training cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prm.costs import inference_multiple
from prm.evaluation.compute_optimal import Bins, cross_validate
from prm.evaluation.difficulty import bin_of, quantile_edges
from prm.evaluation.menus import Menu, Probe
from prm.evaluation.savings import COSTS, curves_of, difficulties
from prm.evaluation.search_metrics import bootstrap, paired_difference

RATIOS = (0.16, 0.79, 22.0)
"""R, tokens of inference per token of pretraining: those of Snell et al. 2024 (arXiv:2408.03314), sec. 7."""


def bins_of(difficulty_P: Sequence[float], bins: int) -> list[list[int]]:
    """Numbers of the problems in each bin, the easiest first.

    >>> bins_of([0.9, 0.0, 0.5, 0.1], 2)
    [[1, 3], [0, 2]]
    """
    edges = quantile_edges(difficulty_P, bins)
    places = [bin_of(value, edges) for value in difficulty_P]
    return [[p for p, place in enumerate(places) if place == b] for b in range(len(edges) + 1)]


def by_difficulty(menu: Menu, bins: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Every method in every bin.

    Returns:
        Per bin {"problems", "methods": {family: [{"samples", "accuracy", "low", "high", "generated_tokens"}, ...]}}.
    """
    methods = curves_of(menu)
    return [
        {
            "problems": len(those),
            "methods": {
                family: [
                    {
                        "samples": samples,
                        **bootstrap(point.right_P[list(those)].tolist()).as_accuracy(),
                        "generated_tokens": float(point.cost_P["generated_tokens"][list(those)].mean()),
                    }
                    for samples, point in zip(its.samples, its.points, strict=True)
                ]
                for family, its in methods.items()
            },
        }
        for those in bins
    ]


def against_larger(
    menu: Menu, probe: Probe, bins: Bins, larger_P: Sequence[float], larger: float, groups: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """The small model with search against one sample of the larger one, at equal FLOPs.

    Args:
        menu: of the small model.
        probe, bins: of its policy.
        larger_P: chance that one sample of the larger model is right, for each problem of the menu.
        larger: its parameters over those of the small one.
        groups: problems that are also looked at alone, such as those of a difficulty.

    Returns:
        Per accounting and R {"accounting", "R", "multiple", "rows": [{"choice", "bin", "problems", "small", "larger",
        "difference", "multiple_spent"}, ...]}, all problems first; `choice` is the words of a method, or
        `compute-optimal`, which is left out where a probe costs too much.
    """
    methods = [
        (f"{family} samples={samples}", point)
        for family, its in curves_of(menu).items()
        for samples, point in zip(its.samples, its.points, strict=True)
    ]
    menus = difficulties(menu, probe)
    large_P = np.asarray(larger_P, float)
    found = []
    for accounting, difficulty in (("generation", "predicted"), ("charged", "probe")):
        cost = COSTS[accounting]
        one = float(menu.one_P[cost].mean())
        points = cross_validate(menus[accounting, difficulty], bins, cost, "per problem")
        for ratio in RATIOS:
            most = inference_multiple(larger, ratio) * one
            # Of the methods the most accurate, which looks at the answers; of compute-optimal what it says itself.
            within = [its for its in methods if its[1].cost(cost) <= most]
            chosen = [max(within, key=lambda its: (round(its[1].accuracy, 12), -its[1].cost(cost)))]
            chosen += [("compute-optimal", point) for point in points if point.cost(cost) <= most][-1:]
            rows = []
            for name, point in chosen:
                for number, those in enumerate([range(len(large_P)), *groups]):
                    own, theirs = point.right_P[list(those)].tolist(), large_P[list(those)].tolist()
                    rows.append(
                        {
                            "choice": name,
                            "bin": number - 1 if number else None,
                            "problems": len(own),
                            "small": vars(bootstrap(own)),
                            "larger": vars(bootstrap(theirs)),
                            "difference": vars(paired_difference(own, theirs)),
                            "multiple_spent": point.cost(cost) / one,
                        }
                    )
            found.append({"accounting": accounting, "R": ratio, "multiple": most / one, "rows": rows})
    return found
