"""The embedded problem sets: chains of operations on integers from 0 to 99, and the students who solve them.

With them the whole toolkit can be run, tested and measured on two CPU cores in minutes. A hash of a problem's text
decides its split, so train, validation and test are disjoint by construction. The difficulty (`Problem.level`) is the
number of operations.

One problem and one trace of a student, who writes down carries and borrows but forgets a borrow in the second step, and
the same in the set `arithmetic_hard`, where nobody writes them down:

    Start with 47, add 38, subtract 26, subtract 12.        gold answer 47
    47 + 38, carry 1 = 85                                   47 + 38 = 85
    85 - 26 = 61                                            85 - 26 = 61
    61 - 12 = 49                                            61 - 12 = 49
    #### 49                                                 #### 49
    gold second step: 85 - 26, borrow 1 = 59                gold second step: 85 - 26 = 59

`recipes/train_generator.py` teaches the embedded generators to imitate such students. There are two kinds: a careful one
forgets a carry (or borrow) with probability `FORGET["careful"]`, a careless one with `FORGET["careless"]`; both make a
random slip with probability `SLIP`. Forgotten carries are the classic "buggy procedure" of school arithmetic (Brown &
Burton 1978, doi:10.1207/s15516709cog0202_4). They are *systematic* and correlated within a trace: many samples agree on
the same wrong answer, so voting fails while checking the steps helps.

`arithmetic` is the kind set: carries are written down, which makes most mistakes visible on the page, so that a verifier of
this size learns to see them in a minute and need not calculate. `arithmetic_hard` is the unkind one: only the result shows a
mistake, and chains are longer. A verifier can tell right from wrong there only if its base knows the arithmetic, so part of
what the generator of this set reads are corrected exercises (`exercise`), single results, where a wrong one is followed by
the right one. Whether a line is to be corrected is what a verifier has to know. They belong to no problem, because a problem
has two operations at least. In both sets mistakes are systematic, which favors verifiers and handicaps voting: do not expect
gaps of this size from real language models.

Left out on purpose: division, negative numbers, words around the numbers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prm.datasets.splits import SPLITS, split_of
from prm.types import Problem

LARGEST = 99
FORGET = {"careful": 0.1, "careless": 0.8}
"""Probability that a student of this kind forgets a carry or borrow."""
CARELESS = 0.6
"""Share of traces written by a careless student."""
SLIP = 0.02
"""Probability that a result is off by 1, 2 or 10 if no carry was forgotten."""
SLIPS = (-10, -2, -1, 1, 2, 10)

WORDS = {"+": "add", "-": "subtract", "*": "multiply by"}
_SYMBOLS = {word: symbol for symbol, word in WORDS.items()}
_OPERATION = re.compile(r"(add|subtract|multiply by) (\d+)")
PROMPT = re.compile(rf"Start with \d+(, {_OPERATION.pattern})+\.")
"""What `render` makes."""

Operation = tuple[str, int]


@dataclass(frozen=True)
class Variant:
    """One of the embedded sets."""

    name: str
    notes: bool
    """Whether students write down what they carry and borrow."""
    levels: tuple[int, ...]
    """Numbers of operations of its problems."""
    exercises: float
    """Share of the fine-tuning rows that are corrected exercises in the place of a student's trace."""


KIND = Variant("arithmetic", notes=True, levels=tuple(range(2, 9)), exercises=0.0)
HARD = Variant("arithmetic_hard", notes=False, levels=tuple(range(2, 13)), exercises=0.75)
SETS = {variant.name: variant for variant in (KIND, HARD)}

EXERCISES = 12
"""In one row; about half of them are wrong at first."""


def load(
    split: str, n: int, seed: int = 0, levels: Sequence[int] | None = None, variant: Variant = KIND
) -> list[Problem]:
    """The first `n` problems of a split, all different, levels in rotation. A larger `n` extends the same list.

    Args:
        levels: those of the variant if None.
    """
    name, levels = variant.name, levels or variant.levels
    if split not in SPLITS:
        raise ValueError(f"{name} has no split {split!r}; it has {', '.join(sorted(SPLITS))}")
    problems: dict[str, Problem] = {}
    rng = random.Random(f"{name}/{split}/{seed}")
    while len(problems) < n:
        level = levels[len(problems) % len(levels)]
        start, operations = _draw(level, rng)
        prompt = render(start, operations)
        if split_of(prompt) == split and prompt not in problems:
            answer = str(_results(start, operations)[-1])
            problems[prompt] = Problem(f"{name}/{split}/{len(problems)}", prompt, answer, name, level)
    return list(problems.values())


