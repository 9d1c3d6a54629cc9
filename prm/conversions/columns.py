r"""A table of your own, a row per trace or per step: the caller says which column holds what.

    question,solution,marks,topic
    "Start with 47, add 38.","47 + 38 = 75 | #### 75","wrong, wrong",two digits

    columns = Columns(
        semantics="correctness", prompt_column="question", steps_column="solution", separator="|",
        labels_column="marks", good=("right",), bad=("wrong",), keep=("topic",),
    )
    next(import_row("labels.csv:2", row, columns=columns))["labels"]    # [False, False]

Nothing is guessed: a value that is in none of the lists is an error, because a wrong guess turns all labels upside down.

Decisions:

- Values are compared as words: without case, `1`, `1.0` and the text "1" are the same, and so are `true` and "True". An
  empty cell, null and "none" are the word `null`.
- A cell is a list (JSON, Parquet), a text with a list in it (`["a", "b"]`, as a CSV file has it), or another text. That of
  the steps is split at the separator, and blank pieces are no steps; that of the labels at white space and , ; |
- Steps after the first error have no label, because nobody judged them.
- Of an outcome (the whole trace is right or wrong), every step has the label, and the trace is `correct` or not: an ORM
  learns from such rows, a PRM refuses them.
- Problems are named after the table and their text. The columns of `keep`, and that of the ids, stay with the trace as
  texts under `kept`.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prm.conversions.rows import Row, labeled_row, question
from prm.storage.sources import cell_text
from prm.types import labels_to_first_error

NULL = "null"
_LABEL_SEPARATOR = re.compile(r"[\s,;|]+")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of a table holds what. The names are those of the flags of data/convert_dataset.py.

    Raises:
        ValueError: something is missing or contradicts something else; the message names the flags.
    """

    prompt_column: str
    semantics: Literal["value", "correctness"] | None = None
    """What labels of steps mean; None if there are only outcomes."""
    steps_column: str | None = None
    """All steps of a trace."""
    separator: str | None = None
    r"""Between the steps, where they are one text; `\n` is a line end."""
    step_column: str | None = None
    """One step, in a table with a row per step; the rows of a trace follow each other and have one id."""
    labels_column: str | None = None
    """A label per step (with `step_column`: the label of the row's step)."""
    outcome_column: str | None = None
    """Whether the whole trace ended right (with `step_column`: in the first row of the trace)."""
    good: Sequence[Any] = ()
    bad: Sequence[Any] = ()
    unlabeled: Sequence[Any] = ()
    """Values for a step (or an outcome) without a label, besides null."""
    first_error_column: str | None = None
    """The number of the first wrong step."""
    first_error_base: int | None = None
    """Number of the first step in that column: 0 or 1."""
    no_error: Sequence[Any] = ()
    """Values of that column where no step is wrong."""
    gold_column: str | None = None
    id_column: str | None = None
    keep: Sequence[str] = ()
    name: str = "columns"
    """Of the table, for the ids of its problems."""

    def __post_init__(self) -> None:
        kinds = (self.labels_column, self.first_error_column, self.outcome_column)
        wrong = {
            "--prompt_column is missing": not self.prompt_column,
            "--semantics is missing: `correctness` = a good step is right, `value` = after a good step, the trace can still"
            " end right": not self.semantics and not self.outcome_column,
            "--semantics is about labels of steps; leave it out with --outcome_column": (
                self.semantics and self.outcome_column
            ),
            "give one of --steps_column (all steps in one cell) and --step_column (a row per step)": (
                bool(self.steps_column) == bool(self.step_column)
            ),
            "--step_column needs --id_column, which shows the rows that belong to one trace": (
                self.step_column and not self.id_column
            ),
            "--separator divides the text of --steps_column; leave it out": self.step_column and self.separator,
            "give one of --labels_column (a label per step), --first_error_column (a number) and --outcome_column (right or"
            " wrong, of a whole trace)": sum(map(bool, kinds)) != 1,
            "--labels_column and --outcome_column need --good and --bad: the values that mean good and bad": (
                (self.labels_column or self.outcome_column) and not (self.good and self.bad)
            ),
            "--good, --bad and --unlabeled belong to --labels_column or --outcome_column; leave them out": (
                self.first_error_column and (self.good or self.bad or self.unlabeled)
            ),
            "--first_error_column needs --first_error_base: 0 or 1, the number of the first step": (
                self.first_error_column and self.first_error_base not in (0, 1)
            ),
            "--first_error_column needs --no_error: the values where no step is wrong, such as -1 or null": (
                self.first_error_column and not self.no_error
            ),
            "--first_error_base and --no_error belong to --first_error_column; leave them out": (
                not self.first_error_column and (self.first_error_base is not None or self.no_error)
            ),
        }
        if errors := [message for message, holds in wrong.items() if holds]:
            raise ValueError("; ".join(errors))
        words = [_word(value) for value in (*self.good, *self.bad, *self.unlabeled)]
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ValueError(f"{', '.join(twice)} is twice among --good, --bad and --unlabeled")


