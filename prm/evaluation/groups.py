"""Accuracy of parts of a run's problems: by difficulty level, by how hard they were for the generator, and by the values of
a column that was kept with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from prm.evaluation.difficulty import bin_of, quantile_edges
from prm.evaluation.estimates import pools
from prm.evaluation.search_metrics import bootstrap
from prm.evaluation.search_runs import Run


def by_level(run: Run, at_n: dict[str, list[float]]) -> dict[str, Any]:
    """Problems without a level are in the totals only.

    Args:
        at_n: method -> accuracy of each problem.
    """
    rows: dict[int, list[int]] = {}
    for i, row in enumerate(run.rows):
        if row.problem.level is not None:
            rows.setdefault(row.problem.level, []).append(i)
    estimates = {
        str(level): {name: bootstrap([a_P[i] for i in rows[level]]) for name, a_P in at_n.items()}
        for level in sorted(rows)
    }
    return {
        "by_level": {level: {name: e.mean for name, e in row.items()} for level, row in estimates.items()},
        "by_level_intervals": {level: {k: [e.low, e.high] for k, e in row.items()} for level, row in estimates.items()},
        "problems_by_level": {str(level): len(rows[level]) for level in sorted(rows)},
    }


BINS = 5
"""Of equally many problems, as Snell et al. 2024 (arXiv:2408.03314) have them."""


def by_difficulty(run: Run, at_n: dict[str, list[float]]) -> dict[str, Any]:
    """Bins of equally many problems by the share of right samples in the largest pool, the easiest first; fewer where many
    problems have the same share, and none where no method draws a pool.

    Args:
        at_n: as that of `by_level`.
    """
    if not (pools_P := pools(run)):
        return {"by_difficulty": []}
    hard_P = [1 - sum(pool.correct) / len(pool.correct) for pool in pools_P]
    edges = quantile_edges(hard_P, BINS)
    bins: list[list[int]] = [[] for _ in range(len(edges) + 1)]
    for i, hard in enumerate(hard_P):
        bins[bin_of(hard, edges)].append(i)
    return {
        "by_difficulty": [
            {
                "problems": len(those),
                "right": [1 - max(hard_P[i] for i in those), 1 - min(hard_P[i] for i in those)],
                "methods": {name: bootstrap([a_P[i] for i in those]).as_accuracy() for name, a_P in at_n.items()},
            }
            for those in bins
        ]
    }


def by_group(run: Run, at_n: dict[str, list[float]], column: str) -> dict[str, Any]:
    """The values of the column, the most frequent one first; where it is empty, the value is "(none)".

    Args:
        at_n: as that of `by_level`.

    Raises:
        ValueError: no problem has this column.
    """
    if column not in (known := {name for row in run.rows for name in row.problem.kept}):
        there = f"they have {', '.join(sorted(known))}" if known else "their file has none but those that were read"
        raise ValueError(f"--group_by {column!r}: the problems have no such column; {there}")
    values = [" ".join((row.problem.kept.get(column) or "(none)").split()) for row in run.rows]
    groups = {
        value: {
            "problems": count,
            "methods": {
                name: bootstrap([a for a, its in zip(a_P, values, strict=True) if its == value]).as_accuracy()
                for name, a_P in at_n.items()
            },
        }
        for value, count in Counter(values).most_common()
    }
    return {"group_by": column, "groups": groups}
