"""OracleVerifier: knows the gold answers. The ceiling of what a verifier can do, and the test of every search.

A step that states an answer scores 1 if the answer is right and 0 if it is wrong. Steps before it score 0.5: the oracle
judges outcomes only and has no opinion about the way there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prm import answers
from prm.types import Problem, Scores


class OracleVerifier:
    """See `prm.verifiers.Verifier`."""

    name = "oracle"
    kind: Literal["prm", "orm"] = "orm"
    num_parameters = 0

    def __init__(self, problems: Sequence[Problem]) -> None:
        self._gold = {problem.prompt: problem.answer for problem in problems}

    def score_batch(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> list[Scores]:
        scores_N = [
            tuple(self._score(self._gold[prompt], step) for step in steps)
            for prompt, steps in zip(prompts, steps_N, strict=True)
        ]
        return [Scores(scores, scores[-1]) for scores in scores_N]

    def _score(self, gold: str, step: str) -> float:
        if not answers.states_answer(step):
            return 0.5
        return float(answers.check(gold=gold, pred=answers.extract(step).answer) == "correct")
