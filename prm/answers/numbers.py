r"""Numbers with units and times of day, read exactly (see `prm.answers`).

    quantity(r"1 1/2 cups")          ->  Quantity(value=Fraction(3, 2), unit="cup")
    quantity(r"5\text{m}/\text{s}")  ->  None: not a plain number with a unit; `prm.answers.forms` goes on with it
    clock("2:30 pm")                 ->  Clock(seconds=52200, half=True)

Units get one spelling but are never converted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from string import ascii_lowercase

from prm.answers.text import INTEGER

MAX_DIGITS = 300
"""Longer texts are left to algebra: Python refuses to read integers of thousands of digits."""

_WORD_LIST = re.compile(r"\w+")
_NOT_UNITS = frozenset(
    _WORD_LIST.findall(
        "and plus minus times over mod less more fewer greater than divided squared cubed choose factorial half "
        "halves third thirds fourth fourths quarter quarters fifth fifths sixth sixths eighth eighths tenth tenths "
        "pi sqrt sin cos tan log exp base infinity not through either between or to"
    )
)
"""Words after a number that are not units: they change its value."""
_UNIT_NAMES = {
    "centimeter": "cm", "millimeter": "mm", "kilometer": "km", "meter": "m", "kilogram": "kg", "gram": "g",
    "milligram": "mg", "milliliter": "ml", "liter": "l", "pound": "lb", "ounce": "oz", "foot": "ft", "feet": "ft",
    "inche": "in", "inch": "in", "hour": "hr", "h": "hr", "minute": "min", "second": "s", "sec": "s", "mile": "mi",
    "deg": "degree", "radian": "rad", "yard": "yd",
}  # fmt: skip
_SHORT_UNITS = frozenset({*_WORD_LIST.findall("mb gb kw am pm"), *_UNIT_NAMES.values()})
_KNOWN_UNITS = frozenset(
    {
        *_SHORT_UNITS,
        *_UNIT_NAMES,
        *_WORD_LIST.findall("mph kph kmh year month week day dollar cent unit percent degree"),
    }
)
"""Units that may follow a number without a blank: "5dollars"; other words are a product, such as 2xyz."""
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_SPEEDS = {"mph": "mi / hr", "kph": "km / hr", "kmh": "km / hr"}
_SCALES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}


@dataclass(frozen=True)
class Quantity:
    """An exact number with its unit."""

    value: Fraction
    unit: str
    """Canonical unit, "%" or ""."""


_DECIMAL = r"-?\d+(?:\.\d+)?"
_RATIONAL = re.compile(
    rf"(?P<sign>-?) ?(?:(?P<whole>\d+) (?=\d+/))?(?P<top>{_DECIMAL})(?:[eE](?P<exponent>[-+]?\d{{1,3}}))?"
    rf"(?:/(?P<bottom>{_DECIMAL}))?"
)
_REPEATING = re.compile(r"(-?)(\d+)\.(\d*)\\(?:overline|bar)\{?(\d+)\}?")
_DOTS = re.compile(r"(-?)(\d+)\.(\d*?)(?:(\d)\4\4*|(\d{2,}?)\5+)\\dots")
"""0.1666..., 0.2727..."""
_UNIT = r"[a-zA-Z]+(?:[ /-][a-zA-Z]+)*(?:\^\{?[23]\}?)?"
_MEASURED = re.compile(
    rf"(?P<number>.*[\d}}])(?P<unit>%|\^\{{?\\circ\}}?| ?\\text\{{[a-zA-Z]\}}(?:\^\{{?[23]\}}?)?|_\{{?\d+\}}?| ?{_UNIT})"
)
_AFTER_EXPRESSION = re.compile(rf"(?P<number>.*?\S) (?P<unit>{_UNIT})")


def quantity(text: str) -> Quantity | None:
    r"""The exact number in a normalized text, with its unit; None if the text is anything else.

    >>> quantity("1 1/2"), quantity(r"5 million dollars")
    (Quantity(value=Fraction(3, 2), unit=''), Quantity(value=Fraction(5000000, 1), unit='dollar'))
    """
    if len(text) > MAX_DIGITS:
        return None
    if INTEGER.fullmatch(text):
        return Quantity(Fraction(int(text)), "")
    value = _rational(text)
    if value is not None:
        return Quantity(value, "")
    # Not a bare number: split off everything after the last digit (or brace) as a unit.
    measured = _MEASURED.fullmatch(text)
    value = _rational(measured["number"].strip()) if measured else None
    if measured is None or value is None:
        return None
    unit = measured["unit"].strip()
    if "circ" in unit:
        return Quantity(value, "degree")
    if unit[0] in "%_":  # or the base of "1010_2"
        return Quantity(value, re.sub(r"[{}]", "", unit))
    # "5 million dollars": a word of scale belongs to the number.
    first, _, rest = unit.partition(" ")
    if first.lower() in _SCALES:
        value *= _SCALES[first.lower()]
        unit = rest
        if not unit:
            return Quantity(value, "")
    # A blank, or the backslash of \text, shows that the word is meant apart from the number.
    name = unit_name(unit, attached=measured["unit"][0] not in " \\")
    return None if name is None else Quantity(value, name)


def unit_name(text: str, attached: bool = False) -> str | None:
    r"""The common spelling of a unit; None if the words are not a unit, as in "5x" (a product) or "5 or more".

    Args:
        attached: no blank is between the number and the unit, so that an unknown word is a product of variables.

    >>> unit_name("kilometers per hour"), unit_name("square feet"), unit_name("cm^2"), unit_name("xy")
    ('km / hr', 'ft^2', 'cm^2', None)
    """
    spelled = text.startswith(r"\text")
    tokens = re.findall(r"[a-z]+|/|\^\{?\d", text.removeprefix(r"\text").lower())
    if len(tokens) > 7 or any(token in _NOT_UNITS for token in tokens):
        return None
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


def without_unit(text: str) -> tuple[str, str]:
    r"""An expression without the well-known unit after it, and that unit or "": `5\sqrt{2} cm`, `9\pi square units`."""
    match = _AFTER_EXPRESSION.fullmatch(text)
    if match and (name := unit_name(match["unit"])):
        known = {*_SHORT_UNITS, "unit", "degree", "percent", "/"}
        if all(word.split("^")[0] in known for word in name.split()):
            return match["number"], name
    return text, ""


def equal_units(a: str, b: str) -> bool:
    """Whether neither unit contradicts the other: "apple" is "red apple", but "hr" is not "mi / hr"."""
    if not a or not b or a == b:
        return True
    short, long = sorted((a, b), key=len)
    return "/" not in long and long.endswith(" " + short)


def equal_quantities(a: Quantity, b: Quantity) -> bool:
    """Whether values and units agree. 50% is read as 50 or as 0.5 if the other has no percent sign."""
    if not equal_units(a.unit, b.unit):
        return False
    percent = {a.unit, b.unit} == {"%", ""}
    return a.value == b.value or (percent and (a.value / 100 == b.value if a.unit else a.value == b.value / 100))


def _rational(text: str) -> Fraction | None:
    """A fraction, decimal, mixed number, power of ten or repeating decimal, exactly; None for anything else."""
    text = re.sub(rf"\\frac\{{({_DECIMAL})\}}\{{({_DECIMAL})\}}", r" \1/\2", text).strip()
    text = re.sub(r"\\(?:times|cdot)10\^(?:\{(-?\d+)\}|(\d))$", lambda m: f"e{m[1] or m[2]}", text)
    if (repeating := _REPEATING.fullmatch(text)) or (repeating := _DOTS.fullmatch(text)):
        sign, whole, fixed, *cycles = repeating.groups("")
        # 0.1(6) = (16 - 1) / 90: the digits with one cycle minus those before it, over nines and zeros.
        cycle = "".join(cycles)
        digits = int(whole + fixed + cycle) - int(whole + fixed)
        return Fraction(int(sign + "1") * digits, (10 ** len(cycle) - 1) * 10 ** len(fixed))
    match = _RATIONAL.fullmatch(text)
    if match is None or (match["bottom"] and Fraction(match["bottom"]) == 0):
        return None
    value = Fraction(match["top"]) * Fraction(10) ** int(match["exponent"] or 0) / Fraction(match["bottom"] or 1)
    return (value + int(match["whole"] or 0)) * int(match["sign"] + "1")


@dataclass(frozen=True)
class Clock:
    """A time of day."""

    seconds: int
    """Since midnight."""
    half: bool
    """Whether am or pm is given."""


_CLOCK = re.compile(r"(\d{1,2})(?::([0-5]\d))?(?::([0-5]\d))? ?(am|pm)?", re.IGNORECASE)
_HALF_DAY = 12 * 60 * 60


def clock(text: str) -> Clock | None:
    """The time of day in a text, or None. "7 pm" and "7:00" are times, "7" is not."""
    match = _CLOCK.fullmatch(text)
    if match is None or not (match[2] or match[4]) or int(match[1]) > (12 if match[4] else 23):
        return None
    hours = int(match[1]) % 12 + 12 * (match[4].lower() == "pm") if match[4] else int(match[1])
    return Clock((hours * 60 + int(match[2] or 0)) * 60 + int(match[3] or 0), bool(match[4]))


def equal_clocks(a: Clock, b: Clock) -> bool:
    """2:30 equals 2:30 pm, and 14:30 equals 2:30 pm; but 1:30 is not 13:30."""
    if a.seconds == b.seconds or a.half == b.half:
        return a.seconds == b.seconds
    # One says am or pm, the other may mean either, unless it is written as 0:30 or 13:30.
    open_hour = (b if a.half else a).seconds // 3600
    return 0 < open_hour < 13 and (a.seconds - b.seconds) % _HALF_DAY == 0
