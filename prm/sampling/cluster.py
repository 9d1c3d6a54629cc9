"""Rollouts on a Ray cluster: the planners and generators of one machine, in actors on many, results into the same store.

The driver cuts the problems into units, as it does without Ray. Ray Data hands every unit, with what the store has for
it already, to one of `actors` processes, each with a generator of its own, and gives it to another if a process or a node
dies on the way. The driver alone writes to the store, so nodes need no shared file system, and what a unit samples does
not depend on where: labels are those of a single machine.

What a driver that is killed loses are the units on their way; it goes on with the others when it is started again. Left out:
commits inside a unit (keep --chunk small where rollouts are long), and autoscaling pools.

    --backend ray --actors 8 --gpus_per_actor 1 --engine vllm
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import ray
import ray.data
from tqdm import tqdm

from prm.generators import Generator
from prm.sampling.limits import Limits
from prm.sampling.rollouts import RolloutSource
from prm.storage.rollout_store import RolloutStore
from prm.types import Rollout

Unit = TypeVar("Unit")


class _Actor:
    def __init__(self, make_generator: Callable[[], Generator], seed: int, work: Callable) -> None:
        self.generator = make_generator()
        self.seed = seed
        self.work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        number, unit, known = pickle.loads(batch["payload"][0])
        sampled: list[Rollout] = []
        self.work(unit, RolloutSource(self.generator, self.seed, known, sampled.extend))
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
    payloads = [
        {"payload": pickle.dumps((number, unit, list(store.read(problem_ids(unit)))))}
        for number, unit in enumerate(units)
    ]
    results = ray.data.from_items(payloads, override_num_blocks=len(payloads)).map_batches(
        _Actor,
        fn_constructor_args=(make_generator, seed, work),
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
