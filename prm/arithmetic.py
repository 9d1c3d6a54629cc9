"""The embedded problem set: chains of 2 to 8 operations on integers from 0 to 99, and the student who solves them.

It exists so that the whole toolkit can be run, tested and measured on two CPU cores in minutes. Every problem belongs
to exactly one split, because a hash of its text says which: train, validation and test are disjoint by construction.
Difficulty is the number of operations (`Problem.level`).

One problem and one trace of the student (a carry is forgotten in the first step, so the rest is wrong too):

    Start with 47, add 38, subtract 12.        gold answer 73
    47 + 38 = 75
    75 - 12 = 63
    #### 63

The student is what `recipes/train_generator.py` teaches the embedded generator to imitate. Two kinds write the traces:
the careful one forgets a carry (or borrow) with probability `FORGET["careful"]`, the careless one with
`FORGET["careless"]`; both slip at random with probability `SLIP`. Forgotten carries are the classic "buggy procedure" of
school arithmetic (Brown & Burton 1978, doi:10.1207/s15516709cog0202_4). Two things follow, on purpose:

- Mistakes are *systematic*: many samples agree on the same wrong answer, so voting fails where checking the steps helps.
- Mistakes are *correlated within a trace*, so to predict the next step a language model must notice the mistakes so far,
  as one trained on texts of good and bad authors does. That is what a small verifier can be fine-tuned from. With
  mistakes independent of each other, verifiers of this size learned nothing from 21,000 step labels (AUC 0.58).

Both make the set a kind test bench for verifiers and an unkind one for majority voting; do not read its gaps as those of
real language models.

Left out on purpose: division, negative numbers, words around the numbers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from prm.splits import SPLITS, split_of
from prm.types import Problem

LARGEST = 99
LEVELS = tuple(range(2, 9))
FORGET = {"careful": 0.1, "careless": 0.8}
"""Probability that a student of this kind forgets a carry or borrow where there is one."""
CARELESS = 0.6
"""Share of traces that a careless student writes."""
SLIP = 0.03
"""Probability that a result is off by 1, 2 or 10 elsewhere."""

WORDS = {"+": "add", "-": "subtract", "*": "multiply by"}
_SYMBOLS = {word: symbol for symbol, word in WORDS.items()}
_OPERATION = re.compile(r"(add|subtract|multiply by) (\d+)")
_STEP = re.compile(r"(\d+) ([+*-]) (\d+) = (\d+)")

Operation = tuple[str, int]


def load(split: str, n: int, seed: int = 0, levels: Sequence[int] = LEVELS) -> list[Problem]:
    """The first `n` problems of a split, levels in rotation, no problem twice. A larger `n` extends a smaller one."""
    if split not in SPLITS:
        raise ValueError(f"arithmetic has no split {split!r}; it has {', '.join(sorted(SPLITS))}")
    problems: dict[str, Problem] = {}
    rng = random.Random(f"arithmetic/{split}/{seed}")
    while len(problems) < n:
        level = levels[len(problems) % len(levels)]
        start, operations = _draw(level, rng)
        prompt = render(start, operations)
        if split_of(prompt) == split and prompt not in problems:
            answer = str(_results(start, operations)[-1])
            problems[prompt] = Problem(f"arithmetic/{split}/{len(problems)}", prompt, answer, "arithmetic", level)
    return list(problems.values())


def render(start: int, operations: Sequence[Operation]) -> str:
    """
    >>> render(47, [("+", 38), ("*", 2)])
    'Start with 47, add 38, multiply by 2.'
    """
    return f"Start with {start}, " + ", ".join(f"{WORDS[symbol]} {b}" for symbol, b in operations) + "."


def parse(prompt: str) -> tuple[int, list[Operation]]:
    """Inverse of `render`."""
    start = re.match(r"Start with (\d+), ", prompt)
    if start is None:
        raise ValueError(f"not an arithmetic problem: {prompt!r}")
    return int(start[1]), [(_SYMBOLS[word], int(b)) for word, b in _OPERATION.findall(prompt)]


def student_trace(prompt: str, rng: random.Random) -> tuple[str, ...]:
    """One attempt of a student of random kind: its steps and the final `#### answer`. Results that would leave 0..99 make
    the student start over."""
    value, operations = parse(prompt)
    forget = FORGET["careless" if rng.random() < CARELESS else "careful"]
    steps = []
    for symbol, b in operations:
        result = _apply(value, symbol, b)
        forgotten = _forget_carry(value, symbol, b)
        if forgotten != result and rng.random() < forget:
            result = forgotten
        elif rng.random() < SLIP:
            result += rng.choice((-10, -2, -1, 1, 2, 10))
        if not 0 <= result <= LARGEST:
            return student_trace(prompt, rng)
        steps.append(f"{value} {symbol} {b} = {result}")
        value = result
    return (*steps, f"#### {value}")


def solution(prompt: str) -> tuple[str, ...]:
    """The gold steps."""
    start, operations = parse(prompt)
    values = [start, *_results(start, operations)]
    steps = [f"{a} {s} {b} = {c}" for a, (s, b), c in zip(values, operations, values[1:], strict=False)]
    return (*steps, f"#### {values[-1]}")


def check_steps(prompt: str, steps: Sequence[str]) -> tuple[bool, ...]:
    """Exact labels: a step is good if it and all steps before it equal those of the gold solution.

    >>> check_steps("Start with 47, add 38, subtract 12.", ("47 + 38 = 75", "75 - 12 = 63", "#### 63"))
    (False, False, False)
    """
    gold = solution(prompt)
    good = [i < len(gold) and step == gold[i] for i, step in enumerate(steps)]
    return tuple(all(good[: i + 1]) for i in range(len(steps)))


def student_examples(n: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """`n` rows of fine-tuning data for the embedded generator: fresh problems of the train split, one trace each."""
    rng = random.Random(f"student/{seed}")
    drawn = 0
    while drawn < n:
        prompt = render(*_draw(LEVELS[drawn % len(LEVELS)], rng))
        if split_of(prompt) == "train":
            yield {"prompt": prompt, "completion": "\n".join(student_trace(prompt, rng))}
            drawn += 1


def build_tokenizer():
    """A tokenizer for this set only: one token per number, per word group and per line end (about 115 tokens)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [", add ", ", subtract ", ", multiply by ", "Start with ", ".", " + ", " - ", " * ", " = ", "\n", "#### "]
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


def _draw(level: int, rng: random.Random) -> tuple[int, list[Operation]]:
    """A random chain whose results all stay in 0..99."""
    start = value = rng.randint(10, 99)
    operations: list[Operation] = []
    while len(operations) < level:
        symbol = rng.choices("+-*", weights=(2, 2, 1))[0]
        b = rng.randint(2, 4) if symbol == "*" else rng.randint(2, 40)
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


def _forget_carry(a: int, symbol: str, b: int) -> int:
    """The result when the carry (or borrow) of the ones column is dropped; the true result where there is none."""
    ones = _apply(a % 10, symbol, b if symbol == "*" else b % 10)
    return _apply(a, symbol, b) - 10 * (ones // 10)
