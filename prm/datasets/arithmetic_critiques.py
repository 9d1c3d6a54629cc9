"""Exact critiques of students' traces at the embedded sets, from which a small generative verifier learns to write its own.

A critique solves the problem anew beside the trace: of every step the line that should stand there, and whether it and all
lines before it do (`prm.datasets.arithmetic.check_steps`).

    Start with 47, add 38, subtract 12.     47 + 38, carry 1 = 85
    47 + 38, carry 1 = 85                   #### 1
    85 - 12 = 63                            85 - 12 = 73
    #### 63                                 #### 0
                                            73
                                            #### 0

Every other trace is cut after a step, because a search also asks about traces that are still being written. Left out: what
kind of mistake a step is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from prm.datasets.arithmetic import KIND, Variant, check_steps, load, solution, student_trace
from prm.encoding.critiques import ARITHMETIC


def critique(prompt: str, steps: Sequence[str], variant: Variant = KIND) -> str:
    r"""What a verifier that never errs writes about a trace.

    >>> critique("Start with 47, add 38.", ("47 + 38 = 75", "#### 75"))
    '47 + 38, carry 1 = 85\n#### 0\n85\n#### 0'
    """
    *lines, answer = solution(prompt, variant)
    right = [*lines, answer.removeprefix("#### ")]
    good = check_steps(prompt, steps, variant)
    verdicts = [ARITHMETIC.marker + (ARITHMETIC.good if its else ARITHMETIC.bad) for its in good]
    return "\n".join(f"{line}\n{verdict}" for line, verdict in zip(right, verdicts, strict=False))


def critique_examples(n: int, seed: int = 0, variant: Variant = KIND) -> Iterator[dict[str, str]]:
    """`n` rows of fine-tuning data: a trace of a student at a problem of the train split, and its exact critique."""
    rng = random.Random(f"critiques/{variant.name}/{seed}")
    for problem in load("train", n, seed=seed, variant=variant):
        steps = student_trace(problem.prompt, rng, variant)
        if rng.random() < 0.5:
            steps = steps[: rng.randint(1, len(steps))]
        yield {
            "prompt": ARITHMETIC.question(problem.prompt, steps),
            "completion": critique(problem.prompt, steps, variant),
        }
