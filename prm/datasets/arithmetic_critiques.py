"""Exact critiques of students' traces at the embedded sets, from which a small generative verifier learns to write its own.

After every step stands the line that should stand there, and whether the step and all before it are right
(`prm.datasets.arithmetic.check_steps`). In ⟦ ⟧ is what is learned:

    Start with 47, add 38, subtract 12.
    47 + 38, carry 1 = 85
    ⟦47 + 38, carry 1 = 85
    #### 1⟧
    85 - 12 = 63
    ⟦85 - 12 = 73
    #### 0⟧
    #### 63
    ⟦73
    #### 0⟧

Left out: what kind of mistake a step is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from prm.datasets.arithmetic import KIND, Variant, check_steps, load, solution, student_trace
from prm.encoding.critiques import ARITHMETIC


def critiques(prompt: str, steps: Sequence[str], variant: Variant = KIND) -> list[str]:
    r"""What a verifier that never errs writes about each step of a trace.

    >>> critiques("Start with 47, add 38.", ("47 + 38 = 75", "#### 75"))
    ['47 + 38, carry 1 = 85\n#### 0\n', '85\n#### 0\n']
    """
    *lines, answer = solution(prompt, variant)
    good = check_steps(prompt, steps, variant)
    verdicts = [ARITHMETIC.marker + (ARITHMETIC.good if its else ARITHMETIC.bad) for its in good]
    right = [*lines, answer.removeprefix("#### ")]
    return [f"{line}\n{verdict}\n" for line, verdict in zip(right, verdicts, strict=False)]


def critique_examples(n: int, seed: int = 0, variant: Variant = KIND) -> Iterator[dict[str, Any]]:
    """`n` rows of fine-tuning data: a trace of a student at a problem of the train split, with exact critiques (`turns`)."""
    rng = random.Random(f"critiques/{variant.name}/{seed}")
    for problem in load("train", n, seed=seed, variant=variant):
        steps = student_trace(problem.prompt, rng, variant)
        prompt, turns = ARITHMETIC.turns(problem.prompt, steps, critiques(problem.prompt, steps, variant))
        yield {"prompt": prompt, "turns": turns}
