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
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from prm.conversions import (
    agent_process_bench,
    columns,
    critiques,
    math_shepherd,
    omega_prm,
    openr,
    openrlhf,
    prm800k,
    prm800k_flat,
    processbench,
    rlhflow,
    step_per_row,
    trl,
    versaprm,
)
from prm.conversions.rows import Refused, Row, labeled_row
from prm.conversions.table_settings import published_formats
from prm.conversions.trl import is_numbered
from prm.encoding.steps import SEPARATORS
from prm.storage.rows import row_to_labeled

TABLES = published_formats()
"""Format that the settings of a table can say -> its settings (formats.yaml)."""

IMPORTERS: dict[str, Callable[..., Iterator[Row]]] = {
    "agent_process_bench": agent_process_bench.import_row,
    "axolotl": trl.import_row,
    "columns": columns.import_row,
    "genprm": critiques.import_genprm,
    "math_shepherd": math_shepherd.import_row,
    "omega_prm": omega_prm.import_row,
    "openr": openr.import_row,
    "openrlhf": openrlhf.import_row,
    "prm800k": prm800k.import_row,
    "prm800k_flat": prm800k_flat.import_row,
    "processbench": processbench.import_row,
    "rlhflow": rlhflow.import_row,
    "step_per_row": step_per_row.import_row,
    "thinkprm": critiques.import_thinkprm,
    "trl": trl.import_row,
    "versaprm": versaprm.import_row,
    **{name: partial(columns.import_row, columns=table) for name, table in TABLES.items()},
}
OPTIONS = {
    "agent_process_bench": {"neutral"},
    "axolotl": {"keep", "semantics"},
    "columns": {"columns"},
    "omega_prm": {"branches"},
    "prm800k": {"branches", "neutral"},
    "prm800k_flat": {"neutral"},
    "rlhflow": {"questions"},
    "trl": {"keep", "semantics"},
    "versaprm": {"branches", "neutral"},
}
"""Format -> the options of its importer."""

EXPORTERS = {
    "axolotl": trl.export_row,
    "math_shepherd": math_shepherd.export_row,
    "openrlhf": openrlhf.export_row,
    "rlhflow": rlhflow.export_row,
    "trl": trl.export_row,
}

TARGETS = (*EXPORTERS, "critiques")
"""What rows can be exported to; `critiques` are no labels of steps but what a generative verifier should say."""

UNLABELED = "a step before the last labeled one has no label"
"""Why a row has no form in other formats."""

COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "agent_process_bench": (("messages", "step_labels"),),
    "axolotl": (("prompt", "completions", "labels"),),
    "genprm": (("conversations",),),
    "math_shepherd": (("input", "label"),),
    "omega_prm": (("question", "reasoning_steps"),),
    "openr": (("question", "process", "label"),),
    "openrlhf": (("input", "value"), ("text", "value")),
    "prm800k": (("question", "label"),),
    "prm800k_flat": (("problem", "steps"), ("question", "steps"), ("question", "answer", "raw_labels")),
    "processbench": (("problem", "steps", "label", "final_answer_correct"),),
    "rlhflow": (("conversations",),),
    "step_per_row": (("question", "prefix_steps", "current_step", "rollout_success", "rollout_total"),),
    "thinkprm": (("problem", "prefix_steps", "gt_step_labels", "cot"),),
    "trl": (("prompt", "completions", "labels"),),
    "versaprm": (("question", "chain_of_thoughts"),),
    **{name: (table.needed,) for name, table in TABLES.items()},
}
"""Format -> the columns that each of its rows has; several lists if there are several forms."""


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
    ours = IMPORTERS[source] is trl.import_row
    checked = _checked(rows, source)
    for where, row in step_per_row.group(checked) if source == "step_per_row" else checked:
        try:
            traces = list(IMPORTERS[source](where, row, **options))
        except ValueError as error:
            if strict:
                raise
            traces = [_refused_row(source, error)]
        for made in traces:
            if not ours or not is_numbered(row):
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
    """The formats whose rows have these columns, or fewer: those that explain the most of them."""
    there = set(columns)
    sizes = {
        name: max((len(form) for form in forms if there.issuperset(form)), default=0) for name, forms in COLUMNS.items()
    }
    return [name for name, size in sizes.items() if size and size == max(sizes.values())]


def _checked(rows: Iterable[tuple[str, Row]], source: str) -> Iterator[tuple[str, Row]]:
    """The rows, if they have the columns of the format."""
    forms = [(set(form), form) for form in COLUMNS.get(source, ())]
    for where, row in rows:
        if forms and not any(row.keys() >= names for names, _ in forms):
            _, form = min(forms, key=lambda pair: len(pair[0] - row.keys()))
            missing = next(name for name in form if name not in row)
            others = formats_with(row)
            fix = f"--source {' or '.join(others)} has them" if others else "--source columns reads any table"
            raise ValueError(f"{where}: no column {missing!r}; the row has {', '.join(sorted(row)) or 'none'}. {fix}")
        yield where, row


def export_row(target: str, row: Row) -> Row:
    """One of our rows in another format. Steps without a label cannot be expressed there: those at the end are cut off, and
    of values, which hold for all the text up to them, they become a part of the next labeled step.

    Raises:
        ValueError: the format cannot express this row; the message is the reason and does not say where the row is.
    """
    if (row.get("status") or "ok") != "ok":
        raise ValueError(f"status {row['status']}")
    if target == "critiques":
        if not (critique := (row.get("kept") or {}).get("critique")):
            raise ValueError("it has no critique; of the formats, thinkprm and genprm have them")
        return critiques.export_row(row["prompt"], row["completions"], critique)
    labeled = row_to_labeled("row", row, row.get("semantics")).labeled
    if labeled.semantics == "outcome":
        raise ValueError("its label is the outcome of the whole trace, and the format has labels of steps")
    labeled_to = max((i for i, label in enumerate(labeled.labels, 1) if label is not None), default=0)
    steps, labels = list(labeled.trace.steps[:labeled_to]), list(labeled.labels[:labeled_to])
    if labeled.semantics == "value":
        steps = _joined(steps, labels, SEPARATORS[labeled.trace.step_rule or "paragraph"])
    stated = [label for label in labels if label is not None]
    if not stated or len(stated) < len(steps):
        raise ValueError(UNLABELED)
    return EXPORTERS[target](row["prompt"], steps, stated)


def _joined(steps: Sequence[str], labels: Sequence[bool | None], separator: str) -> list[str]:
    """The steps, each with those before it that have no label."""
    made: list[str] = []
    open_: list[str] = []
    for step, label in zip(steps, labels, strict=True):
        open_.append(step)
        if label is not None:
            made.append(separator.join(open_))
            open_ = []
    return made
