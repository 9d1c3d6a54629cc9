r"""What a judge is asked, and how its answer is read.

The judge names the first wrong paragraph, as critics do in ProcessBench (Zheng et al. 2412.06559; so asked, reasoning
models reach an F1 of 83 to 88, GPT-4o 62). It says nothing of the paragraphs behind that one; the judge of Qwen's PRMs is
told to stop there, too (2501.07301): they may follow from the error, so that nobody can say whether they are right.

Three things are unlike ProcessBench's prompt, each against an answer that is read wrongly without a word. Paragraphs are
numbered from 1, because many traces write "Step 1:" themselves. The verdict is a line of its own instead of a number in
`\boxed{}`, because judges also put the problem's answer there, and quote the solution's. And "no error" is a word, not -1.

    47 + 38 is 85, not 75, so paragraph 1 is wrong.

    First wrong paragraph: 1                                  -> 0
    First wrong paragraph: none                               -> -1
    The first wrong paragraph is 1.                           -> None: asked again
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import Template

PROMPT = Template("""\
Below are a math problem and a solution to it. The solution is cut into paragraphs, numbered from 1, each between tags.

<problem>
$problem
</problem>

<solution>
$paragraphs
</solution>

Find the first paragraph that is wrong, if there is one. Go through the paragraphs in order. For each of them, do its \
calculations again and ask whether what it says is true and follows from the problem and the paragraphs before it. A \
final answer that is right does not make a wrong paragraph right. As soon as a paragraph is wrong, stop: the paragraphs \
behind it may depend on it and need no check.

Explain your checks. Then end your answer with exactly one line, with nothing behind it: either

First wrong paragraph: N

where N is the number in the tags of that paragraph, or, if no paragraph is wrong,

First wrong paragraph: none""")

_VERDICT = re.compile(r"First wrong paragraph: (\d+|none)\.?", re.IGNORECASE)


def judge_prompt(problem: str, steps: Sequence[str]) -> str:
    """The question about one trace."""
    paragraphs = [f"<paragraph_{i}>\n{step}\n</paragraph_{i}>" for i, step in enumerate(steps, 1)]
    return PROMPT.substitute(problem=problem, paragraphs="\n".join(paragraphs))


def read_verdict(answer: str, num_steps: int) -> int | None:
    """Index of the first wrong step, counted from 0; -1 if the judge finds none; None if its last line is no verdict.

    Bold type around it is allowed; anything else is not guessed at.

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
