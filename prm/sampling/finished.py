"""FinishedTraces: the traces of problems that are done, beside the rollouts that they were made of.

A rollout of ten steps takes 180 microseconds to become a trace again: its token ids are read, its text is divided into
steps, and its answer is looked for. A run that goes on, and every further writer, would do that with all that was sampled
before. Traces that are found here take 24. They are a store of their own in the folder `traces` of that of the rollouts, as
labels are (`prm.labelers.finished`), with the same index, locks and checksums:

    rollouts-0.jsonl    {"problem_id": "arithmetic/train/7", "key": "9f2c...", "traces": [{"problem_id":
                         "arithmetic/train/7", "steps": ["47 + 38 = 75", "#### 75"], "answer": "75", ...}, ...]}

The key is a hash of the problem's text, its gold answer and the number of traces: those of anything else are not found.
Problems with a trace whose answer could not be checked are not kept, because it is checked again with its rollout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from prm.storage.rollout_store import RolloutStore
from prm.types import UNDECIDED, Problem, Trace


class FinishedTraces:
    """So many of each problem, in the store of their rollouts."""

    def __init__(self, store: RolloutStore, samples: int) -> None:
        self._samples = samples
        self._store = RolloutStore(store.folder / "traces", store.header, store.settings)

    def find(self, chunk: Sequence[Problem]) -> list[list[Trace]] | None:
        """The traces of each problem; None if any problem is not done: what is sampled together is read together. Traces
        that other writers have committed are found, too."""
        self._store.refresh()
        traces_P = []
        for problem in chunk:
            key = self._key(problem)
            found = [row["traces"] for row in self._store.read_rows([problem.id]) if row["key"] == key]
            if not found:
                return None
            traces_P.append([Trace(**(row | {"steps": tuple(row["steps"])})) for row in found[0]])
        return traces_P

    def add(self, chunk: Sequence[Problem], traces_P: Sequence[Sequence[Trace]]) -> None:
        """Keep the traces of problems; they are on disk when this returns."""
        rows = [
            {"problem_id": problem.id, "key": self._key(problem), "traces": [vars(trace) for trace in traces]}
            for problem, traces in zip(chunk, traces_P, strict=True)
            if not any(trace.status in UNDECIDED for trace in traces)
        ]
        if rows:
            self._store.append_rows(rows)

    def _key(self, problem: Problem) -> str:
        return hashlib.sha256(repr((self._samples, problem.prompt, problem.answer)).encode()).hexdigest()[:20]
