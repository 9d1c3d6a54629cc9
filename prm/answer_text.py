r"""The writing of an answer: what can be changed in it without changing what it says (see `prm.answers`).

    $\dfrac 12$.          ->  \frac{1}{2}
    \$1,234.50            ->  1234.5
    5\,\text{cm}          ->  5 cm
    \left( 1 ,2\right]    ->  (1, 2]

Rewriting is by a table of regular expressions, applied in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_UNICODE = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "·": r"\cdot ", "π": r"\pi ", "∞": r"\infty ",
     "\u222a": r"\cup ", "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ",
     "\u2208": r"\in ", "\u00a0": " ", "\u200b": "", "²": "^2", "³": "^3"}
)  # fmt: skip
_WORDS_MACRO = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}"
_BEFORE_THOUSANDS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\?[$€£]|(?<!\\)\\[()\[\]]"), ""),
    (re.compile(r"\\[,!]"), ""),
    (re.compile(r"\{,\}(?=\d)"), ","),
    (re.compile(r"(?<!\\)\\[;:> ]|~|\\(?:quad|qquad|displaystyle)(?![a-zA-Z])"), " "),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))"),
     lambda m: rf"\frac{{{m[1] or m[2] or ''}}}{{{m[3] or m[4] or ''}}}"),
    (re.compile(r"(?:√|\\sqrt|(?<![\\a-zA-Z])sqrt)\s*\(([^()]*)\)|√\s*(\d+|\w)|\\sqrt\s*(\w)"),
     lambda m: rf"\sqrt{{{m[1] or m[2] or m[3] or ''}}}"),
    (re.compile(rf"(?<=[\d}}])\s*{_WORDS_MACRO}"),  # 5\text{m} is no product: a unit of one letter keeps its \text
     lambda m: rf"\text{{{m[1].strip()}}}" if len(m[1].strip()) == 1 else f" {m[1]} "),
    (re.compile(rf"(?<![\d}}]){_WORDS_MACRO}"), r" \1 "),
    (re.compile(r"\\le(?:q|qslant)(?![a-zA-Z])|<="), r"\\le "),
    (re.compile(r"\\ge(?:q|qslant)(?![a-zA-Z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![a-zA-Z])|!="), r"\\ne "),
    (re.compile(r"\\langle(?![a-zA-Z])"), "("),
    (re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\s*(?:\\%|%|\bper ?cent\b)"), "%"),
]  # fmt: skip
INTEGER = re.compile(r"-?\d+")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_AFTER_THOUSANDS = [
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([-+*/^_=<>(){}\[\]|]) ?"), r"\1"),
    (re.compile(r" ?([,;]) ?"), r"\1 "),
    (re.compile(r" (?=\\)|(?<=\d) (?=[a-zA-Z](?![a-zA-Z]))"), ""),
    (re.compile(r"(\\[a-zA-Z]+) (?![a-zA-Z])"), r"\1"),
    (re.compile(r"(?<![\d.])\.(?=\d)"), "0."),
    (re.compile(r"(\.\d*[1-9])0+(?!\d)|(?<=\d)\.0+(?!\d)"), r"\1"),
]


def normalize(answer: str) -> str:
    r"""Rewrite without changing what is meant: math delimiters, money signs, \text, \left, \dfrac, spaces, thousands
    separators, a final period, a leading plus, zeros after the decimal point, parentheses around the whole. Percent
    signs and units stay (see above). Applying it again changes nothing.

    >>> normalize(r"$\dfrac 12$."), normalize(r"\$1,234.50"), normalize("+18.0"), normalize(r"5\text{ cm}")
    ('\\frac{1}{2}', '1234.5', '18', '5 cm')
    """
    if INTEGER.fullmatch(answer):  # most answers; spares them the table
        return answer
    for _ in range(3):  # the inside of peeled brackets may need another round
        before = answer
        answer = _rewrite(answer)
        if answer == before:
            break
    return answer


def _rewrite(text: str) -> str:
    text = text.translate(_UNICODE)
    for pattern, new in _BEFORE_THOUSANDS:
        text = pattern.sub(new, text)
    text = _THOUSANDS.sub(lambda m: m[0] if _num_open(text[: m.start()]) > 0 else m[0].replace(",", ""), text)
    for pattern, new in _AFTER_THOUSANDS:
        text = pattern.sub(new, text)
    text = text.strip(" *`").rstrip(" .,;:").removeprefix("+")
    while len(text) > 2 and text[0] + text[-1] in ("()", "{}") and split(text[1:-1]) == [text[1:-1]]:
        text = text[1:-1]
    return text


def _num_open(text: str) -> int:
    return sum(text.count(c) for c in ("(", "[", r"\{")) - sum(text.count(c) for c in (")", "]", r"\}"))


def depth(text: str) -> int:
    """How deep brackets of any sort are nested."""
    deepest = current = 0
    for char in text:
        if char in "([{":
            current += 1
            deepest = max(deepest, current)
        elif char in ")]}":
            current -= 1
    return deepest


def split(text: str, separator: str = r",|;") -> list[str]:
    """Split at separators outside of brackets; [] if a bracket closes that was not opened, or stays open."""
    parts, start, level = [], 0, 0
    for token in re.finditer(rf"(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<at>{separator})", text):
        level += (token["open"] is not None) - (token["close"] is not None)
        if level < 0:
            return []
        if token["at"] and level == 0:
            parts.append(text[start : token.start()].strip())
            start = token.end()
    return [*parts, text[start:].strip()] if level == 0 else []
