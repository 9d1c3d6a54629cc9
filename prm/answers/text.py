r"""Rewrites an answer into a normal form without changing what it means (see `prm.answers`).

    $\dfrac 12$.          ->  \frac{1}{2}
    \$1,234.50            ->  1234.5 dollars
    $12$, $345$           ->  12, 345
    5\,\text{cm}          ->  5 cm
    \left( 1 ,2\right]    ->  (1, 2]

The rules are regular expressions, applied in order.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from prm.answers.money import spelled_out, without_delimiters

KEPT = 4096
"""Texts of which is remembered what was read in them: those of the answers to a few problems."""

_UNICODE = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "÷": "/", "·": r"\cdot ", "π": r"\pi ", "θ": r"\theta ",
     "α": r"\alpha ", "β": r"\beta ", "φ": r"\phi ", "λ": r"\lambda ", "∞": r"\infty ", "∅": r"\emptyset ",
     "ℝ": r"\mathbb{R}", "∠": "", "\u222a": r"\cup ", "°": r"^\circ ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
     "±": r"\pm ", "≈": r"\approx ", "\u2208": r"\in ", "\u200b": "", "∛": r"\sqrt[3]", "\u2044": "/",
     "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "\u2229": r"\cap "}
)  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_ALIASES = {
    "no solution": r"\emptyset", "no solutions": r"\emptyset", "empty set": r"\emptyset", r"\varnothing": r"\emptyset",
    r"\{\}": r"\emptyset", "{}": r"\emptyset", r"positive\infty": r"\infty",
    r"\mathbb{R}": r"(-\infty, \infty)", "all real numbers": r"(-\infty, \infty)", "all reals": r"(-\infty, \infty)",
}  # fmt: skip
"""Whole answers that have several common forms."""
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
          "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip
_MACROS = r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox)"
_WORDS_MACRO = _MACROS + r"\s*\{([^{}]*)\}"
_WRAPPED = re.compile(rf"(?P<macro>(?:\\boxed|\\fbox|{_MACROS})\s*)?\{{(?P<braces>.*)\}}|\((?P<parens>.*)\)", re.DOTALL)
_CHOICE = re.compile(r"(?:option|choice)[ (]*([A-Za-z])\)?|([A-Za-z])\)", re.IGNORECASE)
_LEAD = re.compile(r"^(?:=|\\approx|(?:about|approximately|roughly|around|exactly)\b) ?")
_SYSTEM = r"\{(?:cases|aligned|array)\}"
_SPACED_THOUSANDS = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")


def _as_list(match: re.Match[str]) -> str:
    """The equations of a system, which stand in rows; other tables unchanged."""
    rows = [row.replace("&", "").strip() for row in match[1].split(r"\\")]
    rows = [row for row in rows if row]
    return ", ".join(rows) if all(re.search(r"(?<![<>!])=", row) and "," not in row for row in rows) else match[0]


_BEFORE_THOUSANDS: list[tuple[str, re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    # (what a text must contain for the rule to apply, the rule)
    ("", re.compile(r"\s+"), " "),  # comes first: on long runs of blanks, \s* in the rules below takes quadratic time
    # Unicode signs, money signs and delimiters of math
    ("", re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+"), lambda m: f"^{{{m[0].translate(_SUPERSCRIPTS)}}}"),
    ("", re.compile(r"[₀-₉]+"), lambda m: f"_{{{m[0].translate(_SUBSCRIPTS)}}}"),
    ("", re.compile(r"[¼-¾⅐-⅞]"), lambda m: " " + unicodedata.normalize("NFKC", m[0]).replace("\u2044", "/")),
    ("{:}", re.compile(r"\{:\}"), ":"),
    (".", re.compile(r"(?<=[a-zA-Z]{2})\.(?= )"), ""),  # 34 sq. units
    ("\\", re.compile(r"\^\s*\{?\s*\\(?:text|mathrm)\s*\{\s*o\s*\}\s*\}?"), r"^\\circ "),
    # dots, spacing, sizes of brackets
    ("\\", re.compile(r",\\! ?(?=\d{3}(?!\d))"), ","),
    ("", re.compile(r"(\.\d+)\s*(?:\.\.\.+|\\[lc]?dots(?![a-zA-Z]))"), r"\1\\dots "),
    ("\\", re.compile(r"\\!|(?<=\d)\\,(?=\d{3}(?!\d))"), ""),
    ("{,}", re.compile(r"\{,\}(?=\d)"), ","),
    ("", re.compile(r"(?<!\\)\\[,;:> ]|~|\\(?:quad|qquad|displaystyle)(?![a-zA-Z])"), " "),
    ("\\", re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])"), ""),
    # fractions and roots
    ("\\", re.compile(r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}"), r"\\frac{\1}{\2}"),
    ("\\", re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    ("\\", re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))"),
     lambda m: rf"\frac{{{m[1] or m[2] or ''}}}{{{m[3] or m[4] or ''}}}"),
    ("", re.compile(r"(?:√|\\sqrt|(?<![\\a-zA-Z])sqrt)\s*\(([^()]*)\)|√\s*(\d+|\w)|\\sqrt\s*(\w)"),
     lambda m: rf"\sqrt{{{m[1] or m[2] or m[3] or ''}}}"),
    ("", re.compile(r"^ ?(?:negative|minus) (?=\d)", re.IGNORECASE), "-"),
    ("\\", re.compile(r"\\math(?:rm|bf)\s*\{([ie])\}"), r"\1 "),
    # words and relations; a unit of one letter keeps its \text, because 5m is a product and 5\text{m} is not
    ("\\", re.compile(rf"(?<=[\d}}])\s*{_WORDS_MACRO}"),
     lambda m: rf"\text{{{m[1].strip()}}}" if len(m[1].strip()) == 1 else f" {m[1]} "),
    ("\\", re.compile(rf"(?<![\d}}]){_WORDS_MACRO}"), r" \1 "),
    ("\\", re.compile(r"\\(lt|gt)(?![a-zA-Z])"), lambda m: {"lt": "<", "gt": ">"}[m[1]]),
    ("", re.compile(r"\\le(?:q|qslant)(?![a-zA-Z])|<="), r"\\le "),
    ("", re.compile(r"\\ge(?:q|qslant)(?![a-zA-Z])|>="), r"\\ge "),
    ("", re.compile(r"\\neq(?![a-zA-Z])|!="), r"\\ne "),
    ("\\", re.compile(r"\\[hv]?phantom\s*(?:\{[^{}]*\}|.)|\\(?:measured)?angle(?![a-zA-Z])"), ""),
    # systems as lists; matrices, of which the first rule drops extra space between rows
    ("\\", re.compile(rf"(?:\\?\{{)?\s*\\begin{_SYSTEM}(?:\{{[lcr]+\}})?((?:[^&]|&=)*?)\\end{_SYSTEM}(?:\s*\.)?"),
     _as_list),
    ("\\", re.compile(r"\\\\\[[^\]]*\]"), r"\\\\"),
    ("\\", re.compile(r"\\begin\{bmatrix\}|[(\[]\s*\\begin\{(?:array\}\s*\{[lcr|\s]*\}|matrix\})"), r"\\begin{pmatrix}"),
    ("\\", re.compile(r"\\end\{bmatrix\}|\\end\{(?:array|matrix)\}\s*[)\]]"), r"\\end{pmatrix}"),
    # the rest: binomials, bases, powers of ten, am and pm, set-builder notation, percent
    ("\\", re.compile(r"\{?\b(\w+)\s*\\choose\s*(\w+)\}?"), r"\\binom{\1}{\2}"),
    ("_", re.compile(rf"_\s*\{{?\s*({'|'.join(_BASES)})\s*\}}?"), lambda m: f"_{{{_BASES[m[1]]}}}"),
    ("", re.compile(r"\((\w*\d\w*)\)(?=_\{?\d)"), r"\1"),
    ("\\", re.compile(r"\\sqrt\s*\[(\d+)\]\s*(\w)"), r"\\sqrt[\1]{\2}"),
    ("10", re.compile(r"(?<=\d)\s*[x*]\s*(?=10\s*\^)"), r"\\times "),
    ("", re.compile(r"(?:(negative|minus) )?(?<![\w\\])(?:infinity|inf)(?!\w)", re.IGNORECASE),
     lambda m: r"-\infty " if m[1] else r"\infty "),
    ("\\", re.compile(r"\+ ?(?=\\infty)"), ""),
    ("", re.compile(r"\b([ap])\.\s*m\b\.?", re.IGNORECASE), lambda m: m[1].lower() + "m"),
    ("", re.compile(r"^ ?\\?\{\s*[a-zA-Z]\s*(?:\\mid\b|\||:)(.*?)\\?\}$", re.DOTALL), r"\1"),  # {x | x > 2}
    ("\\", re.compile(r"(\\[a-z]?mod)\s*\{(\w+)\}"), r"\1 \2"),
    ("\\", re.compile(r"\\langle(?![a-zA-Z])"), "("),
    ("\\", re.compile(r"\\rangle(?![a-zA-Z])"), ")"),
    ("", re.compile(r"\s*(?:\\%|%|\b(?:per ?cent|pct)\b)"), "%"),
]  # fmt: skip
INTEGER = re.compile(r"-?\d+")
_PLAIN_NUMBER = re.compile(r"-?\d+(?:\.\d*[1-9])?(?:/\d+)?")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_AFTER_THOUSANDS = [
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([-+*/^_<>({\[|:]|(?<!! )=) ?"), r"\1"),  # "5! = 120" is not "5 != 120"
    (re.compile(r" ?([)\]}]) ?(?![a-zA-Z]{2})"), r"\1"),  # a blank stays before a unit
    (re.compile(r" ?([,;]) ?"), r"\1 "),
    (re.compile(r" (?=\\)|(?<=\d) (?=[a-zA-Z](?![a-zA-Z]))"), ""),
    (re.compile(r"(\\[a-zA-Z]+) (?![a-zA-Z])"), r"\1"),
    (re.compile(r"(?<![\d.])\.(?=\d)"), "0."),
    (re.compile(r"(\.\d*[1-9])0+(?!\d)|(?<=\d)\.0+(?!\d)"), r"\1"),
]


@lru_cache(maxsize=KEPT)
def normalize(answer: str) -> str:
    r"""Rewrite without changing the meaning: math delimiters, money, \text, \left, \dfrac, spaces, thousands
    separators, a final period, a leading plus, zeros after the decimal point, parentheses around the whole. Percent
    signs and units stay, and a currency becomes a unit. Applying it again changes nothing.

    >>> normalize(r"$\dfrac 12$."), normalize(r"\$1,234.50"), normalize("+18.0"), normalize(r"5\text{ cm}")
    ('\\frac{1}{2}', '1234.5 dollars', '18', '5 cm')
    """
    if _PLAIN_NUMBER.fullmatch(answer):  # most answers, which need none of the rules
        return answer
    for _ in range(3):  # after brackets were peeled off, the inside may need another round
        before = answer
        answer = _rewrite(answer)
        if answer == before:
            break
    return answer


def _rewrite(text: str) -> str:
    text = without_delimiters(text.translate(_UNICODE))
    for needed, pattern, new in _BEFORE_THOUSANDS:
        if needed in text:
            text = pattern.sub(new, text)
    text = spelled_out(text)
    text = unicodedata.normalize("NFKC", text)  # full-width signs, odd blanks, mathematical letters
    # Inside brackets a comma separates: "(1,234)" is a pair.
    text = _THOUSANDS.sub(lambda m: m[0] if _num_open(text[: m.start()]) > 0 else m[0].replace(",", ""), text)
    if r"\begin" not in text:  # in a matrix, & separates columns
        text = re.sub(r"\\?&", " and ", text)
    for pattern, new in _AFTER_THOUSANDS:
        text = pattern.sub(new, text)
    # Ends: "= 5", "**5**", "5." and "+5". Then brackets around the whole, as long as there are any.
    text = _LEAD.sub("", text.strip(" *`").rstrip(" .,;:")).removeprefix("+")
    while (wrapped := _WRAPPED.fullmatch(text)) and len(text) > 2:
        inside = (wrapped["parens"] if wrapped["braces"] is None else wrapped["braces"]).strip(" .,;")
        parts = split(inside)
        if not parts or (len(parts) > 1 and not wrapped["macro"]):  # "(1) + (2)"; "(1, 2)"
            break
        text = inside
    if choice := _CHOICE.fullmatch(text):
        text = choice[1] or choice[2]
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    return _ALIASES.get(text, _ALIASES.get(text.lower(), text))


def _num_open(text: str) -> int:
    """How many brackets of a text are not closed; bare braces are LaTeX groups and do not count."""
    return sum(text.count(c) for c in ("(", "[", r"\{")) - sum(text.count(c) for c in (")", "]", r"\}"))


def undelimited(span: str) -> str:
    """The formula between its math delimiters."""
    return re.sub(r"^(?:\$\$?|\\[(\[])|(?:\$\$?|\\[)\]])$", "", span).strip()


def depth(text: str) -> int:
    """How deep brackets of any kind are nested."""
    deepest = current = 0
    for char in text:
        if char in "([{":
            current += 1
            deepest = max(deepest, current)
        elif char in ")]}":
            current -= 1
    return deepest


def split(text: str, separator: str = r",|;") -> list[str]:
    """Split at separators outside of brackets; [] if the brackets do not match."""
    parts, start, level = [], 0, 0
    for token in re.finditer(rf"(?P<open>[(\[{{])|(?P<close>[)\]}}])|(?P<at>{separator})", text):
        level += (token["open"] is not None) - (token["close"] is not None)
        if level < 0:
            return []
        if token["at"] and level == 0:
            parts.append(text[start : token.start()].strip())
            start = token.end()
    return [*parts, text[start:].strip()] if level == 0 else []
