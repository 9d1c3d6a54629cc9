r"""The last number of a text with all that belongs to it: the weakest sign of an answer (see `prm.answers`).

    last_value("In the end his account shows -$65")            ->  "-$65"
    last_value(r"so the ratio of the sides is $\frac{7}{4}$.") ->  r"\frac{7}{4}"
    last_value("The train leaves at 7:45 am")                  ->  "7:45 am"
    last_value("Hence x = 3 or x = 5")                         ->  "x = 3 or x = 5"

A number that is a piece of something larger is never taken out of it: the whole is returned, and equals what it equals.
"""

from __future__ import annotations

import re

_SPAN = (
    r"\$\$[^$]{1,500}\$\$|\$(?=[^\d\s]|\d[^$\n]{,500}\$(?!\d))[^$\n]{1,500}\$"
    r"|\\\([^\n]{1,500}?\\\)|\\\[.{1,500}?\\\]"
)
"""Math between delimiters; "$5 and $6" is money."""
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_PLAIN = (
    rf"(?:(?<![\w)\]}}])[-\u2212])?(?:\\?[$€£]\s?)?(?:(?<![\w)\]}}$€£])[-\u2212])?(?:\d+ (?=\d+/\d))?(?:{_DIGITS})(?:\s?/\s?\d+)?"
    r"(?::\d+)*(?:\s?(?:[ap]\.?m\b\.?|%|percent\b))?(?:\s?(?:[x×*]|\\times)\s?10\^?\{?-?\d+\}?)?"
    r"(?:\s[a-zA-Z]+\^\{?[23]\}?)?(?:\s(?:hundred|thousand|million|billion|trillion|dozen)\b)?"
)
_VALUES = re.compile(rf"(?P<span>{_SPAN})|(?P<plain>{_PLAIN})", re.DOTALL)
_PIECE = re.compile(r"[\w\\^_{}()\[\]|=+*/<>-]")
_BETWEEN = re.compile(r"\s*,?\s*(?:or|and)?\s*")
_LISTED = re.compile(r"\s*(?:,\s*(?:and\s+|or\s+)?|(?:and|or)\s+)[a-zA-Z](?:_\d)?\s*=\s*|\s*,?\s*or\s+")
_NAMED = re.compile(r"(?<![\w\\])[a-zA-Z](?:_\d)?\s*=\s*$")
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
        first = last
        for previous in reversed(found[:-1]):  # "$3$ or $5$"
            between = text[previous.end() : first.start()]
            if not previous["span"] or not _BETWEEN.fullmatch(between) or not between.strip():
                break
            first = previous
        return text[first.start() : last.end()] if first is not last else _last_side(_inside(last[0]))
    before, after = text[last.start() - 1 : last.start()], text[last.end() : last.end() + 1]
    if _PIECE.fullmatch(before or " ") or _PIECE.fullmatch(after or " "):
        return _last_side(_whole(text, last.start(), last.end())) or None
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


def _whole(text: str, start: int, end: int) -> str:
    """What stands between blanks around a piece, with all that its brackets enclose."""
    for _ in range(8):
        start = max(text.rfind(blank, 0, start) for blank in " \n\t") + 1
        end = min((i for blank in " \n\t" if (i := text.find(blank, end)) >= 0), default=len(text))
        whole = text[start:end]
        opened = sum(whole.count(c) for c in "([{") - sum(whole.count(c) for c in ")]}")
        if opened == 0:
            break
        start, end = (start, end + 1) if opened > 0 else (start - 1, end)
        if start < 0 or end > len(text):
            break
    return whole.strip(".,;:!?*$ ")


def _inside(span: str) -> str:
    return re.sub(r"^(?:\$\$?|\\[(\[])|(?:\$\$?|\\[)\]])$", "", span).strip()


def _last_side(formula: str) -> str:
    """What a formula says at the end of its chain of equal signs, unless it lists several."""
    if re.search(r"[,;<>]|\\(?:le|ge|lt|gt|ne|quad|text)|\b(?:or|and)\b", formula):
        return formula
    return re.split(r"(?<![\\<>!])=|\\approx|≈", formula)[-1].strip().rstrip(".")
