"""Which split a problem belongs to: a hash of its text decides, so that no split can leak into another.

A problem is in the same split in every run and every file, whatever the order of the rows.

>>> split_of("Start with 47, add 38.")
'train'
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from prm.storage.rows import LabeledRow

SPLITS = {"test": range(0, 10), "validation": range(10, 20), "train": range(20, 100)}
"""Split name -> the hundredths of the hash range that belong to it."""


def split_of(text: str) -> str:
    """The split of a problem with this text; white space does not count."""
    digest = hashlib.sha256(" ".join(text.split()).encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def hold_out(rows: Sequence[LabeledRow]) -> tuple[list[LabeledRow], list[LabeledRow]]:
    """(rows to train on, rows to validate on): nine tenths of the problems and the rest, chosen by a hash of the problem.

    Rows of one problem may have different prompts, where these show earlier attempts at it: the shortest one counts.
    """
    shortest: dict[str, str] = {}
    for row in rows:
        prompts = row.problem.prompt, shortest.get(row.problem.id, row.problem.prompt)
        shortest[row.problem.id] = min(prompts, key=lambda prompt: (len(prompt), prompt))
    by_part: dict[bool, list[LabeledRow]] = {True: [], False: []}
    for row in rows:
        by_part[split_of("hold out " + shortest[row.problem.id]) == "validation"].append(row)
    if not by_part[True] or not by_part[False]:
        raise ValueError(f"{len(rows)} rows are too few to hold out a tenth of their problems; give --eval_data")
    return by_part[False], by_part[True]
