r"""search-and-learn (Hugging Face): the PRM of its best-of-N, beam search and DVTS.

    prm = VerifierPRM("outputs/quickstart/prm")          # in the place of `prm = load_prm(config)`
    prm.score(["Start with 47, ..."], [["47 - 12 = 35\n...", "47 - 12 = 34\n..."]])
    -> [[[0.97, 0.94, 0.93], [0.04, 0.03, 0.03]]]

It needs no class of theirs: their searches call `score` alone. `agg_strategy` of their config (last, min, prod) then makes
one score of a completion, so set it to what the verifier's labels mean: last for values, prod for correctness.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.adapters.texts import load_text_verifier
from prm.types import StepRule


class VerifierPRM:
    def __init__(self, verifier: str, step_rule: StepRule | None = None) -> None:
        """
        Args:
            verifier, step_rule: as in `load_text_verifier`.
        """
        self.verifier = load_text_verifier(verifier, step_rule)

    def score(self, questions: Sequence[str], outputs: Sequence[Sequence[str]]) -> list[list[list[float]]]:
        """Step scores of every output (second list) of every question (first list)."""
        prompts = [question for question, texts in zip(questions, outputs, strict=True) for _ in texts]
        scores = iter(self.verifier.step_scores(prompts, [text for texts in outputs for text in texts]))
        return [[next(scores) for _ in texts] for texts in outputs]
