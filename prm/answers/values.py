r"""The value of a formula at a point: an exact fraction where there is one, else a real or complex number.

    Evaluator().value(parse("x^2/3"), {"x": Fraction(2)})          ->  Fraction(4, 3)
    Evaluator(bits=300).value(parse(r"\sqrt{x}"), {"x": ...})      ->  mpf of 300 bits

Without `bits`, only what is a fraction has a value, and `InexactError` says that more is needed; this is fast and safe
enough to run anywhere. With `bits`, mpmath computes the rest, which may take forever (`prm.answers.workers`).

The evaluator notes the smallest and the largest number that it met. A difference of two values is trusted only if the
precision covers that whole range: y + 5^{-700} agrees with y to 489 digits.

Conventions: an odd root of a negative number is real. `gcd`, `lcm`, `binom` and factorials take integers. A function
called f, g, h or P has a fixed arbitrary value for every argument. `\log` without base is `\ln` over an unknown
constant.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from prm.answers.formulas import Formula
from prm.answers.functions import (
    AT_ZERO,
    EXACT,
    MAX_BITS,
    ON_INTEGERS,
    SMOOTH,
    InexactError,
    UndecidedError,
    UndefinedError,
    exact_power,
    integer,
)

MAX_PRECISION = 40_000
"""In bits; a range of numbers that needs more is not compared."""
MAX_STEPS = 20_000
"""Of one evaluation; a sum of a million terms is not computed."""

Point = Mapping[str, Fraction]


@functools.cache
def _mpmath() -> Any:
    """Numbers of our own precision, whatever others do with mpmath."""
    from mpmath.ctx_mp import MPContext

    return MPContext()


class Evaluator:
    """Computes values, exact (`bits` None) or to `bits` bits, and notes the range of the numbers that it met.

    Of several with `bits`, only the newest may be used: they share one precision.
    """

    def __init__(self, bits: int | None = None) -> None:
        self.steps = 0
        self.low, self.high = 0, 0
        """Binary logarithms of the smallest and the largest number so far."""
        self._mp: Any = None
        if bits is not None:
            self._mp = _mpmath()
            self._mp.prec = bits

    @property
    def mp(self) -> Any:
        """The numbers of mpmath at this precision. Raises InexactError if this evaluator is exact."""
        if self._mp is None:
            raise InexactError("not a fraction")
        return self._mp

    def value(self, formula: Formula, point: Point) -> Any:
        """A Fraction, or a number of mpmath.

        Raises:
            UndefinedError, InexactError, UndecidedError: see there.
        """
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise UndecidedError("too many steps")
        found = self._OPERATIONS[formula.op](self, formula.args, point)
        if isinstance(found, Fraction):
            if max(found.numerator.bit_length(), found.denominator.bit_length()) > MAX_BITS:
                found = self.real(found)
            elif found:
                self._note(found.numerator.bit_length() - found.denominator.bit_length())
        elif found:
            self._note(int(self.mp.mag(found)))
        return found

    def _note(self, logarithm: int) -> None:
        self.low, self.high = min(self.low, logarithm), max(self.high, logarithm)

    def real(self, value: Any) -> Any:
        """A value as a number of mpmath. Raises InexactError if this evaluator is exact."""
        if isinstance(value, Fraction):
            return self.mp.mpf(value.numerator) / value.denominator
        # What cancels to nothing is nothing: sqrt(-4)^2 has no imaginary part.
        if isinstance(value, self.mp.mpc):
            size, noise = abs(value), self.mp.ldexp(1, 30 - self.mp.prec)
            if abs(value.imag) <= size * noise:
                return value.real
            if abs(value.real) <= size * noise:
                return self.mp.mpc(0, value.imag)
        return value

    def _constant(self, args: tuple[Any, ...], point: Point) -> Any:
        return {"pi": +self.mp.pi, "e": +self.mp.e, "i": self.mp.mpc(0, 1)}[args[0]]

    def _symbol(self, args: tuple[Any, ...], point: Point) -> Any:
        if args[0] == "°" and "°" not in point:
            return self.mp.pi / 180
        return point[args[0]]

    def _sum(self, args: tuple[Any, ...], point: Point) -> Any:
        terms = [self.value(term, point) for term in args]
        exact = sum((term for term in terms if isinstance(term, Fraction)), Fraction(0))
        inexact = [term for term in terms if not isinstance(term, Fraction)]
        if not inexact:
            return exact
        total = self.real(exact) + self.mp.fsum(inexact)
        size = max(abs(self.real(term)) for term in (*inexact, exact))
        return self.mp.mpf(0) if abs(total) <= self.mp.ldexp(size, 40 - self.mp.prec) else self.real(total)

    def _product(self, args: tuple[Any, ...], point: Point) -> Any:
        exact, inexact = Fraction(1), []
        for factor in args:
            value = self.value(factor, point)
            if isinstance(value, Fraction):
                exact *= value
            else:
                inexact.append(value)
        if not inexact or exact == 0:
            return exact
        return self.real(self.mp.fprod([self.real(exact), *inexact]))

    def _power(self, args: tuple[Any, ...], point: Point) -> Any:
        base, exponent = (self.value(arg, point) for arg in args)
        if base == 0:
            if isinstance(exponent, Fraction) and exponent > 0:
                return Fraction(0)
            raise UndefinedError("0 to the power of 0 or less")
        if isinstance(base, Fraction) and isinstance(exponent, Fraction):
            found = exact_power(base, exponent)
            if found is not None:
                return found
        if isinstance(exponent, Fraction):
            # In answers, the cube root of -8 is -2.
            is_real = isinstance(base, Fraction) or isinstance(self.real(base), self.mp.mpf)
            if is_real and base < 0 and exponent.denominator % 2 == 1 and exponent.denominator > 1:
                sign = -1 if exponent.numerator % 2 else 1
                return sign * self.mp.power(self.real(-base), self.real(exponent))
        return self.real(self.mp.power(self.real(base), self.real(exponent)))

    def _series(self, args: tuple[Any, ...], point: Point) -> Any:
        kind, index, first, last, term = args
        start, stop = (integer(self.value(bound, point)) for bound in (first, last))
        if stop < start - 1:
            raise UndefinedError("a sum that ends before it begins")
        if stop - start > MAX_STEPS:
            raise UndecidedError("too many terms")
        total: Any = Fraction(0 if kind == "sum" else 1)
        for i in range(start, stop + 1):
            value = self.value(term, {**point, index: Fraction(i)})
            if not (isinstance(total, Fraction) and isinstance(value, Fraction)):
                total, value = self.real(total), self.real(value)
            total = total + value if kind == "sum" else total * value
            if isinstance(total, Fraction) and total.denominator.bit_length() > MAX_BITS:
                total = self.real(total)
        return total

    def _call(self, args: tuple[Any, ...], point: Point) -> Any:
        name = args[0]
        values = [self.value(arg, point) for arg in args[1:]]
        if name in EXACT:
            return self._on_integers(name, values) if name in ON_INTEGERS else self._stepped(name, values)
        if name in ("ln", "log", "lg") and values[0] == 0:
            raise UndefinedError("logarithm of 0")
        if name in SMOOTH:
            if values[0] == 0 and name in AT_ZERO:
                return Fraction(AT_ZERO[name])
            if values[0] == 1 and name in ("ln", "log", "lg"):
                return Fraction(0)
            argument = self.real(values[0])
            try:
                return self.real(SMOOTH[name](self.mp, argument))
            except (ZeroDivisionError, ValueError) as error:
                raise UndefinedError(name) from error
        return self._unknown(name, values)

    def _on_integers(self, name: str, values: list[Any]) -> Any:
        try:
            return EXACT[name](values)
        except InexactError:  # too large for a fraction
            return (self.mp.factorial if name == "factorial" else self.mp.binomial)(*map(self.real, values))

    def _stepped(self, name: str, values: list[Any]) -> Any:
        """Functions of order and size, which need real numbers, and for steps a value that is clear of the step."""
        if all(isinstance(value, Fraction) for value in values):
            return EXACT[name](values)
        numbers = [self.real(value) for value in values]
        if name == "abs":
            return abs(numbers[0])
        if any(isinstance(value, self.mp.mpc) for value in numbers):
            raise UndefinedError(f"{name} of a complex number")
        if name in ("max", "min"):
            return (max if name == "max" else min)(numbers)
        if name == "sgn":
            return Fraction(int(self.mp.sign(numbers[0])))
        value = numbers[0]
        if self.mp.mag(value) > MAX_BITS or abs(value - self.mp.nint(value)) < self.mp.ldexp(1, -self.mp.prec // 2):
            raise UndecidedError(f"{name} of what may be an integer")
        return Fraction(int((self.mp.floor if name == "floor" else self.mp.ceil)(value)))

    def _unknown(self, name: str, values: list[Any]) -> Fraction:
        """An arbitrary value that only depends on the function and its arguments."""
        known = ",".join(
            str(value) if isinstance(value, Fraction) else str(self.mp.nstr(value, 40, min_fixed=1, max_fixed=0))
            for value in values
        )
        digest = hashlib.sha256(f"{name}({known})".encode()).digest()
        return Fraction(int.from_bytes(digest[:4], "big"), 2**30 + 1)

    _OPERATIONS: Mapping[str, Callable[[Evaluator, tuple[Any, ...], Point], Any]] = {
        "number": lambda self, args, point: args[0],
        "constant": _constant,
        "symbol": _symbol,
        "sum": _sum,
        "product": _product,
        "power": _power,
        "series": _series,
        "call": _call,
    }
