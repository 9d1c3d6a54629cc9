r"""A verifier that scores whole texts: what every adapter rests on.

    verifier = load_text_verifier("outputs/quickstart/prm")
    verifier.score(["Start with 47, subtract 12, add 28."], ["47 - 12 = 35\n35 + 28, carry 1 = 63\n#### 63"])
    -> [Scores(steps=(0.97, 0.94, 0.93), trace=0.93, ...)]

Other tools have prompts and texts, many or one at a time, in threads of their own. A verifier reads steps, in batches, and
is no place for two threads. So a text is divided here, by the step rule that the verifier learned, and threads take turns.

What a verifier cannot read, a blank text or one longer than its limit, has no score: it is never chosen, and where a tool
wants a number it is the lowest. A text without an answer is not chosen either, as in our searches. Rewards for reinforcement
learning are those of `prm.verifiers.rewards`, where a text with any fault earns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any

from prm.encoding.steps import separator_of, split_steps
from prm.sampling.traces import find_answer
from prm.search.requests import best
from prm.search.weighted_vote import weighted_winner
from prm.types import Scores, StepRule, Trace
from prm.verifiers import Verifier, find_verifier, is_served, score_written
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.families import split_name
from prm.verifiers.rewards import RewardRule, StepRewards, score_texts
from prm.verifiers.scoring import Scoring

UNREAD = 0.0
"""In the place of the score of a text that has none: the lowest there is."""

CHOICES: dict[str, Callable[[Sequence[Trace], Sequence[Scores | None]], int | None]] = {
    "best_of_n": best,
    "weighted_vote": lambda traces, scores: weighted_winner(traces, scores, seed="0"),
}
"""Index of the chosen candidate, None if none has both an answer and a score (`prm.search`)."""


class TextVerifier:
    """See the module's docstring."""

    def __init__(self, verifier: Verifier, step_rule: StepRule) -> None:
        self.verifier = verifier
        self.step_rule = step_rule
        self._turn = Lock()

    def split(self, text: str) -> tuple[str, ...]:
        return split_steps(text, self.step_rule)

    def score(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Scores | None]:
        """One `Scores` per text; None for one that is blank or longer than the verifier reads. Keep the texts of one prompt
        together: neighbors share what they have in common."""
        with self._turn:
            return score_written(self.verifier, prompts, [self.split(text) for text in texts])

    def trace_scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """One score per text, `UNREAD` for one without."""
        return [scores.trace if scores else UNREAD for scores in self.score(prompts, texts)]

    def step_scores(self, prompts: Sequence[str], texts: Sequence[str]) -> list[list[float]]:
        """One score per step of each text; a text without scores counts as one bad step."""
        return [list(scores.steps) if scores else [UNREAD] for scores in self.score(prompts, texts)]

    def rewards(
        self,
        prompts: Sequence[str],
        texts: Sequence[str],
        finished: Sequence[bool] | None = None,
        rule: Mapping[str, Any] | None = None,
    ) -> list[StepRewards]:
        """What each text earns in reinforcement learning.

        Args:
            finished: whether each text ended by itself; None where nobody knows.
            rule: settings of `RewardRule` but the step rule.
        """
        with self._turn:
            settings = RewardRule(**(rule or {}), step_rule=self.step_rule)
            return score_texts(self.verifier, prompts, texts, settings, finished)

    def candidate(self, text: str, finished: bool = True) -> Trace:
        """The text as a trace that may be chosen, with the answer that it states."""
        steps = self.split(text)
        answer = find_answer(steps, self.step_rule) if finished else None
        return Trace("", steps, answer, correct=None, finished=finished, step_rule=self.step_rule)

    def choose(self, how: str, prompt: str, texts: Sequence[str]) -> int | None:
        """Index of the text that this one of `CHOICES` takes; None if no text has both an answer and a score."""
        return CHOICES[how]([self.candidate(text) for text in texts], self.score([prompt] * len(texts), texts))


def load_text_verifier(name: str, step_rule: StepRule | None = None) -> TextVerifier:
    """The verifier that `find_verifier` names, loaded once in a process.

    Args:
        step_rule: how texts are divided; None: as the traces were from which it learned.

    Raises:
        ValueError: nothing says how, and `step_rule` is not given, or it says otherwise. Others as in `find_verifier`.
    """
    with _loading:  # the first calls may come from several threads at once
        return _load(name, step_rule)


_loading = Lock()


@cache
def _load(name: str, step_rule: StepRule | None) -> TextVerifier:
    learned = _step_rule_of(name)
    if learned is None and step_rule is None:
        raise ValueError(
            f"{name} does not say how its training traces were divided; give step_rule, such as 'paragraph'"
        )
    if None not in (learned, step_rule) and learned != step_rule:
        raise ValueError(f"{name} was trained on steps by the rule {learned}, step_rule is {step_rule}; leave it out")
    rule = step_rule or learned
    assert rule is not None
    separator_of(rule)  # refuses an unknown one
    return TextVerifier(find_verifier(name), rule)


def _step_rule_of(name: str) -> StepRule | None:
    """As the checkpoint says it; None where nothing does, as for a class of one's own."""
    if is_served(name):
        return Scoring.load(name.rpartition("@")[0]).step_rule
    if ".py:" in name:
        return None
    found = split_name(name)
    return found[0].step_rule if found else VerifierConfig.load(name).step_rule
