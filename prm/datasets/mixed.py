"""Mixed problems: those with right and wrong traces, which alone tell a verifier what to choose among traces of one problem.

Where a problem is always or never solved, its traces teach how hard it is, and nothing about choosing. Labels of a problem
that is never solved are also the dearest: no rollout succeeds, so none ends a probe early.

    traces.jsonl of 16 problems x 4  ->  mixed.jsonl, 32 rows of 8 problems  ->  labels  ->  train.jsonl, validation.jsonl

Left out: balancing right and wrong traces (`prm.datasets.balance`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from prm.storage.jsonl import read_jsonl, write_jsonl

EVERY = 10
"""Of so many problems one is validated on, and one at least."""


def keep_mixed(traces: Path) -> Path:
    """Write mixed.jsonl beside a file of `data/sample_traces.py`: the usable traces of its mixed problems, and the record of
    their sampler, by which they are labeled.

    Raises:
        ValueError: fewer than two problems are mixed.
    """
    outcomes: dict[str, set[bool]] = {}
    rows = [row for _, row in read_jsonl(traces) if row["status"] == "ok"]
    for row in rows:
        outcomes.setdefault(row["problem_id"], set()).add(row["correct"])
    kept = [row for row in rows if len(outcomes[row["problem_id"]]) == 2]
    if len({row["problem_id"] for row in kept}) < 2:
        raise ValueError(
            f"{traces}: of its problems, fewer than two have right and wrong traces, so that no choice can be learned; give"
            " more problems, more samples of each, or a model that solves some of them"
        )
    mixed = traces.with_name("mixed.jsonl")
    write_jsonl(mixed, kept)
    shutil.copy(traces.with_name(f"{traces.stem}.config.yaml"), mixed.with_name("mixed.config.yaml"))
    return mixed


def divide(labeled: Path) -> tuple[Path, Path]:
    """Write train.jsonl and validation.jsonl beside a labeled file: the rows of every tenth problem are for validation."""
    rows = [row for _, row in read_jsonl(labeled)]
    held_out = set(list(dict.fromkeys(row["problem_id"] for row in rows))[::EVERY])
    parts = labeled.with_name("train.jsonl"), labeled.with_name("validation.jsonl")
    for path, inside in zip(parts, (False, True), strict=True):
        write_jsonl(path, [row for row in rows if (row["problem_id"] in held_out) == inside])
    return parts
