r"""Whether two expressions, or two relations, are equal, by their values (see `prm.answers`).

    equal_expressions(r"2\sqrt{2}", r"\sqrt{8}")   ->  True
    equal_expressions("x+y=2", "2x+2y=4")          ->  True     a multiple of the other
    equal_expressions("|x-5|", "5-x")              ->  False

Values are compared at points that are chosen to tell functions apart: random fractions, integers, halves, the numbers of
the formulas and their neighbors (there are the kinks of |x-5| and max(x, 20)), and points far out. Letters that stand in
a gcd, a binomial or a factorial are integers, and so are i to n inside of a floor or ceiling. Formulas whose values are
fractions are compared exactly and at once; roots, logarithms and the like need mpmath, in a worker.

Text that is not surely one formula (`prm.answers.formulas`) equals nothing else. Left out: limits of time and memory,
which the workers have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple

from prm.answers.comparison import compare
from prm.answers.expressions import Expression, Value, common_letters, difference, expression
from prm.answers.forms import RELATION, is_relation
from prm.answers.functions import InexactError, UndecidedError, UndefinedError
from prm.answers.points import further_points, random_points
from prm.answers.values import MAX_PRECISION, MAX_STEPS, Evaluator, Point

FIRST_BITS = 256
MARGIN = 20
"""Bits below the largest number that was met: values that are further apart than that differ at any precision."""
MAX_EXACT_STEPS = 50_000
"""Of one comparison by fractions, a third of a second; more are left to a worker."""
_MANY = 20
_ENOUGH = 3
"""Points at which both formulas have a value, for a verdict on formulas with letters."""
DECIMAL = re.compile(r"-?(?P<whole>\d*)\.(?P<places>\d+)(?P<more>\\dots ?)?")
_NUMBER = re.compile(r"-?(?P<whole>\d+)(?:\.(?P<places>\d+))?")
_MIN_DIGITS = 6
"""Of a decimal that may stand for an irrational number: 3.14159 is pi, 3.14 is not."""


def equal_expressions(gold: str, pred: str, exact: bool = False) -> bool | None:
    """Whether two normalized expressions, or two relations (equations, inequalities), are equal.

    Args:
        pred: may begin with `\\approx`: a decimal that `gold` must round to.
        exact: try fractions only, which takes milliseconds; None then means that this did not suffice.

    Raises:
        UndecidedError: numbers too large or too close to a step to tell.
    """
    is_rounded, pred = pred.startswith(r"\approx"), pred.removeprefix(r"\approx")
    if is_relation(gold) and is_relation(pred):
        return _equal_relations(gold, pred, exact)
    a, b = expression_of(gold), expression_of(pred)
    if a is None or b is None:
        return False
    if is_rounded:
        written = _NUMBER.fullmatch(pred)
        return written is not None and not a.letters and _rounds_to(a, b, written, exact, num_digits=0)
    for text, decimal, other in ((gold, a, b), (pred, b, a)):
        if (written := DECIMAL.fullmatch(text)) and other.formula.op != "number" and not other.letters - {"°"}:
            return _rounds_to(other, decimal, written, exact, _MIN_DIGITS)
    if a.ordered == b.ordered:
        return True
    samples = _samples(a, b, exact, _differs)
    return samples if samples is None else bool(samples) and all(_close(*sample) for sample in samples)


def equal_fractions(gold: str, pred: str) -> bool | None:
    """`equal_expressions` as far as fractions tell; None where they do not. Takes milliseconds, so it may run anywhere."""
    try:
        return equal_expressions(gold, pred, exact=True)
    except UndecidedError:
        return None


def check_algebra() -> None:
    """Import everything that is needed and try it out.

    Raises:
        RuntimeError: the installed packages do not work.
    """
    if not equal_expressions(r"\sqrt{8}", r"2\sqrt{2}"):
        raise RuntimeError("the square root of 8 is not twice that of 2 to the installed mpmath")


def expression_of(text: str) -> Expression | None:
    """The formula in a text, of a decimal without dots at its end; None if it is none."""
    return expression(text[: match.end("places")] if (match := DECIMAL.fullmatch(text)) else text)


def _rounds_to(
    other: Expression, decimal: Expression, written: re.Match[str], exact: bool, num_digits: int
) -> bool | None:
    """Whether a constant is a decimal, or rounds (or is cut) to one of at least `num_digits` digits.

    A fraction is never rounded where digits are counted: 0.333333 is not 1/3.
    """
    samples = _samples(other, decimal, exact, lambda samples: False)
    if not samples:
        return samples if samples is None else False
    value, digits, noise = samples[0]
    if _close(value, digits, noise):
        return True
    places = written["places"] or ""
    if num_digits and (not noise or len((written["whole"] + places).lstrip("0")) < num_digits):
        return False
    if (noise and value.imag != 0) or (value < 0) != (digits < 0):
        return False
    rest = (abs(value) - abs(digits)) * 10 ** len(places)
    return bool(-0.5 <= rest < 1)


def _equal_relations(gold: str, pred: str, exact: bool) -> bool | None:
    """Whether `left - right` of each link is a nonzero multiple of the other's, a positive one for an inequality."""
    gold_parts, pred_parts = _ascending(gold), _ascending(pred)
    if len(gold_parts) != len(pred_parts) or gold_parts[1::2] != pred_parts[1::2]:
        return False
    # "0 < x < 5" splits into 0, <, x, <, 5: the links are 0 < x and x < 5.
    verdicts = [
        _equal_links(gold_parts[i : i + 3], pred_parts[i : i + 3], exact) for i in range(0, len(gold_parts) - 2, 2)
    ]
    return False if False in verdicts else None if None in verdicts else True


