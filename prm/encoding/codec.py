r"""StepCodec: prompt + steps -> token ids + step-end positions. The one codec of training, scoring and search.

Prompt, steps and separators are tokenized separately and their *ids* are concatenated. Step ends are recorded while the
ids are built and never searched for, so a text that contains the separator, or a tokenizer that merges `.\n\n`, cannot
move a label. This is the layout of TRL's PRM trainer (`ids(prompt) + ids(step_1) + ids(sep) + ids(step_2) + ...`).

With the tokenizer of the embedded set, prompt "Start with 47, add 38." and steps ("47 + 38 = 85", "#### 85"):

    ids        [bos?] Start with| 47|, add | 38| .|\n| 47| + | 38| = | 85|\n|#### | 85|\n|
    step_ends                                                              ^            ^

The score of a step is read at the last token of the separator (or marker) after it, where the model has seen the whole
step. Truncation is explicit: `fit` says how many steps fit, and no step is cut in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from prm.encoding.prompts import PromptTemplate
from prm.encoding.steps import SEPARATORS
from prm.encoding.vocabulary import KNOWN_TEXTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


KNOWN_TRACES = 1 << 12
"""Traces that a reader remembers, to go on from: of the searches that go on together, ten megabytes at 200 tokens each."""


@dataclass(frozen=True)
class EncodedTrace:
    """Token ids of prompt and steps, and for every step the index of the token at which its score is read."""

    input_ids: tuple[int, ...]
    step_ends: tuple[int, ...]


@dataclass(frozen=True)
class StepCodec:
    """How a prompt and its steps become token ids. Saved in `prm_config.json`, so that training and scoring use the same."""

    prompt: PromptTemplate = field(default_factory=PromptTemplate)
    """The prompt template; `prompt` is its key in `prm_config.json`."""
    separator: str = SEPARATORS["line"]
    """Text after every step, including the last one."""
    marker: str | None = None
    """A single special token instead of the separator (`<extra_0>` of Qwen2.5-Math-PRM), or None."""
    max_length: int = 2048
    """Longest sequence in tokens. A longer trace is an error in scoring; `--overlong` decides in training."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, prompt: str, steps: Sequence[str]) -> EncodedTrace:
        """Encode a whole trace, whatever its length. `len(step_ends) == len(steps)`.

        Raises:
            ValueError: no steps, an empty step, or a marker that is not exactly one token.
        """
        check_steps(prompt, steps)
        return self.join(
            self.prompt.encode(tokenizer, prompt),
            [tokenizer(step, add_special_tokens=False)["input_ids"] for step in steps],
            self.step_end_ids(tokenizer),
        )

    def encode_many(
        self, tokenizer: PreTrainedTokenizerBase, traces: Sequence[tuple[str, Sequence[str]]]
    ) -> list[EncodedTrace]:
        """Each (prompt, steps) as `encode` encodes it; all steps in one call of the tokenizer. Errors as there."""
        for prompt, steps in traces:
            check_steps(prompt, steps)
        # Traces of one problem share their prompt and often their first steps: what is equal is tokenized once.
        prompt_ids = {
            text: self.prompt.encode(tokenizer, text) for text in dict.fromkeys(prompt for prompt, _ in traces)
        }
        texts = list(dict.fromkeys(step for _, steps in traces for step in steps))
        tokenized = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)
        step_ids = dict(zip(texts, tokenized["input_ids"], strict=True))
        end = self.step_end_ids(tokenizer)
        return [self.join(prompt_ids[prompt], [step_ids[step] for step in steps], end) for prompt, steps in traces]

    def remembering(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[str, Sequence[str]], EncodedTrace]:
        """`encode`, which tokenizes a prompt or a step once: the traces of a search share most of theirs, and most have one
        step more than a trace before."""
        prompt_ids = lru_cache(maxsize=KNOWN_TEXTS)(lambda text: self.prompt.encode(tokenizer, text))
        step_ids = lru_cache(maxsize=KNOWN_TEXTS)(lambda text: tokenizer(text, add_special_tokens=False)["input_ids"])
        end_ids = lru_cache(maxsize=1)(lambda: self.step_end_ids(tokenizer))

        known: dict[tuple[str, tuple[str, ...]], EncodedTrace] = {}

        def encode(prompt: str, steps: Sequence[str]) -> EncodedTrace:
            check_steps(prompt, steps)
            steps = tuple(steps)
            if before := known.get((prompt, steps[:-1])):
                encoded = self.join(before.input_ids, [step_ids(steps[-1])], end_ids(), before.step_ends)
            else:
                encoded = self.join(prompt_ids(prompt), [step_ids(step) for step in steps], end_ids())
            if len(known) == KNOWN_TRACES:
                del known[next(iter(known))]
            known[prompt, steps] = encoded
            return encoded

        return encode

    def join(
        self, before: Sequence[int], ids_S: Sequence[Sequence[int]], end: Sequence[int], ends_before: Sequence[int] = ()
    ) -> EncodedTrace:
        """The trace whose prompt, steps and step end have these token ids, for those who know them.

        Args:
            before: of the prompt, and of steps that end at `ends_before`.
        """
        ids, ends = list(before), list(ends_before)
        for step in ids_S:
            ids += step
            ids += end
            ends.append(len(ids) - 1)
        return EncodedTrace(tuple(ids), tuple(ends))

    def prompt_length(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> int:
        """How many tokens all traces of this prompt begin with."""
        return len(self.prompt.encode(tokenizer, prompt))

    def step_end_ids(self, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """The ids after every step: those of the separator or of the marker."""
        if self.marker is None:
            ids = tokenizer(self.separator, add_special_tokens=False)["input_ids"]
            if not ids:
                raise ValueError(f"separator {self.separator!r} has no tokens in {tokenizer.name_or_path}")
            return ids
        ids = tokenizer(self.marker, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ValueError(
                f"marker {self.marker!r} is {len(ids)} tokens ({ids}) in {tokenizer.name_or_path}; a marker must be one:"
                " add it with tokenizer.add_special_tokens, or use the tokenizer the checkpoint was trained with"
            )
        return ids

    def fit(self, encoded: EncodedTrace) -> int:
        """How many whole steps fit into `max_length`."""
        return sum(end < self.max_length for end in encoded.step_ends)

    def truncate(self, encoded: EncodedTrace) -> EncodedTrace:
        """The steps that fit; the caller counts and reports what was lost."""
        ends = encoded.step_ends[: self.fit(encoded)]
        return EncodedTrace(encoded.input_ids[: ends[-1] + 1] if ends else (), ends)

    @classmethod
    def from_dict(cls, values: dict) -> StepCodec:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, "prompt": PromptTemplate(**values["prompt"])})


def check_steps(prompt: str, steps: Sequence[str]) -> None:
    """
    Raises:
        ValueError: there are no steps, or one is empty.
    """
    if not steps:
        raise ValueError(f"a trace without steps cannot be encoded (prompt {prompt[:60]!r})")
    for i, step in enumerate(steps, 1):
        if not step.strip():
            raise ValueError(f"step {i} of {len(steps)} is empty (prompt {prompt[:60]!r}); remove it")


def show_positions(
    tokenizer: PreTrainedTokenizerBase, input_ids: list[int], positions: list[int], notes: list[str]
) -> str:
    r"""The text of token ids, with ⟦ ⟧ around every token at which a score is read: escaped as in Python, with its note.

    `47 + 38 = 85⟦\n → 1.00⟧`; after such a line end the text continues on a new line.
    """
    text, start = "", 0
    for position, note in zip(positions, notes, strict=True):
        before, read = (str(tokenizer.decode(ids)) for ids in (input_ids[start:position], [input_ids[position]]))
        text += f"{before}⟦{repr(read)[1:-1]}{note}⟧" + ("\n" if read.endswith("\n") else "")
        start = position + 1
    return text + str(tokenizer.decode(input_ids[start:]))
