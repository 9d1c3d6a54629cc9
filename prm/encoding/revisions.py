r"""Revisions: a prompt that shows earlier attempts at its problem (Snell et al. 2024, arXiv:2408.03314, sec. 6).

The one form in which a reviser is trained and sampled, and in which a verifier reads the history of an attempt: the problem,
the attempts, oldest first, and the problem again, with two blank lines between them. The problem comes again because it is
then where a generator that knows problems without attempts looks for it. Nothing says which attempt is right. What
results is a prompt like any other, so every template takes it, a chat template as one user message; without attempts it
is the problem's own.

    Start with 47, add 38.\n\n\n47 + 38 = 75\n#### 75\n\n\nStart with 47, add 38.
    and the reviser writes     47 + 38, carry 1 = 85\n#### 85

Left out: words such as "Earlier attempt:", which a model that was not trained on revisions would need, and which the
embedded vocabulary lacks.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.encoding.steps import separator_of
from prm.types import Trace

ATTEMPT_BREAK = "\n\n\n"
"""Text around an attempt; no step rule puts it between two steps."""

MEMORY = 4
"""Most attempts that are shown, as published."""


def revision_prompt(prompt: str, attempts: Sequence[Trace]) -> str:
    """The prompt for one more attempt after these."""
    return ATTEMPT_BREAK.join([prompt, *map(attempt_text, attempts), prompt]) if attempts else prompt


def attempt_text(attempt: Trace) -> str:
    return separator_of(attempt.step_rule or "line").join(attempt.steps)


def shown(attempts: Sequence[Trace], memory: int = MEMORY) -> tuple[Trace, ...]:
    """Those of a chain that its next attempt sees: the last ones that are finished and state an answer."""
    return tuple(attempt for attempt in attempts if attempt.usable)[-memory:]
