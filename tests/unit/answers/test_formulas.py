r"""Formulas: what the parser reads and refuses, exact and inexact values, and the points that tell formulas apart."""

import math
import sys
from fractions import Fraction
from types import SimpleNamespace

import pytest

from prm.answers.algebra import CHECKERS, _are_multiples, _Sample, equal_expressions, equal_fractions
from prm.answers.expressions import difference
from prm.answers.formulas import Formula, call, calls, number, ordered, power, product, quotient
from prm.answers.functions import MAX_BITS, InexactError, UndecidedError, UndefinedError, exact_power
from prm.answers.parser import MAX_NESTING, parse
from prm.answers.points import has_kinks, points
from prm.answers.values import MAX_STEPS, Evaluator


def value(text, **point):
    return Evaluator().value(parse(text), {name: Fraction(number) for name, number in point.items()})


@pytest.mark.parametrize(
    ("text", "point", "expected"),
    [
        ("2x^2+1", {"x": 3}, 19),
        ("1/2x", {"x": 6}, 3),
        (r"\frac12x", {"x": 6}, 3),
        (r"\frac xy", {"x": 6, "y": 4}, Fraction(3, 2)),
        (r"5 + x \cdot \frac12x", {"x": 4}, 13),
        (r"2\frac{1}{3}", {}, Fraction(7, 3)),
        (r"3\frac{x}{2}", {"x": 4}, 6),
        ("-2^2", {}, -4),
        ("x^2*y", {"x": 3, "y": 2}, 18),
        ("2^3^2", {}, 512),
        ("10^-2", {}, Fraction(1, 100)),
        ("x^{-1}", {"x": 4}, Fraction(1, 4)),
        (r"\sqrt{9/4}", {}, Fraction(3, 2)),
        (r"\sqrt[3]{-8}", {}, -2),
        ("|x-|y||", {"x": 2, "y": -5}, 3),
        (r"\lfloor x \rfloor + \lceil x \rceil", {"x": "5/2"}, 5),
        (r"\max(x, 3, 2)", {"x": 1}, 3),
        (r"\gcd(12, n)", {"n": 18}, 6),
        ("3!", {}, 6),
        ("0!", {}, 1),
        (r"\binom{5}{2}", {}, 10),
        (r"\binom{5}{5} + \binom{0}{0}", {}, 2),
        (r"\binom{2}{3} + \binom{2}{-1}", {}, 0),
        (r"\lcm(4, 6)", {}, 12),
        (r"\min(x, 3, 2)", {"x": 1}, 1),
        ("sgn(x) + sgn(0) + 2sgn(5)", {"x": -3}, 1),
        (r"\sin 0 + \cos 0 + \ln 1", {}, 1),
        (r"2\frac{x}{2}^2", {"x": 6}, 18),
        (r"\sum_{i=1}^{0} i + \prod_{i=1}^{0} i", {}, 1),
        (r"\sum_{i=1}^{n} i^2", {"n": 4}, 30),
        (r"\prod_{k=2}^{4} k", {}, 24),
        (r"0.1\overline{6}", {}, Fraction(1, 6)),
        (r"0.01\overline{6}", {}, Fraction(1, 60)),
        (r"0.1\overline{27}", {}, Fraction(7, 55)),
        (r"x \cdot -2", {"x": 3}, -6),
        (r"x \cdot +2", {"x": 3}, 6),
        (r"x \cdot -+-2", {"x": 3}, 6),
        ("2^--2", {}, 4),
        (r"2\frac{x}{2}!", {"x": 6}, 12),
        (r"3\frac{x}{2}!^2", {"x": 4}, 12),
        (r"\frac1{23}", {}, Fraction(1, 23)),
        (r"\frac{1}{1+\frac{1}{x}}", {"x": 2}, Fraction(2, 3)),
    ],
)
def test_exact_values(text, point, expected):
    assert value(text, **point) == expected


@pytest.mark.parametrize(
    "text",
    ["2 3", "x2", "x/yz", "y^T", "A^{-1} '", "60'", "1010_2", r"\int x dx", "5 and 6", "apples", "(1, 2)", "3)", "|x", "x+",
     "", r"2\frac{0}{3}", r"\sin x/2", r"\ln 2\sqrt{3}", r"2\frac{5}{3}", r"\frac123", r"\frac{dy}{dx}", "5!!",
     r"\sin(x, y)", "1.2.3", r"1.5\frac{1}{2}", r"2\frac{1}{2}^2", r"2\frac{1}{2}!", r"2\frac{2}{2}", r"\sqrt25",
     r"\frac1.52", r"\frac{1}23", r"\sin x 2", r"60^{\circ", r"\cos^{-1}", "3 OR 4", "If", r"\theta_{1",
     "(" * 99 + "1" + ")" * 99],
)  # fmt: skip
def test_what_has_no_sure_reading_is_no_formula(text):
    assert parse(text) is None


