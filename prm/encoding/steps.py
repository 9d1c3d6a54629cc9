r"""Text to steps: the only place that knows where a step ends.

A step rule names how a text is divided. It belongs to the generator, is written into every row, and a verifier reads
traces of the rule that it was trained on only.

    line         a step ends with its line: what base models write after few-shot examples, and the embedded generator
    paragraph    a step ends at a blank line: what chat models write
    thought      paragraphs grouped by size and by turning words ("Wait, ..."): long chains of thought
    whole        the text is one step: a judge's answer

What belongs together stays together: a display formula, a LaTeX environment, a code block or a box that is still open, a
heading, and a sentence that announces what follows ("so we get:") or is not finished ("that is,") do not end a step.
A paragraph also ends with the output of a program: models that write programs go on without a blank line.

    Adding up:\n\[\n47 + 38 = 85\n\]\nSo 85 - 12 = 73.\n#### 73
    -> ("Adding up:\n\[\n47 + 38 = 85\n\]", "So 85 - 12 = 73.", "#### 73")

Whether a step has ended depends on the text before it alone, so sampling step by step and dividing the finished text
give the same steps. Only `thought` looks ahead, at the first word of the next paragraph, so it serves whole traces only.

Step texts do not contain the separator around them. Blank text is not a step. Where a trace ends is said in
`prm.answers.states_answer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

from prm.types import StepRule

SEPARATORS: dict[StepRule, str] = {"line": "\n", "paragraph": "\n\n", "thought": "\n\n", "whole": ""}
"""Rule -> the text between two steps."""

_BREAKS: dict[StepRule, re.Pattern[str]] = {
    "line": re.compile(r"\n"),
    "paragraph": re.compile(r"\r?\n[ \t\r]*\n\s*|(?<=```)\r?\n"),
    "thought": re.compile(r"\r?\n[ \t\r]*\n\s*|(?<=```)\r?\n"),
    "whole": re.compile(r"(?!)"),
}
"""Rule -> where a step may end; a paragraph at a blank line, and at the line end after the output of a program."""

_DISPLAYS = (re.compile(r"(?<!\\)\\\["), re.compile(r"(?<!\\)\\\]"))
_ENVIRONMENTS = (re.compile(r"\\begin\{"), re.compile(r"\\end\{"))
_FENCE = re.compile(r"^[ \t]*```", re.MULTILINE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_OUTPUT = re.compile(r"^[ \t]*```output\b(?:(?!```).)*```$", re.MULTILINE | re.DOTALL)
_UNFINISHED = re.compile(r"[:,\uff1a\uff0c][\s*_]*$")
_HEADING = re.compile(
    r"""\s*(?:
        \#{1,3}\s.*                                                  # '## Solution'
      | \#{4,6}\s+(?:\W*(?:step|part|case|method|solution|answer|final\ answer|conclusion)\b.*|(?:[^\W\d]+\s+){2,}.*[^\W\d])
      | (\*\*|__)(?:(?=(?:step|part|case)\s*\d)|(?!.*[.!?]\s*\1))[^\n]*\1  # bold, and numbered or no sentence: '**Step 1**'
      | (?:[-*_]\s*){3,}                                             # a rule between two parts
      | \#+                                                       # hashes alone
      | (?:\d+[.)]|[-*+\u2022])                                      # the number of an item whose text follows
    )\s*""",
    re.VERBOSE | re.IGNORECASE,
)
"""A line that only makes sense with what follows."""

_TURN = re.compile(
    r"\W*(?:wait|hmm+|hold on|actually|alternatively|however|but|let me (?:re|double|check|verify|try)|so|now|therefore"
    r"|next|okay|ok|first|another|to (?:check|verify))\b",
    re.IGNORECASE,
)
THOUGHT_LENGTHS = 200, 1000
"""Characters: a `thought` of the first length ends before a turning word, one of the second before any paragraph."""


def separator_of(rule: StepRule) -> str:
    """The text between two steps.

    Raises:
        ValueError: no such rule.
    """
    if rule not in SEPARATORS:
        raise ValueError(f"step rule {rule!r} is not one of {', '.join(get_args(StepRule))}")
    return SEPARATORS[rule]


def split_steps(text: str, rule: StepRule) -> tuple[str, ...]:
    r"""
    >>> split_steps("a = 1\n\nb = 2\n#### 2", "line")
    ('a = 1', 'b = 2', '#### 2')
    >>> split_steps("one\nline pair\n\nWe get:\n\n\\[ x = 1 \\]", "paragraph")
    ('one\nline pair', 'We get:\n\n\\[ x = 1 \\]')
    """
    complete, rest = divide(text, rule)
    steps = (*complete, rest.strip()) if rest.strip() else tuple(complete)
    return tuple(_thoughts(steps)) if rule == "thought" else steps


def complete_steps(text: str, rule: StepRule) -> list[str]:
    r"""The steps of an unfinished text that have ended already.

    >>> complete_steps("a = 1\n\nb = 2\nc =", "line")
    ['a = 1', 'b = 2']
    """
    return divide(text, rule)[0]


def divide(text: str, rule: StepRule, after: int = 0) -> tuple[list[str], str]:
    r"""The steps of an unfinished text that have ended, and the text after the last of them.

    Args:
        after: in the characters up to here no step ends, which was seen when the text was shorter.

    >>> divide("a = 1\nWe get:\nb", "line")
    (['a = 1'], 'We get:\nb')
    """
    steps, start = [], 0
    for separator in _BREAKS[rule].finditer(text, len(text[:after].rstrip())):
        if separator.end() <= after:  # one that has become longer is looked at again
            continue
        step = text[start : separator.start()].strip()
        # After the code of a program its output may follow, so that line end is no break; a blank line is one.
        is_break = rule == "line" or separator[0].count("\n") > 1 or _OUTPUT.search(step)
        if step and is_break and not _goes_on(step):
            steps.append(step)
            start = separator.end()
    return steps, text[start:]


def _goes_on(step: str) -> bool:
    """Whether a text that has come to a break needs what follows to be understood."""
    for opening, closing in (_DISPLAYS, _ENVIRONMENTS):
        if len(opening.findall(step)) > len(closing.findall(step)):
            return True
    if step.count("$$") % 2 or len(_FENCE.findall(step)) % 2:
        return True
    boxes = list(_BOX.finditer(step))
    if boxes and step.count("{", boxes[-1].start()) > step.count("}", boxes[-1].start()):
        return True
    return bool(_UNFINISHED.search(step)) or all(_HEADING.fullmatch(line) for line in step.splitlines() if line.strip())


def _thoughts(paragraphs: tuple[str, ...]) -> Iterator[str]:
    """Paragraphs put together until there is enough for a step."""
    turn, most = THOUGHT_LENGTHS
    thought = ""
    for paragraph in paragraphs:
        if len(thought) >= (turn if _TURN.match(paragraph) else most):
            yield thought
            thought = ""
        thought += (SEPARATORS["thought"] if thought else "") + paragraph
    if thought:
        yield thought
