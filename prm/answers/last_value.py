r"""The last number of a text with all that belongs to it: the weakest sign of an answer (see `prm.answers`).

    last_value("In the end his account shows -$65")            ->  "-$65"
    last_value(r"so the ratio of the sides is $\frac{7}{4}$.") ->  r"\frac{7}{4}"
    last_value("The train leaves at 7:45 am")                  ->  "7:45 am"
    last_value("Hence x = 3 or x = 5")                         ->  "x = 3 or x = 5"

A number that is a piece of something larger is never taken out of it: the whole is returned, and equals what it equals.
"""

from __future__ import annotations

import re

_SPAN = r"\$\$[^$]{1,500}\$\$|\$(?=[^\d\s]|\d[^$\n]{,500}\$(?!\d))[^$\n]{1,500}\$|\\\([^\n]{1,500}?\\\)|\\\[.{1,500}?\\\]"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_PLAIN = (
    rf"(?:(?<![\w)\]}}])[-\u2212])?(?:\\?[$€£]\s?)?(?:(?<![\w)\]}}$€£])[-\u2212])?(?:\d+ (?=\d+/\d))?(?:{_DIGITS})(?:\s?/\s?\d+)?"
    r"(?::\d+)*(?:\s?(?:[ap]\.?m\b\.?|%|percent\b))?(?:\s?(?:[x×*]|\\times)\s?10\^?\{?-?\d+\}?)?"
    r"(?:\s[a-zA-Z]+\^\{?[23]\}?)?(?:\s(?:hundred|thousand|million|billion|trillion|dozen)\b)?"
)
_VALUES = re.compile(rf"(?P<span>{_SPAN})|(?P<plain>{_PLAIN})", re.DOTALL)
_PIECE = re.compile(r"[\w\\^_{}()\[\]|=+*/<>-]")
_BETWEEN = re.compile(r"\s*,?\s*(?:or|and)?\s*")
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
    if not (_PIECE.fullmatch(before or " ") or _PIECE.fullmatch(after or " ")):
        earlier = found[-2] if len(found) > 1 else None
        if earlier and re.fullmatch(r"\s*,?\s*or\s*(?:[a-zA-Z]\s*=\s*)?", text[earlier.end() : last.start()]):
            return text[earlier.start() : last.end()]
        return last[0].strip()
    # A piece of something: the whole between blanks, and of an equation the last side.
    start = max(text.rfind(blank, 0, last.start()) for blank in " \n\t") + 1
    end = min((i for blank in " \n\t" if (i := text.find(blank, last.end())) >= 0), default=len(text))
    return _last_side(text[start:end].strip(".,;:!?*$")) or None


def _inside(span: str) -> str:
    return re.sub(r"^(?:\$\$?|\\[(\[])|(?:\$\$?|\\[)\]])$", "", span).strip()


def _last_side(formula: str) -> str:
    """What a formula says at the end of its chain of equal signs, unless it lists several."""
    if re.search(r"[,;<>]|\\(?:le|ge|lt|gt|ne|quad|text)|\b(?:or|and)\b", formula):
        return formula
    return re.split(r"(?<![\\<>!])=|\\approx|≈", formula)[-1].strip().rstrip(".")
