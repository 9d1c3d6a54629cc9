"""Rollouts, stores of them and problems to label, without a model, for benchmarks.

A store holds 64 rollouts of 200 tokens of each problem, eight after each of eight prefixes:

    Rollout("p/0", "0000000000000007", 3, 59, (49673, ...), "some text some text ...", "answer", "7", "wrong")
"""

from __future__ import annotations

import random
import tempfile

from prm.labelers import Group
from prm.storage.rollout_store import RolloutStore
from prm.types import Problem, Rollout, Trace

PROBLEM_ROLLOUTS = 64
"""Of each problem in a store."""


def rollouts(size: int) -> list[Rollout]:
    """So many, of one problem after the other."""
    rng, text = random.Random(0), "some text " * 60
    ids_P = [tuple(rng.randrange(50_000) for _ in range(200)) for _ in range(PROBLEM_ROLLOUTS)]
    made = []
    for i in range(size):
        problem, number = divmod(i, PROBLEM_ROLLOUTS)
        prefix = f"{number // 8:016x}"
        made.append(Rollout(f"p/{problem}", prefix, i % 8, i, ids_P[number], text, "answer", "7", "wrong"))
    return made


def new_store(folder: tempfile.TemporaryDirectory) -> RolloutStore:
    """The store in this folder, as a run opens it that begins or goes on."""
    return RolloutStore(folder.name, {"generator": "bench", "seed": 0})


def full_store(size: int) -> tempfile.TemporaryDirectory:
    """The folder of a store of so many rollouts; it is gone when nobody holds it."""
    folder = tempfile.TemporaryDirectory()
    new_store(folder).append(rollouts(size))
    return folder


def to_label(size: int) -> list[list[Group]]:
    """Units of 16 problems with two traces each, whose rollouts are so many."""
    groups: list[Group] = []
    for i in range(size // PROBLEM_ROLLOUTS):
        problem = Problem(f"p/{i}", "How many?", "7", "bench")
        steps = tuple(f"{k} + {k} = {2 * k}, as one sees at once" for k in range(5))
        groups.append((problem, [Trace(problem.id, steps, "7", True, index=k) for k in range(2)]))
    return [groups[i : i + 16] for i in range(0, len(groups), 16)]