def import_row(where: str, row: Row, columns: Columns) -> Iterator[Row]:
    prompt, steps, labels = read(where, row, columns)
    names = dict.fromkeys([*columns.keep, *([columns.id_column] if columns.id_column else [])])
    yield labeled_row(
        columns.name,
        prompt,
        steps,
        labels,
        semantics=columns.semantics or "outcome",
        method="own labels",
        gold=cell_text(_cell(where, row, columns.gold_column)) if columns.gold_column else "",
        correct=labels[0] if columns.outcome_column and labels else None,
        kept={name: cell_text(_cell(where, row, name)) or None for name in names},
    )


def group_steps(rows: Iterable[tuple[str, Row]], columns: Columns) -> Iterator[tuple[str, Row]]:
    """A row per step -> a row per trace, with lists of steps and labels; all else is taken from the first of its rows.

    Raises:
        ValueError: an id is empty, or the rows of an id do not follow each other or have different problems.
    """
    step, label, prompt, id_column = (
        columns.step_column,
        columns.labels_column,
        columns.prompt_column,
        columns.id_column,
    )
    seen = set()
    for key, its_rows in itertools.groupby(rows, lambda pair: cell_text(_cell(pair[0], pair[1], id_column))):
        group = list(its_rows)
        where, first = group[0]
        if not key:
            raise ValueError(f"{where}: column {id_column!r} is empty; every step needs the id of its trace")
        if key in seen:
            raise ValueError(
                f"{where}: rows with the {id_column} {key!r} came earlier, too, and others between; sort the table by"
                f" {id_column} and step"
            )
        seen.add(key)
        if other := [where for where, row in group if _cell(where, row, prompt) not in (first[prompt], "", None)]:
            raise ValueError(f"{other[0]}: another {prompt} than in {where}, which has the same {id_column} {key!r}")
        lists = {name: [_cell(where, row, name) for where, row in group] for name in (step, label) if name}
        yield where, first | lists


def read(where: str, row: Row, columns: Columns) -> tuple[str, list[str], tuple[bool | None, ...]]:
    """(problem, steps, a label per step) of the row of a trace."""
    prompt = question(where, cell_text(_cell(where, row, columns.prompt_column)))
    steps = _steps(where, row, columns)
    if columns.first_error_column:
        return prompt, steps, labels_to_first_error(len(steps), _first_error(where, row, columns, len(steps)))
    if columns.outcome_column:
        cell = _cell(where, row, columns.outcome_column)
        return prompt, steps, tuple(_meanings(where, columns.outcome_column, [cell], columns)) * len(steps)
    labels = _labels(where, row, columns)
    if len(labels) != len(steps):
        raise ValueError(
            f"{where}: {len(steps)} steps but {len(labels)} labels; check --separator, or fix the row."
            f" The steps are {steps!r}"
        )
    return prompt, steps, labels


def describe(where: str, row: Row, columns: Columns) -> str:
    """A row as it is read, for the eyes of its owner."""
    names = {True: "good", False: "bad", None: "no label"}
    prompt, steps, labels = read(where, row, columns)
    lines = [
        f"  step {i} {names[label]:8}  {step}" for i, (step, label) in enumerate(zip(steps, labels, strict=True), 1)
    ]
    return "\n".join([f"{where}  {prompt}", *lines])


