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
_BRACKETS = (r"\(", r"\)", r"\[", r"\]")
_EDGE = "\ue000"
"""Where a delimiter stood; a character for private use."""
_DELIMITER = re.compile(r"\\.|\$\$?", re.DOTALL)


def without_delimiters(text: str) -> str:
    r"""Math without its delimiters `$...$`, `\(...\)` and the like; every dollar sign that means money as `\$`.

    A pair of dollar signs is money if both stand before a digit, as in "$5 and $6". Digits on both sides of a delimiter
    become a list.
    """
    signs = list(_DELIMITER.finditer(text))
    parts, start, at = [], 0, 0
    while at < len(signs):
        sign = signs[at]
        parts.append(text[start : sign.start()])
        start, at = sign.end(), at + 1
        if sign[0] in _BRACKETS:
            parts.append(_EDGE)
        elif sign[0][0] != "$":  # another escaped character
            parts.append(sign[0])
        elif (closing := next((i for i in range(at, len(signs)) if signs[i][0][0] == "$"), None)) is not None and (
            len(signs[closing][0]) == len(sign[0]) and not _both_before_digits(text, start, signs[closing].end())
        ):
            end = signs[closing].start()
            parts.append(f"{_EDGE}{text[start:end]}{_EDGE}")
            start, at = signs[closing].end(), closing + 1
        else:
            parts.append(r"\$" if sign[0] == "$" else _EDGE)
    joined = "".join([*parts, text[start:]])
    return re.sub(rf"(?<=\d)[\s{_EDGE}]*{_EDGE}[\s{_EDGE}]*(?=\d)", ", ", joined).replace(_EDGE, " ")


def _both_before_digits(text: str, first: int, second: int) -> bool:
    return text[first : first + 1].isdigit() and text[second : second + 1].isdigit()


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
