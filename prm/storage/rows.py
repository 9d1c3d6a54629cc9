r"""Rows on disk <-> types. A labeled trace is a row of TRL's stepwise format with more columns; this is the only module
that uses TRL's word `completions` (the steps of one trace).

    {"prompt": "Start with 47, add 38.", "completions": ["47 + 38 = 75", "#### 75"], "labels": [false, false],
     "values": [0.0, 0.0], "counts": [[0, 8], [0, 1]], "id": "arithmetic/train/7#3", "problem_id": "arithmetic/train/7",
     "gold": "85", "answer": "75", "correct": false, "finished": true, "num_tokens": 9, "seed": 91, "index": 3,
     "generator": "generator-1f2e3d4c", "step_rule": "line", "status": "ok", "method": "monte_carlo@8", "semantics": "value",
     "labeler": "generator-1f2e3d4c", "kept": {"topic": "addition"}}

What nobody knows of a trace from elsewhere (`num_tokens`, `seed`, `gold`, ...) is null. `kept` holds the columns of the
source that nothing here reads, as texts or null, and is there only if there are any.

Rows from elsewhere need only `prompt`, `completions` and `labels`; what their labels mean is then given on the command
line. Of their other columns only those of labels and outcomes (`STEPWISE`) are read: an `index`, a `level` or a `status` of
another project means something else than ours. `null` in `labels` marks a step without a label. Other placeholders such as
-100 are refused, because Hugging Face `datasets` silently turns a -100 in a list of booleans into `True`.

A row whose `status` is not `ok` is kept and counted; the status says why the trace cannot be used.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from prm.storage.sources import read_file, read_rows
from prm.types import LabeledTrace, Problem, Semantics, StepRule, Trace


@dataclass(frozen=True)
class TraceRow:
    """A trace with the problem it belongs to, as read from a file."""

    problem: Problem
    trace: Trace
    where: str = ""
    """`file:line`, for error messages."""


@dataclass(frozen=True)
class LabeledRow:
    """A labeled trace with the problem it belongs to, as read from a file."""

    problem: Problem
    labeled: LabeledTrace
    where: str = ""


def trace_to_row(problem: Problem, trace: Trace) -> dict[str, Any]:
    kept = {**problem.kept, **trace.kept}
    row = {
        "prompt": problem.prompt,
        "completions": list(trace.steps),
        "id": trace.id,
        "problem_id": problem.id,
        "gold": problem.answer or None,
        "level": problem.level,
        "answer": trace.answer,
        "correct": trace.correct,
        "finished": trace.finished,
        "num_tokens": trace.num_tokens,
        "seed": trace.seed,
        "index": trace.index,
        "generator": trace.generator,
        "step_rule": trace.step_rule,
        "status": trace.status,
    }
    return row | {"kept": kept} if kept else row


def labeled_to_row(problem: Problem, labeled: LabeledTrace) -> dict[str, Any]:
    return trace_to_row(problem, labeled.trace) | {
        "labels": list(labeled.labels),
        "values": None if labeled.values is None else list(labeled.values),
        "counts": None if labeled.counts is None else [list(count) for count in labeled.counts],
        "method": labeled.method,
        "semantics": labeled.semantics,
        "labeler": labeled.labeler,
    }


def row_to_trace(where: str, row: dict[str, Any]) -> TraceRow:
    """
    Raises:
        ValueError: a column is missing or has the wrong form; names `where`, the column and its value.
    """
    convert = "data/convert_dataset.py makes such rows of a table, or of a set of another project"
    prompt = need(where, row, "prompt", str, convert)
    steps = tuple(need(where, row, "completions", list, convert))
    _check_columns(where, row)
    problem_id = row.get("problem_id") or "prompt/" + hashlib.sha256(prompt.encode()).hexdigest()[:12]
    problem = Problem(problem_id, prompt, row.get("gold") or "", problem_id.split("/")[0], row.get("level"))
    try:
        trace = Trace(
            problem_id=problem_id,
            steps=steps,
            answer=row.get("answer"),
            correct=row.get("correct"),
            generator=row.get("generator") or "unknown",
            step_rule=row.get("step_rule"),
            finished=row.get("finished") is not False,
            num_tokens=row.get("num_tokens"),
            seed=row.get("seed"),
            index=row.get("index") or 0,
            status=row.get("status") or ("ok" if steps else "no_steps"),
            kept=kept_columns(where, row),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if trace.status == "ok" and not steps:
        raise ValueError(f"{where}: `completions` is empty; a trace needs at least one step")
    return TraceRow(problem, trace, where)


STEPWISE = ("prompt", "completions", "labels", "values", "counts", "correct", "kept")
"""Columns of labeled rows that mean the same in rows of other projects."""


def is_ours(row: Mapping[str, Any]) -> bool:
    """Whether a row says that it is one of ours, so that all of its columns mean what they mean here: labeled rows say what
    their labels mean, and those without labels belong to a problem."""
    return "semantics" in row or ("labels" not in row and isinstance(row.get("problem_id"), str))


def status_of(row: Mapping[str, Any]) -> str:
    """`ok`, or why the row is not used; rows of other projects are all `ok`."""
    return row.get("status") or "ok" if is_ours(row) else "ok"


def row_to_labeled(where: str, row: dict[str, Any], semantics: Semantics | None = None) -> LabeledRow:
    """
    Args:
        semantics: what the labels mean, for rows that do not say it.

    Raises:
        ValueError: as `row_to_trace`; labels and steps differ in number; a label is not true, false or null; the row
            does not say what its labels mean, or contradicts `semantics`.
    """
    if not is_ours(row):
        row = {name: row[name] for name in STEPWISE if name in row}
    base = row_to_trace(where, row)
    labels = need(
        where, row, "labels", list, "data/label_steps.py labels traces, data/convert_dataset.py reads your labels"
    )
    for i, label in enumerate(labels, 1):
        if label is not None and not isinstance(label, bool):
            raise ValueError(
                f"{where}: label {i} is {label!r}; a label is true, false, or null for a step without one."
                " Soft labels belong in `values`"
            )
    stated = row.get("semantics") or semantics
    if stated is None:
        raise ValueError(
            f"{where}: the row does not say what its labels mean; add --semantics value (chance to end right) or"
            " --semantics correctness (this step is right)"
        )
    if semantics is not None and stated != semantics:
        raise ValueError(f"{where}: the row's labels are {stated!r}, but {semantics!r} was asked for")
    values, counts = row.get("values"), row.get("counts")
    for i, count in enumerate(counts or (), 1):
        pair = count if isinstance(count, list) and len(count) == 2 else [None]
        if not all(type(n) is int and n >= 0 for n in pair):
            raise ValueError(
                f"{where}: count {i} is {count!r:.80}; it is a pair of whole numbers, right and all rollouts"
            )
    try:
        labeled = LabeledTrace(
            trace=base.trace,
            labels=tuple(labels),
            values=None if values is None else tuple(values),
            counts=None if counts is None else tuple((c[0], c[1]) for c in counts),
            method=row.get("method") or "unknown",
            semantics=stated,
            labeler=row.get("labeler"),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    for i, value in enumerate(labeled.values or (), 1):
        if value is not None and not (type(value) in (int, float) and 0 <= value <= 1):
            raise ValueError(f"{where}: value {i} is {value!r:.80}; a soft label lies in 0..1")
    return LabeledRow(base.problem, labeled, where)


def read_traces(path: str | Path) -> list[TraceRow]:
    """All rows of a traces file, whatever their status."""
    return [row_to_trace(where, row) for where, row in read_file(path)]


def read_labeled(source: str | Path, semantics: Semantics | None = None, split: str = "train") -> list[LabeledRow]:
    """The rows of a file, or of a split on the hub, that have labels (status `ok`). `read_statuses` counts the others."""
    rows = read_rows(str(source), split)
    return [row_to_labeled(where, row, semantics) for where, row in rows if status_of(row) == "ok"]


def read_outcomes(source: str | Path, split: str = "train") -> list[LabeledRow]:
    """The rows of traces whose outcome is known; every step is labeled with the outcome of the whole trace.

    In rows of other projects without `correct`, it is the label of the last step (TRL's `train_on_last_step_only`).

    Raises:
        ValueError: as `row_to_trace`; or there are labels of steps and no outcomes.
    """
    rows, meanings = [], set()
    for where, row in read_rows(str(source), split):
        meanings.add(row.get("semantics"))
        if is_ours(row) or "labels" not in row:
            base = row_to_trace(where, row)
            problem, trace, last = base.problem, base.trace, None
        else:
            read = row_to_labeled(where, row, "outcome")
            problem, trace, last = read.problem, read.labeled.trace, read.labeled.labels[-1]
        correct = last if trace.correct is None else trace.correct
        if correct is not None and trace.steps:
            outcomes = (correct,) * len(trace.steps)
            rows.append(LabeledRow(problem, LabeledTrace(trace, outcomes, None, None, "outcome", "outcome"), where))
    if not rows and meanings & {"value", "correctness"}:
        raise ValueError(
            f"{source}: its labels are about steps ({', '.join(sorted(map(str, meanings)))}), from which a PRM learns; no"
            " trace says whether it ended right (`correct`), from which an ORM learns. With --outcome_column,"
            " data/convert_dataset.py reads that from a table"
        )
    return rows


def read_statuses(source: str | Path, split: str = "train") -> dict[str, int]:
    """Number of rows by status."""
    return dict(Counter(status_of(row) for _, row in read_rows(str(source), split)))


def group_by_problem(rows: Sequence[TraceRow]) -> Iterator[tuple[Problem, list[Trace]]]:
    """Problems in order of first appearance, each with its traces. A kept column in which these are equal is the problem's,
    so that traces which a labeler adds to the problem have it, too."""
    groups: dict[str, tuple[Problem, list[Trace]]] = {}
    for row in rows:
        groups.setdefault(row.problem.id, (row.problem, []))[1].append(row.trace)
    for problem, traces in groups.values():
        shared = set.intersection(*(set(trace.kept.items()) for trace in traces))
        kept = {name: text for name, text in traces[0].kept.items() if (name, text) in shared}
        yield replace(problem, kept=kept), traces


def kept_columns(where: str, row: Mapping[str, Any]) -> dict[str, str | None]:
    """The column `kept` of a row; empty if there is none.

    Raises:
        ValueError: it is not an object of texts and nulls.
    """
    kept = row.get("kept") or {}
    if not isinstance(kept, dict) or not all(value is None or isinstance(value, str) for value in kept.values()):
        raise ValueError(f"{where}: `kept` is {kept!r}; it must be an object whose values are texts or null")
    return kept


_TEXT, _NUMBER = (str,), (int,)
_COLUMNS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "problem_id", "gold", "answer", "generator", "status", "labeler", "method"), _TEXT),
    **dict.fromkeys(("semantics", "step_rule"), _TEXT),
    **dict.fromkeys(("level", "num_tokens", "seed", "index"), _NUMBER),
    **dict.fromkeys(("correct", "finished"), (bool,)),
    **dict.fromkeys(("values", "counts"), (list,)),
}
"""Columns that a row may lack or have as null -> types of their values."""
_NAMES = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}


def _check_columns(where: str, row: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: a column has a value of another type, or one of its texts or numbers cannot be used; names it.
    """
    for i, step in enumerate(row["completions"], 1):
        if not isinstance(step, str):
            raise ValueError(f"{where}: step {i} of `completions` is {step!r:.80}; it must be text")
    for name, kinds in _COLUMNS.items():
        value = row.get(name)
        if value is not None and type(value) not in kinds:
            raise ValueError(f"{where}: {name!r} is {value!r:.80}; it must be {_NAMES[kinds[0]]}, or null")
    if row.get("step_rule") not in (None, *get_args(StepRule)):
        raise ValueError(
            f"{where}: `step_rule` is {row['step_rule']!r:.80}; it is one of {', '.join(get_args(StepRule))}"
        )
    for name in ("level", "num_tokens", "seed", "index"):
        if not -(2**63) <= (row.get(name) or 0) < 2**63:
            raise ValueError(f"{where}: {name!r} is {row[name]!r:.80}; it must fit into 64 bits")


def need(where: str, row: Mapping[str, Any], name: str, kind: type, fix: str = "") -> Any:
    """The column `name` of a row.

    Args:
        fix: how a row gets this column.

    Raises:
        ValueError: it is missing or has another type; names `where` and the value.
    """
    if name not in row:
        raise ValueError(f"{where}: no column {name!r}; the row has {', '.join(sorted(row))}{fix and '. ' + fix}")
    if not isinstance(row[name], kind):
        raise ValueError(f"{where}: {name!r} must be a {kind.__name__}, it is {row[name]!r:.200}")
    return row[name]
