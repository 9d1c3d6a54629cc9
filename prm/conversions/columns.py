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
- Steps after the first error have no label, because nobody judged them. Where all errors are named (`errors_column`), the
  other steps are right. If a number is that of no step, the row has the status `error_after_end`.
- A blank step in a list cuts the trace (`empty_step`), because numbers after it may count it or not. If no error comes after
  it, it is left out instead.
- Where the solution is said to be wrong and no step is, or the other way round, the row has the status `contradiction`.
- Where there are gold answers and nothing else, the answer that a trace states is checked (`prm.answers`), and its outcome
  is known; `no_answer`, `timeout` and `error` are statuses.
- Of an outcome (the whole trace is right or wrong), every step has the label, and the trace is `correct` or not: an ORM
  learns from such rows, a PRM refuses them.
- Problems are named after the table and their text. The columns of `keep`, and that of the ids, stay with the trace as
  texts under `kept`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from prm.answers import check, extract
from prm.conversions.cells import cell_of, list_in, numbered
from prm.conversions.rows import Refused, Row, labeled_row, question
from prm.conversions.table_settings import NULL, Columns, word_of
from prm.storage.sources import cell_text
from prm.types import labels_to_first_error

_LABEL_SEPARATOR = re.compile(r"[\s,;|]+")


class Reading(NamedTuple):
    """The row of a trace, as it is read."""

    prompt: str
    steps: list[str]
    labels: tuple[bool | None, ...]
    values: tuple[float | None, ...] | None = None
    status: str = "ok"
    answer: str | None = None
    """As found in the steps, where it was looked for."""


def import_row(where: str, row: Row, columns: Columns) -> Iterator[Row]:
    if columns.optional:
        row = dict.fromkeys(columns.optional) | row
    reading = read(where, row, columns)
    names = dict.fromkeys([*columns.keep, *([columns.id_column] if columns.id_column else [])])
    labels = reading.labels
    yield labeled_row(
        columns.name,
        reading.prompt,
        reading.steps,
        labels,
        values=reading.values,
        semantics=columns.semantics or "outcome",
        method="answer check" if columns.unmarked else columns.method,
        gold=cell_text(cell_of(where, row, columns.gold_column)) if columns.gold_column else "",
        answer=reading.answer,
        correct=labels[0] if (columns.outcome_column or columns.unmarked) and labels else None,
        status=reading.status,
        kept={name: cell_text(cell_of(where, row, name)) or None for name in names},
    )


def read(where: str, row: Row, columns: Columns) -> Reading:
    """The problem, its steps and their labels, of the row of a trace."""
    prompt = question(where, cell_text(cell_of(where, row, columns.prompt_column)))
    if columns.options_column:
        options = cell_of(where, row, columns.options_column)
        prompt = "\n".join(filter(None, [prompt, *map(cell_text, options if isinstance(options, list) else [options])]))
    cell = cell_of(where, row, columns.steps_column or columns.step_column)
    if columns.numbered_steps and isinstance(cell, str) and list_in(cell) is None and not numbered(cell):
        return Reading(prompt, [cell], (None,), status="unsplit_steps")
    steps = _steps(where, row, columns)
    if columns.first_error_column or columns.errors_column:
        return _judged(where, row, columns, prompt, steps)
    if columns.outcome_column:
        cell = cell_of(where, row, columns.outcome_column)
        return Reading(prompt, steps, tuple(_meanings(where, columns.outcome_column, [cell], columns)) * len(steps))
    if columns.unmarked:
        return _checked(where, row, columns, prompt, steps)
    values = _values(where, row, columns) if columns.values_column else None
    if columns.labels_column:
        labels = _labels(where, row, columns)
    else:
        labels = tuple(None if value is None else value > 0 for value in values or ())
    for name, column in (("labels", labels), ("values", values)):
        if column is not None and len(column) != len(steps):
            raise Refused(
                "bad_label",
                f"{where}: {len(steps)} steps but {len(column)} {name}; check --separator, or fix the row."
                f" The steps are {steps!r:.300}",
            )
    return Reading(prompt, steps, labels, values)


def describe(where: str, row: Row, columns: Columns) -> str:
    """A row as it is read, for the eyes of its owner."""
    names = {True: "good", False: "bad", None: "no label"}
    prompt, steps, labels, _, status, _ = read(where, row, columns)
    lines = [
        f"  step {i} {names[label]:8}  {step}" for i, (step, label) in enumerate(zip(steps, labels, strict=True), 1)
    ]
    return "\n".join([f"{where}  {prompt}{'' if status == 'ok' else f'  ({status})'}", *lines])


def _checked(where: str, row: Row, columns: Columns, prompt: str, steps: list[str]) -> Reading:
    """The outcome, by the answer that the steps state. What could not be decided has no label but a status."""
    gold = cell_text(cell_of(where, row, columns.gold_column))
    if not gold.strip():
        raise Refused("no_gold", f"{where}: column {columns.gold_column!r} is empty; a trace is checked against it")
    answer = extract("\n".join(steps)).answer
    outcome = check(gold=gold, pred=answer)
    if outcome in ("correct", "wrong"):
        return Reading(prompt, steps, (outcome == "correct",) * len(steps), answer=answer)
    return Reading(prompt, steps, (None,) * len(steps), status=outcome if steps else "no_steps", answer=answer)