def test_functions_without_parentheses_end_at_the_next_sign():
    x, y = parse("x"), parse("y")
    assert parse(r"\cos x \sin y") == product(call("cos", x), call("sin", y))
    assert parse(r"\ln x \cdot y") == product(call("ln", x), y)
    assert parse(r"\ln x^2") == call("ln", power(x, number(2)))
    assert parse(r"\sin 2x") == call("sin", product(number(2), x))
    assert parse(r"\sin^2 x") == power(call("sin", x), number(2))
    assert parse(r"\sin^{-1} x") == call("arcsin", x)


def test_multiples_may_differ_by_the_noise_of_either_point():
    samples = [
        _Sample(Fraction(x), Fraction(y), Fraction(noise)) for x, y, noise in ((2, 2, "0.1"), (4, "4.4", 0), (6, 6, 0))
    ]
    assert _are_multiples(samples, positive=True)
    assert not _are_multiples([sample._replace(noise=Fraction(0)) for sample in samples], positive=True)
    assert _are_multiples(
        [samples[0]._replace(noise=Fraction(0)), samples[1]._replace(noise=Fraction(1, 5)), samples[2]], True
    )


@pytest.mark.parametrize(("text", "result"), [("--3", 3), ("-+-3", 3), ("---3", -3), ("+3", 3), ("1--3", 4)])
def test_signs_in_a_row(text, result):
    assert value(text) == result


@pytest.mark.parametrize(("text", "kinks"), [("x^{0.5}", True), ("x^2", False), ("x^{-3}", False)])
def test_a_power_has_a_kink_unless_its_exponent_is_an_integer(text, kinks):
    assert has_kinks(parse(text)) == kinks


def test_a_power_that_is_too_large_is_not_computed():
    assert exact_power(Fraction(2**40), Fraction(MAX_BITS)) is None
    assert exact_power(Fraction(1, 2**40), Fraction(MAX_BITS)) is None
    assert exact_power(Fraction(2), Fraction(2 * MAX_BITS)) == 2 ** (2 * MAX_BITS)
    assert exact_power(Fraction(2), Fraction(2 * MAX_BITS + 1)) is None


def test_what_is_no_multiple():
    def sample(x, y):
        return _Sample(Fraction(x), Fraction(y), Fraction(0))

    some = [sample(1, 2), sample(2, 4)]
    assert not _are_multiples(some, positive=False)  # too few
    assert not _are_multiples([*some, sample(0, 0)], positive=False)  # that says nothing
    assert _are_multiples([*some, sample(0, 0), sample(3, 6)], positive=False)
    assert not _are_multiples([*some, sample(3, 6), sample(0, 1)], positive=False)
    assert not _are_multiples([*some, sample(3, 6), sample(1, 0)], positive=False)
    opposite = [sample(1, -2), sample(2, -4), sample(3, -6)]
    assert _are_multiples(opposite, positive=False)
    assert not _are_multiples(opposite, positive=True)


def test_a_difference_needs_two_formulas():
    assert difference("x", "(") is None
    assert difference("(", "x") is None
    assert difference("x", "y").letters == {"x", "y"}


def test_capital_letters_side_by_side_are_one_name():
    assert parse("IX") != parse("XI")
    assert parse("CO_2").args == ("CO_2",)
    assert parse("xy") == product(parse("x"), parse("y"))
    assert parse("f(x)") == call("f", parse("x"))


def test_the_order_of_arguments_matters_but_for_a_few_names():
    x, y = parse("x"), parse("y")
    assert ordered(call("f", y, x)) == call("f", y, x) != ordered(call("f", x, y))
    assert ordered(call("gcd", y, x)) == ordered(call("gcd", x, y)) == call("gcd", x, y)


def test_values_that_are_no_fractions_need_reals():
    for text in (r"\sqrt{2}", r"\pi", r"\ln 3", "2^{10000000000}", "5000!"):
        with pytest.raises(InexactError):
            value(text)
    for text in ("1/0", "0^0", r"\ln 0", r"\gcd(1/2, 3)", "(-1)!"):
        with pytest.raises(UndefinedError):
            value(text)


