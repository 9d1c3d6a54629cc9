r"""What a generative verifier is asked about a trace, and how the verdicts in its critique are read.

One critique speaks of every step in order and ends each with a verdict: a marker and one of two words, such as
`\boxed{correct}`. Where the word stands, its probability is read against that of the other word. Nothing is guessed at: a
critique that has not exactly one verdict per step says nothing.

    Step 1: 47 + 38 is 85, not 75. This step is \boxed{incorrect}.          -> False
    Step 2: 75 - 12 is 63, which follows from step 1. \boxed{correct}.      -> True

The words of the usual form are those of ThinkPRM (Khalifa et al., arXiv:2504.16828), so that its models and its critiques
(`prm.conversions.critiques`) can be used.

A form `per_step` asks about one step after the other, each after the critiques of those before it (GenPRM, Zhao et al.,
arXiv:2504.00891): then a critique stands beside what it speaks of, and the score of a step does not depend on later ones.
The form of the embedded sets is one, and stays within their few tokens: the line that should stand there, and `#### 1` or
`#### 0` below it (`prm.datasets.arithmetic_critiques`). In ⟦ ⟧ is what the verifier writes:

    Start with 47, add 38, subtract 12.
    47 + 38 = 75
    ⟦47 + 38, carry 1 = 85
    #### 0⟧                        -> False
    75 - 12 = 63
    ⟦85 - 12 = 73
    #### 0⟧                        -> False: nothing is right after a wrong step

Left out: critiques that run programs (GenPRM), and a form `per_step` in a chat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THINKPRM = """\
You are given a math problem and a proposed step-by-step solution:

[Math Problem]

$problem

[Solution]

$solution

Review and critique each step in the proposed solution to determine whether each step is correct. If the solution is \
incomplete, only verify the provided steps."""

_NUMBER = re.compile(r"\s*Step \d+\s*:")


@dataclass(frozen=True)
class CritiqueForm:
    """How a trace becomes a question, and what a verdict looks like."""

    text: str = THINKPRM
    """The question; `$problem` stands for the problem and `$solution` for its steps, each on a line of its own."""
    numbered: bool = True
    """Begin step i with "Step i: ", unless it does already."""
    marker: str = "\\boxed{"
    """The text just before the word of a verdict."""
    good: str = "correct"
    bad: str = "incorrect"
    """The two words, which begin with different letters."""
    per_step: bool = False
    """Ask about one step at a time. Such a critique ends with its end token, or with a line that states an answer."""

    def __post_init__(self) -> None:
        if "$problem" not in self.text or "$solution" not in self.text:
            raise ValueError(f"text of a critique's form {self.text[:60]!r} needs $problem and $solution")
        if self.per_step and not self.text.endswith("\n$solution"):
            raise ValueError(f"text of a form per_step {self.text[-60:]!r} must end with a line of its own, $solution")
        if not self.marker or not self.good or not self.bad or self.good[0] == self.bad[0]:
            raise ValueError(
                f"marker {self.marker!r}, good {self.good!r}, bad {self.bad!r}: none may be empty, and the two words"
                " must begin with different letters"
            )

    def question(self, prompt: str, steps: Sequence[str], critiques: Sequence[str] = ()) -> str:
        """What the verifier is asked about these steps.

        Args:
            critiques: `per_step`, of the first steps; the step after them is asked about.

        >>> CritiqueForm("$problem\\n$solution").question("1 + 1?", ["1 + 1 = 2", "Step 2: so 2"])
        '1 + 1?\\nStep 1: 1 + 1 = 2\\nStep 2: so 2'
        """
        numbers = ["" if not self.numbered or _NUMBER.match(its) else f"Step {i}: " for i, its in enumerate(steps, 1)]
        lines = [number + step for number, step in zip(numbers, steps, strict=True)]
        if self.per_step:
            lines = [f"{line}\n{its}".rstrip() for line, its in zip(lines, [*critiques, ""], strict=False)]
        return Template(self.text).safe_substitute(problem=prompt, solution="\n".join(lines))

    def turns(self, prompt: str, steps: Sequence[str], critiques: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
        """Of a form `per_step` what a model learns from: the text before the first step, and of each step (what is given,
        what is to be written after it). One after the other they are its questions and their answers."""
        before = Template(self.text.removesuffix("\n$solution")).safe_substitute(problem=prompt)
        asked = [self.question(prompt, steps, critiques[:i]) for i in range(len(critiques))]
        pairs = []
        for i, (question, critique) in enumerate(zip(asked, critiques, strict=True)):
            given = question.removeprefix(f"{asked[i - 1]}\n{critiques[i - 1].rstrip()}\n" if i else f"{before}\n")
            pairs.append((f"{given}\n", f"{critique.rstrip()}\n"))
        return before, pairs

    def read(self, critique: str, num_steps: int) -> list[tuple[int, bool]] | None:
        """Of each step, the character at which the word of its verdict begins, and whether it is the good one; None if there
        is not one verdict per step.

        >>> CritiqueForm().read("5 is odd: \\\\boxed{correct}. So 5 is even: \\\\boxed{incorrect}.", 2)
        [(17, True), (48, False)]
        """
        word = rf"({re.escape(self.good)}|{re.escape(self.bad)})(?!\w)"
        found = [(its.start(1), its[1] == self.good) for its in re.finditer(re.escape(self.marker) + word, critique)]
        return found if len(found) == num_steps else None

    def word_ids(self, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
        """The tokens at which a good and a bad verdict differ after the marker.

        Raises:
            ValueError: the tokenizer makes the same tokens of both.
        """
        both = [tokenizer(self.marker + word, add_special_tokens=False)["input_ids"] for word in (self.good, self.bad)]
        differing = next(((a, b) for a, b in zip(*both, strict=False) if a != b), None)
        if differing is None:
            raise ValueError(
                f"{tokenizer.name_or_path} makes the same tokens of {self.marker + self.good!r} and"
                f" {self.marker + self.bad!r}; choose other words for the verdicts"
            )
        return differing


ARITHMETIC = CritiqueForm("$problem\n$solution", numbered=False, marker="#### ", good="1", bad="0", per_step=True)
"""The form of the embedded sets."""
