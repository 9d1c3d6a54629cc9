"""ScriptedGenerator: continues prefixes by fixed rules on characters. For tests of everything that needs a generator.

Token ids are the code points of the text, so that a person can compare ids and text. `script(prefix text, seed)` returns
the rest of the trace; the generator cuts it where every engine ends (`prm.generators.token_text`): after a step that
states the answer, or after the first step if only one is asked for. What the script says for the seed `GREEDY` is its most
likely text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from prm.answers import states_answer
from prm.encoding.steps import complete_steps, separator_of
from prm.generators import Ended, ignore
from prm.models.kept_tokens import KeptTokens
from prm.types import Continuation, StepRule

GREEDY = 0
"""The seed of a script where the most likely text is asked for."""


class ScriptedGenerator:
    """See `prm.generators.Generator`."""

    num_parameters = 0
    context = None

    def __init__(
        self,
        script: Callable[[str, int], str],
        step_rule: StepRule = "line",
        name: str = "scripted",
        max_new_tokens: int = 10_000,
    ) -> None:
        self.script = script
        self.step_rule = step_rule
        self.name = name
        self.max_new_tokens = max_new_tokens
        self.ledger: Counter[str] = Counter()
        self.calls: list[tuple[str, int]] = []
        """Every requested (prefix text, seed), in order."""

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        return [ord(c) for c in prompt + "\n" + "".join(step + separator_of(self.step_rule) for step in steps)]

    def generate(
        self,
        prefixes: Sequence[Sequence[int]],
        seeds: Sequence[int],
        until: Literal["step", "end"] = "end",
        limits: Sequence[int] | None = None,
        ended: Ended = ignore,
        greedy: bool = False,
        kept: KeptTokens | None = None,
    ) -> list[Continuation]:
        limits = [self.max_new_tokens] * len(prefixes) if limits is None else limits
        ended(len(prefixes))
        return [
            self._continue(
                "".join(map(chr, prefix)), GREEDY if greedy else seed, until, min(limit, self.max_new_tokens)
            )
            for prefix, seed, limit in zip(prefixes, seeds, limits, strict=True)
        ]

    def _continue(self, prefix: str, seed: int, until: str, limit: int) -> Continuation:
        self.calls.append((prefix, seed))
        text = self.script(prefix, seed)
        stop, start = "eos", 0
        for end in (i + 1 for i, character in enumerate(text) if character == "\n"):
            closed = complete_steps(text[start:end], self.step_rule)
            if not closed:
                continue
            start = end
            is_answer = states_answer(closed[-1])
            if is_answer or until == "step":
                text, stop = text[:end], "answer" if is_answer else "step"
                break
        if len(text) > limit:
            text, stop = text[:limit], "length"
        return Continuation(tuple(map(ord, text)), text, stop, prefill=len(prefix))  # type: ignore[arg-type]
