"""AgentProcessBench (Fan et al. 2603.14465), `LulaCola/AgentProcessBench`: humans judged what agents with tools did.

    {"question": "...", "messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "Book a table."},
      {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]},
      {"role": "tool", "content": "none free"}, {"role": "assistant", "content": "There is none."}],
     "step_labels": {"2": 1, "4": -1}, "data_source": "tau2", "final_label": -1}

Labels mean correctness: 1 helps, -1 is wrong or harmful, 0 (without effect) is what `neutral` says, good by default. The
keys of `step_labels` are indices of messages, from 0. This is a benchmark: do not train on it.

Decisions:

- A step is a message of the assistant, with its calls of tools as JSON. What it answers to (results of tools, words of the
  user) stands before it in the same step, because it was not there when the step before was judged.
- The messages before the first one of the assistant are the problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from prm.conversions.prm800k import Neutral, judged, rating_labels
from prm.conversions.rows import Refused, Row, fields, labeled_row, question
from prm.storage.rows import need
from prm.storage.sources import cell_text

KEPT: tuple[str, ...] = ("data_source", "query_index", "sample_index", "final_label")


def import_row(where: str, row: Row, neutral: Neutral = "good") -> Iterator[Row]:
    messages = [fields(where, message) for message in need(where, row, "messages", list)]
    stated = row["step_labels"]
    stated = fields(where, json.loads(stated) if isinstance(stated, str) else stated)
    acts = [i for i, message in enumerate(messages) if message.get("role") == "assistant"]
    if unknown := stated.keys() - {str(i) for i in acts}:
        raise Refused("bad_label", f"{where}: `step_labels` names {min(unknown)}, which is no message of the assistant")
    ratings = rating_labels(neutral)
    starts = [0, *(i + 1 for i in acts)]
    kept = {name: cell_text(row[name]) or None for name in KEPT if name in row}
    yield labeled_row(
        "agent_process_bench",
        question(where, _texts(messages[: acts[0]] if acts else messages)),
        [_texts(messages[max(start, acts[0]) : i + 1]) for start, i in zip(starts[:-1], acts, strict=True)],
        [judged(where, stated.get(str(i)), ratings) for i in acts],
        semantics="correctness",
        method="human",
        kept=kept,
    )


def _texts(messages: Sequence[Row]) -> str:
    """`role: content` of each message, and its calls of tools."""
    lines = []
    for message in messages:
        calls = message.get("tool_calls")
        parts = [cell_text(message.get("content")), json.dumps(calls, ensure_ascii=False) if calls else ""]
        lines.append(f"{message.get('role')}: " + "\n".join(part for part in parts if part))
    return "\n".join(lines)
