r"""Reads a formula in LaTeX or plain notation into a small tree (see `prm.answers`).

    parse(r"2x^2+1")        ->  ("sum", (("product", (2, ("power", (x, 2)))), 1))
    parse(r"\cos y \sin y")  ->  the product of two calls, not the cosine of a product
    parse("x/2y"), parse("y^T"), parse("2 3")  ->  None: a reader could not say what is meant

The parser is strict, because what it reads wrongly would be called equal to something else: notation with two
readings gives None, and such a text equals only itself. LaTeX parsers that accept everything drop the prime of y',
the T of x^T, and multiply IX out to XI.

Conventions: `1/2x` is half of x. A function without parentheses takes the product of letters after it (`\sin 2x`), up to
the next operator, function or parenthesis. `f(...)`, `g(...)`, `h(...)` and `P(...)` are values of unknown functions. Two
capital letters side by side are one name (IX, AB, H_2O), not a product. `\log` without a base has an unknown one.

Left out: integrals, limits, matrices (`prm.answers.forms` takes them apart), vectors, number bases.
"""

from __future__ import annotations

import re
from fractions import Fraction

from prm.answers.formulas import Formula, call, negative, number, power, product, quotient
from prm.answers.notation import ACCENTS, CONSTANTS, NotFormulaError, Token, tokens

MAX_NESTING = 60

_SEVERAL_ARGUMENTS = {"gcd", "lcm", "max", "min", "binom"}
_STARTS = ACCENTS | {"frac", "sqrt", "binom", "sum", "prod", "{"}
"""Commands that begin a factor."""
_UNKNOWN_FUNCTIONS = re.compile(r"[fghFGHP](?:_\w+)?'*(?:\^-1)?")


def parse(text: str) -> Formula | None:
    """The formula in a text; None if the text is not one, or not surely one."""
    try:
        parser = _Parser(tokens(text))
        formula = parser.sum(0)
        parser.expect("end")
        return formula
    except NotFormulaError:
        return None


