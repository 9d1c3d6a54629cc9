r"""Which column of a table holds what: the settings of `prm.conversions.columns`, and the formats that they can say.

    Columns(semantics="correctness", prompt_column="problem", steps_column="solution_steps",
            labels_column="error_labels", good=[True], bad=[False])                             # FoVer

Published formats that need nothing else are in formats.yaml, in the same words: a format of your own is such a file, given
as `--config`. Settings that contradict each other are an error that names the flags.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

import yaml

from prm.storage.sources import cell_text

NULL = "null"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of a table holds what. The names are those of the flags of data/convert_dataset.py.

    Raises:
        ValueError: something is missing or contradicts something else; the message names the flags.
    """

    prompt_column: str
    options_column: str | None = None
    """Answers to choose from, which belong to the problem."""
    semantics: Literal["value", "correctness"] | None = None
    """What labels of steps mean; None if there are only outcomes."""
    steps_column: str | None = None
    """All steps of a trace."""
    separator: str | None = None
    r"""Between the steps, where they are one text; `\n` is a line end."""
    numbered_steps: bool = False
    """Whether a text is divided at its numbers, "Step 1:", "Step 2:" and so on."""
    end_marker: str | None = None
    """What each step ends with and is no part of it, such as ки."""
    step_column: str | None = None
    """One step, in a table with a row per step; the rows of a trace follow each other and have one id."""
    labels_column: str | None = None
    """A label per step (with `step_column`: the label of the row's step)."""
    values_column: str | None = None
    """A soft label in 0..1 per step: beside the labels, or, if there are none, a step with 0 is bad."""
    outcome_column: str | None = None
    """Whether the whole trace ended right (with `step_column`: in the first row of the trace)."""
    good: Sequence[Any] = ()
    bad: Sequence[Any] = ()
    unlabeled: Sequence[Any] = ()
    """Values for a step (or an outcome) without a label, besides null."""
    first_error_column: str | None = None
    """The number of the first wrong step."""
    errors_column: str | None = None
    """A list of the numbers of all wrong steps; all others are right, also those after a wrong one."""
    first_error_base: int | None = None
    """Number of the first step in these columns: 0 or 1."""
    no_error: Sequence[Any] = ()
    """Values of the first column where no step is wrong."""
    solution_column: str | None = None
    """Whether the whole solution is right, beside the numbers of wrong steps; rows where they contradict have no labels."""
    gold_column: str | None = None
    """The gold final answer. Without labels and outcomes, the answer of each trace is checked against it."""
    id_column: str | None = None
    keep: Sequence[str] = ()
    name: str = "columns"
    """Of the table, for the ids of its problems."""
    method: str = "own labels"
    """Where the labels come from."""
    optional: Sequence[str] = ()
    """Columns that a row may lack, which is as if they were null."""

    def __post_init__(self) -> None:
        labels = self.labels_column or self.values_column
        errors_at = self.first_error_column or self.errors_column
        kinds = (labels, self.first_error_column, self.errors_column, self.outcome_column)
        words = self.labels_column or self.outcome_column or self.solution_column
        wrong = {
            "--prompt_column is missing": not self.prompt_column,
            "--semantics is missing: `correctness` = a good step is right, `value` = after a good step, the trace can still"
            " end right": not self.semantics and not self.outcome_column and not self.unmarked,
            "--semantics is about labels of steps; leave it out with --outcome_column, and with --gold_column alone": (
                self.semantics and (self.outcome_column or self.unmarked)
            ),
            "give one of --steps_column (all steps in one cell) and --step_column (a row per step)": (
                bool(self.steps_column) == bool(self.step_column)
            ),
            "--step_column needs --id_column, which shows the rows that belong to one trace": (
                self.step_column and not self.id_column
            ),
            "--separator divides the text of --steps_column; leave it out": self.step_column and self.separator,
            "--separator and --numbered_steps divide the same text; leave one out": self.separator
            and self.numbered_steps,
            "give one of --labels_column (a label per step), --values_column (a soft one), --first_error_column (a number),"
            " --errors_column (several) and --outcome_column (right or wrong, of a whole trace), or --gold_column, against"
            " which the answers are checked": sum(map(bool, kinds)) != 1 and not self.unmarked,
            "--values_column alone needs --semantics value: nobody says from which value on a step is right": (
                self.values_column and not self.labels_column and self.semantics == "correctness"
            ),
            "--labels_column and --outcome_column need --good and --bad: the values that mean good and bad": (
                words and not (self.good and self.bad)
            ),
            "--good, --bad and --unlabeled belong to --labels_column or --outcome_column; leave them out": (
                not words and (self.good or self.bad or self.unlabeled)
            ),
            "--first_error_column needs --first_error_base: 0 or 1, the number of the first step": (
                errors_at and self.first_error_base not in (0, 1)
            ),
            "--first_error_column needs --no_error: the values where no step is wrong, such as -1 or null": (
                self.first_error_column and not self.no_error
            ),
            "--first_error_base and --no_error belong to --first_error_column; leave them out": (
                not errors_at and (self.first_error_base is not None or self.no_error)
            ),
            "--solution_column belongs to --first_error_column or --errors_column; leave it out": (
                self.solution_column and not errors_at
            ),
        }
        if errors := [message for message, holds in wrong.items() if holds]:
            raise ValueError("; ".join(errors))
        given = [word_of(value) for value in (*self.good, *self.bad, *self.unlabeled)]
        if twice := sorted({word for word in given if given.count(word) > 1}):
            raise ValueError(f"{', '.join(twice)} is twice among --good, --bad and --unlabeled")

    @property
    def unmarked(self) -> bool:
        """Whether gold answers are all that is known, so that those of the traces are checked against them."""
        labels = self.labels_column or self.values_column or self.first_error_column or self.errors_column
        return bool(self.gold_column) and not labels and not self.outcome_column

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every row has."""
        named = (
            self.prompt_column,
            self.steps_column or self.step_column,
            self.labels_column or self.values_column,
            self.first_error_column,
            self.errors_column,
            self.outcome_column,
            self.gold_column if self.unmarked else None,
        )
        return tuple(name for name in named if name)


def word_of(value: Any) -> str:
    """A value as it is compared."""
    word = re.sub(r"^(-?\d+)\.0+$", r"\1", cell_text(value).casefold())
    return NULL if word in ("", "none", "nan") else word


def published_formats() -> dict[str, Columns]:
    """Those of formats.yaml, by name."""
    text = files("prm.conversions").joinpath("formats.yaml").read_text(encoding="utf-8")
    formats = {name: Columns(name=name, **settings) for name, settings in yaml.safe_load(text).items()}
    return {name: replace(table, optional=_more(table)) for name, table in formats.items()}


def _more(table: Columns) -> tuple[str, ...]:
    """The columns that copies of a published set may have left out: all but those without which there are no labels."""
    named = (table.options_column, table.values_column, table.solution_column, table.gold_column, table.id_column)
    return tuple(name for name in (*named, *table.keep) if name and name not in table.needed)
