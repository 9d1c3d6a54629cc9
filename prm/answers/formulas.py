r"""Formulas as small trees (see `prm.answers.parser`, which reads them, and `prm.answers.values`).

x^2+1  ->  ("sum", (("power", (x, 2)), 1))    with numbers ("number", (Fraction(2),)) and symbols ("symbol", ("x",))
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple


class Formula(NamedTuple):
    """A node of the tree.

    `args` are nodes but for: number (a Fraction), symbol (its name), call (name, then nodes), and
    series (sum or product; name of the index; nodes for its first and last value and the term).
    """

    op: str
    args: tuple[Any, ...]


def number(value: int | Fraction) -> Formula:
    return Formula("number", (Fraction(value),))


def product(*factors: Formula) -> Formula:
    return factors[0] if len(factors) == 1 else Formula("product", factors)


def negative(formula: Formula) -> Formula:
    if formula.op == "number":
        return number(-formula.args[0])
    return Formula("product", (number(-1), formula))


def power(base: Formula, exponent: Formula) -> Formula:
    return Formula("power", (base, exponent))


def quotient(top: Formula, bottom: Formula) -> Formula:
    return Formula("product", (top, power(bottom, number(-1))))


def call(name: str, *args: Formula) -> Formula:
    return Formula("call", (name, *args))


def ordered(formula: Formula) -> Formula:
    """The formula with its terms and factors in a fixed order, so that 1+x and x+1 are the same."""
    args = tuple(ordered(arg) if isinstance(arg, Formula) else arg for arg in formula.args)
    if formula.op in ("sum", "product"):
        args = tuple(sorted(args, key=repr))
    elif formula.op == "call" and formula.args[0] in ("gcd", "lcm", "max", "min"):
        args = (args[0], *sorted(args[1:], key=repr))
    return Formula(formula.op, args)


def is_integer(formula: Formula) -> bool:
    return formula.op == "number" and formula.args[0].denominator == 1


def nodes(formula: Formula) -> Iterator[Formula]:
    """The formula and all formulas in it."""
    yield formula
    for arg in formula.args:
        if isinstance(arg, Formula):
            yield from nodes(arg)


def symbols(formula: Formula) -> frozenset[str]:
    """The free letters of a formula."""
    if formula.op == "symbol":
        return frozenset(formula.args)
    inside = [symbols(arg) for arg in formula.args if isinstance(arg, Formula)]
    bound = {formula.args[1]} if formula.op == "series" else set()
    return frozenset().union(*inside) - bound


def calls(formula: Formula, names: frozenset[str]) -> list[Formula]:
    """The values of functions with one of these names."""
    return [node for node in nodes(formula) if node.op == "call" and node.args[0] in names]