def _judged(where: str, row: Row, columns: Columns, prompt: str, steps: list[str]) -> Reading:
    """Labels by the numbers of wrong steps."""
    wrong = _wrong_steps(where, row, columns, len(steps))
    blank = next((i for i, step in enumerate(steps) if not step.strip()), len(steps))
    if max(wrong, default=-1) < blank:  # nobody can say whether a number after a blank step counts it
        steps = [step for step in steps if step.strip()]
    if columns.errors_column:
        labels: tuple[bool | None, ...] = tuple(i not in wrong for i in range(len(steps)))
    else:
        labels = labels_to_first_error(len(steps), min(wrong, default=-1))
    if columns.solution_column:
        cell = cell_of(where, row, columns.solution_column)
        (right,) = _meanings(where, columns.solution_column, [cell], columns)
        if right is not None and right == bool(wrong):
            return Reading(prompt, steps, (None,) * len(steps), status="contradiction")
    return Reading(prompt, steps, labels, status="error_after_end" if max(wrong, default=-1) >= len(steps) else "ok")


def _steps(where: str, row: Row, columns: Columns) -> list[str]:
    name = columns.steps_column or columns.step_column
    cell = cell_of(where, row, name)
    if isinstance(cell, str) and columns.separator:
        separator = columns.separator.replace("\\n", "\n").replace("\\t", "\t")
        return [piece.strip() for piece in cell.replace("\r\n", "\n").split(separator) if piece.strip()]
    steps = list_in(cell)
    if steps is None and columns.numbered_steps and isinstance(cell, str):
        steps = numbered(cell)
    if steps is None:
        raise ValueError(
            f"{where}: column {name!r} is not a list of steps: {cell!r:.200}; say with --separator what divides the text"
        )
    texts = []
    for i, step in enumerate(steps, 1):
        text = step[0] if isinstance(step, list) and len(step) == 1 else step
        if not isinstance(text, str):
            raise ValueError(f"{where}: step {i} of column {name!r} is {step!r:.200}, not text; fix or remove the row")
        texts.append(text.rstrip().removesuffix(columns.end_marker) if columns.end_marker else text)
    return texts


def _labels(where: str, row: Row, columns: Columns) -> tuple[bool | None, ...]:
    cell = cell_of(where, row, columns.labels_column)
    values = list_in(cell)
    if values is None:
        values = [piece for piece in _LABEL_SEPARATOR.split(cell_text(cell)) if piece]
    return tuple(_meanings(where, columns.labels_column, values, columns))


def _meanings(where: str, name: str | None, values: Sequence[Any], columns: Columns) -> list[bool | None]:
    """What the values of column `name` mean."""
    meanings: dict[str, bool | None] = {NULL: None}
    for meaning, its_values in ((None, columns.unlabeled), (True, columns.good), (False, columns.bad)):
        meanings |= {word_of(value): meaning for value in its_values}
    words = [word_of(value) for value in values]
    for i, (word, value) in enumerate(zip(words, values, strict=True), 1):
        if word not in meanings:
            number = f"label {i} of " if columns.labels_column else ""
            divided = "; white space and , ; | divide the labels of a text" if number and isinstance(value, str) else ""
            raise Refused(
                "bad_label",
                f"{where}: {number}column {name!r} is {value!r}, which is neither in --good {_listed(columns.good)} nor in"
                f" --bad {_listed(columns.bad)} nor in --unlabeled {_listed((*columns.unlabeled, NULL))}{divided}",
            )
    return [meanings[word] for word in words]


def _values(where: str, row: Row, columns: Columns) -> tuple[float | None, ...] | None:
    cell = cell_of(where, row, columns.values_column)
    if columns.labels_column and word_of(cell) == NULL:
        return None
    values = list_in(cell)
    values = cell_text(cell).replace(",", " ").split() if values is None else values
    return tuple(_value(where, columns, i, value) for i, value in enumerate(values, 1))


def _value(where: str, columns: Columns, number: int, cell: Any) -> float | None:
    if word_of(cell) == NULL:
        return None
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = -1.0
    if isinstance(cell, bool) or not 0 <= value <= 1:
        raise Refused(
            "bad_label",
            f"{where}: value {number} of column {columns.values_column!r} is {cell!r:.80}; a soft label lies in 0..1",
        )
    return value


def _wrong_steps(where: str, row: Row, columns: Columns, steps: int) -> set[int]:
    """Indices of the steps that are said to be wrong. Those of `errors_column` may lie after the last step."""
    base = columns.first_error_base or 0
    if columns.errors_column:
        cell = cell_of(where, row, columns.errors_column)
        numbers = [] if word_of(cell) == NULL else list_in(cell)
        words = list(map(word_of, [cell] if numbers is None else numbers))
        if numbers is None or not all(word.isdecimal() and base <= int(word) for word in words):
            raise Refused(
                "bad_label",
                f"{where}: column {columns.errors_column!r} is {cell!r:.80}, not a list of numbers of steps from {base} on",
            )
        return {int(word) - base for word in words}
    cell = cell_of(where, row, columns.first_error_column)
    word = word_of(cell)
    if word in map(word_of, columns.no_error):
        return set()
    if not word.isdecimal() or len(word) > 9 or not base <= int(word) < steps + base:
        raise Refused(
            "bad_label",
            f"{where}: column {columns.first_error_column!r} is {cell!r}, which is neither a number from {base} to"
            f" {steps + base - 1} (the row has {steps} steps) nor in --no_error {_listed(columns.no_error)}",
        )
    return {int(word) - base}


def _listed(values: Sequence[Any]) -> str:
    return " ".join(map(word_of, values))
