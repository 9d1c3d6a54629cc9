r"""Points at which two formulas are compared, chosen to tell functions apart (see `prm.answers.algebra`).

Random fractions come first. If a formula has kinks or steps, as |x-5|, max(x, 20), gcd(n, 15) or the root of a square,
then integers, halves, the numbers of the formulas with their neighbors, products and quotients, and points far out follow.

Letters in a gcd, binomial or factorial, and the bounds of a sum, are integers; so are i to n in a floor or ceiling.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

from prm.answers.formulas import Formula, is_integer, nodes, symbols
from prm.answers.values import Point

NUM_DRAWS = 150
"""Points for formulas with kinks and several letters."""
_NUM_RANDOM = 10
_STEP = Fraction(1, 1009)
_DENOMINATORS = (997, 1009, 1013, 1019)
"""Primes, several of them, so that no period fits them all."""
_STEPS = frozenset({"floor", "ceil"})
_ON_INTEGERS = frozenset({"gcd", "lcm", "binom", "factorial"})
_KINKS = frozenset({"floor", "ceil", "abs", "max", "min", "sgn", "cbrt", *_ON_INTEGERS})


@lru_cache(maxsize=4096)
def random_points(letters: tuple[str, ...], whole: frozenset[str]) -> tuple[Point, ...]:
    """The points at which any two formulas with these letters, those of `whole` integers, are compared first."""
    if not letters:
        return ({},)
    rng = random.Random(0)  # fixed, so that a pair gets the same verdict in every run
    return tuple(_random_point(rng, letters, whole) for _ in range(_NUM_RANDOM))


def _random_point(rng: random.Random, letters: Sequence[str], whole: frozenset[str]) -> Point:
    return {
        letter: Fraction(rng.randint(2, 30))
        if letter in whole
        else Fraction(rng.choice((-1, 1)) * rng.randint(300, 3000), rng.choice(_DENOMINATORS))
        for letter in letters
    }


def points(a: Formula, b: Formula, letters: Sequence[str]) -> Iterator[Point]:
    """Points to compare two formulas at; those that tell most pairs apart come first."""
    whole = integers(a) | integers(b)
    yield from random_points(tuple(letters), whole)
    yield from further_points(a, b, letters, whole, has_kinks(a) or has_kinks(b))


def further_points(
    a: Formula, b: Formula, letters: Sequence[str], integers: frozenset[str], has_kinks: bool
) -> Iterator[Point]:
    """Points after the random ones: all values of a pool in turn, or for several letters random draws of them."""
    if not letters:
        return
    rng = random.Random(0)
    for _ in range(_NUM_RANDOM):  # the draws go on where those of `random_points` end
        _random_point(rng, letters, integers)
    pool = _pool(a, b) if has_kinks else [Fraction(n) for n in (1, 2, 3, 5)]
    whole = [value for value in pool if value.denominator == 1]
    if len(letters) == 1:
        yield from ({letters[0]: value} for value in (whole if letters[0] in integers else pool))
        return
    for _ in range(NUM_DRAWS if has_kinks else 4):
        point = {symbol: rng.choice(whole if symbol in integers else pool) for symbol in letters}
        if rng.random() < 0.3:  # on the kink of |x - y|
            first, second = rng.sample(letters, 2)
            if (first in integers) == (second in integers):
                point[first] = point[second]
        yield point


def _pool(a: Formula, b: Formula) -> list[Fraction]:
    """Values at which functions with kinks and steps show them."""
    small = [Fraction(n) for n in range(-12, 31)] + [Fraction(n, 2) for n in range(-7, 12, 2)]
    numbers = {node.args[0] for formula in (a, b) for node in nodes(formula) if node.op == "number"}
    written = sorted(number for number in numbers if abs(number) < 10**15)[:12]
    pairs = [f(p, q) for p in written for q in written if p and q for f in (Fraction.__mul__, Fraction.__truediv__)]
    beside = [
        value
        for number in sorted({*written, *pairs[:60]})
        for value in (number, -number, number + 1, 1 - number, 2 * number, number / 2, number + _STEP, number - _STEP)
    ]
    far = [sign * Fraction(10**k + 7, d) for k in (2, 3, 4, 6, 9, 12) for d in (1, 3) for sign in (1, -1)]
    return list(dict.fromkeys([*small, *beside, *far]))


def integers(formula: Formula) -> frozenset[str]:
    """Letters that stand for integers, because of where they stand or, in a floor, by their names."""
    found: set[str] = set()
    for node in nodes(formula):
        if node.op == "call" and node.args[0] in _ON_INTEGERS:
            found |= symbols(node)
        elif node.op == "call" and node.args[0] in _STEPS:
            found |= symbols(node) & set("ijklmn")
        elif node.op == "series":
            found |= symbols(node.args[2]) | symbols(node.args[3])
        elif node.op == "power" and node.args[0].op == "number" and node.args[0].args[0] < 0:
            found |= symbols(node.args[1])
    return frozenset(found)


def has_kinks(formula: Formula) -> bool:
    r"""Whether a few points might miss a difference: |x|, \lfloor x \rfloor, max, gcd, roots such as \sqrt{(x-6)^2}."""
    return any(
        (node.op == "call" and node.args[0] in _KINKS)
        or node.op == "series"
        or (node.op == "power" and symbols(node.args[0]) and not is_integer(node.args[1]))
        for node in nodes(formula)
        if symbols(node)
    )
