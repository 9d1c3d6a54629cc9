"""RLHFlow's conversations (`RLHFlow/Mistral-PRM-Data`, `RLHFlow/Deepseek-PRM-Data`): a step per turn.

    {"conversations": [
     {"role": "user", "content": "What is 2 + 2 + 1? Step 1: 2 + 2 = 4"}, {"role": "assistant", "content": "+"},
     {"role": "user", "content": "Step 2: 4 + 1 = 6"}, {"role": "assistant", "content": "-"}]}

Labels are values: + means that one of 16 rollouts after the step was right (README of `math-rm`). The last label is the
outcome; RLHFlow's ORM data is made from it.

The first turn contains the question and the first step without a separator. A list of the questions shows where the step
begins, or else "Step 1:" does, if all later steps have numbers (Mistral data). Deepseek data has none, or words of the
solution before them ("Let us take it slowly: ### Step 1: ..."). If neither helps, the row has the status `no_first_step`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from prm.conversions.math_shepherd import first_step
from prm.conversions.rows import Row, continues, fields, labeled_row, question, signs
from prm.storage.rows import need

_KEY = 24
"""Number of characters at the beginning of a question by which it is looked up."""

_ANNOUNCED = re.compile(
    r"(?:[:#*_>-]\s*|(?:\A|[.?!:\n])\s*(?:Let(?:'s| us| me)|We|I|Here|Sure|First|Solution|Answer"
    r"|To (?:solve|find|determine|answer|calculate|compute|get))\b[^.?!\n]*[.?!:]?\s*)\Z"
)
"""What stands before a first step that words of the solution announce: "Let us see: ### Step 1:", "We go on. Step 1:"."""

Questions = dict[str, list[str]]


def known_questions(prompts: Iterable[str]) -> Questions:
    """Questions by their first characters, the longest first, because one may begin with another."""
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
            raise ValueError(
                f"{where}: turn {i} must be text of the {role}, it is {turn!r:.200}; fix or remove the row"
            )
    labels = signs(where, [turn["content"].strip() for turn in turns[1::2]])
    first, *steps = [turn["content"].strip() for turn in turns[::2]]
    start = _question_end(first, steps, questions or {})
    if start > 0:
        prompt, steps = first[:start], [first[start:], *steps]
    else:
        # The first step stays in the prompt, so its label belongs to no step.
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
    """Steps are not changed. If they have no numbers, reading them back needs the questions."""
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


def _question_end(text: str, later: Sequence[str], questions: Questions) -> int:
    """Index at which the question ends in the first turn; 0 or less if nothing shows it."""
    # A question shorter than the key is its own key.
    for size in range(_KEY, 0, -1):
        for known in questions.get(text[:size], ()):
            if continues(known, text):
                return len(known)
    start = first_step(text)
    is_numbered = all(step.startswith(f"Step {number}:") for number, step in enumerate(later, 2))
    return start if is_numbered and not _ANNOUNCED.search(text[: max(start, 0)]) else -1
