"""FinishedLabels: the labels of problems that are done, beside the rollouts of their store.

A rollout takes 40 microseconds to read, so a run with 20 million of them would go on after a quarter of an hour. One that
finds its labels here reads a line for each problem, and rollouts only where some are missing. Every writer of the store
appends to a journal of its own (`prm.storage.journal`), and reads those of all once, when it starts.

    labels-0.jsonl    {"key": "9f2c...", "rollouts": 40, "tokens": 812, "duplicates": 3, "outcomes": {"correct": 25, ...},
                       "labeled": [{"prompt": "Start with 47, add 38.", "completions": [...], "labels": [...], ...}, ...]}

The key is a hash of the planner with its options, of generator and seed, and of the problem with its gold answer and its
traces: labels of anything else are not found. Problems with rollouts whose answer could not be checked are not kept, because
it is checked again each time they are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from prm.labelers import Group, Planner
from prm.labelers.reports import Spent
from prm.storage.journal import Journal
from prm.storage.rollout_store import RolloutStore
from prm.storage.rows import labeled_to_row, row_to_labeled
from prm.types import LabeledTrace, Rollout

HEADER = {"labels": 1}
"""Of the journals: their format."""


class FinishedLabels:
    """Those of one planner, in the store of its rollouts."""

    def __init__(self, store: RolloutStore, planner: Planner) -> None:
        self._store = store
        self._planner = planner
        self._journal: Journal | None = None
        self._rows: dict[str, dict[str, Any]] = {}
        for path in sorted(store.folder.glob("labels-*.jsonl")):
            self._rows |= {row["key"]: row for row in Journal(path, HEADER).rows()}

    def has(self, unit: Sequence[Group]) -> bool:
        """Whether all problems are done. What is sampled together is labeled together, so some are as good as none."""
        return all(self._key(group) in self._rows for group in unit)

    def find(self, unit: Sequence[Group], spent: Spent) -> list[list[LabeledTrace]] | None:
        """The labels of each problem, whose rollouts are added to those spent; None if not all are done (`has`)."""
        if not self.has(unit):
            return None
        labeled_P = []
        for row in (self._rows[self._key(group)] for group in unit):
            spent.add_counts(row["rollouts"], row["tokens"], row["duplicates"], row["outcomes"])
            labeled_P.append([row_to_labeled("labels", labeled).labeled for labeled in row["labeled"]])
        return labeled_P

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
                rows.append({"key": self._key(group), **vars(spent), "labeled": labeled})
        if self._journal is None:
            path = self._store.folder / f"labels-{self._store.take_number()}.jsonl"
            self._journal = Journal(path, HEADER)
        if rows:
            self._journal.append(self._journal.next, rows)

    def _key(self, group: Group) -> str:
        problem, traces = group
        parts = (self._planner, sorted(self._store.header.items()), problem, list(traces))
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:20]
