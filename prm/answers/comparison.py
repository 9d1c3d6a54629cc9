r"""Whether two answers are equal, part by part (see `prm.answers`).

    compare("1/2", "0.5")                    ->  True    both are numbers
    compare("[0, 1)", "(0, 1)")              ->  False   the brackets differ
    compare("(0, 12.5)", "0<x<12.5")         ->  True    an inequality in one variable is an interval
    compare("11", "x=5+6=11")                ->  True    the value of a name, and the sides agree
    compare(r"2\sqrt{2}", r"\sqrt{8}")       ->  None    only algebra can tell (`prm.answers.algebra`)

A tuple of numbers needs no algebra. Different kinds are never equal, so an interval is never compared with an equation.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prm.answers.forms import Form, as_intervals, form, is_relation
from prm.answers.names import Statement, assigned, read
from prm.answers.numbers import clock, equal_clocks, equal_quantities, quantity
from prm.answers.text import normalize, split
from prm.answers.units import equal_units, without_unit

Leaf = Callable[[str, str], bool | None]
r"""Decides whether two expressions or two relations are equal, or whether `\approx 0.33` is the first one rounded;
None = cannot tell."""

_LAST_LETTER = re.compile(r"(?<=\d)([a-zA-Z])(?=$|\^\{?[23]\}?$)")
_CHOICE_WITH_TEXT = re.compile(r"\(?([A-Z])(?:\)|\.(?=[ \\]))(?!\s*[-+*/^_=!]).*\w.*", re.DOTALL)
_PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z][a-z]{3,}")
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^%()\[\]{}$€£|!]")
"""Words, numbers and the signs that change what they mean. A hyphen may be a minus, so it counts."""


def compare(gold: str, pred: str, leaf: Leaf = lambda gold, pred: None) -> bool | None:
    """Whether two normalized answers are equal; None if `leaf` was needed and could not tell."""
    if not gold or not pred:
        return False  # normalizing "," or "$$" leaves nothing, and nothing is not an answer
    if gold == pred:
        return True

    # Numbers and times are decided exactly. Then what names or measures the answer is taken off: "x=" and a unit.
    if (same := _compare_measured(gold, pred)) is not None:
        return same
    a, b = read(gold), read(pred)
    if a is not None or b is not None:
        return _compare_statements(gold, pred, a, b, leaf)
    for choice, other in ((gold, pred), (pred, gold)):
        if (match := _CHOICE_WITH_TEXT.fullmatch(choice)) and re.fullmatch("[A-Z]", other):
            return match[1] == other
    (gold, gold_unit), (pred, pred_unit) = without_unit(gold), without_unit(pred)
    if not equal_units(gold_unit, pred_unit):
        return False
    if gold == pred or not gold or not pred:
        return gold == pred
    return _compare_forms(gold, pred, leaf)


def _compare_measured(gold: str, pred: str) -> bool | None:
    """Whether two quantities or two times of day are equal; None if the answers are not a pair of either."""
    gold_clock, pred_clock = clock(gold), clock(pred)
    if gold_clock and pred_clock:
        return equal_clocks(gold_clock, pred_clock)
    a, b = quantity(gold), quantity(pred)
    if a and a.unit and not b:  # "2.5L" is a product, unless the other is in liters
        b = quantity(_LAST_LETTER.sub(r"\\text{\1}", pred))
    elif b and b.unit and not a:
        a = quantity(_LAST_LETTER.sub(r"\\text{\1}", gold))
    return equal_quantities(a, b) if a and b else None


def _compare_statements(gold: str, pred: str, a: Statement | None, b: Statement | None, leaf: Leaf) -> bool | None:
    """Compare two answers, of which at least one names or chains its values."""
    # A chain must be true: 5+6=12 states nothing. Sides without a name that differ are an equation, such as x+y=3.
    for statement in (a, b):
        if statement is None:
            continue
        first, *others = statement.values
        agree = _all([
            *(compare(first, value, leaf) for value in others),
            *(leaf(_bare(first), rf"\approx{_bare(value)}") for value in statement.rounded),
            # 0=0 beside another relation is no value
            len({first, *others, *statement.rounded}) > 1 or bool(statement.name) or None in (a, b),
        ])  # fmt: skip
        if agree is None:
            return None
        if not agree and statement.name:
            return False
        if not agree and statement is a:
            a = None
        elif not agree:
            b = None

    # Two names must agree, or both are equations: y=x is x=y.
    if a is not None and b is not None and a.name and b.name and a.name != b.name:
        both_equations = a.sign == b.sign == "=" and len(a.values) == len(b.values) == 1
        return leaf(gold, pred) if both_equations and not (a.rounded or b.rounded) else False
    golds = _values(gold, a, pred)
    preds = _values(pred, b, gold)
    if golds == [gold] and preds == [pred]:
        return _compare_forms(gold, pred, leaf)
    return _any([compare(x, y, leaf) for x in golds for y in preds])


def _bare(text: str) -> str:
    return re.sub(r"(?:%|\^\{?\\circ\}?)$", "", without_unit(text)[0])


def _values(text: str, statement: Statement | None, other: str) -> list[str]:
    """The values that stand for a text beside another: the text itself beside an equation or inequality."""
    if statement is None:
        return [text]
    beside_relation = is_relation(other) and read(other) is None and len(split(other)) == 1
    if statement.sign == "in" and beside_relation:
        return [normalize(statement.values[0])] if as_intervals(other, statement.name) != other else [text]
    beside = read(other)
    is_equation = beside_relation or (beside is not None and not beside.name)
    if statement.name and is_equation:
        return [text]
    # Two exact values are not compared by what they are rounded to.
    return [normalize(statement.values[-1]), *(() if beside is not None and beside.rounded else statement.rounded)]


def _compare_forms(gold: str, pred: str, leaf: Leaf) -> bool | None:
    """Compare two answers without names and units by their kinds."""
    a, b = form(gold), form(pred)
    # Different kinds may still be two ways of writing one: an inequality as an interval, \{5\} as 5, 3:4 as 3/4.
    if a.kind != b.kind:
        a, b = form(as_intervals(gold)), form(as_intervals(pred))
        a, b = _as_tuple(a, b), _as_tuple(b, a)
    for one, other, text in ((a, b, pred), (b, a, gold)):
        if one.kind == "set" and len(one.parts) == 1 and other.kind != "set" and re.search(r"\d", text):
            return compare(one.parts[0], text, leaf) if one is a else compare(text, one.parts[0], leaf)
        if one.kind == "ratio" and len(one.parts) == 1 and other.kind == "scalar":
            return compare(one.ratio, text, leaf)

    # From here on kinds must agree. Parts are compared in turn or, where order does not count, paired up.
    if a.kind != b.kind or a.brackets != b.brackets or len(a.parts) != len(b.parts):
        return False
    if a.kind == "words" or (a.kind == "relation" and all(_PROSE.search(text) for text in (gold, pred))):
        return _words(gold) == _words(pred)  # "debit > credit" is no formula
    if a.kind in ("sequence", "matrix", "ratio"):
        return _all([compare(x, y, leaf) for x, y in zip(a.parts, b.parts, strict=True)])
    if a.kind == "set" and (_num_variables(a) > 1) != (_num_variables(b) > 1):
        return False  # "x=2 or y=3" is not "2, 3"
    if a.kind in ("set", "union"):
        return _match(a.parts, b.parts, leaf)

    # Two expressions or two relations: only algebra can tell.
    if all(re.fullmatch(r"[a-zA-Z]", text) for text in (gold, pred)):
        return False  # two choices, or two variables
    return leaf(gold, pred)


def _as_tuple(one: Form, other: Form) -> Form:
    """`x=1, y=2` as (1, 2), if the other is a tuple: in the order of the letters."""
    values = assigned(one.parts) if one.kind == "set" and one.is_conjunction and other.brackets == "()" else {}
    if len(values) < len(one.parts) or not values or not all(re.fullmatch("[a-z]", name) for name in values):
        return one
    return Form("sequence", tuple(values[name] for name in sorted(values)), "()")


def _all(verdicts: list[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _any(verdicts: list[bool | None]) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


def _match(gold: tuple[str, ...], pred: tuple[str, ...], leaf: Leaf) -> bool | None:
    """Pair up the members of two sets, each used once. Greedy pairing suffices, since equality is nearly transitive."""
    left, unsure = list(pred), False
    for member in gold:
        # A set within a set is no number: \{1, \{2\}\} is not \{1, 2\}.
        verdicts = [_is_set(member) == _is_set(other) and compare(member, other, leaf) for other in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True


def _is_set(text: str) -> bool:
    return text.startswith(r"\{")


def _num_variables(one: Form) -> int:
    """How many variables a list of solutions is about; x_1 and x_2 are two roots of one."""
    statements = [read(part) for part in one.parts]
    return len({re.sub(r"_\{?\d+\}?$", "", s.name) for s in statements if s is not None and s.name})


def _words(text: str) -> list[str]:
    """The words of an answer with their signs, without case and a first article."""
    words = _WORD.findall(text.lower())
    return words[1:] if words and words[0] in ("the", "a", "an") else words
