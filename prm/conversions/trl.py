"""TRL's stepwise rows (`trl-lib/math_shepherd`, `trl-lib/prm800k`), and our own rows, which only add columns to them.

    {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 5", "#### 5"], "labels": [false, false]}

Such a row does not say what its labels mean, so `semantics` has to be given. Note that `trl-lib/prm800k` silently counts
neutral and missing ratings as bad (converter of TRL 1.13); `prm.conversions.prm800k` reads the raw files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prm.conversions.rows import Row
from prm.storage.rows import labeled_to_row, row_to_labeled, row_to_trace
from prm.types import Semantics


def import_row(where: str, row: Row, semantics: Semantics | None = None) -> Iterator[Row]:
    if row.get("status", "ok") == "ok":
        labeled = row_to_labeled(where, row, semantics)
        yield labeled_to_row(labeled.problem, labeled.labeled)
    else:
        yield row | {"problem_id": row_to_trace(where, row).problem.id}


def export_row(prompt: str, steps: Sequence[str], labels: Sequence[bool]) -> Row:
    return {"prompt": prompt, "completions": list(steps), "labels": list(labels)}
