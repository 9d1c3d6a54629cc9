r"""Dollar signs: which of them delimit math, which mean money, and money as a number with a unit (see `prm.answers`).

    without_delimiters("$12$, $345$")   ->  " 12 ,  345 "     two formulas are never glued to one number
    without_delimiters("$5 and $6")     ->  r"\$5 and \$6"
    spelled_out(r"-\$2.5M")             ->  "-2.5 million dollars"

A currency is a unit like any other, so that $50 is 50, and neither 50 cents nor 50 degrees nor 50 euros.
"""

from __future__ import annotations

import re

_CURRENCIES = {r"\$": "dollars", "$": "dollars", "€": "euros", "£": "sterling", "¥": "yen", "₹": "rupees", "¢": "cents"}
_SIGN = r"\\?\$|[€£¥₹¢]"
_NUMBER = r"\d[\d,]*(?:\.\d+)?|\.\d+"
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion"}
_SCALE = r"\s*(?:(?:hundred|thousand|million|billion|trillion)s?\b|(?:[kKmMbBtT]|mn|bn)(?![a-zA-Z]))"
_BEFORE = re.compile(
    rf"(?P<minus>-?)\s*(?:US\s*)?(?P<sign>{_SIGN})\s*(?P<other>-?)\s*(?P<number>{_NUMBER})(?P<scale>{_SCALE})?"
)
_AFTER = re.compile(rf"(?<=[\d}}])\s*(?P<sign>{_SIGN})(?!\s*[\d.])")
_LEADING = re.compile(rf"(?P<minus>-?)\s*(?P<sign>{_SIGN})(?P<rest>[^,;$€£¥₹]+)")
_TWICE = re.compile(r" (dollars|euros)(?: (?:us |u\.s\. )?(?:dollars?|usd|euros?|eur)\b)+", re.IGNORECASE)
_DELIMITER = re.compile(r"\\.|\$\$?", re.DOTALL)


def without_delimiters(text: str) -> str:
    r"""Every `$...$` and `$$...$$` as its inside between blanks, every other dollar sign as `\$`.

    A pair is money if both signs stand before a digit, as in "$5 and $6".
    """
    signs = [match for match in _DELIMITER.finditer(text) if match[0][0] == "$"]
    parts, start, at = [], 0, 0
    while at < len(signs):
        opening = signs[at]
        closing = signs[at + 1] if at + 1 < len(signs) else None
        is_pair = closing is not None and len(opening[0]) == len(closing[0])
        if is_pair and closing is not None and opening[0] == "$":
            is_pair = not (text[opening.end() : opening.end() + 1].isdigit() and text[closing.end() :][:1].isdigit())
        parts.append(text[start : opening.start()])
        if is_pair and closing is not None:
            parts.append(f" {text[opening.end() : closing.start()]} ")
            start, at = closing.end(), at + 2
        else:
            parts.append(r"\$" if opening[0] == "$" else " ")
            start, at = opening.end(), at + 1
    return "".join([*parts, text[start:]])


def spelled_out(text: str) -> str:
    """Amounts of money as numbers with a unit; a sign before anything else goes to the end of the whole text."""
    if not re.search(_SIGN, text):
        return text
    text = _BEFORE.sub(_amount, text)
    text = _AFTER.sub(lambda match: f" {_CURRENCIES[match['sign']]}", text)
    if leading := _LEADING.fullmatch(text.strip()):
        text = f"{leading['minus']}{leading['rest'].strip(' .,;')} {_CURRENCIES[leading['sign']]}"
    return _TWICE.sub(r" \1", text)


def _amount(match: re.Match[str]) -> str:
    scale = (match["scale"] or "").strip()
    words = [match["number"], _SCALES.get(scale.lower(), scale), _CURRENCIES[match["sign"]]]
    glued = match.string[match.start() - 1 : match.start()].isalnum()
    return " " * glued + (match["minus"] or match["other"]) + " ".join(word for word in words if word)
