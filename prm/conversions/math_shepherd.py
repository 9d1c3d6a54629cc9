r"""Math-Shepherd (Wang et al. 2312.08935), `peiyi9979/Math-Shepherd`: one text with a marker after every step.

    {"input": "Val cuts a melon ... in a watermelon? Step 1: There are 20 x 40 = 800 black seeds. ки\nStep 2: ... ки",
     "label": "Val cuts a melon ... in a watermelon? Step 1: There are 20 x 40 = 800 black seeds. +\nStep 2: ... -",
     "task": "GSM8K"}

`label` is `input` with + or - instead of the markers. Labels are values: + means that one of 8 rollouts after the step
was right (hard estimate; the rates were not published). The last step is labeled with the trace's outcome.

Decisions:

- The question ends where "Step 1:" begins, even without a space before it. In some rows a marker is inside the question
  or right after it. Its label belongs to no step and is left out, and the text from there to "Step 1:" is still part of
  the question. (TRL's converter lists such rows by their first words and takes the rest of the question for a step.)
  Steps without numbers may mention "step 1:", too. So after the first marker it counts only at the beginning of its
  piece, or if "Step 2:" comes next, or if nothing comes next and no question mark divides the text.
- A row without such a "Step 1:" is split after the question mark if there is exactly one before the first marker, with
  text after it. Otherwise the end of the question is unknown: the row has the status `no_first_step`.
- Text after the last marker is a step without a label; the outcome is then unknown.
- The calculator's marks (`<<20*40=800>>`) stay in the steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from prm.conversions.rows import Refused, Row, labeled_row, question
from prm.storage.rows import need

MARKER = "ки"

_FIRST_STEP = re.compile(r"Step 1:")
_LOWER_CASE = re.compile(r"\bstep 1:")
_SENTENCE_END = re.compile(r"[.?!:;)\]}$\"]\s*\Z|\A\s*\Z")
_SECOND_STEP = re.compile(r"\s*step 2:", re.IGNORECASE)
_ANSWER = re.compile(r"The answer is:?\s*(.+)\Z", re.DOTALL)


def import_row(where: str, row: Row) -> Iterator[Row]:
    *pieces, tail = need(where, row, "input", str).split(MARKER)
    labels: list[bool | None] = [*_labels(where, pieces, need(where, row, "label", str))]
    pieces, dropped, found = split_question(pieces)
    labels = labels[dropped:]
    if not found and not pieces:
        raise ValueError(f"{where}: no marker {MARKER} in the input {row['input'][:80]!r}; is this raw Math-Shepherd?")
    prompt, *steps = pieces
    # Text after the last marker shows that the trace did not end with the last label.
    outcome = labels[-1] if labels and not tail.strip() else None
    if tail.strip():
        steps, labels = [*steps, tail], [*labels, None]
    answer = _ANSWER.search(steps[-1]) if steps else None
    yield labeled_row(
        "math_shepherd",
        question(where, prompt),
        steps,
        labels,
        semantics="value",
        method="monte_carlo@8, hard",
        answer=answer and answer[1].strip(),
        correct=outcome,
        status="ok" if found else "no_first_step",
    )


def export_row(prompt: str, steps: Sequence[str], labels: Sequence[bool]) -> Row:
    """Steps get numbers ("Step 1: ...") if they have none, because only the numbers show where the question ends.

    Raises:
        ValueError: the texts already contain what would mark the steps.
    """
    marks = ["+" if label else "-" for label in labels]
    return {
        "input": marked_text(prompt, steps, [MARKER] * len(steps)),
        "label": marked_text(prompt, steps, marks),
        "task": "unknown",
    }


def marked_text(prompt: str, steps: Sequence[str], marks: Sequence[str]) -> str:
    """Question and steps, each with its mark after it; as `export_row`, which says what it raises."""
    if not _FIRST_STEP.match(steps[0]):
        steps = [f"Step {i}: {step}" for i, step in enumerate(steps, 1)]
    if len(_FIRST_STEP.findall(steps[0])) > 1:
        raise ValueError("the first step says 'Step 1:' twice")
    if any(MARKER in text for text in (prompt, *steps)):
        raise ValueError(f"a text holds the marker {MARKER}")
    return prompt + " " + "\n".join(f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))


def first_step(text: str) -> int:
    """Index at which the first step begins in a text that starts with the question; -1 if there is no "Step 1:".

    A question may mention steps itself, so the last one counts that begins a sentence or has no space before it, else the
    last one. In lower case it must begin a sentence: a step says "by step 1:", too.

    >>> first_step("What is 2 + 2? Step 1: 2 + 2 = 4"), first_step("What is 2 + 2? It is 4.")
    (15, -1)
    """
    starts = [match.start() for match in _FIRST_STEP.finditer(text)]
    if len(starts) == 1:
        return starts[0]
    if starts:
        begins = [i for i in starts if _SENTENCE_END.search(text[:i]) or text[i - 1].isalnum()]
        return (begins or starts)[-1]
    lower = [match.start() for match in _LOWER_CASE.finditer(text)]
    return max((i for i in lower if _SENTENCE_END.search(text[:i])), default=-1)


def _labels(where: str, pieces: Sequence[str], label: str) -> list[bool]:
    """What `label` has at the positions of the input's markers."""
    labels, position = [], 0
    for i, piece in enumerate(pieces):
        position += len(piece)
        if label[position : position + 1] not in ("+", "-"):
            raise Refused(
                "bad_label",
                f"{where}: at marker {i} of the input, `label` has {label[position : position + 20]!r} and not + or -; the"
                " two texts must be equal except for the markers. Fix or remove the row",
            )
        labels.append(label[position] == "+")
        position += 1
    return labels


def split_question(pieces: list[str]) -> tuple[list[str], int, bool]:
    """
    Args:
        pieces: the texts before each marker; the first begins with the question.

    Returns:
        The question and the steps, the number of markers that end no step, and whether the end of the question was found.
    """
    prompt, mark, rest = pieces[0].partition("?") if pieces else ("", "", "")
    split_by_mark = bool(mark and prompt.strip() and rest.strip() and "?" not in rest)
    for i, piece in enumerate(pieces):
        start, following = first_step(piece), pieces[i + 1 :]
        # After the first marker a "Step 1:" may be a mention in a step, so it needs a sign that it begins one.
        if start >= 0 and (
            i == 0
            or not piece[:start].strip()
            or (_SECOND_STEP.match(following[0]) is not None if following else not split_by_mark)
        ):
            # All pieces before it are question, and the labels of their markers belong to no step.
            whole = " ".join(part.strip() for part in (*pieces[:i], piece[:start]) if part.strip())
            return [whole, piece[start:], *following], i, True
    if split_by_mark:
        return [prompt + mark, rest, *pieces[1:]], 0, True
    return pieces, 1, False
