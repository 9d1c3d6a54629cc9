"""Exact truth about the steps of the embedded sets: their arithmetic can be checked, so no label has to be believed.

A step is right if it and all steps before it are those of the gold solution (`prm.datasets.arithmetic.check_steps`). That is
what a human judge would say who stops at the first mistake, and, as mistakes do not cancel out but by chance, also whether
the trace can end right from there. Left out: traces in another notation than the set's; all of their steps are wrong here.

>>> step_truth(Problem("p", "Start with 47, add 38.", "85", "arithmetic"), ("47 + 38 = 85", "#### 85"))
(False, False)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from prm.datasets.arithmetic import PROMPT, SETS, check_steps, load, student_trace
from prm.storage.step_scores import JudgedTrace
from prm.types import Problem

PROBLEMS, ATTEMPTS = 350, 8


def step_truth(problem: Problem, steps: Sequence[str]) -> tuple[bool, ...] | None:
    """Whether each step is right; None for a problem that is not of an embedded set."""
    variant = SETS.get(problem.source)
    if variant is None or not PROMPT.fullmatch(problem.prompt):
        return None
    return check_steps(problem.prompt, steps, variant)


def judged_students(name: str, split: str = "test") -> Iterator[JudgedTrace]:
    """`ATTEMPTS` of students at each of `PROBLEMS` problems of an embedded set, with the exact truth, the same in every
    call. Students are those whom the generator of the set imitates, so that no model is needed."""
    rng = random.Random(f"judged students/{name}/{split}")
    for problem in load(split, PROBLEMS, variant=SETS[name]):
        for index in range(ATTEMPTS):
            steps = student_trace(problem.prompt, rng, SETS[name])
            labels = check_steps(problem.prompt, steps, SETS[name])
            right = steps[-1] == f"#### {problem.answer}"
            yield JudgedTrace(f"{problem.id}#{index}", "all", problem.id, problem.prompt, steps, labels, right)
