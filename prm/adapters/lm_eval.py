r"""lm-eval: filters that choose one of the `repeats` of a task by a verifier, which its own filters lack.

    repeats: 16
    filter_list:
      - name: best-of-n
        filter:
          - function: verifier_best_of_n        # or verifier_weighted_vote
            verifier: outputs/quickstart/prm
            problem: question                   # column of the data set with the text of the problem
          - function: take_first

Call `register()` before tasks are built: in the module that a task's YAML names with `!function`, or in the script that
calls `simple_evaluate`. What is chosen is the whole text, so that a task's own extraction can follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prm.adapters.texts import CHOICES, TextVerifier, load_text_verifier
from prm.types import StepRule


def register() -> None:
    """Adds `verifier_best_of_n` and `verifier_weighted_vote` to the filters of lm-eval."""
    for how in CHOICES:
        _register(how)


def _register(how: str) -> None:
    from lm_eval.api.filter import Filter
    from lm_eval.api.registry import register_filter

    @register_filter(f"verifier_{how}")
    class VerifierFilter(Filter):
        def __init__(self, verifier: str, problem: str, step_rule: StepRule | None = None) -> None:
            self.verifier = load_text_verifier(verifier, step_rule)
            self.problem = problem

        def apply(self, resps: Iterable[Sequence[str]], docs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
            return [
                choose(self.verifier, how, doc, self.problem, texts) for texts, doc in zip(resps, docs, strict=True)
            ]


def choose(judge: TextVerifier, how: str, doc: Mapping[str, Any], problem: str, texts: Sequence[str]) -> list[str]:
    """The chosen text alone; the first one where none states an answer, as without a filter.

    Raises:
        ValueError: the row has no such column.
    """
    if problem not in doc:
        raise ValueError(
            f"no column {problem!r} in a row with {', '.join(doc)}; `problem` must name that of the problem"
        )
    return [texts[judge.choose(how, doc[problem], texts) or 0]]