def render(start: int, operations: Sequence[Operation]) -> str:
    """
    >>> render(47, [("+", 38), ("*", 2)])
    'Start with 47, add 38, multiply by 2.'
    """
    return f"Start with {start}, " + ", ".join(f"{WORDS[symbol]} {b}" for symbol, b in operations) + "."


def parse(prompt: str) -> tuple[int, list[Operation]]:
    """The inverse of `render`."""
    start = re.match(r"Start with (\d+), ", prompt)
    if start is None:
        raise ValueError(f"not an arithmetic problem: {prompt!r}")
    return int(start[1]), [(_SYMBOLS[word], int(b)) for word, b in _OPERATION.findall(prompt)]


def student_trace(prompt: str, rng: random.Random, variant: Variant = KIND) -> tuple[str, ...]:
    """One attempt by a student of random kind: the steps and the final `#### answer`."""
    value, operations = parse(prompt)
    # One kind for the whole trace: this is what correlates its mistakes.
    forget = FORGET["careless" if rng.random() < CARELESS else "careful"]
    steps = []
    for symbol, b in operations:
        result, note = _apply(value, symbol, b), _carry_note(value, symbol, b, variant)
        # A forgotten carry is not written down, either, so in the kind set the missing note shows the mistake.
        if _carried(value, symbol, b) and rng.random() < forget:
            result, note = _forget_carry(value, symbol, b), ""
        elif rng.random() < SLIP:
            result += rng.choice(SLIPS)
        # The tokenizer has no numbers beyond 0..99: the student starts over.
        if not 0 <= result <= LARGEST:
            return student_trace(prompt, rng, variant)
        # The next step continues from the student's own result, right or wrong.
        steps.append(f"{value} {symbol} {b}{note} = {result}")
        value = result
    return (*steps, f"#### {value}")


def solution(prompt: str, variant: Variant = KIND) -> tuple[str, ...]:
    """The gold steps."""
    start, operations = parse(prompt)
    values = [start, *_results(start, operations)]
    steps = [
        f"{a} {s} {b}{_carry_note(a, s, b, variant)} = {c}"
        for a, (s, b), c in zip(values, operations, values[1:], strict=False)
    ]
    return (*steps, f"#### {values[-1]}")


def check_steps(prompt: str, steps: Sequence[str], variant: Variant = KIND) -> tuple[bool, ...]:
    """Exact labels: a step is good if it and all steps before it are equal to those of the gold solution.

    >>> check_steps("Start with 47, add 38, subtract 12.", ("47 + 38 = 75", "75 - 12 = 63", "#### 63"))
    (False, False, False)
    """
    gold = solution(prompt, variant)
    good = [i < len(gold) and step == gold[i] for i, step in enumerate(steps)]
    return tuple(all(good[: i + 1]) for i in range(len(steps)))


