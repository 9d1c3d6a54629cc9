r"""OpenR's rows for training: the steps in one text, with five line ends, or ки, after each.

    {"question": "What is 2 + 2 + 1?", "process": "2 + 2 = 4 \n\n\n\n\n4 + 1 = 6 \n\n\n\n\n", "label": ["+", "-"]}

Labels are values: OpenR writes + if more than half of the rollouts were right (`mc_value > 0.5`), which is stricter than
Math-Shepherd's "any of them". In rows that OpenR made from other sets, labels mean what they mean there; import such a
set from its own files.

Decisions:

- Rows that OpenR made from its trees repeat the question in `process`: with its own label, as if it were the first step
  (from a tree), or before the first step and under the same label (from a list of prefixes). The question is not a step:
  it is removed, and so is a label of its own, as in `prm.conversions.omega_prm`.
- A trace ends with the line of its first box, as in `prm.conversions.omega_prm`.
- The text between two tags is one step, even if it has several paragraphs, because OpenR gave it one label.
"""

from __future__ import annotations

from collections.abc import Iterator

from prm.conversions.math_shepherd import MARKER
from prm.conversions.rows import RAN_ON, Refused, Row, continues, end_at_answer, labeled_row, question, signs
from prm.storage.rows import need

STEP_TAG = "\n" * 5


def import_row(where: str, row: Row) -> Iterator[Row]:
    labels = signs(where, need(where, row, "label", list))
    prompt = question(where, need(where, row, "question", str))
    process = need(where, row, "process", str)
    tag = STEP_TAG if STEP_TAG in process else MARKER
    *steps, tail = process.split(tag)
    if len(steps) != len(labels) or tail.strip():
        raise Refused(
            "bad_label",
            f"{where}: {len(labels)} labels but {len(steps)} steps that end in five line ends or {MARKER}, then"
            f" {tail[:40]!r}; fix or remove the row",
        )
    first = steps[0].strip() if steps else ""
    if first == prompt:
        steps, labels = steps[1:], labels[1:]
    elif continues(prompt, first):
        steps[0] = first[len(prompt) :]
    steps, answered, ran_on = end_at_answer(steps)
    yield labeled_row(
        "openr",
        prompt,
        steps,
        labels[: len(steps)],
        semantics="value",
        method="monte_carlo, more than half",
        finished=answered,
        kept={"note": RAN_ON} if ran_on else None,
    )
