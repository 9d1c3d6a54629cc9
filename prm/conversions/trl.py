"""TRL's stepwise rows (`trl-lib/math_shepherd`, `trl-lib/prm800k`), and our own rows, which only add columns to them.

    {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 5", "#### 5"], "labels": [false, false]}

Such a row does not say what its labels mean, so `semantics` has to be given. axolotl's
`stepwise_supervised` has the same form.

Decisions:

- A trace is cut before a blank step (status `empty_step`).
- Other columns are ours only in rows that say that they are (`prm.storage.rows.is_ours`): a foreign `index`, `level` or
  `status` means something else. They are left out, except for those that `keep` names.
- `trl-lib/prm800k` silently counts neutral and missing ratings as bad (converter of TRL 1.13); `prm.conversions.prm800k`
  reads the raw files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prm.conversions.rows import Row
from prm.storage.rows import STEPWISE, is_ours, labeled_to_row, need, row_to_labeled, row_to_trace
from prm.storage.sources import cell_text
from prm.types import Semantics


def import_row(where: str, row: Row, semantics: Semantics | None = None, keep: Sequence[str] = ()) -> Iterator[Row]:
    if is_ours(row) and (row.get("status") or "ok") != "ok":
        yield row | {"problem_id": row_to_trace(where, row).problem.id}
        return
    # The whole row is checked, blank steps included, before it is cut.
    steps = need(where, row, "completions", list)
    blank = [isinstance(step, str) and not step.strip() for step in steps]
    filled = ["(blank)" if is_blank else step for step, is_blank in zip(steps, blank, strict=True)]
    labeled = row_to_labeled(where, row | {"completions": filled}, semantics)
    made = labeled_to_row(labeled.problem, labeled.labeled)
    if keep:
        made["kept"] = made.get("kept", {}) | {name: cell_text(need(where, row, name, object)) or None for name in keep}
    if True in blank:
        per_step = ("completions", "labels", "values", "counts")
        made |= {name: made[name] and made[name][: blank.index(True)] for name in per_step}
        made |= {"status": "empty_step", "correct": None}  # with an outcome, an ORM would be trained on it
    yield made


def foreign_columns(row: Row) -> list[str]:
    """The columns that are not read, because they mean something else than in our rows."""
    return [] if is_ours(row) else [name for name in row if name not in STEPWISE]


def is_numbered(row: Row) -> bool:
    """Whether a row has its id from us, which it keeps."""
    return is_ours(row) and "index" in row and "problem_id" in row


def export_row(prompt: str, steps: Sequence[str], labels: Sequence[bool]) -> Row:
    return {"prompt": prompt, "completions": list(steps), "labels": list(labels)}
