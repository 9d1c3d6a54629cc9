"""ProcessBench (Zheng et al. 2412.06559), `Qwen/ProcessBench`: the index of the first wrong step, given by humans.

    {"id": "gsm8k-0", "generator": "Qwen2-7B-Instruct", "problem": "Sue lives in a fun neighborhood ...",
     "steps": ["To find out ...", "On Saturday ...", "..."], "final_answer_correct": false, "label": 1}

Labels mean correctness: steps before `label` are right, that step is wrong, and those after it have no label, because
nobody judged them. -1 means that every step is right. This is a benchmark: do not train on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from prm.conversions.rows import Row, labeled_row, question
from prm.storage.rows import need
from prm.types import labels_to_first_error


def import_row(where: str, row: Row) -> Iterator[Row]:
    steps, first = need(where, row, "steps", list), need(where, row, "label", int)
    for i, step in enumerate(steps, 1):
        if not isinstance(step, str):
            raise ValueError(f"{where}: step {i} is {step!r}, not text; fix or remove the row")
    if isinstance(first, bool) or not -1 <= first < len(steps):
        raise ValueError(
            f"{where}: label {first} is neither an index of {len(steps)} steps nor -1; fix or remove the row"
        )
    yield labeled_row(
        "processbench",
        question(where, need(where, row, "problem", str)),
        steps,
        labels_to_first_error(len(steps), first),
        semantics="correctness",
        method="human",
        correct=need(where, row, "final_answer_correct", bool),
        generator=row.get("generator") or "unknown",
    )
