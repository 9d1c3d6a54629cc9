"""The embedded problem set: chains of 2 to 8 operations on integers from 0 to 99, and the students who solve them.

With it the whole toolkit can be run, tested and measured on two CPU cores in minutes. A hash of a problem's text
decides its split, so train, validation and test are disjoint by construction. The difficulty (`Problem.level`) is the
number of operations.

One problem and one trace of a student, who writes down carries and borrows but forgets a borrow in the second step:

    Start with 47, add 38, subtract 26, subtract 12.        gold answer 47
    47 + 38, carry 1 = 85
    85 - 26 = 61                                            gold step: 85 - 26, borrow 1 = 59
    61 - 12 = 49
    #### 49

`recipes/train_generator.py` teaches the embedded generator to imitate such students. There are two kinds: a careful one
forgets a carry (or borrow) with probability `FORGET["careful"]`, a careless one with `FORGET["careless"]`; both make a
random slip with probability `SLIP`. Forgotten carries are the classic "buggy procedure" of school arithmetic (Brown &
Burton 1978, doi:10.1207/s15516709cog0202_4). They are *systematic* and correlated within a trace: many samples agree on
the same wrong answer, so voting fails while checking the steps helps.

Carries are written down because that makes most mistakes visible on the page, so that a verifier of this size can learn
to see them in a minute. In an earlier form of the set a forgotten carry showed only in the result; the verifier's loss
fell, but within a problem it chose worse than chance. Both properties favor verifiers and handicap voting, so do not
expect gaps of this size from real language models.

Left out on purpose: division, negative numbers, words around the numbers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence

from prm.datasets.splits import SPLITS, split_of
from prm.types import Problem

LARGEST = 99
LEVELS = tuple(range(2, 9))
FORGET = {"careful": 0.1, "careless": 0.8}
"""Probability that a student of this kind forgets a carry or borrow."""
CARELESS = 0.6
"""Share of traces written by a careless student."""
SLIP = 0.02
"""Probability that a result is off by 1, 2 or 10 if no carry was forgotten."""

WORDS = {"+": "add", "-": "subtract", "*": "multiply by"}
_SYMBOLS = {word: symbol for symbol, word in WORDS.items()}
_OPERATION = re.compile(r"(add|subtract|multiply by) (\d+)")

Operation = tuple[str, int]


def load(split: str, n: int, seed: int = 0, levels: Sequence[int] = LEVELS) -> list[Problem]:
    """The first `n` problems of a split, all different, levels in rotation. A larger `n` extends the same list."""
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
    """The inverse of `render`."""
    start = re.match(r"Start with (\d+), ", prompt)
    if start is None:
        raise ValueError(f"not an arithmetic problem: {prompt!r}")
    return int(start[1]), [(_SYMBOLS[word], int(b)) for word, b in _OPERATION.findall(prompt)]


def student_trace(prompt: str, rng: random.Random) -> tuple[str, ...]:
    """One attempt by a student of random kind: the steps and the final `#### answer`."""
    value, operations = parse(prompt)
    # One kind for the whole trace: this is what correlates its mistakes.
    forget = FORGET["careless" if rng.random() < CARELESS else "careful"]
    steps = []
    for symbol, b in operations:
        result, note = _apply(value, symbol, b), _carry_note(value, symbol, b)
        # A forgotten carry is not written down, either, so the missing note shows the mistake.
        if note and rng.random() < forget:
            result, note = _forget_carry(value, symbol, b), ""
        elif rng.random() < SLIP:
            result += rng.choice((-10, -2, -1, 1, 2, 10))
        # The tokenizer has no numbers beyond 0..99: the student starts over.
        if not 0 <= result <= LARGEST:
            return student_trace(prompt, rng)
        # The next step continues from the student's own result, right or wrong.
        steps.append(f"{value} {symbol} {b}{note} = {result}")
        value = result
    return (*steps, f"#### {value}")


def solution(prompt: str) -> tuple[str, ...]:
    """The gold steps."""
    start, operations = parse(prompt)
    values = [start, *_results(start, operations)]
    steps = [
        f"{a} {s} {b}{_carry_note(a, s, b)} = {c}" for a, (s, b), c in zip(values, operations, values[1:], strict=False)
    ]
    return (*steps, f"#### {values[-1]}")


def check_steps(prompt: str, steps: Sequence[str]) -> tuple[bool, ...]:
    """Exact labels: a step is good if it and all steps before it are equal to those of the gold solution.

    >>> check_steps("Start with 47, add 38, subtract 12.", ("47 + 38 = 75", "75 - 12 = 63", "#### 63"))
    (False, False, False)
    """
    gold = solution(prompt)
    good = [i < len(gold) and step == gold[i] for i, step in enumerate(steps)]
    return tuple(all(good[: i + 1]) for i in range(len(steps)))


def student_examples(n: int, seed: int = 0) -> Iterator[dict[str, str]]:
    """`n` rows of fine-tuning data for the embedded generator: random problems of the train split, one trace each."""
    rng = random.Random(f"student/{seed}")
    drawn = 0
    while drawn < n:
        prompt = render(*_draw(LEVELS[drawn % len(LEVELS)], rng))
        if split_of(prompt) == "train":
            yield {"prompt": prompt, "completion": "\n".join(student_trace(prompt, rng))}
            drawn += 1


def build_tokenizer():
    """A tokenizer for this set only: one token per number, word group and line end (about 115 tokens)."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [
        ", add ",
        ", subtract ",
        ", multiply by ",
        "Start with ",
        ".",
        " + ",
        " - ",
        " * ",
        ", carry ",
        ", borrow ",
    ]
    words += [" = ", "\n", "#### "]
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
        b = rng.randint(2, 4) if symbol == "*" else rng.randint(2, 30)
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


def _carry_note(a: int, symbol: str, b: int) -> str:
    carried = _carried(a, symbol, b)
    return f", carry {carried}" if carried > 0 else f", borrow {-carried}" if carried < 0 else ""


def _forget_carry(a: int, symbol: str, b: int) -> int:
    """The result without the carry: 47 + 38 = 75. Without a borrow the smaller digit is subtracted: 52 - 38 = 26."""
    if symbol == "-":
        return 10 * (a // 10 - b // 10) + abs(a % 10 - b % 10)
    return _apply(a, symbol, b) - 10 * _carried(a, symbol, b)
