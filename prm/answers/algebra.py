r"""Whether two expressions, or two relations, are equal by computer algebra. Runs in workers only (`prm.answers.workers`).

    equal_expressions(r"2\sqrt{2}", r"\sqrt{8}")   ->  True
    equal_expressions("x+y=2", "2x+2y=4")          ->  True     a multiple of the other
    equal_expressions("3.14", r"\pi")              ->  False

Expressions are compared by their values at fixed random points. This needs no simplification and avoids math-verify's
known false positives (1/2^99 = 1/2^98; two different lines). math-verify decides what has no such values: matrices,
sets, undefined functions.

Left out: limits of time and memory. Algebra on text that a model wrote may take forever; the pool kills its workers.
"""

from __future__ import annotations

import random
import re
from typing import Any

from prm.answers.forms import compare

DECIMAL_TOLERANCE = 1e-6
"""Relative tolerance where one side is a decimal and the other is not rational: 3.14159 is pi, 3.14 is not."""
_DIGITS = 200
_EXACT_TOLERANCE = 1e-150
"""Far below double precision: sqrt(10^40) and sqrt(10^40 + 1) agree to 40 digits."""
_NUM_POINTS = 8

_SCALAR_WORDS = (
    "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|log|ln|exp|pi|theta|alpha|beta|gamma|lambda|phi"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?|(?<!\\)\b[a-z])\^(?:\{\\circ\}|\\circ)")
# Notation that the parser misreads: it drops the prime of y', the T of x^T, the n of 2_n, dots, and all that precedes
# \approx or \equiv; it adds "2 3" up, multiplies 1.2.3 out and takes mod for three letters.
_MISREAD = re.compile(
    r"'|\\prime|\^\{?T|\d_\{?[a-zA-Z]|\\[lcv]?dots|\\(?:approx|equiv|[a-z]?mod(?![a-z]))|\bmod\b|\d\.\d+\."
    r"|(?<![_\d])\d+ \d(?!\d*/)|\\circ\}?\d|\d_\{?\d+\}? ?\d"
)
# As a fraction, because 5/2 x is half of 5x.
_PLAIN_FRACTION = re.compile(r"(?<![\d.^_}/])(\d+)/(\d+)(?![\d.^!])")
_CUT_DECIMAL = re.compile(r"(?P<digits>\d\.\d+)\\dots ?$")
_RELATION = re.compile(r"(\\(?:le|ge|ne)(?![a-zA-Z])|<|>|=)")


def equal_expressions(gold: str, pred: str) -> bool:
    """Whether two normalized expressions, or two relations (equations, inequalities), are equal. In workers only."""
    if _RELATION.search(gold) and _RELATION.search(pred):
        return _equal_relations(gold, pred)
    a, b = _parse(gold), _parse(pred)
    if a is None or b is None:
        return False
    same = _equal_values(a, b)
    return _math_verify(a, b) if same is None else same


def check_algebra() -> None:
    """Import everything that is needed and try it out.

    Raises:
        RuntimeError: the installed packages do not work.
    """
    if not equal_expressions("x+1", "1+x") or not _math_verify(*2 * [_parse(r"\infty")]):
        raise RuntimeError("1+x is not x+1 to the installed math-verify")


def _parse(text: str) -> Any:
    """A sympy object, or None if the text is not a formula. Reads LaTeX and plain notation (`sqrt(3)/2`, `x**2`)."""
    import sympy
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig

    latex = _CUT_DECIMAL.sub(r"\g<digits>", text.replace("**", "^"))  # 3.14159\dots
    if _MISREAD.search(latex):
        return None
    # Plain notation becomes LaTeX; degrees become radians, but only where a trigonometric function takes them.
    latex = _PLAIN_FRACTION.sub(r"\\frac{\1}{\2}", latex)
    if _TRIGONOMETRIC.search(latex):
        latex = _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", latex)
    latex = re.sub(rf"(?<![\\a-zA-Z])({_SCALAR_WORDS})(?![a-zA-Z])", r"\\\1 ", latex)
    latex = re.sub(r"\^\(([^()]*)\)|\^(-\w)", lambda m: f"^{{{m[1] or m[2]}}}", latex)
    try:
        parsed = latex2sympy(
            latex, is_real=True, convert_degrees=False, conversion_config=ConversionConfig(lowercase_symbols=False)
        )
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the parser raises bare `Exception` for text that is not LaTeX
        return None
    if not isinstance(parsed, sympy.Expr):
        return parsed
    if parsed.has(sympy.zoo, sympy.nan):  # 1/0
        return None
    # In answers, the cube root of -8 means -2; sympy's principal root is complex.
    parsed = parsed.replace(
        lambda e: e.is_Pow and e.base.is_negative and e.exp.is_Rational and e.exp.q % 2 == 1 and e.exp.q > 1,
        lambda e: (-1) ** e.exp.p * (-e.base) ** e.exp,
    )
    # As a mere symbol, i would not square to -1.
    return parsed.subs(sympy.Symbol("i", real=True), sympy.I)


