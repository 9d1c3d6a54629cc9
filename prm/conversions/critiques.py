r"""Critiques with verdicts, from which generative verifiers learn: ThinkPRM's (2504.16828) and GenPRM's (2504.00891).

    {"problem": "...", "prefix_steps": ["Step 1: ..."], "gt_step_labels": ["+"], "cot": "Step 1: ... \\boxed{correct} ..."}
    {"conversations": [{"role": "system", ...}, {"role": "user", "content": "Question: ...\n\n<first step>"},
      {"role": "assistant", "content": "<analyze>...</analyze>\n<output>\n**Judgement**: $\\boxed{Yes}$\n</output>"}, ...]}

Labels mean correctness: of ThinkPRM they are those of PRM800K's labelers, of GenPRM the verdicts, which were kept where
rollouts and a judge agreed. So both sets train a PRM like any other. The critique stays with the trace (`critique` of its
kept columns), and `--target critiques` makes a prompt and a completion of each, for recipes/train_generator.py.

Decisions:

- A turn of GenPRM's assistant without a verdict (`\boxed{Yes}` or `\boxed{No}`, the last one counts) labels nothing.
- GenPRM's first turn holds the question, too. Its steps were divided at blank lines, so they have none, and the last blank
  line divides question and step; where a later step has one after all, the row has the status `no_first_step`.
- GenPRM's critiques answer one step each; they are one text here, in their order.
- The prompt is ThinkPRM's, so that a model that learns it can be used as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from prm.conversions.rows import Refused, Row, fields, labeled_row, question, signs, step_texts
from prm.encoding.critiques import CritiqueForm
from prm.storage.rows import need

_VERDICT = re.compile(r"\\boxed\{(?:\\text\{)?(yes|no)\b", re.IGNORECASE)


def import_thinkprm(where: str, row: Row) -> Iterator[Row]:
    steps = step_texts(where, need(where, row, "prefix_steps", list))
    labels = signs(where, need(where, row, "gt_step_labels", list))
    if len(labels) != len(steps):
        raise Refused("bad_label", f"{where}: {len(steps)} steps but {len(labels)} labels; fix or remove the row")
    yield labeled_row(
        "thinkprm",
        question(where, need(where, row, "problem", str)),
        steps,
        labels,
        semantics="correctness",
        method="human",
        kept={"critique": need(where, row, "cot", str)},
    )


def import_genprm(where: str, row: Row) -> Iterator[Row]:
    turns = [fields(where, turn) for turn in need(where, row, "conversations", list)]
    turns = turns[1:] if turns and turns[0].get("role") == "system" else turns
    roles = [turn.get("role") for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        raise ValueError(f"{where}: the turns must be the user's and the assistant's in turn, they are {roles!r:.80}")
    texts = [need(where, turn, "content", str).strip() for turn in turns]
    asked, blank, first = texts[0].removeprefix("Question:").rpartition("\n\n")
    steps, critiques = [first, *texts[2::2]], texts[1::2]
    is_divided = bool(blank) and not any("\n\n" in step for step in steps)
    yield labeled_row(
        "genprm",
        question(where, asked if is_divided else texts[0]),
        steps,
        [_verdict(critique) for critique in critiques],
        semantics="correctness",
        method="judge and rollouts",
        status="ok" if is_divided else "no_first_step",
        kept={"critique": "\n\n".join(critiques)},
    )


def export_row(prompt: str, steps: Sequence[str], critique: str) -> Row:
    """The prompt of a generative verifier, and what it should answer."""
    return {"prompt": CritiqueForm().question(prompt, steps), "completion": critique}


def _verdict(critique: str) -> bool | None:
    found = _VERDICT.findall(critique)
    return found[-1].lower() == "yes" if found else None
