r"""TokenText: token ids of prompts and steps, and what sampled ids say: their text, and whether they have ended.

The one rule of all engines for where a continuation ends, so that the same sampled tokens make the same `Continuation`
whoever sampled them. It reads token ids, not strings: a step may end inside a token (".\n\n"), in the middle of a
character, or behind blank lines that are no steps.

    until="step"    47 + 38 = 85\n            stop "step": ends with the token that closes the step
    until="end"     ... #### 73\n             stop "answer": ends with the token that closes the final step
                    ... 85 - 12 = 73<eos>     stop "eos": the end token is counted, and not in the text
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from prm.encoding.prompts import PromptTemplate
from prm.encoding.steps import complete_steps, is_final
from prm.types import StopReason

Until = Literal["step", "end"]


class TokenText:
    """What a tokenizer, a prompt template and a step separator make of token ids."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt: PromptTemplate,
        separator: str,
        end_ids: int | Sequence[int] | None,
    ) -> None:
        """
        Args:
            end_ids: tokens that end a continuation, beside the tokenizer's own: `eos_token_id` of a generation config.
        """
        self.tokenizer = tokenizer
        self.prompt = prompt
        self.separator = separator
        declared = end_ids if isinstance(end_ids, Sequence) else [end_ids]
        self.end_ids = {i for i in (*declared, tokenizer.eos_token_id) if i is not None}
        # Only tokens that hold the separator's last character, or bytes of it, can complete it: no others are decoded.
        texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
        self._may_end_step = [separator[-1] in text or "\ufffd" in text for text in texts]

    def encode(self, prompt: str, steps: Sequence[str] = ()) -> list[int]:
        """Prompt ids, then the ids of every step with its separator, each piece tokenized apart."""
        ids = self.prompt.encode(self.tokenizer, prompt)
        for step in steps:
            ids += self.tokenizer(step + self.separator, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """The text of sampled ids without end tokens."""
        return str(self.tokenizer.decode([i for i in ids if i not in self.end_ids]))

    def stop(self, ids: Sequence[int], until: Until) -> StopReason | None:
        """Why a continuation ends with the last of these ids; None if it goes on."""
        if ids[-1] in self.end_ids:
            return "eos"
        if ids[-1] >= len(self._may_end_step) or not self._may_end_step[ids[-1]]:  # models may have more ids than texts
            return None
        closed = complete_steps(self.text(ids), self.separator)
        if closed and is_final(closed[-1]):
            return "answer"
        return "step" if closed and until == "step" else None


def check_requests(prefixes: Sequence[Sequence[int]], seeds: Sequence[int], context: int | None) -> None:
    """Raise ValueError if prefixes and seeds differ in number, or a prefix leaves no room in the model's context."""
    if len(prefixes) != len(seeds):
        raise ValueError(f"{len(prefixes)} prefixes but {len(seeds)} seeds; every sample needs its own seed")
    for prefix in prefixes:
        if context is not None and len(prefix) >= context:
            raise ValueError(f"a prefix of {len(prefix)} tokens fills the model's context of {context}")
