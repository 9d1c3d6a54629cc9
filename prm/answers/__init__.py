r"""Find the final answer in a text and compare it with the gold one: the only place that decides "correct".

    extract(r"... so she has $18 left.\n#### 18")        ->  Extraction(answer="18", rule="hash")
    states_answer("#### 18")                             ->  True: a trace ends here
    check(gold=r"\frac{1}{2}", pred="0.5")               ->  "correct"
    check(gold=r"|x-5|", pred="5-x")                     ->  "wrong"

A false "correct" teaches a verifier to like wrong traces, so whatever cannot be known is not `correct`: text with two
readings equals only itself, and a sentence with two candidates for its answer equals neither.

    extraction   where a text states its answer (`boxes`, `claims`, `last_value`)
    text         harmless rewriting, with dollar signs in `money`
    comparison   what decides: numbers and times exactly (`numbers`, `units`), names and chains of equal sides (`names`),
                 then kinds part by part (`forms`, `matrices`); different kinds are wrong
    algebra      two expressions or relations: `notation` and `parser` make `formulas`, which have `values` at `points`
    workers      killable processes for what has no exact values; many answers are told apart by `fingerprints` first

Only the last step, roots and the like, starts a process; polynomials and lists of numbers do not. math-verify decides
nothing. `tests/golden/answer_pairs.jsonl` and `answer_texts.jsonl` show, row by row, what counts as equal, and
`data/audit_answers.py` lists where other checkers disagree.

Decisions that a reader may want to know:

- A percent sign is ambiguous (is "50%" the answer 50 or 0.5?), so it is read either way if only one side has it.
- A unit counts only if both sides have one ("5 cm" equals "5", but not "5 m"). A currency is a unit: $50 is 50, but not
  50 cents, 50 degrees or 50 euros. $0.50 is 50 cents; no other units are converted.
- "5 million" and "3 dozen" are numbers; "5 ninths", "5 below zero" and "2.5M" are not 5 and 2.5.
- "2:30 pm" equals both "2:30" and "14:30", but "1:30" is not "13:30". The ratio 3:4 equals 3/4 and 6:8.
- "1,234" is one number; "1, 234", "(1,234)" and "$1$,$234$" are two. A bare list is a set: "2, 3" equals "3 and 2" and
  "\{2,3\}", and "\{2,3,3\}", but not "2, 3, 3".
- `a < x < b` and `x \in (a, b)` equal the interval (a, b), whichever side is gold; "(1, 2)" is not "[1, 2]".
- "x = 5", "f(2) = 5", "|AB| = 5" and "5 = x" equal "5"; "y = 5" is not "x = 5", and "x+y = 5" is an equation.
- "5/2 = 2.5" and "x = 5+6 = 11" equal their value if all sides agree; "5+6 = 12" equals nothing.
- "x = 1, y = 2" equals (1, 2) in the order of the letters. "x = 2 or y = 3" is not "2, 3".
- Two equations are equal if one is a multiple of the other; equal solutions do not suffice.
- "1/2 x" is half of x; "x/2y", "2 3", y^T and the like have no sure reading. "2xyz" is a product, "2 apples" has a unit;
  IX, AB and H_2O are names, whose letters do not commute. "f(x)" is a function of x. "\log" has an unknown base.
- Two fractions are compared exactly (0.333333 is not 1/3). A decimal of six digits or more equals the irrational number
  that it is rounded or cut from.
- Functions are compared at integers, kinks and far out, too; a root or logarithm of a negative number is complex, so
  \ln(x^2) is not 2\ln x.
- An answer longer than `MAX_CHARS` or nested deeper than `MAX_DEPTH` is an `error`, unless both texts are identical.

Left out: numbers are not read from words ("five"), sets are not simplified ("[1,2] or [2,3]" is not "[1,3]"), integrals,
limits and products of matrices are not computed, and there is no partial credit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Literal, cast

from prm.answers import workers
from prm.answers.comparison import compare
from prm.answers.extraction import Extraction, Rule, extract, states_answer
from prm.answers.leaves import ByValue
from prm.answers.numbers import quantity
from prm.answers.text import depth, normalize

__all__ = ["Extraction", "Outcome", "Rule", "check", "check_many", "extract", "group", "normalize", "states_answer"]

Outcome = Literal["correct", "wrong", "no_answer", "timeout", "error"]

MAX_CHARS = 10_000
MAX_DEPTH = 50
CHEAP_CHARS = 300
"""Longer answers are compared in a worker from the start: two sets of a thousand members take minutes to pair up."""
MAX_DECIDED = 50_000
"""Pairs whose outcome is kept, so that 256 candidates cost one check per different answer."""

DEADLINE = 5.0
"""Of a check, in seconds of processor time."""
GROUP_SECONDS = 10.0
"""Of processor time, for all pairs of answers to one problem that `group` compares."""

_decided: dict[tuple[str, str], Outcome] = {}
_timeouts: dict[tuple[str, str], float] = {}
"""Pairs that took longer, and the longest deadline by which they did."""


def check(*, gold: str, pred: str | None, deadline: float = DEADLINE) -> Outcome:
    r"""Whether `pred` is the same answer as `gold`. May be called from any thread.

    `correct` or `wrong` if that could be decided; `no_answer` if `pred` is None or blank; `timeout` if the algebra took
    more than `deadline` seconds of processor time; `error` if it ran out of memory, crashed, was stopped, or was not
    tried (see `MAX_CHARS`). Raises ValueError for a blank gold answer.

    >>> check(gold="1,234", pred="$1234.00"), check(gold=r"\frac{1}{2}", pred="0.5"), check(gold="(1,2)", pred="(2,1)")
    ('correct', 'correct', 'wrong')
    """
    return _timed_check(gold, pred, deadline)[0]


def _timed_check(gold: str, pred: str | None, deadline: float, among_many: bool = False) -> tuple[Outcome, float]:
    """`check`, and the seconds that a worker has spent on it. With a deadline of 0, none is asked.

    Args:
        among_many: ask for the value of each expression before pairs are asked for.
    """
    if not gold.strip():
        raise ValueError(f"gold answer {gold!r} is blank, nothing can match it; drop the problem or fill in its answer")
    if pred is None or not pred.strip():
        return "no_answer", 0.0
    if any(len(text) > MAX_CHARS or depth(text) > MAX_DEPTH for text in (gold, pred)):
        return "correct" if gold.strip() == pred.strip() else "error", 0.0
    pair = gold, pred = normalize(gold), normalize(pred)
    if not re.search(r"[\w\\]", pred):  # "()", "$$", "?"
        return "no_answer", 0.0
    if (known := _decided.get(pair)) is not None:
        return known, 0.0
    # Most pairs are decided here, in microseconds. None means that roots and the like, in a worker process, must tell.
    leaf = ByValue(deadline if among_many and deadline > _timeouts.get(pair, 0.0) else 0.0)
    same = compare(gold, pred, leaf) if max(len(gold), len(pred)) <= CHEAP_CHARS else None
    outcome: Outcome = "correct" if same else "wrong"
    seconds = leaf.seconds
    if same is None and leaf.hung:
        outcome = "timeout"
    elif same is None:
        if deadline - seconds <= _timeouts.get(pair, 0.0):
            return "timeout", seconds
        verdict, more = workers.POOL.timed(gold, pred, deadline - seconds)
        outcome, seconds = cast(Outcome, verdict), seconds + more
    # A timeout is known of this process alone, and an error may be due to the machine, so it is not kept at all.
    if outcome != "error":
        if len(_decided) + len(_timeouts) >= MAX_DECIDED:
            _decided.clear()
            _timeouts.clear()
        if outcome == "timeout":
            _timeouts[pair] = deadline
        else:
            _decided[pair] = outcome
    return outcome, seconds


def check_many(*, golds: Sequence[str], preds: Sequence[str | None], deadline: float = DEADLINE) -> list[Outcome]:
    """`check` for each pair, in parallel; equal pairs are checked once. Raises ValueError as `check` does."""
    if len(golds) != len(preds):
        raise ValueError(f"{len(golds)} golds but {len(preds)} preds; one gold answer per prediction is needed")
    pairs = list(dict.fromkeys(zip(golds, preds, strict=True)))
    with ThreadPoolExecutor(workers.WORKERS) as threads:
        outcomes = threads.map(lambda pair: check(gold=pair[0], pred=pair[1], deadline=deadline), pairs)
        known = dict(zip(pairs, outcomes, strict=True))
    return [known[pair] for pair in zip(golds, preds, strict=True)]


def group(answers: Sequence[str | None]) -> list[int | None]:
    r"""Class of each answer, for voting: equal answers share an index, numbered in order of first appearance.

    None and blank answers have no class. In a vote 50% counts as 50. An answer joins the first class whose first member
    it equals. What is not known to be equal within `GROUP_SECONDS` for all of them is different.

    >>> group(["0.5", "7", r"\frac{1}{2}", None, "1/2"])
    [0, 1, 0, None, 0]
    """
    seen: dict[str | Fraction, int] = {}  # answer as written, its normalized text, or its number -> class
    first: list[str] = []  # first member of each class
    not_numbers: list[int] = []  # classes whose first member is not a plain number
    result: list[int | None] = []
    left = GROUP_SECONDS
    for answer in answers:
        if answer is None or not answer.strip():
            result.append(None)
            continue
        # Look-ups from cheap to expensive: as written, by normalized text or number, by comparison with every class.
        if answer not in seen:
            small = len(answer) <= MAX_CHARS and depth(answer) <= MAX_DEPTH
            text = (normalize(answer).rstrip("%") if small else answer) or answer
            measured = quantity(text)
            number = measured.value if measured and not measured.unit else None
            key = text if number is None else number
            if key not in seen:
                # Two numbers that differ as fractions differ: a million of them need no comparison in pairs.
                candidates = range(len(first)) if number is None else not_numbers
                seen[key] = len(first)
                for i in candidates:
                    outcome, seconds = _timed_check(first[i], text, max(0.0, min(DEADLINE, left)), among_many=True)
                    left -= seconds
                    if outcome == "correct":
                        seen[key] = i
                        break
                if seen[key] == len(first):
                    first.append(text)
                    if number is None:
                        not_numbers.append(seen[key])
            seen[answer] = seen[key]
        result.append(seen[answer])
    return result
