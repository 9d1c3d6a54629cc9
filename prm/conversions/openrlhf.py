r"""OpenRLHF's rows for training (`zhuzilin/Math-Shepherd`), and ER-PRM's: Math-Shepherd's text with a list beside it.

    {"input": "What is 1 + 1 + 1? Step 1: 1 + 1 = 2 ки\nStep 2: 2 + 1 = 4 ки", "value": ["+", "-"]}
    {"text":  "What is 1 + 1 + 1? Step 1: 1 + 1 = 2 ки\nStep 2: 2 + 1 = 4 ки", "value": [0.9, 0.1]}

Labels are values. Numbers are soft labels; the hard label is good if it is not 0, as everywhere in this project (ER-PRM's
number, a soft maximum of the rollouts, is 0 if all of them failed, too). Where the question ends is decided as in
`prm.conversions.math_shepherd`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prm.conversions.math_shepherd import MARKER, marked_text, split_question
from prm.conversions.rows import Refused, Row, labeled_row, question, signs
from prm.storage.rows import need


def import_row(where: str, row: Row) -> Iterator[Row]:
    *pieces, tail = need(where, row, "input" if "input" in row else "text", str).split(MARKER)
    stated = need(where, row, "value", list)
    if len(stated) != len(pieces):
        raise Refused("bad_label", f"{where}: {len(pieces)} markers {MARKER} but {len(stated)} in `value`; fix the row")
    soft = bool(stated) and all(type(value) in (int, float) and 0 <= value <= 1 for value in stated)
    labels: list[bool | None] = [value > 0 for value in stated] if soft else [*signs(where, stated)]
    outcome = None if soft or tail.strip() or not labels else labels[-1]
    pieces, dropped, found = split_question(pieces)
    if not found and not pieces:
        raise ValueError(f"{where}: no marker {MARKER} in the text; is this a text of OpenRLHF?")
    prompt, *steps = pieces
    labels, values = labels[dropped:], stated[dropped:] if soft else None
    if tail.strip():
        steps, labels, values = [*steps, tail], [*labels, None], None if values is None else [*values, None]
    yield labeled_row(
        "openrlhf",
        question(where, prompt),
        steps,
        labels,
        values=values,
        semantics="value",
        method="unknown rollouts",
        correct=outcome,
        status="ok" if found else "no_first_step",
    )


def export_row(prompt: str, steps: Sequence[str], labels: Sequence[bool]) -> Row:
    """As `prm.conversions.math_shepherd.export_row`, which says what it raises."""
    text = marked_text(prompt, steps, [MARKER] * len(steps))
    return {"input": text, "value": ["+" if label else "-" for label in labels]}
