"""Rollouts on a Ray cluster: the planners and generators of one machine, in actors on many, results into the same store.

The driver cuts the problems into units, as it does without Ray. Ray Data hands every unit to one of `actors` processes, each
with a generator of its own, and gives it to another if a process or a node dies on the way. What the store has for a unit
is read when its turn comes, by a process beside the driver: a store of millions of rollouts does not travel at once. The
driver alone writes to the store, so nodes need no shared file system, and what a unit samples does not depend on where:
labels are those of a single machine.

What a driver that is killed loses are the units on their way; it goes on with the others when it is started again. Left out:
commits inside a unit (keep --chunk small where rollouts are long), and autoscaling pools.

    --backend ray --actors 8 --gpus_per_actor 1 --engine vllm
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.data
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from prm.generators import Generator
from prm.sampling.limits import Limits
from prm.sampling.rollouts import RolloutSource
from prm.storage.rollout_store import RolloutStore
from prm.types import Rollout

Unit = TypeVar("Unit")


class _Reader:
    """Reads a store; an actor on the node that has it."""

    def __init__(self, folder: Path, header: dict[str, Any], settings: dict[str, Any]) -> None:
        self.store = RolloutStore(folder, header, settings)

    def read(self, problem_ids: Sequence[str]) -> list[Rollout]:
        self.store.refresh()
        return list(self.store.read(problem_ids))


def reader_of(store: RolloutStore) -> Callable[[Sequence[str]], list[Rollout]]:
    """What the store has for some problems, for processes on any node."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    kind = ray.remote(_Reader).options(num_cpus=0, scheduling_strategy=here)
    return partial(_ask, kind.remote(store.folder.absolute(), store.header, store.settings))


def _ask(reader: Any, problem_ids: Sequence[str]) -> list[Rollout]:
    return ray.get(reader.read.remote(problem_ids))


class _Actor:
    def __init__(
        self,
        make_generator: Callable[[], Generator],
        seed: int,
        work: Callable,
        known: Callable[[Sequence[str]], list[Rollout]],
    ) -> None:
        self.generator = make_generator()
        self.seed = seed
        self.work = work
        self.known = known

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        number, unit, problem_ids = pickle.loads(batch["payload"][0])
        sampled: list[Rollout] = []
        self.work(unit, RolloutSource(self.generator, self.seed, self.known(problem_ids), sampled.extend))
        return {"payload": [pickle.dumps((number, sampled))]}


def fill_store(
    store: RolloutStore,
    units: Sequence[Unit],
    problem_ids: Callable[[Unit], Sequence[str]],
    work: Callable[[Unit, RolloutSource], object],
    make_generator: Callable[[], Generator],
    seed: int,
    actors: int,
    gpus_per_actor: float,
    limits: Limits,
) -> None:
    """Do `work` for every unit on the cluster and commit what it samples, until a limit is reached.

    The cluster is the one that `RAY_ADDRESS` names, or one of this machine's own.

    Args:
        work: takes rollouts from the source it is given (`prm.labelers.run`, or `source.take`).
        make_generator: called once in every actor.
        actors: processes with a generator; Ray starts them where there is room.
    """
    if not ray.is_initialized():
        ray.init()
    payloads = [{"payload": pickle.dumps((number, unit, problem_ids(unit)))} for number, unit in enumerate(units)]
    results = ray.data.from_items(payloads, override_num_blocks=len(payloads)).map_batches(
        _Actor,
        fn_constructor_args=(make_generator, seed, work, reader_of(store)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=gpus_per_actor or None,
    )
    batches = results.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=0)
    for batch in tqdm(batches, total=len(units), unit="chunk", desc="ray"):
        number, sampled = pickle.loads(batch["payload"][0])
        unit = units[number]
        with store.claim(problem_ids(unit), wait=True):
            there = {(r.problem_id, r.prefix, r.index) for r in store.read(problem_ids(unit))}
            new = [r for r in sampled if (r.problem_id, r.prefix, r.index) not in there]
            if new:
                store.append(new)
                limits.add(sum(rollout.num_tokens for rollout in new))
        if limits.reached:  # what the actors are sampling now is lost
            break
