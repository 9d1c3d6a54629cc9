r"""Layout: how other projects write prompt and steps, so that their verifiers are read as they were trained.

`StepCodec`, the layout of this project and of TRL, concatenates the ids of pieces. Most published verifiers were trained on
whole texts or chats instead, in which a tokenizer merges across pieces. A `Layout` writes that text, tokenizes it once, and
finds the tokens at which scores are read by their place in the text, never by their id: a problem that contains the marker,
or a marker of two tokens, cannot move a score. Of the prompt "2 + 3 + 4?" and the steps "2 + 3 = 5" and "5 + 4 = 9":

    form      text (⟦ ⟧ = a score is read at this token)
    pieces    2 + 3 + 4?⟦\n⟧...                                   ids of the pieces, as in `StepCodec`
    text      2 + 3 + 4? Step 1: 2 + 3 = 5⟦ ки⟧\nStep 2: 5 + 4 = 9⟦ ки⟧
    answer    <user>2 + 3 + 4?<assistant>2 + 3 = 5⟦<extra_0>⟧5 + 4 = 9⟦<extra_0>⟧
    turns     <user>2 + 3 + 4? 2 + 3 = 5<assistant⟦>⟧+<user>5 + 4 = 9<assistant⟦>⟧
    message   <user>2 + 3 + 4? 2 + 3 = 5\n5 + 4 = 9<assistant⟦>⟧

The text ends where the last score is read, because a causal model does not look further. An outcome reward model is read
once, at the end of the whole (`read`): that score is given to every step. Which family has which layout is said in
`prm.verifiers.families`. Left out: exemplars, and training in these layouts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from prm.encoding.codec import EncodedTrace, StepCodec, check_steps
from prm.encoding.prompts import bos

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Layout(StepCodec):
    """Has the fields of `StepCodec` with these meanings: `marker` is the text after every step, at whose last token a score
    is read, and `separator` the text between it and the next step; in the form `pieces` they are those of `StepCodec`."""

    form: Literal["pieces", "text", "answer", "turns", "message"] = "pieces"
    """What the module's docstring shows. In the last three, the prompt template's text begins the first user message."""
    read: Literal["steps", "end"] = "steps"
    """Where scores are read: after every step, or once, at the last token of the whole."""
    numbered: bool = False
    """Begin step i with "Step i: ", unless it does already."""
    bos: Literal["tokenizer", "always", "never"] = "tokenizer"
    """Whether pieces and text begin with a BOS token: as the tokenizer itself does, whenever it has one, or never. A chat
    has what its template writes."""
    eos: bool = False
    """End a text with the tokenizer's EOS token."""
    reply: str = "+"
    """What the assistant says to every step but the last, in the form `turns`."""
    pad_id: int | None = None
    """Tokens of this id at the end are not read: `AutoModelForSequenceClassification` takes them for padding."""

    def encode(self, tokenizer: PreTrainedTokenizerBase, prompt: str, steps: Sequence[str]) -> EncodedTrace:
        """As `StepCodec.encode`.

        Raises:
            ValueError: as there; the chat template changes what it is given; or a marker and the text after it are one
                token.
        """
        check_steps(prompt, steps)
        if self.form == "pieces":
            return self._with_bos(tokenizer, super().encode(tokenizer, prompt, steps))
        text, ends = self._write(tokenizer, prompt, [step.strip() for step in steps])
        plain = self.form == "text"
        found = tokenizer(
            text, add_special_tokens=plain and self.bos == "tokenizer", return_offsets_mapping=True, verbose=False
        )
        ids, spans = found["input_ids"], found["offset_mapping"]
        if self.read == "end":
            ids = ids + [tokenizer.eos_token_id] * self.eos
            last = len(ids) - 1
            while last and ids[last] == self.pad_id:
                last -= 1
            places = [last] * len(steps)
        else:
            # Of the tokens that begin before the end of a step, the last one: it holds the step's last character.
            starts = [start for start, _ in spans]
            places = [bisect_right(starts, end - 1) - 1 for end in ends]
            for place, end in zip(places, ends, strict=True):
                if spans[place][1] != end and (self.marker or self.form == "turns"):
                    raise ValueError(
                        f"{tokenizer.name_or_path} makes one token of {text[spans[place][0] : end]!r}, after which a score"
                        f" is read, and of {text[end : spans[place][1]]!r} after it; it is not the tokenizer of this layout"
                    )
        whole = EncodedTrace(tuple(ids[: places[-1] + 1]), tuple(places))
        return self._with_bos(tokenizer, whole) if plain and self.bos == "always" else whole

    def encode_many(
        self, tokenizer: PreTrainedTokenizerBase, traces: Sequence[tuple[str, Sequence[str]]]
    ) -> list[EncodedTrace]:
        return [self.encode(tokenizer, prompt, steps) for prompt, steps in traces]

    def remembering(self, tokenizer: PreTrainedTokenizerBase) -> Callable[[str, Sequence[str]], EncodedTrace]:
        """Each whole trace anew: what a step becomes depends on the text around it."""
        return partial(self.encode, tokenizer)

    def prompt_length(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> int:
        one, other = (self.encode(tokenizer, prompt, [step]).input_ids for step in ("0", "x"))
        return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

    def at_most(self, max_length: int) -> Layout:
        """The same for a model that reads no more tokens than these."""
        return replace(self, max_length=min(self.max_length, max_length))

    def _with_bos(self, tokenizer: PreTrainedTokenizerBase, encoded: EncodedTrace) -> EncodedTrace:
        """The same with the BOS token that this layout wants in place of what the tokenizer added to pieces."""
        if self.bos == "tokenizer":
            return encoded
        there = len(bos(tokenizer)) if self.form == "pieces" else 0
        wanted = () if self.bos == "never" or tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)
        moved = len(wanted) - there
        return EncodedTrace((*wanted, *encoded.input_ids[there:]), tuple(end + moved for end in encoded.step_ends))

    def _write(self, tokenizer: PreTrainedTokenizerBase, prompt: str, steps: Sequence[str]) -> tuple[str, list[int]]:
        """The text, and for every step the number of characters up to where its score is read."""
        question = self.prompt.render(prompt)
        numbers = [f"Step {i}: " if self.numbered else "" for i in range(1, len(steps) + 1)]
        parts = [
            ("" if step.startswith(number.strip()) else number) + step + (self.marker or "")
            for number, step in zip(numbers, steps, strict=True)
        ]
        messages = [] if self.prompt.system is None else [{"role": "system", "content": self.prompt.system}]
        if self.form == "turns":
            return self._write_turns(tokenizer, messages, [question + parts[0], *parts[1:]])
        written = question if self.form in ("text", "message") else ""
        ends: list[int] = []
        for i, part in enumerate(parts):
            written += (self.separator if i else "") + part
            ends.append(len(written))
        if self.form == "text":
            return written, ends
        if self.form == "message":
            text = self.prompt.render_chat(tokenizer, [*messages, {"role": "user", "content": written}])
            return text, [len(text)] * len(steps)
        messages.append({"role": "user", "content": question})
        before = self.prompt.render_chat(tokenizer, messages)
        messages.append({"role": "assistant", "content": written})
        text = _continued(tokenizer, self.prompt.render_chat(tokenizer, messages, answer=False), before + written)
        return text, [len(before) + end for end in ends]

    def _write_turns(
        self, tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], contents: Sequence[str]
    ) -> tuple[str, list[int]]:
        text = ""
        ends: list[int] = []
        for content in contents:
            before = text + self.reply * bool(ends)
            messages.append({"role": "user", "content": content})
            text = _continued(tokenizer, self.prompt.render_chat(tokenizer, messages), before)
            messages.append({"role": "assistant", "content": self.reply})
            ends.append(len(text))
        return text, ends


def _continued(tokenizer: PreTrainedTokenizerBase, text: str, before: str) -> str:
    """The text of a chat, which must begin with what an earlier part of it was."""
    if not text.startswith(before):
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} writes an answer otherwise than after its own start of the"
            f" assistant's turn ({before[-60:]!r} is not in the whole chat); use the template that came with the verifier"
        )
    return text
