r"""What a claim such as "The answer is ..." states, and whether a text is a value at all (see `prm.answers`).

    claimed("$x = 5$ or $x = 7$. I hope it is correct.")  ->  "$x = 5$ or $x = 7$"
    claimed("the volume of the box is 120.")              ->  "120"
    claimed("7 (seven).")                                 ->  "7"
    claimed("8!")                                         ->  "8"       a factorial only within math delimiters
    claimed("rounded to the nearest whole number")        ->  the words; `is_value` says that they are none

A sentence with two candidates for its value is returned as it is: it equals nothing, which is right where nobody can
know which of them is meant.
"""

from __future__ import annotations

import re

from prm.answers.forms import form
from prm.answers.names import read
from prm.answers.numbers import clock, quantity
from prm.answers.parser import parse
from prm.answers.text import depth, normalize, undelimited

MAX_CLAIM = 1_000
"""Characters of a claim that are looked at."""

_SPAN = re.compile(r"\$\$[^$]+\$\$|\$[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\]", re.DOTALL)
"""Math between delimiters."""
_END = re.compile(
    r"[.](?=\s|\*|$)|[。，]|(?:[,;]|(?<![\s,;]))\s++(?=(?:because|since|which|so|as|where|when|if|after|given)\b)|\*\*|\n|\[/?"
    r"[A-Z]+\]|<"
)
_REMARK = re.compile(r"\s*\((?=[^()]*[a-zA-Z]{2})[^()\\$]*\)$")
_COPULA = re.compile(
    r"(?:\b(?:is|are|was|were|equals|be|becomes)\b(?: equal to)?|[^\W\d]=)\s*(?:about |approximately |exactly |only )?"
)
_CHOICE = re.compile(r"\(?[A-E][).:] .*", re.DOTALL)
"""A choice with its text."""
_DEPENDENT = re.compile(
    r"\b(?:to|of|by|from|than|at|in|for|per|after|before|with|on|step|part|question|problem|equation|not)\s+$",
    re.IGNORECASE,
)
"""Before a number that is no answer: "rounded to 9 digits"."""
_VALUE_START = re.compile(r"[-+\u2212]?\s*(?:\\?[$€£]|\\|\d|\.\d|[(\[{|√π])")


def claimed(text: str) -> str:
    """The answer in the sentence that begins with `text`; empty if there is none."""
    claim = _sentence(_unwrapped(text[:MAX_CLAIM]))
    claim = _REMARK.sub("", claim).strip()
    if re.search(r"\w\s*!+$", claim):  # "The answer is 8!" is said with joy
        claim = claim.rstrip("! ")
    if (span := _SPAN.fullmatch(claim)) is not None:
        return undelimited(span[0])
    if is_value(claim) or _CHOICE.fullmatch(claim):
        return claim
    # A sentence: its value is what comes after the only "is".
    copulas = list(_COPULA.finditer(_masked(claim)))
    rest = claim[copulas[0].end() :].strip() if len(copulas) == 1 else ""
    # Without one it is its only number, with the words after it.
    numbers = list(re.finditer(r"[-\u2212]?(?:\\?[$€£])?\d[\d,.]*", _masked(claim)))
    if (
        not copulas
        and len(numbers) == 1
        and "#" not in _masked(claim)
        and not _DEPENDENT.search(claim[: numbers[0].start()])
    ):
        rest = claim[numbers[0].start() :]
    if rest and _VALUE_START.match(rest):
        return undelimited(span[0]) if (span := _SPAN.fullmatch(rest)) is not None else rest
    return claim


def is_value(text: str) -> bool:
    """Whether a text is a number, formula, list, choice and the like, and not words."""
    if not text or len(text) > MAX_CLAIM or depth(text) > 50:
        return False
    text = normalize(text)
    if not re.search(r"[\w\\]", text):
        return False
    if quantity(text) is not None or clock(text) is not None or re.fullmatch("[A-Za-z]|yes|no", text, re.IGNORECASE):
        return True
    if (statement := read(text)) is not None and statement.name:
        return all(is_value(value) for value in statement.values)
    found = form(text)
    if found.kind == "words":
        return False
    if found.kind in ("set", "sequence", "union") and found.parts:
        return all(is_value(part) for part in found.parts)
    return found.kind != "scalar" or parse(text) is not None


def _unwrapped(text: str) -> str:
    """Without bold and the blanks, colons and line ends before the claim; display math keeps its lines."""
    return re.sub(r"^[\s:*]+", "", text)


def _sentence(text: str) -> str:
    """The text up to the end of its first sentence, which does not lie within math."""
    masked = _masked(text)
    opened = re.match(r"\\begin\{(\w+)\}", text)
    if opened and (end := text.find(rf"\end{{{opened[1]}}}")) > 0:
        return text[: end + len(rf"\end{{{opened[1]}}}")]
    end = min((match.start() for match in _END.finditer(masked)), default=len(text))
    return text[:end].strip(" ,;:")


def _masked(text: str) -> str:
    """The text with its math blanked out, of the same length."""
    return _SPAN.sub(lambda match: "#" * len(match[0]), text)
