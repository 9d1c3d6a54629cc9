"""The cells of a table, and rows per step made into rows per trace (`prm.conversions.columns` reads what they mean).

    trace,step,mark                     {"trace": "t1", "step": ["47 + 38 = 75", "#### 75"], "mark": ["wrong", "wrong"]}
    t1,47 + 38 = 75,wrong        ->
    t1,#### 75,wrong

A cell is a list (JSON, Parquet), a text with a list in it (`["a", "b"]`, as a CSV file has it), or another text.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from prm.conversions.rows import Row
from prm.conversions.table_settings import Columns
from prm.storage.sources import cell_text

_STEP_NUMBER = re.compile(r"(?m)^(?=[ \t]*Step (\d+)\b)")


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
    for key, its_rows in itertools.groupby(rows, lambda pair: cell_text(cell_of(pair[0], pair[1], id_column))):
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
        if other := [where for where, row in group if cell_of(where, row, prompt) not in (first[prompt], "", None)]:
            raise ValueError(f"{other[0]}: another {prompt} than in {where}, which has the same {id_column} {key!r}")
        lists = {name: [cell_of(where, row, name) for where, row in group] for name in (step, label) if name}
        yield where, first | lists


def cell_of(where: str, row: Row, name: str | None) -> Any:
    """Raises ValueError if there is no such column; names the one that it may be."""
    if name not in row:
        near = difflib.get_close_matches(str(name), row, 1, 0.5)
        raise ValueError(
            f"{where}: no column {name!r}{f', did you mean {near[0]!r}?' if near else '.'} The columns are {', '.join(row)}"
        )
    return row[name]


def list_in(cell: Any) -> list[Any] | None:
    """The list that a cell is or holds as text, in the notation of JSON or (pandas writes it) of Python; else None."""
    if isinstance(cell, str) and cell.strip().startswith("["):
        for parse in (json.loads, ast.literal_eval):
            try:
                cell = parse(cell.strip())
                break
            except (ValueError, SyntaxError):
                continue
    return cell if isinstance(cell, list) else None


def numbered(text: str) -> list[str]:
    """A text divided at "Step 1", "Step 2" and so on at the beginnings of its lines; nothing if it has no such numbers."""
    starts = list(_STEP_NUMBER.finditer(text))
    numbers = [int(start[1]) for start in starts]
    if not starts or numbers != list(range(1, len(starts) + 1)) or text[: starts[0].start()].strip():
        return []
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return [text[start.start() : end].strip() for start, end in zip(starts, ends, strict=True)]
