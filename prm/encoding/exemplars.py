r"""Exemplars: solved problems from a JSON Lines file, for few-shot prompts.

    {"id": "rolls", "prompt": "A baker makes 4 trays ...", "solution": "The baker makes 4 * 12 = 48 rolls.\n...\n#### 18"}
    {"question": "Natalia sold clips ...", "answer": "... 48/2 = <<48/2=24>>24 clips in May.\n...\n#### 72"}

A row has its problem in `prompt`, `problem` or `question`, and the solution as the model should write it in `solution` or
`answer`. GSM8K's own file can be taken as it is: its calculator marks are left out.

Exemplars that are drawn depend on the file, `shots` and `seed` alone, never on the problems that are to be solved: one
prompt for all of them, whatever their number. That none of them is among these problems is checked before anything is
sampled (`prm.datasets.decontamination.check_exemplars`).

Left out: exemplars that are chosen anew for each problem by likeness; every prompt of a run has the same ones.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from prm.files import read_text

Exemplar = tuple[str, str]
"""A problem, and its solution as the model should write it."""

PROBLEM_COLUMNS = ("prompt", "problem", "question")
SOLUTION_COLUMNS = ("solution", "answer")

_CALCULATOR = re.compile(r"<<.*?>>")


def choose(
    path: Path, shots: int | None = None, seed: int | None = None, ids: Sequence[str | int] | None = None
) -> tuple[Exemplar, ...]:
    """The exemplars of a prompt, in the order in which they were drawn or named.

    Args:
        shots: number of exemplars drawn at random.
        seed: of the draw; 0 if None.
        ids: chosen by hand instead: values of the column `id`, or numbers of lines, from 1, in a file without that column.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a broken row, not exactly one of `shots` and `ids`, fewer rows than `shots`, an id that is not there, or
            a value of another type; names file and value.
    """
    if (shots is None) == (ids is None):
        raise ValueError("exemplars need either shots, how many are drawn at random, or ids, which of them are taken")
    if not isinstance(seed, int | None) or (seed is not None and ids is not None):
        raise ValueError(f"seed is {seed!r}; it is a whole number, for shots that are drawn at random")
    rows = _read(path)
    if ids is not None:
        if not isinstance(ids, list | tuple):
            raise ValueError(f"ids is {ids!r:.80}; it must be a list, such as [{next(iter(rows))}]")
        missing = [repr(name) for name in ids if str(name) not in rows]
        if missing or not ids:
            named = ", ".join(list(rows)[:5])
            raise ValueError(f"{path} has no exemplar {', '.join(missing) or 'without an id'}; it has {named}, ...")
        return tuple(rows[str(name)] for name in ids)
    if type(shots) is not int or not 1 <= shots <= len(rows):
        raise ValueError(f"shots is {shots!r}; {path} has {len(rows)} exemplars, so it must be from 1 to {len(rows)}")
    return tuple(random.Random(seed or 0).sample(list(rows.values()), shots))


def _read(path: Path) -> dict[str, Exemplar]:
    """The exemplars of a file by id, or by number of line."""
    found: dict[str, Exemplar] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: no JSON ({error}): {line[:80]!r}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{where}: {line[:80]!r} is no row; a row is an object with a problem and its solution")
        name = str(row.get("id", number))
        if name in found:
            raise ValueError(f"{where}: an earlier row has the id {name!r}, too; make ids unique")
        found[name] = _column(where, row, PROBLEM_COLUMNS), _column(where, row, SOLUTION_COLUMNS)
    if not found:
        raise ValueError(f"{path} holds no row; check that it is the right file")
    return found


def _column(where: str, row: dict[str, object], names: Sequence[str]) -> str:
    text = next((row[name] for name in names if name in row), None)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: no text in a column {' or '.join(names)}; the row has {', '.join(row) or 'none'}")
    return _CALCULATOR.sub("", text).strip()
