r"""Problem -> prompt: zero-shot and few-shot chain of thought, and chat templates.

A `PromptTemplate` is data: it is saved with a checkpoint, so that sampling, training and scoring use the same one.
`"{prompt}"` in its text stands for the problem and is replaced literally, so that braces in LaTeX survive.

    >>> PROMPTS["zero_shot_cot"].render("What is 2 + 2?")
    "Q: What is 2 + 2?\nA: Let's think step by step.\n"

Zero-shot chain of thought is from Kojima et al. 2022 (arXiv:2205.11916), few-shot from Wei et al. 2022
(arXiv:2201.11903); the examples below are our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prm.types import StepRule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_FEW_SHOT = r"""Solve each problem. Write one step per line. End with a line "#### answer".

Q: A baker makes 4 trays of 12 rolls and sells 30 of them. How many rolls are left?
A: The baker makes 4 * 12 = 48 rolls.
There are 48 - 30 = 18 rolls left.
#### 18

Q: Ann is twice as old as Ben. Ben is 3 years older than Carl, who is 7. How old is Ann?
A: Ben is 7 + 3 = 10 years old.
Ann is 2 * 10 = 20 years old.
#### 20

Q: A shirt costs $25. With a discount of 20%, what do 3 shirts cost?
A: The discount on one shirt is 25 * 0.2 = $5.
One shirt costs 25 - 5 = $20.
Three shirts cost 3 * 20 = $60.
#### 60

Q: {prompt}
A: """


@dataclass(frozen=True)
class PromptTemplate:
    """How a problem becomes the token ids before the first step."""

    text: str = "{prompt}\n"
    chat: bool = False
    """Make `text` a user message of the tokenizer's chat template, up to the start of the assistant's turn."""
    system: str | None = None
    """System message; needs `chat`."""

    def __post_init__(self) -> None:
        if "{prompt}" not in self.text:
            raise ValueError(f"prompt template {self.text!r} has no {{prompt}}")
        if self.system is not None and not self.chat:
            raise ValueError("a system message needs chat: true")

    @property
    def step_rule(self) -> StepRule:
        """The usual rule for what models write after such a prompt: chat models paragraphs, base models lines."""
        return "paragraph" if self.chat else "line"

    def render(self, prompt: str) -> str:
        """The text with the problem filled in, without a chat template."""
        return self.text.replace("{prompt}", prompt)

    def encode(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
        """Token ids of the rendered prompt. They begin with a BOS token only if the tokenizer itself adds one."""
        text = self.render(prompt)
        if not self.chat:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            return [*bos(tokenizer), *ids]
        if tokenizer.chat_template is None:
            raise ValueError(f"{tokenizer.name_or_path} has no chat template; use a prompt template without chat")
        messages = [{"role": "user", "content": text}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        return ids  # type: ignore[return-value]  # with these flags it is a list of ids


def bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """[BOS] if this tokenizer adds it to texts, else []. Many tokenizers define a BOS token and never use it."""
    start = tokenizer("a")["input_ids"][:1]
    return start if start and start[0] == tokenizer.bos_token_id else []


PROMPTS: dict[str, PromptTemplate] = {
    "plain": PromptTemplate(),
    "zero_shot_cot": PromptTemplate("Q: {prompt}\nA: Let's think step by step.\n"),
    "few_shot_cot": PromptTemplate(_FEW_SHOT),
    "chat": PromptTemplate("{prompt}", chat=True),
    "chat_cot": PromptTemplate(
        '{prompt}\nThink step by step, one step per line. End with a line "#### answer".', chat=True
    ),
}


def prompt_template(name: str) -> PromptTemplate:
    """The template of this name. A flag's `choices` are checked on the command line only; this check covers YAML files."""
    if name not in PROMPTS:
        raise ValueError(f"prompt template {name!r} is not one of {', '.join(PROMPTS)}")
    return PROMPTS[name]
