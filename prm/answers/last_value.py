r"""The last number of a text with all that belongs to it: the weakest sign of an answer (see `prm.answers`).

    last_value("In the end his account shows -$65")            ->  "-$65"
    last_value(r"so the ratio of the sides is $\frac{7}{4}$.") ->  r"\frac{7}{4}"
    last_value("The train leaves at 7:45 am")                  ->  "7:45 am"
    last_value("The corner is at (4, 9).")                     ->  "(4, 9)"
    last_value("Hence x = 3 or x = 5")                         ->  "x = 3 or x = 5"

A number that is a piece of something larger is never taken out of it: the whole is returned, and equals what it equals.
"""

from __future__ import annotations

import re

from prm.answers.text import undelimited

_SPAN = (
    r"\$\$[^$]{1,500}\$\$|\$(?=[^\d\s]|\d[^$\n]{,500}\$(?!\d))[^$\n]{1,500}\$"
    r"|\\\([^\n]{1,500}?\\\)|\\\[.{1,500}?\\\]|\\begin\{(?P<table>\w+)\}.{1,500}?\\end\{(?P=table)\}"
)
"""Math between delimiters; "$5 and $6" is money."""
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_SIGN = r"(?:(?<![\w)\]}])[-\u2212])?(?:\\?[$€£]\s?)?(?:(?<![\w)\]}$€£])[-\u2212])?"
_PLAIN = (
    rf"{_SIGN}(?:\d+ (?=\d+/\d))?(?:{_DIGITS})(?:\s?/\s?\d+)?(?::\d+)*(?:\s?(?:[ap]\.?m\b\.?|%|percent\b))?"
    r"(?:\s?(?:[x×*]|\\times)\s?10\^?\{?-?\d+\}?)?(?:\s[a-zA-Z]+\^\{?[23]\}?)?"
    r"(?:\s(?:hundred|thousand|million|billion|trillion|dozen)\b)?"
)
_VALUES = re.compile(rf"(?P<span>{_SPAN})|(?P<plain>{_PLAIN})", re.DOTALL)
_PIECE = re.compile(r"[\w\\^_{}()\[\]|=+*/<>-]")
_BETWEEN = re.compile(r"\s*,?\s*(?:or|and)?\s*")
_LISTED = re.compile(r"\s*(?:,\s*(?:and\s+|or\s+)?|(?:and|or)\s+)[a-zA-Z](?:_\d)?\s*=\s*|\s*,?\s*(?:or|and)\s+")
_NAMED = re.compile(r"(?<![\w\\])[a-zA-Z](?:_\d)?\s*=\s*$")
_OPERAND = re.compile(r"(?P<operand>\S*[\d)\]}]|\S*(?<![a-zA-Z])[a-zA-Z])\s*(?:[-+*/×·\u2212]|\\cdot|\\times|\\pm)\s*$")
_AFTER_BRACKET = re.compile(r"[)\]}]\s*(?:,|,?\s*\b(?:and|or)\b)\s*$")
_PROSE = re.compile(r"(?<![\\a-zA-Z{])[a-zA-Z]{2,}")
_WINDOW = 2_000
"""Characters around the last digit that are looked at."""


def last_value(text: str) -> str | None:
    """The last value of a text as written there; None if it has no digit."""
    digit = max(text.rfind(digit) for digit in "0123456789")
    if digit < 0:
        return None
    text = text[max(0, digit - _WINDOW) : digit + _WINDOW]
    found = [match for match in _VALUES.finditer(text) if re.search(r"\d|\\(?:pi|infty|sqrt)", match[0])]
    if not found:
        return None
    last = found[-1]
    if last["span"]:
        return _last_spans(text, found)
    # Of the line: the whole that the number is a piece of, with the operands before it.
    begin = text.rfind("\n", 0, last.start()) + 1
    line = text[begin : text.find("\n", last.end()) if "\n" in text[last.end() :] else len(text)]
    start, end = _whole(line, last.start() - begin, last.end() - begin)
    while listed := _AFTER_BRACKET.search(line[:start]):  # "(0, 0) and (4, 5)"
        start = next((i for i, j in _brackets(line) if j == listed.start()), listed.start())
    while (operand := _OPERAND.search(line[:start])) and not _PROSE.search(operand["operand"]):
        start = operand.start()
    if (begin + start, begin + end) != last.span():
        return _last_side(line[start:end].strip(".,;:!?*$ ")) or None
    # "x = 3 or x = 5", "x = 3, y = 4"
    start = last.start()
    for previous in reversed(found[:-1]):
        if previous["span"] or not _LISTED.fullmatch(text[previous.end() : start]):
            break
        start = previous.start()
    if start == last.start():
        return re.sub(r" ([a-zA-Z])(?=\^)", r" \\text{\1}", last[0].strip())  # in prose, "30 m^2" is no product
    named = _NAMED.search(text[:start])
    return text[named.start() if named else start : last.end()]


def _last_spans(text: str, found: list[re.Match[str]]) -> str:
    """The last formula between delimiters, or the list that ends with it: "$3$ or $5$"."""
    first = last = found[-1]
    for previous in reversed(found[:-1]):
        between = text[previous.end() : first.start()]
        if not previous["span"] or not _BETWEEN.fullmatch(between) or not between.strip():
            break
        first = previous
    return text[first.start() : last.end()] if first is not last else _last_side(undelimited(last[0]))


def _whole(line: str, start: int, end: int) -> tuple[int, int]:
    """Where the whole begins and ends: what stands between blanks around a piece, and the brackets that enclose it."""
    while True:
        if _PIECE.match(line[start - 1 : start]) or _PIECE.match(line[end : end + 1]):
            start = max(line.rfind(" ", 0, start), line.rfind("\t", 0, start)) + 1
            end = min((i for blank in " \t" if (i := line.find(blank, end)) >= 0), default=len(line))
            # A bracket that words follow closes around them, too: "(see page 3)".
            around = [j for i, j in _brackets(line) if i < start <= j < end and _PROSE.search(line[i:start])]
            end = min(around, default=end)
        pairs = [(i, j) for i, j in _brackets(line) if i < start < j and not _PROSE.search(line[i:start])]
        if not pairs:
            return start, end
        opening, closing = max(pairs)
        start, end = opening - (line[opening - 1 : opening] == "\\"), max(end, closing + 1)


def _brackets(line: str) -> list[tuple[int, int]]:
    """Where brackets open and close, of any kind, since intervals mix them."""
    opened: list[int] = []
    pairs = []
    for i, char in enumerate(line):
        if char in "([{":
            opened.append(i)
        elif char in ")]}" and opened:
            pairs.append((opened.pop(), i))
    return pairs


def _last_side(formula: str) -> str:
    """What a formula says at the end of its chain of equal signs, unless it lists several."""
    if re.search(r"[,;<>]|\\(?:le|ge|lt|gt|ne|quad|text)|\b(?:or|and)\b", formula):
        return formula
    return re.split(r"(?<![\\<>!])=|\\approx|≈", formula)[-1].strip().rstrip(".")