def _steps(where: str, row: Row, columns: Columns) -> list[str]:
    name = columns.steps_column or columns.step_column
    cell = _cell(where, row, name)
    if isinstance(cell, str) and columns.separator:
        separator = columns.separator.replace("\\n", "\n").replace("\\t", "\t")
        return [piece.strip() for piece in cell.replace("\r\n", "\n").split(separator) if piece.strip()]
    steps = _list(cell)
    if steps is None:
        raise ValueError(
            f"{where}: column {name!r} is not a list of steps: {cell!r}; say with --separator what divides the text"
        )
    for i, step in enumerate(steps, 1):
        if not isinstance(step, str):
            raise ValueError(f"{where}: step {i} of column {name!r} is {step!r}, not text; fix or remove the row")
    return steps


def _labels(where: str, row: Row, columns: Columns) -> tuple[bool | None, ...]:
    cell = _cell(where, row, columns.labels_column)
    values = _list(cell)
    if values is None:
        values = [piece for piece in _LABEL_SEPARATOR.split(cell_text(cell)) if piece]
    return tuple(_meanings(where, columns.labels_column, values, columns))


def _meanings(where: str, name: str | None, values: Sequence[Any], columns: Columns) -> list[bool | None]:
    """What the values of column `name` mean."""
    meanings: dict[str, bool | None] = {NULL: None}
    for meaning, its_values in ((None, columns.unlabeled), (True, columns.good), (False, columns.bad)):
        meanings |= {_word(value): meaning for value in its_values}
    words = [_word(value) for value in values]
    for i, (word, value) in enumerate(zip(words, values, strict=True), 1):
        if word not in meanings:
            number = f"label {i} of " if columns.labels_column else ""
            divided = "; white space and , ; | divide the labels of a text" if number and isinstance(value, str) else ""
            raise ValueError(
                f"{where}: {number}column {name!r} is {value!r}, which is neither in --good {_listed(columns.good)} nor in"
                f" --bad {_listed(columns.bad)} nor in --unlabeled {_listed((*columns.unlabeled, NULL))}{divided}"
            )
    return [meanings[word] for word in words]


def _first_error(where: str, row: Row, columns: Columns, steps: int) -> int:
    """Index of the first wrong step, -1 if there is none."""
    cell, base = _cell(where, row, columns.first_error_column), columns.first_error_base or 0
    word = _word(cell)
    if word in map(_word, columns.no_error):
        return -1
    if not word.isdecimal() or len(word) > 9 or not base <= int(word) < steps + base:
        raise ValueError(
            f"{where}: column {columns.first_error_column!r} is {cell!r}, which is neither a number from {base} to"
            f" {steps + base - 1} (the row has {steps} steps) nor in --no_error {_listed(columns.no_error)}"
        )
    return int(word) - base


def _cell(where: str, row: Row, name: str | None) -> Any:
    if name not in row:
        near = difflib.get_close_matches(str(name), row, 1, 0.5)
        raise ValueError(
            f"{where}: no column {name!r}{f', did you mean {near[0]!r}?' if near else '.'} The columns are {', '.join(row)}"
        )
    return row[name]


def _list(cell: Any) -> list[Any] | None:
    """The list that a cell is or holds as text, in the notation of JSON or (pandas writes it) of Python; else None."""
    if isinstance(cell, str) and cell.strip().startswith("["):
        for parse in (json.loads, ast.literal_eval):
            try:
                cell = parse(cell.strip())
                break
            except (ValueError, SyntaxError):
                continue
    return cell if isinstance(cell, list) else None


def _word(value: Any) -> str:
    """A value as it is compared."""
    word = re.sub(r"^(-?\d+)\.0+$", r"\1", cell_text(value).casefold())
    return NULL if word in ("", "none", "nan") else word


def _listed(values: Sequence[Any]) -> str:
    return " ".join(map(_word, values))
