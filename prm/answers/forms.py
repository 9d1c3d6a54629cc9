r"""The kind of an answer, and whether two answers are equal as far as text and exact fractions can tell (see `prm.answers`).

    compare("1/2", "0.5")                    ->  True    both are numbers
    compare("[0, 1)", "(0, 1)")              ->  False   the brackets differ
    compare("(0, 12.5)", "0<x<12.5")         ->  True    an inequality in one variable is an interval
    compare(r"2\sqrt{2}", r"\sqrt{8}")       ->  None    only algebra can tell (`prm.answers.algebra`)

Answers are compared part by part, so a tuple of numbers needs no algebra. Different kinds are never equal, so an
interval is never compared with an equation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from prm.answers.numbers import clock, equal_clocks, equal_quantities, quantity
from prm.answers.text import normalize, split
from prm.answers.units import equal_units, without_unit

Leaf = Callable[[str, str], bool | None]
"""Decides whether two expressions or two relations are equal; None = cannot tell."""

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


_SEPARATOR = r"(?:[,;] ?)?\b(?:and|or)\b|[,;]"
RELATION = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|[<>=]")
# A name is a letter, a macro, a word, or a segment AB; two lower-case letters are a product.
_NAME = r"(?:[a-zA-Z]|\\?[a-zA-Z]{3,}|\\[a-zA-Z]{2}|[A-Z]{2}|[a-zA-Z]\([a-zA-Z]\))(?:_\{?\w+\}?)?"
_ASSIGNMENT = re.compile(
    rf"(?P<name>{_NAME})"
    r"(?:=|\\in(?![a-z]) ?)(?P<value>.+)",
    re.DOTALL,
)
_BACKWARD = re.compile(rf"(?P<value>-?[\d.]+|-?\\frac\{{\d+\}}\{{\d+\}})=(?P<name>{_NAME})")
_VARIABLE = r"(?:[a-zA-Z]|\\[a-zA-Z]+)"
_NAMED_TUPLE = re.compile(r"(?P<names>\((?:[a-zA-Z], )+[a-zA-Z]\))=(?P<values>[^=]+)")
_MATRIX = re.compile(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", re.DOTALL)
_LAST_LETTER = re.compile(r"(?<=\d)([a-zA-Z])$")
_FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def _form(text: str) -> Form:
    """The kind of a normalized answer. The order of the tests matters: the outermost structure has to be found first."""
    if quantity(text) is not None:
        return Form("scalar")
    if text == r"\emptyset":
        return Form("set")
    if matrix := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in matrix[1].removesuffix(r"\\").split(r"\\")]
        entries = tuple(normalize(entry) for row in rows for entry in row)
        return Form("matrix", entries, " ".join(str(len(row)) for row in rows))
    # Signs that join whole answers come before brackets: "(0, 1) \cup (2, 3)" and "(1, 2), (3, 4)" begin and end with one.
    if len(unions := split(text, r"\\cup(?![a-zA-Z])")) > 1:
        return Form("union", tuple(unions))
    if len(members := split(text, _SEPARATOR)) > 1 and all(members):
        return Form("set", _signed(*members))
    if len(values := _signed(text)) > 1:
        return Form("set", values)
    # One pair of brackets around everything. With a single member they are parentheses of an expression: "(x+1)(x+2)".
    if text[0] in "([" and text[-1] in ")]":
        members = split(text[1:-1])
        if len(members) > 1:
            return Form("sequence", tuple(members), text[0] + text[-1])
    if (braces := re.fullmatch(r"\\?\{(.*?)\\?\}", text, re.DOTALL)) and (members := split(braces[1], _SEPARATOR)):
        return Form("set", _signed(*members))
    if RELATION.search(text):
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


def _as_intervals(text: str) -> str:
    """An inequality, or several in one variable joined by "or", as an interval or a union; other text unchanged."""
    found = [_interval(part) for part in split(text, r"(?:, )?\bor\b")]
    intervals = [interval for interval in found if interval is not None]
    if len(intervals) < len(found) or len({variable for variable, _ in intervals}) != 1:
        return text
    return r"\cup".join(interval for _, interval in intervals)


def compare(gold: str, pred: str, leaf: Leaf = lambda gold, pred: None) -> bool | None:
    """Whether two normalized answers are equal; None if `leaf` was needed and could not tell."""
    if not gold or not pred:
        return False  # normalizing "," or "$$" leaves nothing, and nothing is not an answer
    if gold == pred:
        return True

    # Numbers and times are decided exactly. Then what names or measures the answer is taken off: "x=" and a unit.
    if (same := _compare_measured(gold, pred)) is not None:
        return same
    gold, pred = _unassigned(gold, pred), _unassigned(pred, gold)
    (gold, gold_unit), (pred, pred_unit) = without_unit(gold), without_unit(pred)
    if not equal_units(gold_unit, pred_unit):
        return False
    if gold == pred or not gold or not pred:
        return gold == pred

    # Different kinds may still be two ways of writing one: an inequality as an interval, \{5\} as 5, 3:4 as 3/4.
    a, b = _form(gold), _form(pred)
    if {a.kind, b.kind} & {"sequence", "union"} and a.kind != b.kind:
        gold, pred = _as_intervals(gold), _as_intervals(pred)
        a, b = _form(gold), _form(pred)
    for one, other, text in ((a, b, pred), (b, a, gold)):
        if one.kind == "set" and len(one.parts) == 1 and other.kind != "set":
            return compare(one.parts[0], text, leaf) if one is a else compare(text, one.parts[0], leaf)
        if one.kind == "ratio" and len(one.parts) == 1 and other.kind == "scalar":
            return compare(one.ratio, text, leaf)

    # From here on kinds must agree. Parts are compared in turn or, where order does not count, paired up.
    if a.kind != b.kind or a.brackets != b.brackets or len(a.parts) != len(b.parts):
        return False
    if a.kind == "words":
        return _letters(gold) == _letters(pred)
    if a.kind in ("sequence", "matrix", "ratio"):
        return _all([compare(x, y, leaf) for x, y in zip(a.parts, b.parts, strict=True)])
    if a.kind == "set" and (_num_names(a) > 1) != (_num_names(b) > 1):
        return False  # "x=2 or y=3" is not "2, 3"
    if a.kind in ("set", "union"):
        return _match(a.parts, b.parts, leaf)

    # Two expressions or two relations: only algebra can tell.
    if all(re.fullmatch(r"[a-zA-Z]", text) for text in (gold, pred)):
        return False  # two choices, or two variables
    return leaf(gold, pred)


def _compare_measured(gold: str, pred: str) -> bool | None:
    """Whether two quantities or two times of day are equal; None if the answers are not a pair of either."""
    gold_clock, pred_clock = clock(gold), clock(pred)
    if gold_clock and pred_clock:
        return equal_clocks(gold_clock, pred_clock)
    a, b = quantity(gold), quantity(pred)
    if a and a.unit and not b:  # "2.5L" is a product, unless the other is in liters
        b = quantity(_LAST_LETTER.sub(r"\\text{\1}", pred))
    elif b and b.unit and not a:
        a = quantity(_LAST_LETTER.sub(r"\\text{\1}", gold))
    return equal_quantities(a, b) if a and b else None


def _unassigned(text: str, other: str) -> str:
    r"""`x=5` and `5=x` as `5`, `x\in S` as `S`, `(x, y)=(1, 2)` as `(1, 2)`, unless `other` is a relation or names other
    variables."""
    if named := _NAMED_TUPLE.fullmatch(text):
        named_other = _NAMED_TUPLE.fullmatch(other)
        return named["values"] if not named_other or named_other["names"] == named["names"] else text
    match = _ASSIGNMENT.fullmatch(text) or _BACKWARD.fullmatch(text)
    if match is None or len(split(text, _SEPARATOR)) > 1:
        return text
    # Two equations are compared as equations: "y=2" is not "x=2". Only membership (x \in S) is taken off in any case.
    if RELATION.search(other) and not re.search(r"\\in(?![a-z])", text[: match.start("value")]):
        return text
    return normalize(match["value"])


def _all(verdicts: list[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _match(gold: tuple[str, ...], pred: tuple[str, ...], leaf: Leaf) -> bool | None:
    """Pair up the members of two sets, each used once. Greedy pairing suffices, since equality is nearly transitive."""
    left, unsure = list(pred), False
    for member in gold:
        verdicts = [compare(member, other, leaf) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


def _num_names(form: Form) -> int:
    """How many variables a list of solutions is about."""
    return len({match["name"] for part in form.parts if (match := _ASSIGNMENT.fullmatch(part))})


def _letters(text: str) -> str:
    return re.sub(r"^(?:the|an?) ", "", re.sub(r"[\W_]+", " ", text.lower()).strip())
