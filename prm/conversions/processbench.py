"""ProcessBench (Zheng et al. 2412.06559), `Qwen/ProcessBench`: the index of the first wrong step, given by humans.

    {"id": "gsm8k-0", "generator": "Qwen2-7B-Instruct", "problem": "Sue lives in a fun neighborhood ...",
     "steps": ["To find out ...", "On Saturday ...", "..."], "final_answer_correct": false, "label": 1}

Labels mean correctness: steps before `label` are right, that step is wrong, and those after it have no label, because
nobody judged them. -1 means that every step is right. The row's `id` is kept, since problem and generator are not unique.
This is a benchmark: do not train on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from prm.conversions.rows import Refused, Row, labeled_row, question, step_texts
from prm.storage.rows import need
from prm.storage.sources import cell_text
from prm.types import labels_to_first_error


def import_row(where: str, row: Row) -> Iterator[Row]:
    steps, first = need(where, row, "steps", list), need(where, row, "label", int)
    if isinstance(first, bool) or not -1 <= first < len(steps):
        raise Refused(
            "bad_label",
            f"{where}: label {first} is neither an index of {len(steps)} steps nor -1; fix or remove the row",
        )
    yield labeled_row(
        "processbench",
        question(where, need(where, row, "problem", str)),
        step_texts(where, steps),
        labels_to_first_error(len(steps), first),
        semantics="correctness",
        method="human",
        correct=need(where, row, "final_answer_correct", bool),
        generator=row.get("generator") or "unknown",
        kept={"id": cell_text(row.get("id")) or None},
    )
