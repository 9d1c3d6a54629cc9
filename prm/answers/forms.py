r"""The kind of an answer and its parts (see `prm.answers`).

form("(1, 2]")           ->  Form(kind="sequence", parts=("1", "2"), brackets="(]")
form(r"3\pm 1")          ->  Form(kind="set", parts=("3+1", "3-1"))
as_intervals("0<x<12.5")  ->  "(0, 12.5)"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from prm.answers.matrices import matrix
from prm.answers.names import LIST_SEPARATOR
from prm.answers.numbers import quantity
from prm.answers.text import KEPT, normalize, split

_FUNCTIONS = frozenset(
    re.findall(r"\w+", "sqrt sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp gcd lcm max min")
)


@dataclass(frozen=True)
class Form:
    """The kind of an answer and its parts, which are compared one by one."""

    kind: Literal["scalar", "words", "set", "sequence", "matrix", "ratio", "union", "relation"]
    parts: tuple[str, ...] = ()
    """Members of a set, sequence or union; entries of a matrix; the other sides of a ratio divided by its first."""
    brackets: str = ""
    """Brackets of a sequence, e.g. "[)" (a tuple and an open interval look the same and are compared the same way), or
    the shape of a matrix."""
    ratio: str = ""
    """The first side of a ratio divided by its second, as a fraction."""
    is_conjunction: bool = False
    """Whether the members of a set may all hold at once: joined by commas or "and"."""


RELATION = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|[<>=]")
_VARIABLE = r"(?:[a-zA-Z]|\\[a-zA-Z]+)"
_FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


@lru_cache(maxsize=KEPT)
def is_relation(text: str) -> bool:
    r"""Whether an equal or inequality sign stands outside of brackets; \sum_{k=1}^n has one inside."""
    return RELATION.search(text) is not None and len(split(text, RELATION.pattern)) != 1


@lru_cache(maxsize=KEPT)
def form(text: str) -> Form:
    """The kind of a normalized answer. The order of the tests matters: the outermost structure has to be found first."""
    if quantity(text) is not None:
        return Form("scalar")
    if text == r"\emptyset":
        return Form("set")
    if (entries := matrix(text)) is not None:
        return Form("matrix", entries.entries, entries.shape)
    # Signs that join whole answers come before brackets: "(0, 1) \cup (2, 3)" and "(1, 2), (3, 4)" begin and end with one.
    if len(unions := split(text, r"\\cup(?![a-zA-Z])")) > 1:
        return Form("union", tuple(unions))
    if len(groups := split(text, ";")) > 1 and any(len(split(group)) > 1 for group in groups):
        return Form("set", tuple(groups))  # "1, 2; 3, 4" is two lists
    if len(members := split(text, LIST_SEPARATOR)) > 1 and all(members):
        return Form("set", _signed(*members), is_conjunction=re.search(r"\bor\b", text) is None)
    if len(values := _signed(text)) > 1:
        return Form("set", values)
    # One pair of brackets around everything. With a single member they are parentheses of an expression: "(x+1)(x+2)".
    if text[0] in "([" and text[-1] in ")]":
        members = split(text[1:-1])
        if len(members) > 1:
            return Form("sequence", tuple(members), text[0] + text[-1])
    if (braces := re.fullmatch(r"\\?\{(.*?)\\?\}", text, re.DOTALL)) and (members := split(braces[1], LIST_SEPARATOR)):
        values = _signed(*members)
        return Form(
            "set", tuple(dict.fromkeys(values)) if text[0] == "\\" else values
        )  # in a set, a member counts once
    if is_relation(text):
        return Form("relation")
    # A side of zeros is the minutes of a time (5:00), and would be divided by.
    sides = split(text, r":|(?<=\d) to (?=\d)")
    if len(sides) > 1 and all(side.strip("0") for side in sides):
        relative = tuple(rf"\frac{{{side}}}{{{sides[0]}}}" for side in sides[1:])
        return Form("ratio", relative, ratio=rf"\frac{{{sides[0]}}}{{{sides[1]}}}")
    # What is left is an expression or words: words if one has three letters and is not a function's name, or for "no".
    words = [word for word in re.findall(r"[a-z]+", text.lower()) if word not in _FUNCTIONS]
    if "\\" in text or not (text.lower() == "no" or any(len(word) > 2 for word in words)):
        return Form("scalar")
    # "abc+1" is a formula all the same: it has no blanks, a digit or an operator, and no word of five letters.
    is_formula = " " not in text and re.search(r"[\d+*/^-]", text) and all(len(word) < 5 for word in words)
    return Form("scalar" if is_formula else "words")


def _signed(*texts: str) -> tuple[str, ...]:
    r"""Each `3\pm\sqrt{2}` as its two values."""
    values: list[str] = []
    for text in texts:
        if text.count(r"\pm") != 1 or text.startswith(r"\{"):
            values.append(text)
        else:
            values += [normalize(text.replace(r"\pm", sign)) for sign in "+-"]
    return tuple(values)


def _interval(text: str) -> tuple[str, str] | None:
    r"""Variable and interval of an inequality in one variable, such as a<x<b, a>x>b, x<a, a<x or x\ne a; else None."""
    signs, sides = RELATION.findall(text), [side.strip() for side in RELATION.split(text)]
    if signs == [r"\ne"] and re.fullmatch(_VARIABLE, sides[0]):
        return sides[0], rf"(-\infty, {sides[1]})\cup({sides[1]}, \infty)"
    if not signs or any(sign not in _FLIP for sign in signs):
        return None
    # Written from high to low (5 > x > 0): turned around, so that only < and \le are left.
    if signs[0] in (">", r"\ge"):
        signs, sides = [_FLIP[sign] for sign in reversed(signs)], sides[::-1]
    variables = [i for i, side in enumerate(sides) if re.fullmatch(_VARIABLE, side) and side != r"\infty"]
    opened, closed = ("(" if signs[0] == "<" else "["), (")" if signs[-1] == "<" else "]")
    if len(signs) == 1 and variables == [0]:
        return sides[0], rf"(-\infty, {sides[1]}{closed}"
    if len(signs) == 1 and variables == [1]:
        return sides[1], rf"{opened}{sides[0]}, \infty)"
    if len(signs) == 2 and 1 in variables:
        return sides[1], f"{opened}{sides[0]}, {sides[2]}{closed}"
    return None


@lru_cache(maxsize=KEPT)
def as_intervals(text: str, variable: str | None = None) -> str:
    """An inequality, or several in one variable joined by "or", as an interval or a union; other text unchanged.

    Args:
        variable: only inequalities in this one.
    """
    found = [_interval(part) for part in split(text, r"(?:, )?\bor\b")]
    intervals = [interval for interval in found if interval is not None]
    variables = {name for name, _ in intervals}
    if len(intervals) < len(found) or len(variables) != 1 or variable not in (None, *variables):
        return text
    return r"\cup".join(interval for _, interval in intervals)
