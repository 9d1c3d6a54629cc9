"""Labeled sets of other projects <-> rows of ours (data/README.md), one module per set.

    for row in convert(read_rows("phase1_train.jsonl"), "prm800k", neutral="good"):
        row                         # {"prompt": ..., "labels": [...], "semantics": "correctness", "status": "ok", ...}
        export_row("rlhflow", row)  # {"conversations": [{"role": "user", ...}, {"role": "assistant", ...}, ...]}

An importer is a function of one foreign row that yields rows of ours, one or more: nothing is dropped, what cannot be
used has a `status`. A broken row is a ValueError that names place, value and fix. Rows stream; all that is kept is a
count per problem. What each set's labels mean, and every decision taken on the way, stands in its module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prm.conversions import math_shepherd, omega_prm, openr, prm800k, processbench, rlhflow, trl
from prm.conversions.rows import Row
from prm.storage.rows import row_to_labeled

IMPORTERS: dict[str, Callable[..., Iterator[Row]]] = {
    "math_shepherd": math_shepherd.import_row,
    "omega_prm": omega_prm.import_row,
    "openr": openr.import_row,
    "prm800k": prm800k.import_row,
    "processbench": processbench.import_row,
    "rlhflow": rlhflow.import_row,
    "trl": trl.import_row,
}
OPTIONS = {
    "omega_prm": {"branches"},
    "prm800k": {"branches", "neutral"},
    "rlhflow": {"questions"},
    "trl": {"semantics"},
}
"""Format -> what its importer can be told."""

EXPORTERS = {
    "math_shepherd": math_shepherd.export_row,
    "rlhflow": rlhflow.export_row,
    "trl": trl.export_row,
}


def convert(rows: Iterable[tuple[str, Row]], source: str, **options: Any) -> Iterator[Row]:
    """Rows of a foreign set -> rows of ours, at least one for each.

    Args:
        rows: (place, row), as `prm.storage.sources.read_rows` yields them.
        source: a key of `IMPORTERS`.
        options: see `OPTIONS` and the module of the set.
    """
    numbers: Counter[str] = Counter()
    for where, row in rows:
        for made in IMPORTERS[source](where, row, **options):
            if "index" not in row:  # rows of ours have one
                problem = made["problem_id"]
                made |= {"index": numbers[problem], "id": f"{problem}#{numbers[problem]}"}
                numbers[problem] += 1
            yield made


def export_row(target: str, row: Row) -> Row:
    """A row of ours in another format. Unlabeled steps at its end are cut off: the formats have no word for them.

    Raises:
        ValueError: the row cannot be said in this format; the message is the reason, without a place.
    """
    if row.get("status", "ok") != "ok":
        raise ValueError(f"status {row['status']}")
    labeled = row_to_labeled("row", row, row.get("semantics")).labeled
    labeled_to = max((i for i, label in enumerate(labeled.labels, 1) if label is not None), default=0)
    labels = [label for label in labeled.labels[:labeled_to] if label is not None]
    if not labels or len(labels) < labeled_to:
        raise ValueError("a step before the last labeled one has no label")
    return EXPORTERS[target](row["prompt"], labeled.trace.steps[:labeled_to], labels)
