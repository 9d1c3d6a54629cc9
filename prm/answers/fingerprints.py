r"""Values of roots and the like, each computed once in a worker, that show which of many expressions differ.

    fingerprint(r"\sqrt{8}", "[[], []]")   ->  "3:427419822500504607534270:0"

That is 2.828... in units of 2^(3 - 80), without imaginary part.

Of 256 different answers with roots, all 32,640 pairs would have to be asked for, at milliseconds each. But most differ
clearly at the first random point. Algebra begins with the same values at the same point (`prm.answers.algebra`) and would
say so, too, so these pairs need not be asked for. Expressions that are nearly equal or have no value there are left to
algebra, and so are relations.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import NamedTuple

from prm.answers.algebra import DECIMAL, FIRST_BITS, MARGIN, expression_of
from prm.answers.expressions import common_letters
from prm.answers.functions import UndecidedError, UndefinedError
from prm.answers.points import random_points
from prm.answers.values import MAX_STEPS, Evaluator

_BITS = 80
"""Of a value, below the largest number that it was computed from."""


class Fingerprint(NamedTuple):
    """A complex number in units of 2 ** (high - _BITS), with an error of one unit."""

    high: int
    real: int
    imaginary: int


def fingerprint(text: str, variables: str) -> str:
    """The value of an expression at the first random point for some letters, as text; "" if there is none. May take forever.

    Args:
        variables: from `variables_of`.
    """
    one = expression_of(text)
    letters, integers = json.loads(variables)
    evaluator = Evaluator(FIRST_BITS)
    if one is None:
        return ""
    try:
        value = evaluator.real(evaluator.value(one.formula, random_points(tuple(letters), frozenset(integers))[0]))
    except (UndefinedError, UndecidedError):
        return ""
    mp = evaluator.mp
    if evaluator.steps > MAX_STEPS // 2 or not mp.isfinite(value):  # beside another there would be too many steps
        return ""
    parts = (int(mp.floor(mp.ldexp(part, _BITS - evaluator.high))) for part in (value.real, value.imag))
    return ":".join(map(str, (evaluator.high, *parts)))


def read_fingerprint(written: str) -> Fingerprint | None:
    return Fingerprint(*map(int, written.split(":"))) if written else None


def variables_of(gold: str, pred: str) -> str | None:
    """What says at which point two expressions are compared first; None for other texts, relations for example."""
    a, b = expression_of(gold), expression_of(pred)
    return None if a is None or b is None else json.dumps([common_letters(a, b), sorted(a.integers | b.integers)])


def are_apart(gold: str, x: Fingerprint, pred: str, y: Fingerprint) -> bool:
    """Whether two expressions with these values clearly differ, as decimals of an irrational number, too."""
    high = max(x.high, y.high)
    distance = max(
        abs((a >> (high - x.high)) - (b >> (high - y.high))) for a, b in zip(x[1:], y[1:], strict=True)
    )  # less by up to two units than it is
    if distance - 2 < 1 << (_BITS - MARGIN):
        return False
    places = [len(match["places"]) for text in (gold, pred) if (match := DECIMAL.fullmatch(text))]
    return all((distance - 2) * Fraction(2) ** (high - _BITS) > Fraction(1, 10**n) for n in places)
