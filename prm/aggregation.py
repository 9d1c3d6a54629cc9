"""How the step scores of a trace become one score, and which way fits which meaning of the labels.

>>> aggregate([0.9, 0.5, 0.8], "last"), aggregate([0.9, 0.5, 0.8], "min")
(0.8, 0.5)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from prm.types import Aggregation, Semantics

_AGGREGATE: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "product": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
}


def aggregate(scores: Sequence[float], how: Aggregation) -> float:
    """One score for a trace from its step scores. Raises ValueError if there is none or a NaN, or `how` is unknown."""
    if how not in _AGGREGATE:
        raise ValueError(f"aggregation {how!r} is not one of {tuple(_AGGREGATE)}")
    if len(scores) == 0:
        raise ValueError(f"no step scores to aggregate by {how!r}; a trace needs at least one step")
    if any(map(math.isnan, scores)):
        raise ValueError(f"a step score is NaN, nothing to aggregate by {how!r}: {list(scores)}")
    return float(_AGGREGATE[how](scores))


DEFAULT_AGGREGATION: dict[Semantics, Aggregation] = {"value": "last", "correctness": "product", "outcome": "last"}
"""What a score means decides how scores add up (Snell et al. 2024 sec. 5; Zhang et al. 2501.07301 sec. 3)."""
