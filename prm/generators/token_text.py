r"""TokenText: the token ids of prompts and steps, the text of sampled ids, and the rule for where a continuation ends.

All engines share this rule, so that the same sampled tokens make the same `Continuation` whichever engine sampled them.
It reads token ids, not strings, because a step may end inside a token (".\n\n") or in the middle of a character, and
blank lines are not steps.

    until="step"    47 + 38 = 85\n            stop "step": ends with the token that closes the step
    until="end"     ... #### 73\n             stop "answer": ends with the token that closes the final step
                    ... 85 - 12 = 73<eos>     stop "eos": the end token is counted but not part of the text
                    ... = 73\n\nQ:            stop "eos": a base model goes on to another problem, and so does its "Q:"
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from prm.answers import states_answer
from prm.encoding.prompts import PromptTemplate
from prm.encoding.steps import divide, separator_of
from prm.encoding.vocabulary import KNOWN_TEXTS, UnknownWords
from prm.types import StepRule, StopReason

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Until = Literal["step", "end"]


@dataclass
class OpenStep:
    """What a continuation has written since its last step ended. With it `TokenText.stop` reads new tokens only."""

    text: str = ""
    """Its whole lines."""
    line: list[int] = field(default_factory=list)
    """The token ids after them."""


class TokenText:
    """A tokenizer with a prompt template and a step rule."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        template: PromptTemplate,
        step_rule: StepRule,
        end_ids: int | Sequence[int] | None,
    ) -> None:
        """
        Args:
            end_ids: tokens that end a continuation, in addition to the tokenizer's own end token: the `eos_token_id` of a
                generation config.

        Raises:
            ValueError: the template does not fit the tokenizer.
        """
        # A model without a chat template is refused now, not at the first prompt of a run.
        template.encode(tokenizer, "")
        self.tokenizer = tokenizer
        self.template = template
        self.step_rule = step_rule
        self.separator = separator_of(step_rule)
        self._unknown_words = UnknownWords(tokenizer, "generator")
        # The prefixes of a trace share their steps: each is tokenized once.
        self._prompt_ids = lru_cache(maxsize=KNOWN_TEXTS)(lambda text: template.encode(tokenizer, text))
        self._step_ids = lru_cache(maxsize=KNOWN_TEXTS)(
            lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        )
        declared = end_ids if isinstance(end_ids, Sequence) else [end_ids]
        self.end_ids = {i for i in (*declared, tokenizer.eos_token_id) if i is not None}
        # Only a token with a line end, or with bytes of it, can end a step, and only one with a colon can begin another
        # problem. After all other tokens `stop` need not decode the line.
        texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
        opening = template.another_problem  # which ends with a colon
        is_read = step_rule != "whole" or opening is not None
        self._may_end_line = [is_read and ("\n" in text or "\ufffd" in text) for text in texts]
        self._another_problem = None if opening is None else re.compile(rf"^[ \t]*{re.escape(opening)}", re.MULTILINE)
        self._may_open_problem = [opening is not None and (":" in text or "\ufffd" in text) for text in texts]

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        """Prompt ids, then the ids of every step with its separator, each tokenized separately."""
        ids = list(self._prompt_ids(prompt))
        for i, step in enumerate(steps):
            lead = "" if i else self.template.lead
            ids += self._step_ids(lead + step + self.separator)
        self._unknown_words.watch(prompt, ids)
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The text of sampled ids without end tokens, up to where the model goes on to another problem."""
        text = str(self.tokenizer.decode([i for i in ids if i not in self.end_ids]))
        if self._another_problem is not None and (begins := self._another_problem.search(text)):
            return text[: begins.start()]
        return text

    def places(
        self, ids: Sequence[int], numbers: Sequence[float], wanted: Sequence[int]
    ) -> tuple[tuple[int, int, float], ...]:
        """Of each sampled token that is `wanted`, where it begins and ends in the text, without blanks before it, and its
        number of `numbers`, which has one per token."""
        found = []
        for i, number in enumerate(numbers):
            if ids[i] in wanted:
                before, after = self.text(ids[:i]), self.text(ids[: i + 1])
                blanks = len(after) - len(before) - len(after[len(before) :].lstrip())
                found.append((len(before) + blanks, len(after), number))
        return tuple(found)

    def stop(self, token: int, until: Until, step: OpenStep) -> StopReason | None:
        """Why a continuation ends with this token; None if it continues.

        Args:
            token: the next one of the continuation.
            step: of this continuation, and of no other: an `OpenStep()` at its first token. What is written is noted in it.
        """
        if token in self.end_ids:
            return "eos"
        step.line.append(token)
        if token >= len(self._may_end_line):  # a model may have more ids than its tokenizer has texts
            return None
        if not self._may_end_line[token] and not self._may_open_problem[token]:
            return None
        line = str(self.tokenizer.decode(step.line))
        if self._another_problem is not None and self._another_problem.search(line):
            return "eos"
        if not self._may_end_line[token]:
            return None
        closed, rest = divide(step.text + line, self.step_rule, after=len(step.text))
        if closed and states_answer(closed[-1]):
            return "answer"
        if closed and until == "step":
            return "step"
        if line.endswith("\n"):  # else its last token may hold a part of a character
            step.text, step.line = rest, []
        return None

    def stop_among(
        self, tokens: Sequence[int], until: Until, step: OpenStep
    ) -> tuple[Sequence[int], StopReason | None]:
        """The next tokens up to the one that ends the continuation, and why it ends; all of them and None if none does."""
        for number, token in enumerate(tokens, 1):
            if reason := self.stop(token, until, step):
                return tokens[:number], reason
        return tokens, None

    def check(self, prefixes: Sequence[Sequence[int]], seeds: Sequence[int], until: Until, context: int | None) -> None:
        """
        Raises:
            ValueError: prefixes and seeds differ in number, a prefix leaves no room in the model's context, or the step
                rule looks ahead where a continuation is to end with its first step.
        """
        if until == "step" and self.step_rule == "thought":
            raise ValueError(
                "step rule thought divides finished traces only, because it looks at what follows; to search step by step,"
                " use --step_rule paragraph"
            )
        if len(prefixes) != len(seeds):
            raise ValueError(f"{len(prefixes)} prefixes but {len(seeds)} seeds; every sample needs its own seed")
        for prefix in prefixes:
            if context is not None and len(prefix) >= context:
                raise ValueError(f"a prefix of {len(prefix)} tokens fills the model's context of {context}")
