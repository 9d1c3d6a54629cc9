"""Flat copies of PRM800K, in two forms: one trace per row, without the other candidates.

    {"problem": "What is 2 + 2?", "steps": [{"step": "2 + 2 = 4.", "rating": 1}, {"step": "# Answer\\n\\n4", "rating": 1}]}
    {"question": "What is 2 + 2?", "answer": "2 + 2 = 5. ки\\nSo 5. ки", "raw_labels": [-1, 0], "labels": ["-", "-"]}

Labels mean correctness, and are those of the ratings, as in `prm.conversions.prm800k`: the column `labels` of the second
form has "-" for the neutral 0, too, so it is not read. Quality control and screening have their status, where the copy
says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from prm.conversions.math_shepherd import MARKER
from prm.conversions.prm800k import Neutral, judged, rating_labels, status_of_question
from prm.conversions.rows import Refused, Row, fields, labeled_row, question
from prm.storage.rows import need
from prm.storage.sources import cell_text


def import_row(where: str, row: Row, neutral: Neutral = "good") -> Iterator[Row]:
    ratings = rating_labels(neutral)
    if "steps" in row:
        stated = [fields(where, step) for step in need(where, row, "steps", list)]
        steps = [need(where, step, "step" if "step" in step else "text", str) for step in stated]
        labels = [judged(where, step.get("rating"), ratings) for step in stated]
    else:
        *steps, tail = need(where, row, "answer", str).split(MARKER)
        labels = [judged(where, rating, ratings) for rating in need(where, row, "raw_labels", list)]
        if len(labels) != len(steps) or tail.strip():
            raise Refused(
                "bad_label",
                f"{where}: {len(labels)} ratings but {len(steps)} steps that end in {MARKER}, then {tail[:40]!r}; fix or"
                " remove the row",
            )
    yield labeled_row(
        "prm800k",
        question(where, need(where, row, "problem" if "problem" in row else "question", str)),
        steps,
        labels,
        semantics="correctness",
        method="human",
        gold=cell_text(row.get("result")),
        status=status_of_question(row),
        kept={"phase": cell_text(row["phase"])} if "phase" in row else None,
    )
