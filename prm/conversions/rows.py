"""The last stage of every importer: one of our rows, checked, with a status that says why if it cannot be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prm.answers import states_answer
from prm.answers.boxes import boxes
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Problem, Semantics, Trace

Row = dict[str, Any]

RAN_ON = "text after its answer left out"
"""A note among the kept columns."""

_REST_OF_DISPLAY = re.compile(r"[^\n]*(?:\n\s*(?:\\\]|\$\$|\\end\{\w+\*?\})[ \t.]*)*")
r"""The rest of a line, and the ends of the formula or environment that it stands in."""


class Refused(ValueError):
    """A row that cannot be read. `status` is what it gets where such rows are counted (`prm.conversions.convert`)."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def labeled_row(
    source: str,
    prompt: str,
    steps: Sequence[str],
    labels: Sequence[bool | None],
    *,
    semantics: Semantics,
    method: str,
    values: Sequence[float | None] | None = None,
    counts: Sequence[tuple[int, int]] | None = None,
    gold: str = "",
    answer: str | None = None,
    correct: bool | None = None,
    finished: bool = True,
    generator: str = "unknown",
    status: str = "ok",
    kept: Mapping[str, str | None] | None = None,
) -> Row:
    """A row as described in data/README.md. Traces of one problem are numbered later (`prm.conversions.convert`).

    A trace is cut before a blank step (status `empty_step`). The statuses `no_steps` and `no_labels` mean that there is
    nothing to train on. The problem's id is `source/` and twelve hex digits of a hash of its text.
    """
    steps = [step.strip() for step in steps]
    if "" in steps:
        end = steps.index("")
        steps, labels = steps[:end], labels[:end]
        values, counts = values and values[:end], counts and counts[:end]
        status = "empty_step" if status == "ok" else status
    if status == "ok" and not any(label is not None for label in labels):
        status = "no_labels" if steps else "no_steps"
    if status != "ok":
        correct = None  # with an outcome, an ORM would be trained on it
    problem_id = f"{source}/{hashlib.sha256(prompt.encode()).hexdigest()[:12]}"
    trace = Trace(problem_id, tuple(steps), answer, correct, generator, finished, status=status, kept=kept or {})
    soft: Any = None if values is None else tuple(values)  # a step without a label may have no value either
    tried = None if counts is None else tuple(counts)
    labeled = LabeledTrace(trace, tuple(labels), soft, tried, method, semantics)
    return labeled_to_row(Problem(problem_id, prompt, gold, source), labeled)


def question(where: str, text: str) -> str:
    """The text of a problem without white space around it. Raises Refused if nothing is left."""
    if not text.strip():
        raise Refused("no_question", f"{where}: the question is empty; remove the row")
    return text.strip()


def step_texts(where: str, steps: Sequence[Any]) -> list[str]:
    """The steps, if each is a text. Raises ValueError for anything else."""
    for i, step in enumerate(steps, 1):
        if not isinstance(step, str):
            raise ValueError(f"{where}: step {i} is {step!r:.200}, not text; fix or remove the row")
    return list(steps)


def continues(before: str, text: str) -> bool:
    """Whether `text` is `before`, white space and more: "x = 12" does not continue "x = 1"."""
    return text.startswith(before) and text[len(before) : len(before) + 1].isspace()


def end_at_answer(steps: Sequence[str]) -> tuple[list[str], bool, bool]:
    """Steps up to the first one with a box, without what follows the line of the box, or up to the first one that surely
    states an answer otherwise: models run on after their answer.

    Returns:
        The steps, whether they state an answer, and whether anything was left out.
    """
    for i, step in enumerate(steps):
        found = boxes(step) if "boxed" in step else []
        if found or states_answer(step):
            line = _REST_OF_DISPLAY.match(step, found[0].end) if found else None
            end = line.end() if line else len(step)
            return [*steps[:i], step[:end]], True, i + 1 < len(steps) or bool(step[end:].strip())
    return list(steps), False, False


def fields(where: str, value: Any) -> Row:
    """The value, if it is an object (a dictionary). Raises ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {value!r:.200} must be an object with named values; fix or remove the row")
    return value


def signs(where: str, labels: Sequence[Any]) -> list[bool]:
    """`+` and `-` as labels. Raises Refused for anything else."""
    for i, label in enumerate(labels, 1):
        if label not in ("+", "-"):
            raise Refused("bad_label", f"{where}: label {i} is {label!r:.80}; it must be + or -. Fix or remove the row")
    return [label == "+" for label in labels]