@pytest.mark.parametrize("failing", ["parse", "verify"])
def test_what_math_verify_fails_at_is_no_verdict_of_it(failing, monkeypatch):
    """It has none, `[]` or False, unless it is told to raise; and no time limit of its own works in a thread."""

    def stand_in(name, usual):
        def answer(*_, raise_on_error=False, **limits):
            assert list(limits.values()) == [None]
            if name == failing and raise_on_error:
                raise ArithmeticError
            return usual

        return answer

    library = SimpleNamespace(parse=stand_in("parse", ["x"]), verify=stand_in("verify", False))
    monkeypatch.setitem(sys.modules, "math_verify", library)
    with pytest.raises(ArithmeticError):
        CHECKERS["math_verify"]("1", "2")


def test_a_step_that_cannot_be_placed_is_not_decided():
    with pytest.raises(UndecidedError):
        equal_expressions(r"\lfloor \frac{(\sqrt{2})^3}{\sqrt{2}} \rfloor", "1")
    assert equal_expressions(r"\lfloor \sqrt{2} \rfloor", "1")
    with pytest.raises(UndecidedError):  # 16,000 digits
        equal_expressions("5000!", "5000!+1")


def test_points_hold_integers_kinks_and_what_is_far_out():
    formula = parse("|x-40|+x/7")
    values = {point["x"] for point in points(formula, formula, ["x"])}
    assert {0, 40, -40, 7, Fraction(1, 7), Fraction(40 * 7)} <= values
    assert max(values) > 10**9
    assert any(39 < x < 40 for x in values)
    assert any(40 < x < 41 for x in values)
    # A zero takes no place of the products of two numbers: 77 comes late, and only so.
    several = parse(r"\max(x,0)+1+2+3+5+7+11")
    assert 77 in {point["x"] for point in points(several, several, ["x"])}
    gcd = parse(r"\gcd(m, 10007)")
    assert all(point["m"].denominator == 1 for point in points(gcd, gcd, ["m"]))
    assert 10_007 in {point["m"] for point in points(gcd, gcd, ["m"])}


@pytest.mark.parametrize(
    ("gold", "pred", "equal"),
    [
        (r"\sqrt{x^2}", "|x|", True),
        (r"\sqrt{x^2}", "x", False),
        ("2^{900}x+1", "2^{900}x", False),
        (r"\sqrt{2+10^{-500}}", r"\sqrt{2}", False),
        (r"e^{i\pi}", "-1", True),
        (r"\cos 60^\circ", r"\frac{1}{2}", True),
        (r"180^\circ", r"\pi", False),
        (r"60^{\circ}", r"60^\circ", True),
        (r"\sqrt{2}", "1.414213", True),
        (r"\sqrt{2}", "1.414214", True),
        (r"\sqrt{2}", "1.414215", False),
        (r"\sqrt{2}", "1.41421", True),
        (r"\sqrt{2}", "1.4142", False),
        (r"\frac{\sqrt{2}}{10}", "0.141421", True),
        (r"\frac{\sqrt{2}}{10}", "0.14142", False),  # the zero is no digit of it
        (r"\sqrt{2}", r"\approx1.41", True),
        (r"\sqrt{2}", r"\approx1.42", False),
        (r"\sqrt{2}", r"\approx1.43", False),
        (r"\frac{1}{3}", r"\approx0.33", True),
        (r"\frac{1}{8}", r"\approx0.13", True),
        (r"\frac{1}{8}", r"\approx0.12", True),
        (r"\frac{1}{8}", r"\approx0.11", False),
        (r"\sqrt{2}", "-1.414214", False),
        ("2x+4y=6", "x+2y=3", True),
        (r"\sqrt{2}x=2", r"x=\sqrt{2}", True),
        (r"\sqrt{2}x=2", r"x=\sqrt{3}", False),
        ("x<2", "-x<-2", False),
        ("f(x)=2x", "f(x)=x+x", True),
        ("f(x)=2x", "g(x)=2x", False),
        (r"f(\sqrt{2}+\sqrt{3})", r"f(\sqrt{5+2\sqrt{6}})", True),
        (r"f(\sqrt{2})", r"f(\sqrt{2}+10^{-30})", False),
        (r"(-1)^n", r"(-1)^{n+2}", True),
        (r"\theta_{12}+1", r"1+\theta_{12}", True),
        (r"\theta_{12}+1", r"\theta_{1}+1", False),
        (r"\theta_{1}", r"\theta_1", True),
    ],
)
def test_equal_expressions(gold, pred, equal):
    assert equal_expressions(gold, pred) is equal
    assert equal_fractions(gold, pred) in (equal, None)


