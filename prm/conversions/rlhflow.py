"""RLHFlow's conversations (`RLHFlow/Mistral-PRM-Data`, `RLHFlow/Deepseek-PRM-Data`): a step per turn.

    {"conversations": [
     {"role": "user", "content": "What is 2 + 2 + 1? Step 1: 2 + 2 = 4"}, {"role": "assistant", "content": "+"},
     {"role": "user", "content": "Step 2: 4 + 1 = 6"}, {"role": "assistant", "content": "-"}]}

Labels are values: + means that one of 16 rollouts from behind the step was right (README of `math-rm`). The last label is
the outcome: their ORM data is made of it.

The first turn holds question and first step with nothing between them. "Step 1:" tells them apart (Mistral data), or a
list of the questions (Deepseek data, whose steps are not numbered). A row that neither helps with has the status
`no_first_step`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from prm.conversions.math_shepherd import first_step
from prm.conversions.rows import Row, continues, fields, labeled_row, question, signs
from prm.storage.rows import need

_KEY = 24
"""Questions are looked up by as many of their first characters."""

Questions = dict[str, list[str]]


def known_questions(prompts: Iterable[str]) -> Questions:
    """Questions by their first characters, the longest first: one may begin with another."""
    questions: Questions = {}
    for prompt in sorted({prompt.strip() for prompt in prompts}, key=len, reverse=True):
        questions.setdefault(prompt[:_KEY], []).append(prompt)
    return questions


def import_row(where: str, row: Row, questions: Questions | None = None) -> Iterator[Row]:
    turns = need(where, row, "conversations", list)
    if not turns or len(turns) % 2:
        raise ValueError(f"{where}: {len(turns)} turns; every step needs a user's turn and an assistant's + or -")
    for i, turn in enumerate(turns):
        role = ("user", "assistant")[i % 2]
        if fields(where, turn).get("role") != role or not isinstance(turn.get("content"), str):
            raise ValueError(f"{where}: turn {i} must be a text of the {role}, it is {turn!r}; fix or remove the row")
    labels = signs(where, [turn["content"].strip() for turn in turns[1::2]])
    first, *steps = [turn["content"].strip() for turn in turns[::2]]
    start = _question_end(first, questions or {})
    if start > 0:
        prompt, steps = first[:start], [first[start:], *steps]
    else:
        prompt = first
    yield labeled_row(
        "rlhflow",
        question(where, prompt),
        steps,
        labels if start > 0 else labels[1:],
        semantics="value",
        method="monte_carlo@16, hard",
        correct=labels[-1],
        status="ok" if start > 0 else "no_first_step",
    )


def export_row(prompt: str, steps: Sequence[str], labels: Sequence[bool]) -> Row:
    """Steps stay as they are; unless they are numbered, reading them back needs the questions."""
    contents = [f"{prompt} {steps[0]}", *steps[1:]]
    return {
        "conversations": [
            turn
            for content, label in zip(contents, labels, strict=True)
            for turn in (
                {"role": "user", "content": content},
                {"role": "assistant", "content": "+" if label else "-"},
            )
        ]
    }


def _question_end(text: str, questions: Questions) -> int:
    for size in range(_KEY, 0, -1):
        for known in questions.get(text[:size], ()):
            if continues(known, text):
                return len(known)
    return first_step(text)
