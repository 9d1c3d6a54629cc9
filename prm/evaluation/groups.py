"""Accuracy of parts of a run's problems: by difficulty level, and by the values of a column that was kept with them."""

from __future__ import annotations

from collections import Counter
from typing import Any

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
