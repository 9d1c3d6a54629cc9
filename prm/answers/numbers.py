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
from functools import lru_cache

from prm.answers.text import INTEGER, KEPT
from prm.answers.units import UNIT, equal_units, unit_name

MAX_DIGITS = 300
"""Longer texts are left to algebra: Python refuses to read integers of thousands of digits."""

_SCALES = {
    "dozen": 12, "score": 20, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip


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
_MEASURED = re.compile(
    rf"(?P<number>.*[\d}}])(?P<unit>%|\^\{{?\\circ\}}?| ?\\text\{{[a-zA-Z]\}}(?:\^\{{?[23]\}}?)?|_\{{?\d+\}}?| ?{UNIT})"
)


@lru_cache(maxsize=KEPT)
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
    if unit == "%":
        return Quantity(value, "%")
    if unit[0] == "_":  # the base of "1010_2", whose digits must be smaller
        base = re.sub(r"\D", "", unit)
        is_numeral = re.fullmatch(r"-?\d+", measured["number"].strip()) and all(
            int(d) < int(base) for d in re.findall(r"\d", measured["number"])
        )
        return Quantity(value, f"_{base}") if is_numeral else None
    # "5 million dollars": a word of scale belongs to the number.
    first, _, rest = unit.partition(" ")
    while (scale := first.lower().removesuffix("s")) in _SCALES:
        value *= _SCALES[scale]
        first, _, rest = (unit := rest).partition(" ")
        if not unit:
            return Quantity(value, "")
    # A blank, or the backslash of \text, shows that the word is meant apart from the number.
    name = unit_name(unit, attached=measured["unit"][0] not in " \\")
    return None if name is None else Quantity(value, name)


def equal_quantities(a: Quantity, b: Quantity) -> bool:
    """Whether values and units agree. 50% is 50 or 0.5 if the other has no percent sign; a dollar has 100 cents."""
    if {a.unit, b.unit} == {"dollar", "cent"}:
        return a.value * (100 if a.unit == "dollar" else 1) == b.value * (100 if b.unit == "dollar" else 1)
    if not equal_units(a.unit, b.unit):
        return False
    percent = {a.unit, b.unit} == {"%", ""}
    return a.value == b.value or (percent and (a.value / 100 == b.value if a.unit else a.value == b.value / 100))


def _rational(text: str) -> Fraction | None:
    """A fraction, decimal, mixed number, power of ten or repeating decimal, exactly; None for anything else."""
    text = re.sub(rf"\\frac\{{({_DECIMAL})\}}\{{({_DECIMAL})\}}(?!\d)", r" \1/\2", text).lstrip()
    text = re.sub(r"\\(?:times|cdot)10\^\{?(-?\d+)\}?$", r"e\1", text)
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


@lru_cache(maxsize=KEPT)
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
