r"""The functions that formulas may contain: exact ones of fractions, and those that need mpmath (see `prm.answers.values`).

EXACT["gcd"]([Fraction(12), Fraction(18)])  ->  Fraction(6)
exact_power(Fraction(8), Fraction(1, 3))    ->  Fraction(2)
exact_power(Fraction(2), Fraction(1, 2))    ->  None
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

MAX_BITS = 4_000
"""Of a fraction."""
MAX_FACTORIAL = 1_500


class UndefinedError(ArithmeticError):
    """The formula has no value at this point: 1/0, the floor of a complex number."""


class InexactError(ArithmeticError):
    """The value is not a fraction, or too large for one."""


class UndecidedError(ArithmeticError):
    """No precision that can be afforded tells what the value is."""


def exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    """None if the power is not a fraction, or too large."""
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent.numerator) * size > MAX_BITS * 4:
        return None
    if exponent.denominator == 1:
        return base**exponent.numerator
    if base < 0 or exponent.denominator > 64:
        if base > 0 or exponent.denominator > 64 or exponent.denominator % 2 == 0:
            return None
        root = exact_power(-base, Fraction(1, exponent.denominator))
        return None if root is None else (-root) ** exponent.numerator
    top, bottom = (_root(n, exponent.denominator) for n in (base.numerator, base.denominator))
    return None if top is None or bottom is None else Fraction(top, bottom) ** exponent.numerator


def _root(n: int, degree: int) -> int | None:
    """The exact root of a non-negative integer."""
    low, high = 0, 1 << (n.bit_length() // degree + 1)
    while low < high:
        middle = (low + high) // 2
        if middle**degree < n:
            low = middle + 1
        else:
            high = middle
    return low if low**degree == n else None


def integer(value: Any) -> int:
    if not isinstance(value, Fraction):
        is_near = abs(value - value.context.nint(value.real)) < 1e-30
        raise UndecidedError("perhaps an integer") if is_near else UndefinedError("not an integer")
    if value.denominator != 1:
        raise UndefinedError("not an integer")
    return value.numerator


def _factorial(values: list[Any]) -> Fraction:
    n = integer(values[0])
    if n < 0:
        raise UndefinedError("factorial of a negative number")
    if n > MAX_FACTORIAL:
        raise InexactError("a factorial that is too large")
    return Fraction(math.factorial(n))


def _binomial(values: list[Any]) -> Fraction:
    n, k = (integer(value) for value in values)
    if n < 0:
        raise UndefinedError("binomial of a negative number")
    if min(k, n - k) > MAX_FACTORIAL or n.bit_length() * max(0, min(k, n - k)) > 4 * MAX_BITS:
        raise InexactError("a binomial that is too large")
    return Fraction(math.comb(n, k) if k >= 0 else 0)


EXACT: dict[str, Callable[[list[Any]], Fraction]] = {
    "abs": lambda values: abs(values[0]),
    "floor": lambda values: Fraction(math.floor(values[0])),
    "ceil": lambda values: Fraction(math.ceil(values[0])),
    "sgn": lambda values: Fraction((values[0] > 0) - (values[0] < 0)),
    "max": max,
    "min": min,
    "gcd": lambda values: Fraction(math.gcd(*map(integer, values))),
    "lcm": lambda values: Fraction(math.lcm(*map(integer, values))),
    "factorial": _factorial,
    "binom": _binomial,
}
"""Functions that make fractions of fractions."""
ON_INTEGERS = frozenset({"gcd", "lcm", "factorial", "binom"})
SMOOTH: dict[str, Callable[[Any, Any], Any]] = {
    "sin": lambda mp, x: mp.sin(x),
    "cos": lambda mp, x: mp.cos(x),
    "tan": lambda mp, x: mp.tan(x),
    "cot": lambda mp, x: mp.cot(x),
    "sec": lambda mp, x: mp.sec(x),
    "csc": lambda mp, x: mp.csc(x),
    "arcsin": lambda mp, x: mp.asin(x),
    "arccos": lambda mp, x: mp.acos(x),
    "arctan": lambda mp, x: mp.atan(x),
    "sinh": lambda mp, x: mp.sinh(x),
    "cosh": lambda mp, x: mp.cosh(x),
    "tanh": lambda mp, x: mp.tanh(x),
    "ln": lambda mp, x: mp.ln(x),
    "lg": lambda mp, x: mp.ln(x) / mp.ln(10),
    "log": lambda mp, x: mp.ln(x) / (mp.sqrt(5) + mp.euler),
    "cbrt": lambda mp, x: mp.sign(x) * mp.cbrt(abs(x)),
}
AT_ZERO = {
    "sin": 0,
    "tan": 0,
    "arcsin": 0,
    "arctan": 0,
    "sinh": 0,
    "tanh": 0,
    "cos": 1,
    "sec": 1,
    "cosh": 1,
    "cbrt": 0,
}
