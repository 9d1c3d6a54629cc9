"""A row per step, with all steps before it, and its rollouts: the form of VisualPRM's step scores.

    {"question": "Is 4 even?", "solution_index": 1, "prefix_steps": [],
     "current_step": {"step_index": 1, "title": "Divide", "text": "4 / 2 = 2."}, "label": "+",
     "rollout_success": 4, "rollout_total": 4}

Labels are values: a step is good if some rollout after it was right, and the rollouts are the `counts` of our rows.

Decisions:

- A row continues the trace of the row before it if its `prefix_steps` are that trace; then they are one trace. Rows in
  another order begin traces of their own, in which only the last step has a label, so that none is lost or counted twice.
- The title of a step is no part of it. The column `label` is not read: thresholds differ, the rollouts say all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prm.conversions.rows import Refused, Row, fields, labeled_row, question
from prm.storage.rows import need


def group(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
    """(where, {"rows": those of one trace}); each row has the question, the steps before it and its step."""
    where = ""
    trace: list[Row] = []
    for place, row in rows:
        last = trace[-1] if trace else {}
        before = last.get("prefix_steps")
        same = all(last.get(name) == row.get(name) for name in ("question", "solution_index"))
        if same and isinstance(before, list) and row.get("prefix_steps") == [*before, last.get("current_step")]:
            trace.append(row)
            continue
        if trace:
            yield where, {"rows": trace}
        where, trace = place, [row]
    if trace:
        yield where, {"rows": trace}


def import_row(where: str, row: Row) -> Iterator[Row]:
    rows = row["rows"]
    prefix = need(where, rows[0], "prefix_steps", list)
    steps = [
        need(where, fields(where, step), "text", str) for step in [*prefix, *(row["current_step"] for row in rows)]
    ]
    counts = [(0, 0)] * len(prefix) + [_count(where, row) for row in rows]
    yield labeled_row(
        "step_per_row",
        question(where, need(where, rows[0], "question", str)),
        steps,
        [successes > 0 if total else None for successes, total in counts],
        values=[successes / total if total else None for successes, total in counts],
        counts=counts,
        semantics="value",
        method=f"monte_carlo@{counts[-1][1]}",
    )


def _count(where: str, row: Row) -> tuple[int, int]:
    count = row["rollout_success"], row["rollout_total"]
    if not all(type(number) is int for number in count) or not 0 <= count[0] <= count[1]:
        raise Refused("bad_label", f"{where}: {count[0]!r} of {count[1]!r} rollouts succeeded; fix or remove the row")
    return count
