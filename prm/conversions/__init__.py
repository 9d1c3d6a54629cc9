"""Labeled sets of other projects, and tables of your own, <-> our rows (data/README.md), one module per set.

    for row in convert(read_rows("phase1_train.jsonl"), "prm800k", neutral="good"):
        row                         # {"prompt": ..., "labels": [...], "semantics": "correctness", "status": "ok", ...}
        export_row("rlhflow", row)  # {"conversations": [{"role": "user", ...}, {"role": "assistant", ...}, ...]}

An importer turns one foreign row into one or more of our rows. Nothing is dropped: rows that cannot be used have a
`status`. What a row cannot say (a question that is missing, a label that is none) is a ValueError that names where it is,
the value and the fix; with `strict=False` such a row, too, becomes one of ours with a status, because nobody can take a row
out of a published set. A column that is missing is always an error: the format is another one. Rows stream; only a count
per problem is kept in memory. The docstring of a set's module says what its labels mean and how each doubtful case is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prm.conversions import columns, math_shepherd, omega_prm, openr, prm800k, processbench, rlhflow, trl
from prm.conversions.rows import Refused, Row, labeled_row
from prm.conversions.trl import is_numbered
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
    "trl": {"keep", "semantics"},
}
"""Format -> the options of its importer."""

EXPORTERS = {
    "math_shepherd": math_shepherd.export_row,
    "rlhflow": rlhflow.export_row,
    "trl": trl.export_row,
}


COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "math_shepherd": (("input", "label"),),
    "omega_prm": (("question", "reasoning_steps"),),
    "openr": (("question", "process", "label"),),
    "prm800k": (("question", "label"),),
    "processbench": (("problem", "steps", "label", "final_answer_correct"),),
    "rlhflow": (("conversations",),),
    "trl": (("prompt", "completions", "labels"),),
}
"""Format -> the columns that each of its rows has; several lists if there are several forms."""

REFUSED = ("no_question", "no_first_step", "bad_label", "broken_row")
"""Statuses of rows that could not be read. Where many have one, the format is another one, or an option is missing."""


def convert(
    rows: Iterable[tuple[str, Row]], source: str, *, strict: bool = True, first: int = 0, **options: Any
) -> Iterator[Row]:
    """Rows of a foreign set -> our rows, at least one for each.

    Args:
        rows: (where, row), as `prm.storage.sources.read_rows` yields them.
        source: a key of `IMPORTERS`.
        strict: whether a row that cannot be read is an error. Otherwise it becomes a row without steps; its status says
            why, and `refused` of its kept columns is the error.
        first: number of the first trace of each problem.
        options: see `OPTIONS` and the module of the set.

    Raises:
        ValueError: a column is missing; with `strict`, a row cannot be read.
    """
    numbers: Counter[str] = Counter()
    for where, row in rows:
        _check_columns(where, row, source)
        try:
            traces = list(IMPORTERS[source](where, row, **options))
        except ValueError as error:
            if strict:
                raise
            traces = [_refused_row(source, error)]
        for made in traces:
            if source != "trl" or not is_numbered(row):
                problem = made["problem_id"]
                number = first + numbers[problem]
                made |= {"index": number, "id": f"{problem}#{number}"}
                numbers[problem] += 1
            yield made


def _refused_row(source: str, error: ValueError) -> Row:
    return labeled_row(
        source,
        "",
        [],
        [],
        semantics="correctness",  # our rows say what labels mean, even where there are none
        method="unknown",
        status=error.status if isinstance(error, Refused) else "broken_row",
        kept={"refused": str(error)},
    )


def formats_with(columns: Iterable[str]) -> list[str]:
    """The formats whose rows have no other columns than these."""
    there = set(columns)
    return [name for name, forms in COLUMNS.items() if any(there.issuperset(form) for form in forms)]


def _check_columns(where: str, row: Row, source: str) -> None:
    forms = COLUMNS.get(source, ())
    if not forms or any(row.keys() >= set(form) for form in forms):
        return
    form = min(forms, key=lambda form: len(set(form) - row.keys()))
    missing = next(name for name in form if name not in row)
    others = formats_with(row)
    fix = f"--source {' or '.join(others)} has them" if others else "--source columns reads any table"
    raise ValueError(f"{where}: no column {missing!r}; the row has {', '.join(sorted(row)) or 'none'}. {fix}")


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
