r"""Units of measure and the words after a number: one spelling for each, and whether two agree (see `prm.answers`).

    unit_name("kilometers per hour")  ->  "km / hr"
    unit_name("ninths")               ->  None: it changes the value
    equal_units("apple", "red apple") ->  True

Left out: conversion of units, except of cents (`prm.answers.numbers`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import ascii_lowercase

from prm.answers.text import KEPT

_WORD_LIST = re.compile(r"\w+")
_NOT_UNITS = frozenset(
    _WORD_LIST.findall(
        "and plus minus times over mod less more fewer greater than divided squared cubed choose factorial "
        "pi sqrt sin cos tan log ln exp base infinity not through either between or to out below under negative remainder "
        "least half halves quarter quarters"
    )
) | {
    word + plural
    for plural in ("", "s")
    for word in _WORD_LIST.findall(
        "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
        "seventeenth eighteenth nineteenth twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth "
        "ninetieth hundredth thousandth millionth billionth"
    )
}
"""Words after a number that are not units: they change its value."""
_UNIT_NAMES = {
    "centimeter": "cm", "millimeter": "mm", "kilometer": "km", "meter": "m", "kilogram": "kg", "gram": "g",
    "milligram": "mg", "milliliter": "ml", "liter": "l", "lbs": "lb", "ounce": "oz", "foot": "ft", "feet": "ft",
    "inche": "in", "inch": "in", "hour": "hr", "h": "hr", "minute": "min", "second": "s", "sec": "s", "mile": "mi",
    "deg": "degree", "radian": "rad", "yard": "yd", "usd": "dollar", "buck": "dollar", "eur": "euro",
}  # fmt: skip
_SHORT_UNITS = frozenset({*_WORD_LIST.findall("mb gb kw am pm"), *_UNIT_NAMES.values()})
_KNOWN_UNITS = frozenset(
    {
        *_SHORT_UNITS,
        *_UNIT_NAMES,
        *_WORD_LIST.findall("mph kph kmh year month week day dollar cent euro sterling yen unit percent degree pound"),
    }
)
"""Units that may follow a number without a blank: "5dollars"; other words are a product, such as 2xyz."""
_ADVERBS = frozenset(_WORD_LIST.findall("left remaining total altogether overall away long high tall wide deep old in"))
"""Last words that say nothing about the unit: "12 marbles left", "5 years old", "30 miles in total"."""
_CASED = re.compile(r"[mM][wWgGjJvVnN]")
"""mW is not MW; the case of other units means nothing."""
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_SPEEDS = {"mph": "mi / hr", "kph": "km / hr", "kmh": "km / hr"}

UNIT = r"[a-zA-Z]+(?:[ /-][a-zA-Z]+)*(?:\^\{?[23]\}?)?"
_AFTER_EXPRESSION = re.compile(rf"(?P<number>.*?\S) (?P<unit>{UNIT})")


def unit_name(text: str, attached: bool = False) -> str | None:
    r"""The common spelling of a unit; None if the words are not a unit, as in "5x" (a product) or "5 or more".

    Args:
        attached: no blank is between the number and the unit, so that an unknown word is a product of variables.

    >>> unit_name("kilometers per hour"), unit_name("square feet"), unit_name("cm^2"), unit_name("xy")
    ('km / hr', 'ft^2', 'cm^2', None)
    """
    spelled = text.startswith(r"\text")
    written = re.findall(r"[a-zA-Z]+|/|\^\{?\d", text.removeprefix(r"\text"))
    tokens = [token if _CASED.fullmatch(token) else token.lower() for token in written]
    # "4 times" is a count, "4 times x" is not. 5K and 5M may be thousands and millions.
    changes_value = any(token in _NOT_UNITS for token in tokens) and tokens != ["times"]
    if len(tokens) > 7 or changes_value or written[:1] in (["K"], ["M"], ["B"], ["k"]):
        return None
    while len(tokens) > 1 and tokens[-1] in _ADVERBS:
        tokens.pop()
    is_rate = bool({"/", "per"}.intersection(tokens))
    names: list[str] = []
    power = ""
    for i, token in enumerate(tokens):
        if token[0] == "^" and names:
            names[-1] += "^" + token[-1]
            continue
        if token in _POWERS:  # before the unit: "square feet"
            power = f"^{_POWERS[token]}"
            continue
        if token in ("per", "/"):
            names.append("/")
            continue
        # Singular. Short tokens such as "s" and "ms" are not plurals.
        singular = token if token in _UNIT_NAMES or len(token) < 3 else token.removesuffix("s")
        is_known = singular in _KNOWN_UNITS and (len(token) > 1 or is_rate)
        # These look like products of variables: 2x, 2xy, 2 xyz (letters in alphabetical order), 2xyzw (no blank).
        needs_known = len(token) < 3 or token in ascii_lowercase or (attached and i == 0)
        if needs_known and not is_known and not spelled:
            return None
        names.append(_SPEEDS.get(token, _UNIT_NAMES.get(singular, singular)) + power)
        power = ""
    return " ".join(names)


@lru_cache(maxsize=KEPT)
def without_unit(text: str) -> tuple[str, str]:
    r"""An expression without the well-known unit after it, and that unit or "": `5\sqrt{2} cm`, `9\pi square units`."""
    if (degrees := re.fullmatch(r"(.+?)\^\{?\\circ\}?", text)) and not re.search(
        r"\\(?:sin|cos|tan|cot|sec|csc|circ|pi)", degrees[1]
    ):
        return degrees[1], "degree"
    match = _AFTER_EXPRESSION.fullmatch(text)
    if match and (name := unit_name(match["unit"])):
        known = {*_SHORT_UNITS, "unit", "degree", "percent", "/", "dollar", "cent", "euro", "sterling", "pound", "yen"}
        if all(word.split("^")[0] in known for word in name.split()):
            return match["number"], name
    return text, ""


def equal_units(a: str, b: str) -> bool:
    """Whether neither unit contradicts the other: "apple" is "red apple", but "hr" is not "mi / hr"."""
    if not a or not b or a == b:
        return True
    if {a, b} in ({"pound", "lb"}, {"pound", "sterling"}):
        return True
    short, long = sorted((a, b), key=len)
    return "/" not in long and long.endswith(" " + short)