def _equal_values(a: Any, b: Any) -> bool | None:
    """Compare two scalar expressions by value; None if they have no values to compare."""
    import sympy

    if not (isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr)):
        return None
    symbols = a.free_symbols | b.free_symbols
    pairs = _values(a, b, symbols)
    if not pairs:
        return None
    tolerance = DECIMAL_TOLERANCE if a.has(sympy.Float) or b.has(sympy.Float) else _EXACT_TOLERANCE
    if not all(_close(x, y, tolerance) for x, y in pairs):
        return False
    # Rational constants are compared exactly: the tolerance of decimals would take 0.333333 for 1/3.
    if not symbols:
        x, y = (e.xreplace({f: sympy.Rational(str(f)) for f in e.atoms(sympy.Float)}).doit() for e in (a, b))
        if x.is_Rational and y.is_Rational:
            return bool(x == y)
    return True


def _equal_relations(gold: str, pred: str) -> bool:
    """Whether `left - right` of each link is a nonzero multiple of the other's, a positive one for an inequality."""
    gold_parts, pred_parts = _ascending(gold), _ascending(pred)
    if len(gold_parts) != len(pred_parts):
        return False
    # "0 < x < 5" splits into 0, <, x, <, 5: the links are 0 < x and x < 5.
    return all(_equal_links(gold_parts[i : i + 3], pred_parts[i : i + 3]) for i in range(0, len(gold_parts) - 2, 2))


def _ascending(relation: str) -> list[str]:
    """Sides and signs in turn, turned around so that the signs are < and \\le: "2 > x" as ["x", "<", "2"]."""
    parts = _RELATION.split(relation)
    if parts[1] in (">", r"\ge"):
        return [{">": "<", r"\ge": r"\le"}.get(part, part) for part in reversed(parts)]
    return parts


def _equal_links(gold: list[str], pred: list[str]) -> bool:
    """Whether two links (left, sign, right) are multiples of each other."""
    import sympy

    differences, signs = [], []
    for left, sign, right in (gold, pred):
        sides = _parse(left), _parse(right)
        if not all(isinstance(side, sympy.Expr) for side in sides):
            return False
        differences.append(sides[0] - sides[1])
        signs.append(sign)
    a, b = differences
    # Without a variable any two differences are multiples of each other, so nothing could be told.
    if signs[0] != signs[1] or a.free_symbols != b.free_symbols or not a.free_symbols:
        return False
    pairs = _values(a, b, a.free_symbols)
    # The ratio of the two sides must be the same constant at every point, and keep the direction of an inequality.
    if not pairs or any(abs(y) < _EXACT_TOLERANCE for _, y in pairs):
        return False
    ratio = pairs[0][0] / pairs[0][1]
    tolerance = DECIMAL_TOLERANCE if a.has(sympy.Float) or b.has(sympy.Float) else _EXACT_TOLERANCE
    if abs(ratio) < _EXACT_TOLERANCE or (signs[0] in ("<", r"\le") and not ratio > 0):
        return False
    return all(_close(x, ratio * y, tolerance) for x, y in pairs)


def _values(a: Any, b: Any, symbols: Any) -> list[tuple[Any, Any]]:
    """Values of both expressions at the same points, to `_DIGITS` digits; only real ones, if there are enough."""
    import sympy

    rng = random.Random(0)  # fixed, so that a pair gets the same verdict in every run
    pairs = []
    for _ in range(_NUM_POINTS if symbols else 1):
        # Rational, so that a value has all its digits, and of moderate size, so that powers stay finite.
        point = {
            s: sympy.Rational(rng.choice((-1, 1)) * rng.randint(300, 3000), 1009) for s in sorted(symbols, key=str)
        }
        x, y = (e.evalf(_DIGITS, subs=point, maxn=5 * _DIGITS) for e in (a, b))
        if all(v.is_number and v.is_finite for v in (x, y)):
            pairs.append((x, y))
    real = [(x, y) for x, y in pairs if x.is_real and y.is_real]
    # At one point any two relations are multiples of each other, so several are needed.
    enough = 3 if symbols else 1
    return real if len(real) >= enough else pairs if len(pairs) >= enough else []


def _close(x: Any, y: Any, tolerance: float) -> bool:
    scale = max(abs(x), abs(y))
    # Values that small are zeros left by cancellation, as in sqrt(2)^2 - 2.
    return bool(scale < 1e-300 or abs(x - y) <= tolerance * scale)


def _plain_math_verify(gold: str, pred: str) -> bool:
    """The verdict of math-verify alone on two answers as written, for `data/audit_answers.py`."""
    from math_verify import parse, verify

    gold_parsed, pred_parsed = (
        parse(rf"\boxed{{{text}}}", parsing_timeout=None, raise_on_error=True) for text in (gold, pred)
    )
    return bool(verify(gold_parsed, pred_parsed, timeout_seconds=None, raise_on_error=True))


CHECKERS = {"ours": lambda gold, pred: compare(gold, pred, equal_expressions), "math_verify": _plain_math_verify}
"""Name of a checker, as a request to a worker gives it -> its function."""


def _math_verify(a: Any, b: Any) -> bool:
    from math_verify import verify

    # Both ways, because its verdict depends on the order for some pairs.
    return all(verify(x, y, timeout_seconds=None, raise_on_error=True) for x, y in ((a, b), (b, a)))
