r"""Text to steps and back: the only place that knows where a step ends.

A step ends at a separator, `"\n"` by default. Step texts do not contain the separator, and blank text between two
separators is not a step. A trace ends with its final step, the one that states the answer:

    47 + 38 = 85\n85 - 12 = 73\n#### 73   ->   ("47 + 38 = 85", "85 - 12 = 73", "#### 73")

Left out: splitting a long chain of thought that marks no steps (see `data/README.md`).
"""

from __future__ import annotations

import re

DEFAULT_SEPARATOR = "\n"

_FINAL = re.compile(r"^\s*####\s*\S|\\boxed\{.+\}|\bthe (?:final )?answer is\b.*\w", re.IGNORECASE | re.DOTALL)


def split_steps(text: str, separator: str = DEFAULT_SEPARATOR) -> tuple[str, ...]:
    r"""
    >>> split_steps("a = 1\n\nb = 2\n#### 2")
    ('a = 1', 'b = 2', '#### 2')
    >>> split_steps("one\nline pair\n\nnext", separator="\n\n")
    ('one\nline pair', 'next')
    """
    return tuple(step.strip() for step in text.split(separator) if step.strip())


def is_final(step: str) -> bool:
    r"""Whether a step states the answer, so that nothing should follow it.

    >>> is_final("#### 73"), is_final("47 + 38 = 85"), is_final(r"So it is \boxed{4}."), is_final("The answer is 7.")
    (True, False, True, True)
    """
    return _FINAL.search(step) is not None


def complete_steps(text: str, separator: str = DEFAULT_SEPARATOR) -> list[str]:
    r"""The steps of an unfinished text that already end in a separator.

    >>> complete_steps("a = 1\n\nb = 2\nc =")
    ['a = 1', 'b = 2']
    """
    return [step.strip() for step in text.split(separator)[:-1] if step.strip()]
