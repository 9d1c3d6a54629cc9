"""Rollouts of a cluster, with a stand-in for Ray Data in this process: what is committed, and where a limit stops."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from prm.generators.scripted import ScriptedGenerator
from prm.sampling.limits import Limits
from prm.sampling.rollouts import Request, RolloutSource
from prm.storage.rollout_store import RolloutStore
from prm.types import Problem

PROBLEMS = [Problem(f"p/{i}", f"What is {i} + {i}?", str(2 * i), "p") for i in range(5)]
UNITS = [PROBLEMS[:2], PROBLEMS[2:4], PROBLEMS[4:]]


class Data:
    """What `fill_store` needs of a Ray data set: one actor, whose results come one by one."""

    def __init__(self, items):
        self._items = items

    def map_batches(self, actor, fn_constructor_args, **settings):
        assert (settings["batch_size"], settings["num_cpus"], settings["num_gpus"]) == (1, 1, None)
        self._actor, self._arguments = actor, fn_constructor_args
        return self

    def iter_batches(self, **settings):
        assert (settings["batch_size"], settings["prefetch_batches"]) == (
            1,
            0,
        )  # a unit is committed as soon as it is there
        actor = self._actor(*self._arguments)
        for item in self._items:
            yield actor({"payload": [item["payload"]]})


def opening(store):
    return store.folder, store.header, store.settings


def read_now(reader):
    """Reads like an actor's, each noted in `READ`."""
    READ.clear()
    return lambda problem_ids: (READ.append(list(problem_ids)), reader.read(problem_ids))[1]


READ = []


@pytest.fixture
def fill(tmp_path, monkeypatch):
    """`fill(limits)`: two rollouts of every problem; the prompts that this took, and what the store has."""
    cluster = pytest.importorskip("prm.sampling.cluster")
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(cluster.ray.data, "from_items", lambda items, override_num_blocks: Data(items))
    monkeypatch.setattr(cluster, "reader_of", lambda store: read_now(cluster._Reader(*opening(store))))

    def work(unit, source):
        return source.take([Request(problem, (), 2) for problem in unit])

    def run(limits):
        generator = ScriptedGenerator(lambda prefix, seed: f"#### {seed % 100}")
        store = RolloutStore(tmp_path / "store", {"generator": generator.name, "seed": 3})
        cluster.fill_store(store, UNITS, ids, work, lambda: generator, 3, 1, 0, limits)
        rollouts = [rollout for unit in UNITS for rollout in store.read(ids(unit))]
        store.close()
        return [prefix for prefix, _ in generator.calls], rollouts

    return run


def ids(unit):
    return [problem.id for problem in unit]


def test_a_cluster_samples_what_one_machine_does(fill):
    asked, rollouts = fill(limits := Limits())
    alone = RolloutSource(ScriptedGenerator(lambda prefix, seed: f"#### {seed % 100}"), seed=3)
    expected = alone.take([Request(problem, (), 2) for problem in PROBLEMS])
    assert rollouts == [rollout for rollouts_N in expected for rollout in rollouts_N]
    assert len(asked) == 10
    assert limits.sampled == sum(rollout.num_tokens for rollout in rollouts)
    assert fill(Limits()) == ([], rollouts)  # all of it is in the store


def test_what_the_store_has_is_read_when_the_turn_of_a_unit_comes(fill):
    fill(Limits(max_tokens=1))
    assert [ids(UNITS[0])] == READ
    fill(Limits())
    assert [ids(unit) for unit in UNITS] == READ


def test_a_limit_stops_after_the_unit_that_reaches_it_and_the_next_run_goes_on(fill):
    asked, rollouts = fill(Limits(max_tokens=1))
    assert {rollout.problem_id for rollout in rollouts} == {"p/0", "p/1"}
    assert len(asked) == 4
    asked, rollouts = fill(Limits())
    assert len(asked) == 6
    assert len(rollouts) == len(set(rollouts)) == 10


def test_the_reader_of_a_store_runs_on_its_node_and_takes_no_processor(tmp_path, monkeypatch):
    cluster = pytest.importorskip("prm.sampling.cluster")
    options = {}

    def remote(kind):
        return SimpleNamespace(options=lambda **its: options.update(its) or SimpleNamespace(remote=kind))

    monkeypatch.setattr(cluster.ray, "remote", remote)
    monkeypatch.setattr(cluster.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "ab" * 28))
    monkeypatch.chdir(tmp_path)
    generator = ScriptedGenerator(lambda prefix, seed: "#### 4")
    store = RolloutStore(Path("store"), {"generator": generator.name, "seed": 3})
    reader = cluster.reader_of(store).args[0]
    sampled = RolloutSource(generator, seed=3).take([Request(PROBLEMS[0], (), 2)])[0]
    store.append(sampled)
    assert reader.read(["p/0"]) == list(sampled)  # what was committed after it was made
    store.close()
    assert (options["num_cpus"], vars(options["scheduling_strategy"])) == (
        0,
        vars(cluster.NodeAffinitySchedulingStrategy("ab" * 28, soft=False)),
    )
    assert reader.store.folder == tmp_path / "store"
