r"""What an answer is and when two are the same, as far as text and exact fractions can tell (see `prm.answers`).

    compare("1/2", "0.5")                    ->  True    both are numbers
    compare("[0, 1)", "(0, 1)")              ->  False   other brackets
    compare("(0, 12.5)", "0<x<12.5")         ->  True    an inequality in one variable is an interval
    compare(r"2\sqrt{2}", r"\sqrt{8}")       ->  None    only algebra can tell (`prm.answer_workers`)

Answers are compared part by part, so a tuple of numbers needs no algebra, and an interval never meets an equation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from prm.answer_text import INTEGER, normalize, split

Leaf = Callable[[str, str], bool | None]
"""Decides two expressions or two relations; None = cannot tell."""

_WORD_LIST = re.compile(r"\w+")
_NOT_UNITS = frozenset(
    _WORD_LIST.findall(
        "and plus minus times over mod less more fewer greater than divided squared cubed choose factorial half halves "
        "third thirds fourth fourths quarter quarters fifth fifths sixth sixths eighth eighths tenth tenths pi sqrt sin "
        "cos tan log exp base infinity not through either between"
    )
)
"""Words after a number that change its value."""
_SHORT_UNITS = frozenset(_WORD_LIST.findall("cm mm km nm kg mg lb ft oz ml in hr mi am pm ms of kw mb gb"))
_UNIT_NAMES = {
    "centimeter": "cm", "millimeter": "mm", "kilometer": "km", "meter": "m", "kilogram": "kg", "gram": "g",
    "milliliter": "ml", "liter": "l", "pound": "lb", "foot": "ft", "feet": "ft", "inche": "in", "inch": "in",
    "hour": "hr", "minute": "min", "second": "s", "sec": "s", "mile": "mi", "deg": "degree",
}  # fmt: skip
_SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_FUNCTIONS = frozenset(
    _WORD_LIST.findall("sqrt sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log exp gcd lcm max min")
)


# ------------------------------------------------------------------------------------------------------------ numbers


@dataclass(frozen=True)
class Quantity:
    value: Fraction
    unit: str
    """Canonical unit, "%" or ""."""


_DECIMAL = r"-?\d+(?:\.\d+)?"
_RATIONAL = re.compile(
    rf"(?P<sign>-?) ?(?:(?P<whole>\d+) (?=\d+/))?(?P<top>{_DECIMAL})(?:[eE](?P<exponent>[-+]?\d{{1,3}}))?"
    rf"(?:/(?P<bottom>{_DECIMAL}))?"
)
_REPEATING = re.compile(r"(-?)(\d+)\.(\d*)\\overline\{(\d+)\}")
_MEASURED = re.compile(
    r"(?P<number>.*[\d}])"
    r"(?P<unit>%|\^\{?\\circ\}?| ?\\text\{[a-zA-Z]\}(?:\^\{?[23]\}?)?|_\{?\d+\}?"
    r"| ?[a-zA-Z]+(?:[ /-][a-zA-Z]+)*(?:\^\{?[23]\}?)?)"
)


def quantity(text: str) -> Quantity | None:
    r"""A number, exactly, with its unit; None if the normalized text is anything else.

    >>> quantity("1 1/2"), quantity(r"5 million dollars")
    (Quantity(value=Fraction(3, 2), unit=''), Quantity(value=Fraction(5000000, 1), unit='dollar'))
    """
    if len(text) > 300:  # Python refuses to read integers of thousands of digits; algebra may try
        return None
    if INTEGER.fullmatch(text):
        return Quantity(Fraction(int(text)), "")
    value = _rational(text)
    if value is not None:
        return Quantity(value, "")
    measured = _MEASURED.fullmatch(text)
    value = _rational(measured["number"].strip()) if measured else None
    if measured is None or value is None:
        return None
    unit = re.sub(r"^_\{(\d+)\}$", r"_\1", measured["unit"].strip())
    if "circ" in unit:
        unit = "degree"
    words = re.findall(r"[a-z]+", unit.removeprefix(r"\text").lower())
    if words and words[0] in _SCALES:
        value *= _SCALES[words.pop(0)]
        unit = "".join(words)
    if len(words) > 5 or any(word in _NOT_UNITS for word in words):
        return None
    if words and not unit.startswith(r"\text") and any(len(w) < 3 and w not in _SHORT_UNITS for w in words):
        return None  # "5x" and "5ab" are products
    if not words:
        return Quantity(value, unit)  # none, %, or the base of "1010_2"
    names = [
        _UNIT_NAMES.get(w, w) for w in (w if w in _UNIT_NAMES or len(w) < 4 else w.removesuffix("s") for w in words)
    ]
    power = re.search(r"\d", unit)
    return Quantity(value, " ".join(names) + (f"^{power[0]}" if power else ""))


def _rational(text: str) -> Fraction | None:
    text = re.sub(rf"\\frac\{{({_DECIMAL})\}}\{{({_DECIMAL})\}}", r" \1/\2", text).strip()
    text = re.sub(r"\\(?:times|cdot)10\^(?:\{(-?\d+)\}|(\d))$", lambda m: f"e{m[1] or m[2]}", text)
    if repeating := _REPEATING.fullmatch(text):
        sign, whole, fixed, cycle = repeating.groups()
        digits = int(whole + fixed + cycle) - int(whole + fixed)
        return Fraction(int(sign + "1") * digits, (10 ** len(cycle) - 1) * 10 ** len(fixed))
    match = _RATIONAL.fullmatch(text)
    if match is None or (match["bottom"] and Fraction(match["bottom"]) == 0):
        return None
    value = Fraction(match["top"]) * Fraction(10) ** int(match["exponent"] or 0) / Fraction(match["bottom"] or 1)
    return (value + int(match["whole"] or 0)) * int(match["sign"] + "1")


def _equal_quantities(a: Quantity, b: Quantity) -> bool:
    if a.unit and b.unit and a.unit != b.unit:
        return False
    percent = {a.unit, b.unit} == {"%", ""}
    return a.value == b.value or (percent and (a.value / 100 == b.value if a.unit else a.value == b.value / 100))


# -------------------------------------------------------------------------------------------------------------- kinds


@dataclass(frozen=True)
class Form:
    kind: Literal["scalar", "words", "set", "sequence", "union", "relation"]
    parts: tuple[str, ...] = ()
    """Members of a set, sequence or union."""
    brackets: str = ""
    """Of a sequence, e.g. "[)": a tuple and an open interval are written alike and compared alike."""


_SEPARATOR = r",|;|\band\b|\bor\b"
_RELATION = re.compile(r"\\(?:le|ge|ne)(?![a-zA-Z])|[<>=]")
# A name is a letter, a macro or a word; two letters are a product.
_ASSIGNMENT = re.compile(
    r"(?:[a-zA-Z]|\\?[a-zA-Z]{3,}|\\[a-zA-Z]{2}|[a-zA-Z]\([a-zA-Z]\))(?:_\{?\w+\}?)?(?:=|\\in(?![a-z]) ?)(.+)",
    re.DOTALL,
)
_VARIABLE = r"(?:[a-zA-Z]|\\[a-zA-Z]+)"
_FLIP = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le"}


def _form(text: str) -> Form:
    if quantity(text) is not None:
        return Form("scalar")
    if text in (r"\emptyset", r"\varnothing", r"\{\}", "{}"):
        return Form("set")
    if len(unions := split(text, r"\\cup(?![a-zA-Z])")) > 1:
        return Form("union", tuple(unions))
    if len(members := split(text, _SEPARATOR)) > 1 and all(members):
        return Form("set", tuple(members))
    if text.count(r"\pm") == 1:
        return Form("set", tuple(normalize(text.replace(r"\pm", sign)) for sign in "+-"))
    if text[0] in "([" and text[-1] in ")]":
        members = split(text[1:-1])
        if len(members) > 1:
            return Form("sequence", tuple(members), text[0] + text[-1])
    if (braces := re.fullmatch(r"\\?\{(.*?)\\?\}", text, re.DOTALL)) and (members := split(braces[1])):
        return Form("set", tuple(members))
    if _RELATION.search(text):
        return Form("relation")
    words = re.findall(r"[a-z]+", text.lower())
    if "\\" not in text and (text.lower() == "no" or any(len(word) > 2 and word not in _FUNCTIONS for word in words)):
        return Form("words")
    return Form("scalar")


def _interval(text: str) -> Form | None:
    """The interval that an inequality in one variable describes: a<x<b, a>x>b, x<a, a<x and their like."""
    signs, sides = _RELATION.findall(text), [side.strip() for side in _RELATION.split(text)]
    if any(sign not in _FLIP for sign in signs):
        return None
    if signs[0] in (">", r"\ge"):  # turn around what is written from high to low
        signs, sides = [_FLIP[sign] for sign in reversed(signs)], sides[::-1]
    variables = [i for i, side in enumerate(sides) if re.fullmatch(_VARIABLE, side) and side != r"\infty"]
    if len(signs) == 1 and variables == [0]:
        return Form("sequence", (r"-\infty", sides[1]), "()" if signs == ["<"] else "(]")
    if len(signs) == 1 and variables == [1]:
        return Form("sequence", (sides[0], r"\infty"), "()" if signs == ["<"] else "[)")
    if len(signs) == 2 and 1 in variables:
        return Form(
            "sequence", (sides[0], sides[2]), ("(" if signs[0] == "<" else "[") + (")" if signs[1] == "<" else "]")
        )
    return None


def compare(gold: str, pred: str, leaf: Leaf = lambda gold, pred: None) -> bool | None:
    """Whether two normalized answers are the same; None if `leaf` was needed and could not tell."""
    if not gold or not pred:
        return False  # nothing is left of "," or "$$", and nothing is no answer
    if gold == pred:
        return True
    measured = quantity(gold), quantity(pred)
    if measured[0] and measured[1]:
        return _equal_quantities(measured[0], measured[1])
    gold, pred = _unassigned(gold, pred), _unassigned(pred, gold)
    if gold == pred or not gold or not pred:
        return gold == pred
    a, b = _form(gold), _form(pred)
    if a.kind == "relation" and b.kind == "sequence":
        a = _interval(gold) or a
    elif a.kind == "sequence" and b.kind == "relation":
        b = _interval(pred) or b
    if a.kind != b.kind or a.brackets != b.brackets or len(a.parts) != len(b.parts):
        return False
    if a.kind == "words":
        return _letters(gold) == _letters(pred)
    if a.kind == "sequence":
        return _all([compare(x, y, leaf) for x, y in zip(a.parts, b.parts, strict=True)])
    if a.kind in ("set", "union"):
        return _match(a.parts, b.parts, leaf)
    if all(re.fullmatch(r"[a-zA-Z]", text) for text in (gold, pred)):
        return False  # two choices, or two variables
    return leaf(gold, pred)


def _unassigned(text: str, other: str) -> str:
    r"""`x=5` as `5`, `x\in S` as `S`, unless the other is such a statement as well."""
    match = _ASSIGNMENT.fullmatch(text)
    if match is None or ("=" in text[: match.start(1)] and _RELATION.search(other)) or len(split(text, _SEPARATOR)) > 1:
        return text
    return normalize(match[1])


def _all(verdicts: list[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _match(gold: tuple[str, ...], pred: tuple[str, ...], leaf: Leaf) -> bool | None:
    """Pair up the members of two sets, each used once; greedy, as equality is all but transitive."""
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


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text.lower()).strip()
