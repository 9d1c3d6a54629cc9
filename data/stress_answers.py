r"""Test the answer checker on the gold answers of a data set: does each equal its harmless rewrites, and no other answer?

Every answer is compared with other ways to write it (`\dfrac` for `\frac`, in `$...$`, with a period, ...): all must be
`correct`, and failures are printed with the rewrite. Then random pairs of answers with different normalized texts are
compared: nearly all must be `wrong`, and each pair that is called `correct` is printed, for a person to judge.

Reads   golds            JSON Lines with an `answer` column, e.g. MATH ("... #### 18" counts as 18)
Writes  nothing

    python data/stress_answers.py --golds problems.jsonl --num_pairs 20000
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from prm.answers import check_many, extract, normalize
from prm.command_line import run_script
from prm.storage.sources import read_file

REWRITES: dict[str, Callable[[str], str]] = {
    "same": lambda s: s,
    "dfrac": lambda s: s.replace(r"\frac", r"\dfrac"),
    "tfrac": lambda s: s.replace(r"\frac", r"\tfrac"),
    "dollars": lambda s: f"${s}$",
    "double dollars": lambda s: f"$${s}$$",
    "parentheses": lambda s: rf"\({s}\)",
    "brackets": lambda s: rf"\[ {s} \]",
    "period": lambda s: s + ".",
    "period in dollars": lambda s: f"${s}.$",
    "period after dollars": lambda s: f"${s}$.",
    "boxed": lambda s: rf"\boxed{{{s}}}",
    "boxed in dollars": lambda s: rf"$\boxed{{{s}}}$.",
    "bold": lambda s: f"**{s}**",
    "braces": lambda s: f"{{{s}}}",
    "display style": lambda s: rf"\displaystyle {s}",
    "blanks around": lambda s: f"  {s}\n",
    "blanks around signs": lambda s: re.sub(r"(?<=[\w})])([+=])(?=[\w\\({])", r" \1 ", s),
    "blank after comma": lambda s: re.sub(r",(?=[-a-z(]|\\[a-z])", r",\\, ", s),
    "no blanks": lambda s: s if r"\text" in s else re.sub(r"(?<![\d,a-zA-Z]) +| +(?=[-+=<>)])", "", s),
    "left and right": lambda s: re.sub(r"(?<!\\left)\(", r"\\left(", re.sub(r"(?<!\\right)\)", r"\\right)", s)),
    "no left and right": lambda s: re.sub(r"\\(?:left|right)(?![a-z])", "", s),
    "text": lambda s: s if re.search(r"[\\^_$&{]", s) else rf"\text{{{s}}}",
    "mbox for text": lambda s: s.replace(r"\text{", r"\mbox{"),
    "textbf for text": lambda s: s.replace(r"\text{", r"\textbf{"),
    "leq and geq": lambda s: re.sub(r"\\([lg])e(?![a-z])", r"\\\1eq ", s),
    "pmatrix as array": lambda s: s.replace(r"\begin{pmatrix}", r"\left(\begin{array}{ccc}").replace(
        r"\end{pmatrix}", r"\end{array}\right)"
    ),
    "Unicode": lambda s: re.sub(r"\\pi(?![a-z])", "π", s).replace("-", "\u2212").replace(r"\infty", "∞"),
}
"""Ways to write an answer differently; none of them changes its meaning."""


@dataclass
class Arguments:
    golds: str = field(metadata={"help": "JSON Lines with an `answer` column"})
    num_pairs: int = field(default=20_000, metadata={"help": "number of random pairs of different answers", "least": 1})
    deadline: float = field(default=10.0, metadata={"help": "seconds per check", "above": 0})
    seed: int = field(default=0, metadata={"help": "seed of the random pairs", "least": 0})


def main(args: Arguments) -> None:
    answers = [gold_answer(where, row) for where, row in read_file(args.golds)]
    golds = list(dict.fromkeys(answer for answer in answers if answer.strip()))
    num_blank = sum(not answer.strip() for answer in answers)
    print(f"{args.golds}: {len(answers)} rows, {num_blank} without an answer, {len(golds)} different answers")
    stress_rewrites(golds, args.deadline)
    stress_pairs(golds, args.num_pairs, args.deadline, args.seed)


def gold_answer(where: str, row: dict) -> str:
    text = row.get("answer")
    if not isinstance(text, str):
        raise ValueError(f"{where}: `answer` is {text!r}; every row needs its gold answer as text")
    found = extract(text)
    return found.answer if found.answer and found.rule == "hash" else text


def stress_rewrites(golds: list[str], deadline: float) -> None:
    cases = [(name, gold, rewrite(gold)) for gold in golds for name, rewrite in REWRITES.items()]
    cases = [case for case in cases if case[0] == "same" or case[1] != case[2]]
    started = time.monotonic()
    outcomes = check_many(golds=[c[1] for c in cases], preds=[c[2] for c in cases], deadline=deadline)
    seconds = time.monotonic() - started
    print(f"rewrites: {len(cases)} checks of {len(REWRITES)} rewrites in {seconds:.0f} s, {dict(Counter(outcomes))}")
    for (name, gold, pred), outcome in zip(cases, outcomes, strict=True):
        if outcome != "correct":
            print(f"  {outcome}  {name}:  {gold}  |  {pred!r}")


def stress_pairs(golds: list[str], num_pairs: int, deadline: float, seed: int) -> None:
    rng, pairs = random.Random(seed), []
    normalized = {gold: normalize(gold) for gold in golds}
    while len(pairs) < num_pairs:
        gold, pred = rng.sample(golds, 2)
        if normalized[gold] != normalized[pred]:
            pairs.append((gold, pred))
    started = time.monotonic()
    outcomes = check_many(golds=[p[0] for p in pairs], preds=[p[1] for p in pairs], deadline=deadline)
    print(f"random pairs: {len(pairs)} checks in {time.monotonic() - started:.0f} s, {dict(Counter(outcomes))}")
    for (gold, pred), outcome in zip(pairs, outcomes, strict=True):
        if outcome != "wrong":
            print(f"  {outcome}  {gold}  |  {pred}")


if __name__ == "__main__":
    run_script(main, Arguments)
