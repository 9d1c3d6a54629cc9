"""Labeled sets of other projects, and tables of your own, <-> our rows (data/README.md), one module per set.

    for row in convert(read_rows("phase1_train.jsonl"), "prm800k", neutral="good"):
        row                         # {"prompt": ..., "labels": [...], "semantics": "correctness", "status": "ok", ...}
        export_row("rlhflow", row)  # {"conversations": [{"role": "user", ...}, {"role": "assistant", ...}, ...]}

An importer turns one foreign row into one or more of our rows. Nothing is dropped: rows that cannot be used have a
`status`. A broken row raises a ValueError that names where it is, the value and the fix. Rows stream; only a count per
problem is kept in memory. The docstring of a set's module says what its labels mean and how each doubtful case is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prm.conversions import columns, math_shepherd, omega_prm, openr, prm800k, processbench, rlhflow, trl
from prm.conversions.rows import Row
from prm.storage.rows import row_to_labeled

IMPORTERS: dict[str, Callable[..., Iterator[Row]]] = {
    "columns": columns.import_row,
    "math_shepherd": math_shepherd.import_row,
    "omega_prm": omega_prm.import_row,
    "openr": openr.import_row,
    "prm800k": prm800k.import_row,
    "processbench": processbench.import_row,
    "rlhflow": rlhflow.import_row,
    "trl": trl.import_row,
}
OPTIONS = {
    "columns": {"columns"},
    "omega_prm": {"branches"},
    "prm800k": {"branches", "neutral"},
    "rlhflow": {"questions"},
    "trl": {"semantics"},
}
"""Format -> the options of its importer."""

EXPORTERS = {
    "math_shepherd": math_shepherd.export_row,
    "rlhflow": rlhflow.export_row,
    "trl": trl.export_row,
}


def convert(rows: Iterable[tuple[str, Row]], source: str, **options: Any) -> Iterator[Row]:
    """Rows of a foreign set -> our rows, at least one for each.

    Args:
        rows: (where, row), as `prm.storage.sources.read_rows` yields them.
        source: a key of `IMPORTERS`.
        options: see `OPTIONS` and the module of the set.
    """
    numbers: Counter[str] = Counter()
    for where, row in rows:
        for made in IMPORTERS[source](where, row, **options):
            if source != "trl" or not {"index", "problem_id"} <= row.keys():  # our own rows have numbers already
                problem = made["problem_id"]
                made |= {"index": numbers[problem], "id": f"{problem}#{numbers[problem]}"}
                numbers[problem] += 1
            yield made


def export_row(target: str, row: Row) -> Row:
    """One of our rows in another format. Unlabeled steps at its end are cut off, because the formats cannot express them.

    Raises:
        ValueError: the format cannot express this row; the message is the reason and does not say where the row is.
    """
    if (row.get("status") or "ok") != "ok":
        raise ValueError(f"status {row['status']}")
    labeled = row_to_labeled("row", row, row.get("semantics")).labeled
    if labeled.semantics == "outcome":
        raise ValueError("its label is the outcome of the whole trace, and the format has labels of steps")
    labeled_to = max((i for i, label in enumerate(labeled.labels, 1) if label is not None), default=0)
    labels = [label for label in labeled.labels[:labeled_to] if label is not None]
    if not labels or len(labels) < labeled_to:
        raise ValueError("a step before the last labeled one has no label")
    return EXPORTERS[target](row["prompt"], labeled.trace.steps[:labeled_to], labels)