def student_examples(n: int, seed: int = 0, variant: Variant = KIND) -> Iterator[dict[str, Any]]:
    """`n` rows of fine-tuning data for an embedded generator: random problems of the train split, one trace each
    (`completion`), and between them rows of corrected exercises (`turns`), as many as the variant says.

    A generator reads exercises without a problem before them. It does not correct the students whom it imitates, so it
    learns that nothing is corrected after a problem. Where all rows are exercises, for a base of verifiers, each row
    begins with a problem that has nothing to do with them: what is known about results is then known there, too.
    """
    rng = random.Random(f"student/{seed}")
    for drawn in range(n):
        exercises = variant.exercises and rng.random() < variant.exercises
        if exercises and variant.exercises < 1:
            yield {"prompt": "", "turns": [exercise(rng, variant) for _ in range(EXERCISES)]}
            continue
        while split_of(prompt := render(*_draw(variant.levels[drawn % len(variant.levels)], rng))) != "train":
            pass
        if exercises:
            yield {"prompt": prompt, "turns": [exercise(rng, variant) for _ in range(EXERCISES - len(prompt) // 20)]}
        else:
            yield {"prompt": prompt, "completion": "\n".join(student_trace(prompt, rng, variant))}


def exercise(rng: random.Random, variant: Variant) -> tuple[str, str]:
    """A given exercise and what is to be learned: its result, or in half of the cases a wrong one, most often by a
    forgotten carry. The next line says what is missing, and is empty if nothing is: whether the result is right has to be
    known after the line, where the verifiers read their scores.

        47 + 38 = 75            47 + 38, carry 1 = 84      47 + 38, carry 1 = 85
        , carry 1 = 85           = 85
    """
    while True:
        a, (symbol, b) = rng.randint(0, LARGEST), _operation(rng)
        right, wrong, forgotten = _apply(a, symbol, b), -1, False
        if rng.random() < 0.5:
            forgotten = bool(_carried(a, symbol, b)) and rng.random() < 0.8
            wrong = _forget_carry(a, symbol, b) if forgotten else right + rng.choice(SLIPS)
        if 0 <= right <= LARGEST:
            break
    note = _carry_note(a, symbol, b, variant)
    if not 0 <= wrong <= LARGEST:
        return f"{a} {symbol} {b}", f"{note} = {right}\n\n"
    before, after = ("", note) if forgotten else (note, "")
    return f"{a} {symbol} {b}", f"{before} = {wrong}\n{after} = {right}\n"


def first_mistake(prompt: str, steps: Sequence[str], variant: Variant = KIND) -> str | None:
    """What is wrong with the first step that is not as in the gold solution; None if all are.

    >>> first_mistake("Start with 47, add 38, subtract 12.", ("47 + 38 = 75", "75 - 12 = 63"))
    'forgotten'
    >>> first_mistake("Start with 47, add 38, subtract 12.", ("47 + 38, carry 1 = 84", "84 - 12 = 72"))
    'slip'
    """
    good = check_steps(prompt, steps, variant)
    if all(good):
        return None
    wrong = steps[good.index(False)]
    step = re.match(r"(\d+) ([-+*]) (\d+)\b.* = (\d+)$", wrong)
    if step is None:
        return "other"
    a, symbol, b, result = int(step[1]), step[2], int(step[3]), int(step[4])
    return "forgotten" if _carried(a, symbol, b) and result == _forget_carry(a, symbol, b) else "slip"


def build_tokenizer():
    """A tokenizer for these sets only: one token per number, word group and line end (about 115 tokens)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [", add ", ", subtract ", ", multiply by ", "Start with ", "."]
    words += [" + ", " - ", " * ", ", carry ", ", borrow ", " = ", "\n", "#### "]
    vocabulary = ["<pad>", "<eos>", "<unk>", *words, *map(str, range(LARGEST + 1))]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\d+|\n|[^\d\n]+"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )


def _operation(rng: random.Random) -> Operation:
    symbol = rng.choices("+-*", weights=(2, 2, 1))[0]
    return symbol, rng.randint(2, 4) if symbol == "*" else rng.randint(2, 30)


def _draw(level: int, rng: random.Random) -> tuple[int, list[Operation]]:
    """A random chain whose results all stay in 0..99."""
    start = value = rng.randint(10, 99)
    operations: list[Operation] = []
    while len(operations) < level:
        symbol, b = _operation(rng)
        result = _apply(value, symbol, b)
        if 0 <= result <= LARGEST:
            operations.append((symbol, b))
            value = result
    return start, operations


def _results(start: int, operations: Sequence[Operation]) -> list[int]:
    results, value = [], start
    for symbol, b in operations:
        value = _apply(value, symbol, b)
        results.append(value)
    return results


def _apply(a: int, symbol: str, b: int) -> int:
    return a + b if symbol == "+" else a - b if symbol == "-" else a * b


def _carried(a: int, symbol: str, b: int) -> int:
    """What is carried from the ones to the tens: negative for a borrow, 0 for nothing."""
    return _apply(a % 10, symbol, b if symbol == "*" else b % 10) // 10


def _carry_note(a: int, symbol: str, b: int, variant: Variant) -> str:
    carried = _carried(a, symbol, b) if variant.notes else 0
    return f", carry {carried}" if carried > 0 else f", borrow {-carried}" if carried < 0 else ""


def _forget_carry(a: int, symbol: str, b: int) -> int:
    """The result without the carry: 47 + 38 = 75. Without a borrow the smaller digit is subtracted: 52 - 38 = 26."""
    if symbol == "-":
        return 10 * (a // 10 - b // 10) + abs(a % 10 - b % 10)
    return _apply(a, symbol, b) - 10 * _carried(a, symbol, b)
