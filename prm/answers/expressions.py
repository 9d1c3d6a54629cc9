r"""Formulas with what comparing them in pairs needs again and again: read once, and evaluated once at a point.

    expression("x^2+1").letters                                ->  {"x"}
    expression("x^2+1").value({"x": Fraction(2)}, None).found  ->  Fraction(5)

256 answers to one problem are 32,640 pairs, and most differ at the first point: so many values are not computed again, but
looked up. Kept are the texts of a few problems.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import NamedTuple

from prm.answers import points
from prm.answers.formulas import Formula, calls, negative, ordered, symbols
from prm.answers.functions import InexactError, UndecidedError, UndefinedError
from prm.answers.parser import parse
from prm.answers.text import KEPT
from prm.answers.values import Evaluator

_TRIGONOMETRIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})


class Value(NamedTuple):
    found: Fraction | UndefinedError | InexactError | UndecidedError
    """The exact value, or why there is none."""
    steps: int
    """What it took to evaluate."""


@dataclass(eq=False)
class Expression:
    formula: Formula
    _values: dict[tuple[tuple[str, ...], frozenset[str], int], Value] = field(default_factory=dict)

    @cached_property
    def letters(self) -> frozenset[str]:
        return symbols(self.formula)

    @cached_property
    def integers(self) -> frozenset[str]:
        """Letters that stand for integers."""
        return points.integers(self.formula)

    @cached_property
    def has_kinks(self) -> bool:
        return points.has_kinks(self.formula)

    @cached_property
    def is_trigonometric(self) -> bool:
        return bool(calls(self.formula, _TRIGONOMETRIC))

    @cached_property
    def ordered(self) -> Formula:
        return ordered(self.formula)

    def value(self, point: points.Point, known_as: tuple[tuple[str, ...], frozenset[str], int] | None) -> Value:
        """The exact value at a point, kept if the point has a number: letters, those that are integers, and which of the
        `random_points` for them."""
        if known_as is not None and known_as in self._values:
            return self._values[known_as]
        evaluator = Evaluator()
        try:
            value = Value(evaluator.value(self.formula, point), evaluator.steps)
        except (UndefinedError, InexactError, UndecidedError) as error:
            value = Value(type(error)(*error.args), evaluator.steps)
        if known_as is not None:
            self._values[known_as] = value
        return value


@lru_cache(maxsize=KEPT)
def expression(text: str) -> Expression | None:
    """The formula in a text; None as `parse`."""
    formula = parse(text)
    return None if formula is None else Expression(formula)


@lru_cache(maxsize=KEPT)
def difference(left: str, right: str) -> Expression | None:
    """`left - right`; None if one of them is no formula."""
    a, b = expression(left), expression(right)
    return None if a is None or b is None else Expression(Formula("sum", (a.formula, negative(b.formula))))


def common_letters(a: Expression, b: Expression) -> tuple[str, ...]:
    """The letters that need values to compare two expressions; degrees beside a sine are radians."""
    letters = sorted(a.letters | b.letters)
    if a.is_trigonometric or b.is_trigonometric:
        letters = [letter for letter in letters if letter != "°"]
    return tuple(letters)
