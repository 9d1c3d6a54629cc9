"""FinishedLabels: the labels of problems that are done, beside the rollouts of their store.

A rollout takes 30 microseconds to read, so a run with 20 million of them would go on after ten minutes, and so would every
further writer. One that finds its labels here reads a line for each problem, and rollouts only where labels are missing.
They are a store of their own in the folder `labels` of that of the rollouts (`prm.storage.rollout_store`), with the same
index, locks and checksums:

    rollouts-0.jsonl    {"problem_id": "arithmetic/train/7", "key": "9f2c...", "rollouts": 40, "tokens": 812,
                         "duplicates": 3, "outcomes": {"correct": 25, "wrong": 15}, "labeled": [{"prompt": "Start with 47,
                         add 38.", "completions": [...], "labels": [...], ...}, ...]}

The key is a hash of the planner with its options and of the problem with its gold answer and its traces: labels of anything
else are not found. Problems with rollouts whose answer could not be checked are not kept, because it is checked again each
time they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from prm.labelers import Group, Planner
from prm.labelers.reports import Spent
from prm.storage.rollout_store import RolloutStore
from prm.storage.rows import labeled_to_row, row_to_labeled
from prm.types import LabeledTrace, Rollout


class FinishedLabels:
    """Those of one planner, in the store of its rollouts."""

    def __init__(self, store: RolloutStore, planner: Planner) -> None:
        self._planner = planner
        self._store = RolloutStore(store.folder / "labels", store.header, store.settings)

    def find(self, unit: Sequence[Group], spent: Spent) -> list[list[LabeledTrace]] | None:
        """The labels of each problem, whose rollouts are added to those spent; None if any problem is not done: what is
        sampled together is labeled together. Labels that other writers have committed are found, too."""
        self._store.refresh()
        rows = []
        for group in unit:
            key = self._key(group)
            rows += [row for row in self._store.read_rows([group[0].id]) if row["key"] == key][:1]
        if len(rows) < len(unit):
            return None
        for row in rows:
            spent.add_counts(row["rollouts"], row["tokens"], row["duplicates"], row["outcomes"])
        return [[row_to_labeled("labels", labeled).labeled for labeled in row["labeled"]] for row in rows]

    def add(self, unit: Sequence[Group], labeled_P: Sequence[Sequence[LabeledTrace]], taken: Sequence[Rollout]) -> None:
        """Keep the labels of problems and what they took; they are on disk when this returns."""
        of_problem: dict[str, list[Rollout]] = {}
        for rollout in taken:
            of_problem.setdefault(rollout.problem_id, []).append(rollout)
        rows = []
        for group, labeled_N in zip(unit, labeled_P, strict=True):
            rollouts = of_problem.get(group[0].id, [])
            if all(rollout.decided or rollout.outcome == "too_long" for rollout in rollouts):
                spent = Spent()
                spent.add(rollouts)
                labeled = [labeled_to_row(group[0], its) for its in labeled_N]
                rows.append({"problem_id": group[0].id, "key": self._key(group), **vars(spent), "labeled": labeled})
        if rows:
            self._store.append_rows(rows)

    def _key(self, group: Group) -> str:
        problem, traces = group
        return hashlib.sha256(repr((self._planner, problem, list(traces))).encode()).hexdigest()[:20]
