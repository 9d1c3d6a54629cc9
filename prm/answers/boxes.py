r"""Boxes: `\boxed{}` and `\fbox{}`, with what stands beside them and belongs to the answer (see `prm.answers`).

    boxes(r"$\boxed{3}$, $\boxed{5}$ and $\boxed{7}$")  ->  one Box with the answer "3, 5, 7"
    boxes(r"x = -\boxed{12}")                           ->  "-12"
    boxes(r"3 + \boxed{\phantom{2}} = 7")               ->  none: a blank to be filled in
    boxes(r"so \boxed{17")                              ->  none: it never closes

Boxes with only a connective between them are one answer. Others are several statements, of which the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Box(NamedTuple):
    start: int
    end: int
    answer: str


_TOKENS = re.compile(r"\\f?boxed\s*\{|\\fbox\s*\{|\\boxed\s+([^\s{}$\\]+)|\\.|[{}]", re.DOTALL)
_BLANK = re.compile(
    r"(?:\\[hv]?phantom\s*\{[^{}]*\}|\\(?:quad|qquad|square|ldots|dots|cdots|_|[ ,;:!~])|\\(?:text|mbox)\{[\s?_.]*\}"
    r"|[\s?_.~]|\\text\{(?:your |final )*answer\}|(?:your |final )*answer)*",
    re.IGNORECASE,
)
"""Not an answer: nothing, a blank to be filled in, or the placeholder of a prompt."""
_BETWEEN = re.compile(
    r"(?:[\s$,;.*{}&]|\\[()\[\]]|\\(?:text|quad|qquad|mbox)\b|\\[,;]|\b(?:and|or)\b)*(?:[a-zA-Z]\w*\s*=[\s$]*)?"
)
_EQUALS = re.compile(r"[\s$]*(?:=|\\approx)[\s$]*")
_MINUS = re.compile(r"(?P<before>[^\s]?)\s*(?P<sign>[-\u2212]|\\pm)\s*[$(]?$")
_MONEY = re.compile(r"(?:\\\$|[€£])\s*$")
_NAME = re.compile(r"(?<![\w\\}+*/^-])([a-zA-Z](?:_\{?\w\}?)?)\s*=[\s$-]*$")
_FACTOR = re.compile(r"(?<![\w.}])(\d+)$")
_AFTER = re.compile(
    r"\s*(?:\\%|%|\^\{?\\circ\}?|\^(?:\{[^{}]*\}|\d)|!|\\pi(?![a-z])|\\sqrt\{[^{}]*\}|\\(?:times|cdot)\s*10\^(?:\{[^{}]*\}|\d)"
    r"|\\(?:text|mathrm|mbox)\{[^{}]*\})+"
)
_WORD_AFTER = re.compile(
    r"[\s$]*((?:hundred|thousand|million|billion|trillion|dozen)s?(?: \w+)?|cents?|dollars?|percent|minutes|hours|seconds)\b"
)
_MAX_GROUP = 20


def boxes(text: str) -> list[Box]:
    """The answers in boxes that close and are not blank, in order; boxes that belong together are one."""
    found: list[Box] = []
    joined = 0
    for start, end, inside in _closed(text):
        box = Box(start, end, inside)
        between = text[found[-1].end : start] if found else None
        if between is not None and len(between) < 60 and joined < _MAX_GROUP and _joins(between):
            sign = " = " if _EQUALS.fullmatch(between) else ", "
            before, after = found[-1].answer, _completed(text, box)
            # "x = \boxed{2}, y = \boxed{5}" keeps its names; a box that is repeated counts once.
            if sign == ", " and (name := _name(text, box)) and (joined or _name(text, found[-1])):
                before, after = ("" if joined else _name(text, found[-1])) + before, name + after
            found[-1] = Box(found[-1].start, end, before if box.answer == found[-1].answer else before + sign + after)
            joined += 1
        else:
            found.append(Box(start, _end(text, end), _completed(text, box)))
            joined = 0
    return found


def is_open(text: str) -> bool:
    """Whether the text breaks off within a box."""
    last = max(text.rfind(r"\boxed"), text.rfind(r"\fbox"))
    if last < 0:
        return False
    depth = 0
    for token in _TOKENS.finditer(text, last):
        depth += (token[0][-1] == "{" and token[0] != r"\{") - (token[0] == "}")
        if depth == 0:
            return False
    return True


def _closed(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, content) of every outermost box; a box that never closes does not hide one before or within it."""
    opened: list[tuple[int, int, bool]] = []  # (start of the token, of the content, whether it is a box)
    closed: list[tuple[int, int, str]] = []
    for token in _TOKENS.finditer(text):
        if token[1]:
            closed.append((token.start(), token.end(), token[1].rstrip(".,;")))
        elif token[0][-1] == "{" and token[0] != r"\{":
            opened.append((token.start(), token.end(), token[0] != "{"))
        elif token[0] == "}" and opened:
            start, inside, is_box = opened.pop()
            content = text[inside : token.start()].strip()
            if is_box and closed and closed[-1][:2] == (inside, token.start()):
                continue  # a box in a box
            if is_box and not _BLANK.fullmatch(content[:200]):
                while closed and closed[-1][0] > start:
                    closed.pop()
                closed.append((start, token.end(), content))
    yield from closed


def _joins(between: str) -> bool:
    return bool(_BETWEEN.fullmatch(between) or _EQUALS.fullmatch(between))


def _name(text: str, box: Box) -> str:
    """`x = ` before a box; empty if there is no name."""
    match = _NAME.search(text[max(0, box.start - 30) : box.start])
    return f"{match[1]} = " if match else ""


def _end(text: str, end: int) -> int:
    match = _AFTER.match(text, end)
    return match.end() if match else end


def _completed(text: str, box: Box) -> str:
    """The content of a box with the sign, the currency or the unit that is written beside it."""
    before, after = text[max(0, box.start - 30) : box.start], text[box.end : box.end + 80]
    answer = box.answer
    if suffix := _AFTER.match(after):
        answer += suffix[0]
    elif word := _WORD_AFTER.match(after):
        answer += f" {word[1]}"
    before = re.sub(r"(?:\\[(\[]|(?<!\\)\$+|\\(?:mathbf|bm|color\{\w+\})\{|[{\s])+$", "", before)
    if money := _MONEY.search(before):
        answer, before = money[0].strip() + answer, before[: money.start()]
    if factor := _FACTOR.search(before):
        return factor[1] + answer if before.endswith(text[box.start - 1]) else answer
    if (minus := _MINUS.search(before)) and not re.match(r"[\w)}\]]", minus["before"]):
        return minus["sign"] + (f"({answer})" if re.search(r"(?<=.)[-+]", answer) else answer)
    return answer