class _Parser:
    """Recursive descent: sum, product, power, atom. `depth` counts how deep formulas are nested."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0
        self.bars = 0  # how many |...| are open
        self.indices: list[str] = []  # of sums, where i is not the imaginary unit

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def skip(self, *texts: str) -> bool:
        """Take the next sign or command if it is one of these."""
        if self.next.kind in ("sign", "command") and self.next.text in texts:
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not (self.next.kind == text or self.skip(text)):
            raise NotFormulaError(f"{self.next.text!r} where {text!r} is expected")

    def sum(self, depth: int) -> Formula:
        if depth > MAX_NESTING:
            raise NotFormulaError("nested too deep")
        terms = [self._signed_product(depth)]
        while self.next.kind == "sign" and self.next.text in "+-":
            terms.append(self._signed_product(depth))
        return terms[0] if len(terms) == 1 else Formula("sum", tuple(terms))

    def _signed_product(self, depth: int) -> Formula:
        sign = 1
        while self.next.kind == "sign" and self.next.text in "+-":
            sign *= -1 if self.take().text == "-" else 1
        found = self._product(depth)
        return found if sign == 1 else negative(found)

    def _product(self, depth: int) -> Formula:
        factors = [self._power(depth)]
        while True:
            if self.skip("*", "cdot", "times"):
                factors.append(self._signed_power(depth))
            elif self.skip("/", "div"):
                divisor = self._signed_power(depth)
                # 1/2x is half of x, but x/yz may be x/(yz).
                plain = all(factor.op == "number" for factor in (*factors, divisor))
                if self.starts_factor() and not plain and self.tokens[self.at - 1].text != ")":
                    raise NotFormulaError("what is divided by is not clear")
                factors.append(power(divisor, number(-1)))
            elif self.starts_factor():
                factors.append(self._juxtaposed(factors[-1], depth))
            else:
                return product(*factors)

    def _signed_power(self, depth: int) -> Formula:
        sign = 1
        while self.next.kind == "sign" and self.next.text in "+-":
            sign *= -1 if self.take().text == "-" else 1
        found = self._power(depth)
        return found if sign == 1 else negative(found)

    def _juxtaposed(self, before: Formula, depth: int) -> Formula:
        previous, first = self.tokens[self.at - 1], self.next
        found = self._power(depth)
        if first.kind == "number":  # "2 3", "x2", "(1)2": lists, names or misprints
            raise NotFormulaError("a number follows without a sign")
        if previous.kind == "number" and first.text == "frac" and _is_plain_fraction(found):
            raise NotFormulaError("a mixed number within a product")
        return found

    def starts_factor(self) -> bool:
        kind, text = self.next
        if kind == "sign":
            return text in "([{√" or (text == "|" and not self.bars)
        return kind in ("number", "symbol", "function") or (kind == "command" and text in _STARTS)

    def _power(self, depth: int) -> Formula:
        if self.next.kind == "number" and self.tokens[self.at + 1].text == "frac":
            return self._mixed_number(depth)
        base = self._atom(depth)
        while True:
            if self.skip("!"):
                if self.next.text == "!":
                    raise NotFormulaError("a double factorial")
                base = call("factorial", base)
            elif self.skip("^", "**"):
                base = self._raised(base, depth)
            else:
                return base

    def _raised(self, base: Formula, depth: int) -> Formula:
        start = self.at
        braced = self.skip("{")
        if self.skip("circ"):
            if braced:
                self.expect("}")
            return product(base, Formula("symbol", ("°",)))
        self.at = start
        if self.next.text in ("T", "prime", "*") or (
            braced and self.tokens[start + 1].text in ("T", "prime", "*", "\\")
        ):
            raise NotFormulaError("a transpose or a prime")
        sign = 1
        while self.skip("-"):
            sign = -sign
        exponent = self._atom(depth + 1)
        if self.skip("^", "**"):  # 2^3^4 is 2^(3^4)
            exponent = self._raised(exponent, depth + 1)
        return power(base, exponent if sign == 1 else negative(exponent))

    def _mixed_number(self, depth: int) -> Formula:
        r"""`2\frac{1}{3}` is 7/3; other fractions after a number have two readings."""
        whole = self._atom(depth)
        part = self._atom(depth)
        if not _is_plain_fraction(part):
            return (
                product(whole, part) if self.next.text not in ("^", "!") else product(whole, self._postfix(part, depth))
            )
        top, bottom = part.args[0].args[0], part.args[1].args[0].args[0]
        if whole.args[0].denominator != 1 or not 0 < top < bottom or self.next.text in ("^", "!"):
            raise NotFormulaError("a product or a mixed number")
        return number(whole.args[0] + top / bottom)

    def _postfix(self, base: Formula, depth: int) -> Formula:
        while self.next.text in ("^", "!"):
            base = call("factorial", base) if self.skip("!") else self._raised(base, depth) if self.skip("^") else base
        return base

    def _atom(self, depth: int) -> Formula:
        token = self.take()
        if token.kind == "number":
            if self.next.text == "_":
                raise NotFormulaError("a number in a base")
            return number(_decimal(token.text))
        if token.kind == "symbol":
            return self._symbol(token.text, depth)
        if token.kind == "function":
            return self._function(token.text, depth)
        closing = {"(": ")", "[": "]", "{": "}"}.get(token.text) if token.kind == "sign" else None
        if closing:
            inside = self.sum(depth + 1)
            self.expect(closing)
            return inside
        if token.text == "|" and token.kind == "sign":
            self.bars += 1
            inside = self.sum(depth + 1)
            self.bars -= 1
            self.expect("|")
            return call("abs", inside)
        return self._command(token.text, depth)

    def _symbol(self, name: str, depth: int) -> Formula:
        if self.skip("_"):  # after a macro: \theta_1
            name += "_" + self._name()
        while self.skip("'") or self.skip("prime"):
            name += "'"
        ahead = [token.text for token in self.tokens[self.at : self.at + 6]]
        if ahead == ["^", "{", "-", "1", "}", "("]:
            name, self.at = name + "^-1", self.at + 5
        if _UNKNOWN_FUNCTIONS.fullmatch(name) and self.skip("("):
            return call(name, *self._arguments(")", depth))
        if name.endswith("^-1"):
            raise NotFormulaError("an inverse")
        is_constant = name in CONSTANTS and name not in self.indices
        return Formula("constant" if is_constant else "symbol", (name,))

    def _name(self) -> str:
        """A subscript."""
        if not self.skip("{"):
            return self.take().text
        parts = []
        while not self.skip("}"):
            if self.next.kind == "end":
                raise NotFormulaError("an open brace")
            parts.append(self.take().text)
        return "".join(parts)

    def _arguments(self, closing: str, depth: int) -> list[Formula]:
        args = [self.sum(depth + 1)]
        while self.skip(","):
            args.append(self.sum(depth + 1))
        self.expect(closing)
        return args

    def _function(self, name: str, depth: int) -> Formula:
        r"""A function with its subscript, exponent and argument: `\log_2 8`, `\sin^2 x`, `\max(a, b)`."""
        if name in ("sqrt", "binom"):
            return self._command(name, depth)
        if name in ("floor", "ceil") and self.next.text != "(":
            inside = self.sum(depth + 1)
            self.expect("rfloor" if name == "floor" else "rceil")
            return call(name, inside)
        base = self._atom(depth + 1) if self.skip("_") else None
        exponent = self._atom(depth + 1) if self.skip("^") else None
        if self.next.text in ("(", "[", "{") and self.next.kind in ("sign", "command"):
            closing = {"(": ")", "[": "]", "{": "}"}[self.take().text]
            args = self._arguments(closing, depth)
        else:
            args = [self._bare_argument(depth)]
        if len(args) > 1 and name not in _SEVERAL_ARGUMENTS:
            raise NotFormulaError(f"{name} of several arguments")
        if name == "log" and base is not None:
            found = quotient(call("ln", *args), call("ln", base))
        elif base is not None:
            raise NotFormulaError(f"{name} with a subscript")
        elif name == "exp":
            found = power(Formula("constant", ("e",)), args[0])
        else:
            found = call(name, *args)
        if exponent == number(-1):
            if name not in ("sin", "cos", "tan"):
                raise NotFormulaError("an inverse or a reciprocal")
            return call("arc" + name, *args)
        return found if exponent is None else power(found, exponent)

    def _bare_argument(self, depth: int) -> Formula:
        """The argument of a function without parentheses: letters, a number before them, a fraction, a root, a degree."""
        if self.next.text == "|" and not self.bars:
            return self._power(depth)
        factors: list[Formula] = []
        sign = self.skip("-")
        while self.next.kind in ("number", "symbol") or self.next.text in ("frac", "sqrt", "√"):
            if self.next.kind == "number" and factors:
                break
            if self.next.text in ("sqrt", "√") and factors:
                raise NotFormulaError("what the function is of is not clear")
            factors.append(self._power(depth))
        if not factors or self.next.text == "/":
            raise NotFormulaError("what the function is of is not clear")
        return negative(product(*factors)) if sign else product(*factors)

    def _command(self, name: str, depth: int) -> Formula:
        if name == "frac":
            top = self._group(depth)
            return quotient(top, self._group(depth))
        if name in ("sqrt", "√"):
            degree: Formula | None = None
            if self.skip("["):
                degree = self.sum(depth + 1)
                self.expect("]")
            base = self._group(depth)
            return power(base, number(Fraction(1, 2)) if degree is None else power(degree, number(-1)))
        if name == "binom":
            if self.skip("("):
                return call("binom", *self._arguments(")", depth))
            top = self._group(depth)
            return call("binom", top, self._group(depth))
        if name in ("sum", "prod"):
            return self._series(name, depth)
        if name in ACCENTS:
            return Formula("symbol", (f"{name} {self._name()}",))
        raise NotFormulaError(f"{name!r} has no value")

    def _group(self, depth: int) -> Formula:
        r"""The argument of a macro: `{...}`, or one digit, letter or macro, as in `\frac12` and `\sqrt e`."""
        if self.next.text == "frac" or self.next.kind != "number":
            return self._atom(depth + 1)
        digits = self.take().text
        if len(digits) > 1:  # \frac12: the second digit is the next argument
            if "." in digits:
                raise NotFormulaError("a decimal without braces")
            self.at -= 1
            self.tokens[self.at] = Token("number", digits[1:])
        return number(int(digits[0]))

    def _series(self, kind: str, depth: int) -> Formula:
        r"""`\sum_{k=1}^{n} k^2`: takes the product after it."""
        self.expect("_")
        self.expect("{")
        index = self.take()
        if index.kind != "symbol":
            raise NotFormulaError("a sum without an index")
        self.expect("=")
        first = self.sum(depth + 1)
        self.expect("}")
        self.expect("^")
        last = self._atom(depth + 1)
        self.indices.append(index.text)
        term = self._product(depth + 1)
        self.indices.pop()
        return Formula("series", (kind, index.text, first, last, term))


def _is_plain_fraction(formula: Formula) -> bool:
    """Whether this is one number over another."""
    if formula.op != "product" or len(formula.args) != 2 or formula.args[1].op != "power":
        return False
    top, (bottom, exponent) = formula.args[0], formula.args[1].args
    return bool(top.op == bottom.op == "number" and exponent == number(-1))


def _decimal(text: str) -> Fraction:
    """A decimal, which may repeat: `0.1\\overline{6}`."""
    digits, _, cycle = text.partition("\\")
    if not cycle:
        return Fraction(digits)
    period = re.sub(r"\D", "", cycle)
    places = len(digits.partition(".")[2])
    return Fraction(digits.rstrip(".")) + Fraction(int(period), (10 ** len(period) - 1) * 10**places)