def test_a_fraction_of_degrees_after_a_factor():
    half = quotient(number(1), number(2))
    assert parse(r"x^2\frac{1}{2}^\circ") == product(
        power(parse("x"), number(2)), product(half, Formula("symbol", ("°",)))
    )


def test_an_exponent_is_an_integer_after_a_negative_base_only():
    for text, whole in (("(-2)^x", True), ("0.5^x", False), ("0^x", False), ("2^x", False)):
        formula = parse(text)
        assert all(point["x"].denominator == 1 for point in points(formula, formula, ["x"])) == whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"|1-\sqrt{2}|", math.sqrt(2) - 1),
        (r"\max(\sqrt{2}, \pi, 3)", math.pi),
        (r"\min(\sqrt{2}, \pi, 3)", math.sqrt(2)),
        (r"sgn(-\sqrt{2})", -1),
        (r"\lfloor -\pi \rfloor", -4),
        (r"\lceil -\pi \rceil", -3),
        (r"(-2)^{1/3}", -(2 ** (1 / 3))),
        (r"(-2)^{2/3}", 2 ** (2 / 3)),
        (r"(-\pi)^{1/5}", -(math.pi**0.2)),
        (r"(-\pi)^3", -(math.pi**3)),
        (r"2^{\sqrt{2}}", 2 ** math.sqrt(2)),
        (r"0 \cdot \pi + \sqrt{2} \cdot 3", 3 * math.sqrt(2)),
        (r"\sum_{i=1}^{3} \sqrt{i}", 1 + math.sqrt(2) + math.sqrt(3)),
        (r"\prod_{i=1}^{3} \sqrt{i}", math.sqrt(6)),
        (r"\log_2 10", math.log2(10)),
        (r"\log_{10}(2)", math.log10(2)),
        ("log_2 10", math.log2(10)),
        ("log_{10}(2)", math.log10(2)),
        (r"\lg 2", math.log10(2)),
        (r"\exp(2)", math.e**2),
        (r"\exp 1", math.e),
        (r"\tan^2 1", math.tan(1) ** 2),
        (r"\sin \sqrt{2}", math.sin(math.sqrt(2))),
        (r"\arctan 2 + \sinh 1", math.atan(2) + math.sinh(1)),
    ],
)
def test_values_of_reals(text, expected):
    assert float(Evaluator(200).value(parse(text), {})) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (r"\gcd(\sqrt{2}, 2)", UndefinedError),
        (r"\lfloor \sqrt{2}^2 \rfloor", UndecidedError),
        (r"\gcd(\sqrt{2} \cdot \sqrt{2}, 2)", UndecidedError),
        (r"\sum_{i=3}^{1} i", UndefinedError),
        (r"\sum_{i=1}^{90000} i", UndecidedError),
        (r"\max(\sqrt{-2}, 1)", UndefinedError),
        (r"\lfloor 2^{5000.5} \rfloor", UndecidedError),
    ],
)
def test_values_that_have_none_or_are_too_near_to_tell(text, error):
    with pytest.raises(error):
        Evaluator(200).value(parse(text), {})


def test_what_takes_too_many_steps_is_not_decided():
    """A product of so many parts takes a step itself, and one for each."""
    assert Evaluator().value(product(*[parse("x")] * (MAX_STEPS - 1)), {"x": Fraction(1)}) == 1
    with pytest.raises(UndecidedError, match="too many steps"):
        Evaluator().value(product(*[parse("x")] * MAX_STEPS), {"x": Fraction(1)})


@pytest.mark.parametrize(("open", "close", "most"), [("(", ")", MAX_NESTING), ("{", "}", MAX_NESTING)])
def test_what_is_nested_too_deep_is_no_formula(open, close, most):
    depths = [n for n in range(1, most + 5) if parse(open * n + "x" + close * n) is None]
    assert depths
    assert depths == list(range(depths[0], most + 5))
    assert abs(depths[0] - most) <= 1


def test_calls_are_found_by_their_names():
    formula = parse(r"\sin x + \ln(\cos y)")
    assert calls(formula, frozenset({"sin", "cos"})) == [parse(r"\sin x"), parse(r"\cos y")]
    assert calls(parse(r"\ln x"), frozenset({"sin", "cos"})) == []
