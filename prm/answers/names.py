r"""What an answer is a value of: names and chains of equal sides (see `prm.answers`).

    read(r"x=5+6=11")               ->  Statement(name="x", values=("5+6", "11"), rounded=(), sign="=")
    read(r"\frac{1}{3}\approx0.33") ->  Statement(name="", values=(r"\frac{1}{3}",), rounded=("0.33",), sign="=")
    read(r"a\in[0, 3]")             ->  Statement(name="a", values=("[0, 3]",), rounded=(), sign="in")
    read("x+y=3")                   ->  Statement(name="", values=("x+y", "3"), ...): an equation, unless both are equal

A name is a letter, a word, a segment AB, a value of a function (f(2), \cos\theta, P(A)), a length |AB|, and a quotient or
ratio of such names with more than one letter. x+y and xy are no names: "x+y = 3" is an equation, not the number 3.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_lowercase
from typing import Literal, NamedTuple

from prm.answers.text import KEPT, split


class Statement(NamedTuple):
    """A name and its value, or sides that are equal."""

    name: str
    """Empty if all sides are values."""
    values: tuple[str, ...]
    """Joined by equal signs; at least one."""
    rounded: tuple[str, ...]
    r"""After \approx."""
    sign: Literal["=", "in"]


_INDEX = r"(?:_(?:\{[^{}]*\}|\w))?'*"
_SYMBOL = rf"(?:[a-zA-Z]|\\(?!pi(?![a-z])|infty|frac|sqrt|begin|text|in(?![a-z]))[a-zA-Z]{{2,}}){_INDEX}"
_SEGMENT = rf"\[?(?:[A-Z]{_INDEX}){{2,}}\]?|\\(?:overline|vec|overrightarrow|widehat|bar|hat)\{{?\w+\}}?"
_WORDS = r"(?:[a-zA-Z]{3,}|[A-Z][a-z]+)(?:[ -][a-zA-Z']+)*"
_FUNCTION = r"\\(?:sin|cos|tan|cot|sec|csc|log|ln|det|deg|arg|gcd|lcm|max|min|Re|Im)"
_CALL = (
    rf"(?:{_SYMBOL}|{_WORDS})(?:\^\{{?-?\w\}}?)?\([^()=]*\)"
    rf"|{_FUNCTION}(?:[_^](?:\{{[^{{}}]*\}}|\w))* ?(?:\([^()=]*\)|{_SYMBOL}|[A-Z]+)"
)
_LENGTH = rf"\|(?:{_SYMBOL}|{_SEGMENT})\||\\\|(?:{_SYMBOL}|{_SEGMENT})\\\|"
_PART = rf"(?:{_SEGMENT}|{_LENGTH}|{_CALL}|[a-zA-Z]_(?:\{{[^{{}}]*\}}|\w))"
_QUOTIENT = (
    rf"\\frac\{{{_PART}\}}\{{{_PART}\}}|\\frac\{{d\w*\}}\{{d\w+\}}|{_PART}/{_PART}"
    rf"|(?:{_PART}|{_SYMBOL})(?::(?:{_PART}|{_SYMBOL}))+"
)
_TUPLE = r"\([a-zA-Z](?:, [a-zA-Z])+\)"
_NAME = re.compile(rf"{_SYMBOL}|{_SEGMENT}|{_WORDS}|{_CALL}|{_LENGTH}|{_QUOTIENT}|{_TUPLE}")
_INEQUALITY = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|[<>]")
LIST_SEPARATOR = r"(?:[,;] ?)?\b(?:and|or)\b|[,;]"
MAX_CHARS = 300
"""Longer texts have no name; the patterns take quadratic time."""


@lru_cache(maxsize=KEPT)
def read(text: str) -> Statement | None:
    """The statement in a normalized text; None if it has none, as lists and inequalities."""
    if not re.search(r"=|\\(?:approx|in)(?![a-zA-Z])", text) or len(text) > MAX_CHARS or _INEQUALITY.search(text):
        return None
    if len(split(text, LIST_SEPARATOR)) != 1:
        return None
    members = split(text, r"\\in(?![a-zA-Z])")
    if len(members) == 2:
        return Statement(members[0], (members[1],), (), "in") if is_name(members[0]) else None
    exact, *rounded = split(text, r"\\approx(?![a-zA-Z])")
    sides = split(exact, "=")
    if len(sides) + len(rounded) < 2 or not all(sides) or not all(rounded) or any("=" in side for side in rounded):
        return None
    if is_name(sides[0]):
        if len(sides) == 1:  # its value is what comes after the first sign
            sides, rounded = [sides[0], rounded[0]], rounded[1:]
        name = sides[0].lower() if re.fullmatch("[a-zA-Z][a-z]{2}[a-zA-Z ]*", sides[0]) else sides[0]
        return Statement(name, tuple(sides[1:]), tuple(rounded), "=")
    if len(sides) == 2 and is_name(sides[1]) and re.fullmatch(r"-?[\d.]+|-?\\frac\{\d+\}\{\d+\}", sides[0]):
        return Statement(sides[1], (sides[0],), tuple(rounded), "=")  # 5 = x
    return Statement("", tuple(sides), tuple(rounded), "=")


def is_name(text: str) -> bool:
    """Whether a normalized text names what an answer is the value of. Letters in alphabetical order are a product."""
    return _NAME.fullmatch(text) is not None and not (len(text) > 1 and text in ascii_lowercase)


def assigned(parts: tuple[str, ...]) -> dict[str, str]:
    """Name -> value of the members of a list; empty if one of them is not the value of a name."""
    statements = [read(part) for part in parts]
    found = {
        s.name: s.values[-1] for s in statements if s is not None and s.name and s.sign == "=" and len(s.values) == 1
    }
    return found if len(found) == len(parts) else {}