def _ascending(relation: str) -> list[str]:
    """Sides and signs in turn, turned around so that the signs are < and \\le: "2 > x" as ["x", "<", "2"]."""
    parts = re.split(f"({RELATION.pattern})", relation)
    if parts[1] in (">", r"\ge"):
        return [{">": "<", r"\ge": r"\le"}.get(part, part) for part in reversed(parts)]
    return parts


def _equal_links(gold: list[str], pred: list[str], exact: bool) -> bool | None:
    """Whether two links (left, sign, right) are multiples of each other."""
    a, b = difference(gold[0], gold[2]), difference(pred[0], pred[2])
    if a is None or b is None:
        return False
    # Without a variable any two differences are multiples of each other, so nothing could be told.
    if a.letters != b.letters or not a.letters:
        return False
    samples = _samples(a, b, exact, _no_multiple)
    return None if samples is None else _are_multiples(samples, positive=gold[1] in ("<", r"\le"))


class _Sample(NamedTuple):
    """The values of two formulas at one point: both fractions, or both numbers of mpmath."""

    x: Any
    y: Any
    noise: Any
    """How far apart they may be if they are equal; 0 for fractions."""


def _samples(
    a: Expression, b: Expression, exact: bool, refuted: Callable[[list[_Sample]], bool]
) -> list[_Sample] | None:
    """Values at the points where both have one; empty if they are too few to tell.

    Args:
        exact: return None if the values are not fractions.
        refuted: whether the last of the samples shows that the two differ, so that no more are needed.
    """
    letters, integers = common_letters(a, b), a.integers | b.integers
    common = random_points(letters, integers)
    further = further_points(a.formula, b.formula, letters, integers, a.has_kinks or b.has_kinks)
    found: list[_Sample] = []
    undecided, steps = None, 0
    for i, point in enumerate(chain(common, further)):
        known_as = (letters, integers, i) if i < len(common) else None
        try:
            x = a.value(point, known_as)
            y = b.value(point, known_as) if isinstance(x.found, Fraction) else x
            steps += x.steps + (0 if y is x else y.steps)
            found.append(_sample(a, b, point, x, y, exact))
            if refuted(found):
                return found
        except InexactError:
            return None
        except UndefinedError:
            continue
        except UndecidedError as error:
            undecided = error
        if exact and steps > MAX_EXACT_STEPS:
            return None
    # Some points may be out of reach, as n! is far out, but not many.
    if undecided is not None and len(found) < _MANY:
        raise undecided
    return found if len(found) >= (_ENOUGH if letters else 1) else []


