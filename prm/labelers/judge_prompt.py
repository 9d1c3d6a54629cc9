r"""The judge's prompt, and how its answer is read.

The judge names the first wrong paragraph, as critics do in ProcessBench (Zheng et al. 2412.06559; asked in this way,
reasoning models reach an F1 of 83 to 88, GPT-4o 62). It says nothing about the paragraphs after that one. The judge of
Qwen's PRMs is also told to stop there (2501.07301): later paragraphs may follow from the error, so that nobody can say
whether they are right.

Three differences from ProcessBench's prompt prevent answers from being misread unnoticed. Paragraphs are numbered from 1,
because many traces write "Step 1:" themselves. The verdict is a separate line instead of a number in `\boxed{}`, because
judges also put the problem's answer there, or quote the solution's. And "no error" is a word, not -1.

    47 + 38 is 85, not 75, so paragraph 1 is wrong.

    First wrong paragraph: 1                                  -> 0
    First wrong paragraph: none                               -> -1
    The first wrong paragraph is 1.                           -> None: the judge is asked again
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import Template

PROMPT = Template("""\
Below are a math problem and a solution to it. The solution is divided into paragraphs, which are numbered from 1 and \
enclosed in tags.

<problem>
$problem
</problem>

<solution>
$paragraphs
</solution>

Find the first paragraph that is wrong, if there is one. Go through the paragraphs in order. For each paragraph, redo its \
calculations and check whether what it says is true and follows from the problem and the paragraphs before it. A correct \
final answer does not make a wrong paragraph right. Stop at the first wrong paragraph: the paragraphs after it may depend \
on it and do not need to be checked.

Explain your checks. Then end your answer with exactly one line, with nothing after it. If a paragraph is wrong, write

First wrong paragraph: N

where N is the number in the tags of the first wrong paragraph. If no paragraph is wrong, write

First wrong paragraph: none""")

_VERDICT = re.compile(r"First wrong paragraph: (\d{1,6}|none)\.?", re.IGNORECASE)


def judge_prompt(problem: str, steps: Sequence[str]) -> str:
    """The question about one trace."""
    paragraphs = [f"<paragraph_{i}>\n{step}\n</paragraph_{i}>" for i, step in enumerate(steps, 1)]
    return PROMPT.substitute(problem=problem, paragraphs="\n".join(paragraphs))


def read_verdict(answer: str, num_steps: int) -> int | None:
    """Index of the first wrong step, counted from 0; -1 if the judge finds none; None if the last line is not a verdict.

    Bold type around the verdict is allowed; nothing else is guessed at.

    >>> read_verdict("Fine so far. 3 * 4 is 12, not 13.\\n\\n**First wrong paragraph: 2**\\n", 3)
    1
    >>> read_verdict("First wrong paragraph: 7", 3) is None
    True
    """
    match = _VERDICT.fullmatch(answer.rstrip().rpartition("\n")[2].replace("*", "").strip())
    if match is None:
        return None
    if match[1].lower() == "none":
        return -1
    return int(match[1]) - 1 if 1 <= int(match[1]) <= num_steps else None
