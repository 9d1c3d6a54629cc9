"""What is wrong with many of the samples, and the flag to change: for the person who waits for a run that is worth nothing.

A wrong prompt or limit raises no error. A small model that copies `#### answer` out of its instruction gives 2% right
traces and a run that ends well.

    57 of 96 traces (59%) are a single step, such as gsm8k/train/3#0 (it ends '#### answer'): is it the right --prompt
    (chat_cot for chat models) and --step_rule (now paragraph)?
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.types import Trace

MANY = 1 / 3
"""Share of the traces from which on a symptom is worth a warning."""


def symptoms(traces: Sequence[Trace], max_new_tokens: int, reasoning: bool = True) -> list[str]:
    """One sentence for each thing that many of the traces have in common and should not.

    Args:
        reasoning: whether the prompt asks for more than the answer, which is one step.
    """
    rules = ", ".join(sorted({trace.step_rule for trace in traces if trace.step_rule}))
    found = []
    for what, affected, advice in (
        (
            f"were cut at --max_new_tokens {max_new_tokens}",
            [trace for trace in traces if not trace.finished],
            "raise it, or ask for shorter solutions (--prompt)",
        ),
        (
            "state no answer",
            [trace for trace in traces if trace.finished and trace.answer is None],
            "does --prompt ask for one, as chat_cot does, and can the model read it (a chat prompt for a chat model)?",
        ),
        (
            "are a single step",
            [t for t in traces if reasoning and t.finished and len(t.steps) == 1 and t.step_rule != "whole"],
            f"is it the right --prompt (chat_cot for chat models) and --step_rule (now {rules})?",
        ),
    ):
        if len(affected) > MANY * len(traces):
            example = affected[0]
            end = "".join(example.steps[-1:])[-80:]
            share = f"{len(affected)} of {len(traces)} traces ({len(affected) / len(traces):.0%})"
            found.append(f"{share} {what}, such as {example.id} (it ends {end!r}): {advice}")
    return found
