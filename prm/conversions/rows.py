"""What every importer ends in: one row of ours, checked, or the same row with a status that says why it cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Problem, Semantics, Trace

Row = dict[str, Any]


def labeled_row(
    source: str,
    prompt: str,
    steps: Sequence[str],
    labels: Sequence[bool | None],
    *,
    semantics: Semantics,
    method: str,
    values: Sequence[float | None] | None = None,
    gold: str = "",
    answer: str | None = None,
    correct: bool | None = None,
    finished: bool = True,
    generator: str = "unknown",
    status: str = "ok",
) -> Row:
    """A row of data/README.md. Traces of one problem are numbered later (`prm.conversions.convert`).

    A trace is cut before a blank step (status `empty_step`). `no_steps` and `no_labels` say that nothing is left to train
    on. The problem's id is `source/` and twelve hex digits of its text.
    """
    steps = [step.strip() for step in steps]
    if "" in steps:
        end = steps.index("")
        steps, labels, values = steps[:end], labels[:end], None if values is None else values[:end]
        status = "empty_step" if status == "ok" else status
    if status == "ok" and not any(label is not None for label in labels):
        status = "no_labels" if steps else "no_steps"
    if status != "ok":
        correct = None  # else an ORM would be trained on it
    problem_id = f"{source}/{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
    trace = Trace(problem_id, tuple(steps), answer, correct, generator, finished, status=status)
    soft: Any = None if values is None else tuple(values)  # a step without a label may have no value either
    labeled = LabeledTrace(trace, tuple(labels), soft, None, method, semantics)
    return labeled_to_row(Problem(problem_id, prompt, gold, source), labeled)


def question(where: str, text: str) -> str:
    """The text of a problem without white space around it. Raises ValueError where nothing is left."""
    if not text.strip():
        raise ValueError(f"{where}: the question is empty; remove the row")
    return text.strip()


def continues(before: str, text: str) -> bool:
    """Whether `text` is `before` and more, with white space between ("x = 1" does not lead to "x = 12")."""
    return text.startswith(before) and text[len(before) : len(before) + 1].isspace()


def fields(where: str, value: Any) -> Row:
    """An object inside a row. Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {value!r} must be an object with named values; fix or remove the row")
    return value


def signs(where: str, labels: Sequence[Any]) -> list[bool]:
    """`+` and `-` as labels. Raises ValueError for anything else."""
    for i, label in enumerate(labels):
        if label not in ("+", "-"):
            raise ValueError(f"{where}: label {i} is {label!r}; it must be + or -. Fix or remove the row")
    return [label == "+" for label in labels]