def _sample(a: Expression, b: Expression, point: Point, x: Value, y: Value, exact: bool) -> _Sample:
    """The values at a point, of which the exact ones are x and y."""
    if x.steps + y.steps > MAX_STEPS:
        raise UndecidedError("too many steps")
    unknown = [one for one in (x.found, y.found) if not isinstance(one, Fraction)]
    if not unknown:
        return _Sample(x.found, y.found, 0)
    if exact or not isinstance(unknown[0], InexactError):
        raise type(unknown[0])(*unknown[0].args)  # a new one, because several threads may raise it
    bits = FIRST_BITS
    while True:
        evaluator = Evaluator(bits)
        u, v = (evaluator.real(evaluator.value(one.formula, point)) for one in (a, b))
        # To look equal, every number between the smallest and the largest one must show.
        needed = 200 + 2 * (evaluator.high - evaluator.low)
        if needed <= bits or abs(u - v) >= evaluator.mp.ldexp(1, evaluator.high - MARGIN):
            return _Sample(u, v, evaluator.mp.ldexp(1, evaluator.high + 60 - bits))
        if needed > MAX_PRECISION:
            raise UndecidedError("numbers of sizes too different to compare")
        bits = needed


def _differs(samples: list[_Sample]) -> bool:
    return not _close(*samples[-1])


def _no_multiple(samples: list[_Sample]) -> bool:
    """Whether the last exact values are no multiple of each other, or another one than those before."""
    if not all(isinstance(value, Fraction) for value in samples[-1][:2]):
        return False
    x, y, _ = samples[-1]
    if not x or not y:
        return bool(x or y)
    before = next((sample for sample in samples if sample.x and not sample.noise), samples[-1])
    return bool(x * before.y != y * before.x)


def _close(x: Any, y: Any, noise: Any) -> bool:
    return bool(x == y or (noise and abs(x - y) <= noise))


def _are_multiples(samples: list[_Sample], positive: bool) -> bool:
    """Whether all x are one multiple of the y, where positive a positive multiple."""
    if not all(isinstance(value, Fraction) for sample in samples for value in sample[:2]):
        mp = Evaluator(MAX_PRECISION // 10)
        samples = [_Sample(mp.real(x), mp.real(y), noise) for x, y, noise in samples]
    if any((x == 0) != (y == 0) for x, y, _ in samples):
        return False
    pairs = [sample for sample in samples if sample.x != 0]
    if len(pairs) < _ENOUGH:
        return False
    x0, y0, noise0 = pairs[0]
    if positive and not x0 / y0 > 0:
        return False
    return all(
        _close(x * y0, y * x0, noise * (abs(x0) + abs(y0)) + noise0 * (abs(x) + abs(y))) for x, y, noise in pairs
    )


def _plain_math_verify(gold: str, pred: str) -> bool:
    """The verdict of math-verify alone on two answers as written, for `data/audit_answers.py`."""
    from math_verify import parse, verify

    gold_parsed, pred_parsed = (
        parse(rf"\boxed{{{text}}}", parsing_timeout=None, raise_on_error=True) for text in (gold, pred)
    )
    return bool(verify(gold_parsed, pred_parsed, timeout_seconds=None, raise_on_error=True))


CHECKERS = {"ours": lambda gold, pred: compare(gold, pred, equal_expressions), "math_verify": _plain_math_verify}
"""Name of a checker, as a request to a worker gives it -> its function."""
