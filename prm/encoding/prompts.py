r"""Problem -> prompt: direct answers, zero-shot and few-shot chain of thought, and chat templates.

A `PromptTemplate` is data: it is saved with a checkpoint, so that sampling, training and scoring use the same one.
`"{prompt}"` in its text stands for the problem and is replaced literally, so that braces in LaTeX survive.

    >>> print(PromptTemplate("Q: {prompt}\nA:", exemplars=(("1 + 1?", "1 + 1 = 2\n#### 2"),)).render("What is 2 + 2?"))
    Q: 1 + 1?
    A: 1 + 1 = 2
    #### 2
    <BLANKLINE>
    Q: What is 2 + 2?
    A:

Few-shot chain of thought is from Wei et al. 2022 (arXiv:2201.11903): solved problems, the exemplars, come first, as text or
as earlier turns of a chat. A base model then goes on with a problem of its own; its trace ends there (`another_problem`).
Zero-shot chain of thought is from Kojima et al. 2022 (arXiv:2205.11916): "Let's think step by step.", and a second call
that asks for the answer (`trigger`; `prm.generators.answer_call` makes it). Without reasoning that is the direct answer.

Some chat templates ask for today's date (Llama 3.2, SmolLM3, Granite, gpt-oss). Then a verifier would score the same trace
differently tomorrow, and the rollouts in a store would not be found again. Here no template reads the clock: the date is a
setting of the template (`date`), the same on every day unless it is changed, and it is saved with all the others.

    'Today is {{ strftime_now("%d %b %Y") }}.'   ->   'Today is {{ '26 Jul 2024' }}.'

A template of your own is a YAML file with the fields of `PromptTemplate`. Its exemplars come from a file beside it
(`prm.encoding.exemplars`), `shots` of them drawn with `seed`, or those that `ids` names:

    text: "Q: {prompt}\nA:"
    exemplars: exemplars.jsonl
    shots: 4

Left out: templates that would still read differently from one time to the next, which are refused.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from prm.encoding.chat_templates import render
from prm.encoding.exemplars import Exemplar, choose
from prm.files import read_settings
from prm.types import StepRule

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_EXEMPLARS = (
    (
        "A baker makes 4 trays of 12 rolls and sells 30 of them. How many rolls are left?",
        "The baker makes 4 * 12 = 48 rolls.\nThere are 48 - 30 = 18 rolls left.\n#### 18",
    ),
    (
        "Ann is twice as old as Ben. Ben is 3 years older than Carl, who is 7. How old is Ann?",
        "Ben is 7 + 3 = 10 years old.\nAnn is 2 * 10 = 20 years old.\n#### 20",
    ),
    (
        "A shirt costs $25. With a discount of 20%, what do 3 shirts cost?",
        "The discount on one shirt is 25 * 0.2 = $5.\nOne shirt costs 25 - 5 = $20.\nThree cost 3 * 20 = $60.\n#### 60",
    ),
)
"""Our own."""

_CLOCK_CALL = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")
_CHANGING = re.compile(r"strftime_now(?!\s+is\b)|\|\s*random\b|\blipsum\b")
"""What gives another text at another time. `strftime_now is defined` only asks whether there is a clock."""
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_OPENING = re.compile(r"(?:^|\n)[ \t]*(\w[^\n{}]*:)\s*\{prompt\}")
"""How the line begins in which a template states the problem: "Q:"."""


@dataclass(frozen=True)
class PromptTemplate:
    """How a problem becomes the token ids before the first step."""

    text: str = "{prompt}\n"
    chat: bool = False
    """Make `text` a user message of the tokenizer's chat template, up to the start of the assistant's turn."""
    system: str | None = None
    """System message; needs `chat`."""
    date: str = "2024-07-26"
    """The day that a chat template is told if it asks; the default is the one that Llama 3.2 names if there is no clock."""
    exemplars: tuple[Exemplar, ...] = ()
    """Solved problems that come first, each a problem and its solution."""
    trigger: str | None = None
    """Text that asks for the answer, in a call of its own after the reasoning."""
    reasoning: bool = True
    """False: the answer is asked for at once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "exemplars", _pairs(self.exemplars))  # lists, where it comes from JSON
        for name, kind in get_type_hints(type(self)).items():
            if name == "exemplars":
                continue
            if not isinstance(value := getattr(self, name), kind):  # YAML's `chat: maybe` would count as true
                needed = "true or false" if kind is bool else "text, in quotes if YAML would read it otherwise"
                raise ValueError(f"{name} of a prompt template is {value!r}; it must be {needed}")
        if "{prompt}" not in self.text:
            raise ValueError(f"prompt template {self.text!r} has no {{prompt}}")
        if self.system is not None and not self.chat:
            raise ValueError("a system message needs chat: true")
        if self.trigger is None and not self.reasoning:
            raise ValueError("reasoning: false needs a trigger, the text that asks for the answer")
        try:
            datetime.date.fromisoformat(self.date)
        except ValueError as error:
            raise ValueError(f"date {self.date!r} of a prompt template is no day such as 2024-07-26") from error

    @property
    def step_rule(self) -> StepRule:
        """The usual rule for what models write after such a prompt: chat models paragraphs, base models lines, and both what
        the exemplars show."""
        if self.exemplars:
            return "paragraph" if any("\n\n" in solution for _, solution in self.exemplars) else "line"
        return "paragraph" if self.chat else "line"

    @property
    def lead(self) -> str:
        """What is between the prompt and the first step: a blank, if the text ends in the middle of a line ("A:")."""
        return "" if self.chat or self.text[-1].isspace() else " "

    @property
    def another_problem(self) -> str | None:
        """How a line begins with which a base model goes on to a problem of its own; None where nothing tells it."""
        opening = None if self.chat else _OPENING.search(self.text)
        return opening and opening[1]

    def render(self, prompt: str) -> str:
        """The text with the problem filled in, after that of the exemplars, without a chat template."""
        solved = [self._fill(problem) + self.lead + solution + "\n\n" for problem, solution in self.exemplars]
        return "".join([*solved, self._fill(prompt)])

    def _fill(self, prompt: str) -> str:
        return self.text.replace("{prompt}", prompt)

    def encode(self, tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
        """Token ids of the rendered prompt. They begin with a BOS token only if the tokenizer itself adds one.

        Raises:
            ValueError: `chat`, and the tokenizer has no chat template, or one that cannot be rendered or not be fixed.
        """
        if not self.chat:
            ids = tokenizer(self.render(prompt), add_special_tokens=False)["input_ids"]
            return [*bos(tokenizer), *ids]
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        for problem, solution in self.exemplars:
            messages.append({"role": "user", "content": self._fill(problem)})
            messages.append({"role": "assistant", "content": solution})
        messages.append({"role": "user", "content": self._fill(prompt)})
        return tokenizer(self.render_chat(tokenizer, messages), add_special_tokens=False)["input_ids"]

    def render_chat(
        self, tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, str]], answer: bool = True
    ) -> str:
        """The text of a chat, up to the start of the assistant's turn if an `answer` is to follow.

        Raises:
            ValueError: the tokenizer has no chat template, or one that cannot be rendered or not be fixed.
        """
        values = tokenizer.special_tokens_map | {"messages": messages, "add_generation_prompt": answer}
        try:
            return render(self.fixed_chat_template(tokenizer), values | {"tools": None, "documents": None})
        except ValueError as error:
            raise ValueError(
                f"the chat template of {tokenizer.name_or_path} {error}; correct it in the model's folder, or use a prompt"
                " template without chat"
            ) from error

    def fixed_chat_template(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The tokenizer's chat template with `date` in the place of the clock: it gives the same text on every day.

        Raises:
            ValueError: the tokenizer has no chat template, or its text would still change from one time to the next.
        """
        if tokenizer.chat_template is None:
            raise ValueError(f"{tokenizer.name_or_path} has no chat template; use a prompt template without chat")
        try:
            return _without_clock(tokenizer.get_chat_template(), self.date)
        except ValueError as error:
            raise ValueError(f"the chat template of {tokenizer.name_or_path} {error}") from error


@lru_cache(maxsize=16)  # every prompt of a run asks for the same one
def _without_clock(chat_template: str, date: str) -> str:
    """Every call of the clock replaced by what it gives on this date, as a text."""
    day = datetime.date.fromisoformat(date)
    fixed = _CLOCK_CALL.sub(lambda call: repr(day.strftime(call[2])), chat_template)
    changing = _CHANGING.search(_COMMENT.sub("", fixed))
    if changing is not None:
        raise ValueError(
            f"would give another text at another time (it uses {changing[0].lstrip('| ')}, and not as"
            ' `strftime_now("%d %b %Y")`, which is fixed); scores and samples could not be repeated. Write the text itself'
            " into the template, or use a prompt template without chat"
        )
    return fixed


def _pairs(exemplars: Sequence[Sequence[str]]) -> tuple[Exemplar, ...]:
    if not all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in exemplars):
        raise ValueError(f"exemplars {exemplars!r:.80}: each must be a problem and its solution, both texts")
    return tuple((problem, solution) for problem, solution in exemplars)


def bos(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """[BOS] if this tokenizer adds it to texts, else []. Many tokenizers define a BOS token and never use it."""
    start = tokenizer("a")["input_ids"][:1]
    return start if start and start[0] == tokenizer.bos_token_id else []


PROMPTS: dict[str, PromptTemplate] = {
    "plain": PromptTemplate(),
    "direct": PromptTemplate("Q: {prompt}\nA:", trigger="The answer is", reasoning=False),
    "zero_shot_cot": PromptTemplate("Q: {prompt}\nA: Let's think step by step.\n", trigger="Therefore, the answer is"),
    "few_shot_cot": PromptTemplate("Q: {prompt}\nA:", exemplars=_EXEMPLARS),
    "chat": PromptTemplate("{prompt}", chat=True),
    "chat_cot": PromptTemplate(
        "{prompt}\nPlease reason step by step, and put your final answer within \\boxed{}.", chat=True
    ),
}
"""By name. The instruction of `chat_cot` is the one that Qwen's and DeepSeek's models are evaluated with. It holds no
placeholder: a small model copies it in place of an answer (`data/steps.md` has figures)."""

HELP = f"{', '.join(PROMPTS)}, or a YAML file of your own (data/prompting.md)"
"""What a flag for a prompt takes."""

CHOICE = ("shots", "seed", "ids")
"""Keys of a YAML file that say which exemplars of their file are taken."""


def prompt_template(name: str) -> PromptTemplate:
    """The template of this name, or of a YAML file.

    Raises:
        ValueError: no such name; or the file has an unknown key, a value of another type, a text without `{prompt}`, or
            exemplars that cannot be chosen.
        FileNotFoundError: no such file.
    """
    if name in PROMPTS:
        return PROMPTS[name]
    values = _read(name)
    try:
        choice = {key: values.pop(key) for key in CHOICE if key in values}
        if "exemplars" in values:
            values["exemplars"] = choose(_beside(name, values["exemplars"]), **choice)
        elif choice:
            raise ValueError(f"{', '.join(choice)} without exemplars, the file from which they are taken")
        return PromptTemplate(**values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def files_of(name: str) -> list[str]:
    """The files that a template is made of: a run whose output depends on it compares their content."""
    if name in PROMPTS:
        return []
    exemplars = _read(name).get("exemplars")
    return [name] if exemplars is None else [name, str(_beside(name, exemplars))]


def _read(name: str) -> dict[str, Any]:
    """The keys of a YAML file."""
    if not name.endswith((".yaml", ".yml")):
        raise ValueError(f"prompt template {name!r} is not one of {', '.join(PROMPTS)}, and no YAML file")
    values = read_settings(name, "a prompt template is a YAML file, such as those in data/prompts")
    keys = {*CHOICE, *(f.name for f in fields(PromptTemplate))}
    if values.keys() - keys:
        raise ValueError(
            f"{name}: a prompt template has the keys {', '.join(sorted(keys))}; the file holds {values!r:.200}"
        )
    return values


def _beside(name: str, exemplars: object) -> Path:
    """The file of the exemplars; its path counts from the folder of the template."""
    if not isinstance(exemplars, str):
        raise ValueError(f"exemplars is {exemplars!r:.80}; it must be the path of a JSON Lines file")
    return Path(name).parent / exemplars
