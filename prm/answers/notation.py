r"""Formulas in LaTeX or plain notation as tokens: numbers, signs, the words that mean something, and single letters.

tokens(r"2\sin xy")  ->  number 2, function sin, symbol x, symbol y
tokens("CO_2")       ->  symbol CO_2: capital letters side by side are one name
tokens("2 apples")   ->  NotFormulaError: a word
"""

from __future__ import annotations

import re
from typing import NamedTuple


class NotFormulaError(ValueError):
    """The text is not a formula, or has more than one reading."""


class Token(NamedTuple):
    kind: str
    """number, symbol, function, command, sign or end."""
    text: str


_WORDS = re.compile(r"\w+")
FUNCTIONS = frozenset(
    _WORDS.findall(
        "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp gcd lcm max min floor ceil abs sgn "
        "sqrt cbrt binom"
    )
)
CONSTANTS = frozenset({"pi", "e", "i"})
ACCENTS = frozenset(_WORDS.findall("overline bar vec hat tilde overrightarrow widehat"))
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lceil": "ceil", "lfloor": "floor"}
_GREEK = frozenset(
    _WORDS.findall(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon "
        "phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
    )
)
_PROSE = frozenset(
    _WORDS.findall("and or not the is are for all if mod to of in no per with from by then any on at an")
)
"""Words that no formula contains; other short runs of letters are products."""
_DIFFERENTIALS = frozenset({"dx", "dy", "dz", "dt", "du", "dr"})
_ROMAN = frozenset({"iv", "vi", "ix", "xi"})

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d*\\(?:overline|bar)\{\d+\}|\d+(?:\.\d+)?|\.\d+)"
    r"|\\(?P<command>[a-zA-Z]+|.)"
    r"|(?P<letters>[a-zA-Z](?:[a-zA-Z]|_(?:\{[\w, ]+\}|\w))*)"
    r"|(?P<sign>\*\*|.))",
    re.DOTALL,
)
_LETTER = re.compile(r"([a-zA-Z])(?:_(?:\{([\w, ]+)\}|(\w)))?")


def tokens(text: str) -> list[Token]:
    """The tokens of a formula and an end. Raises NotFormulaError for words."""
    found = []
    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup or "", match[match.lastgroup or 0]
        if kind == "letters":
            found += _letters(part)
        elif kind == "command":
            part = _ALIASES.get(part, part)
            is_symbol = part in _GREEK or part in CONSTANTS
            found.append(Token("symbol" if is_symbol else "function" if part in FUNCTIONS else "command", part))
        elif part.strip():
            found.append(Token(kind, part))
    return [*found, Token("end", "")]


def _letters(run: str) -> list[Token]:
    """A run of letters as a function, one name, or the letters of a product."""
    word = _ALIASES.get(run.lower(), run)
    if word in FUNCTIONS:
        return [Token("function", word)]
    base, _, subscript = run.partition("_")
    if base == "log" and subscript:
        return [Token("function", "log"), Token("sign", "_"), *tokens(subscript.strip("{}"))[:-1]]
    if run in _GREEK or run in CONSTANTS:
        return [Token("symbol", run)]
    plain = re.sub(r"_(?:\{[^}]*\}|\w)", "", run)
    if plain.lower() in _PROSE or plain in _DIFFERENTIALS or re.search(r"[a-z]{5}", plain):
        raise NotFormulaError(f"{run!r} is a word")
    names = [
        letter + (f"_{braced or single}" if braced or single else "") for letter, braced, single in _LETTER.findall(run)
    ]
    # IX is not XI, AB is a segment, CO_2 a molecule: the order of capital letters means something.
    if sum(letter.isupper() for letter in plain) > 1 or plain in _ROMAN:
        return [Token("symbol", "".join(names))]
    return [Token("symbol", name.replace(" ", "")) for name in names]
