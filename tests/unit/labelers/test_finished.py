"""Labels that are kept: found again as they were, without any rollout, and never those of something else."""

import json
from dataclasses import replace

import pytest

from prm.generators.scripted import ScriptedGenerator
from prm.labelers import run
from prm.labelers.finished import FinishedLabels
from prm.labelers.first_error import FirstError
from prm.labelers.monte_carlo import MonteCarlo
from prm.labelers.reports import Spent
from prm.sampling.rollouts import RolloutSource
from prm.storage.rollout_store import RolloutStore
from prm.types import Problem, Trace


def group(name, answer="2"):
    problem = Problem(f"set/{name}", f"What is 1 + 1, {name}?", answer, "set", kept={"topic": "sums"})
    steps = ("1 + 1 = 2", "so 2", f"#### {answer}")
    return problem, [Trace(problem.id, steps, answer, True, "someone", index=i, kept={"by": "x"}) for i in range(2)]


UNITS = [[group("a"), group("b", "3")], [group("c")]]


@pytest.fixture
def open_store(tmp_path):
    return lambda: RolloutStore(tmp_path, {"generator": "scripted", "seed": 0})


def label(store, planner, finished, units=UNITS):
    """Labels and costs of all units, as `data/label_steps.py` makes them."""
    generator = ScriptedGenerator(lambda prefix, seed: f"#### {2 + seed % 2}\n")
    labeled, spent = [], Spent()
    for unit in units:
        source = RolloutSource(generator, 0, store.read([problem.id for problem, _ in unit]), store.append)
        labeled.append(run(planner, unit, source))
        finished.add(unit, labeled[-1], source.all_taken())
        spent.add(source.all_taken())
    return labeled, spent


def is_found(finished, unit):
    return finished.find(unit, Spent()) is not None


def test_what_is_done_is_found_without_its_rollouts_and_by_every_writer(open_store, tmp_path):
    planner, store, other = MonteCarlo(4), open_store(), open_store()
    labeled, spent = label(store, planner, FinishedLabels(store, planner))
    (tmp_path / "rollouts-0.jsonl").unlink()
    for writer in (store, other):
        again, found = Spent(), FinishedLabels(writer, planner)
        assert [found.find(unit, again) for unit in UNITS] == labeled
        assert vars(again) == vars(spent)
        assert again.rollouts == 3 * 2 * 4  # two open prefixes, which both traces of a problem share


def test_labels_of_something_else_are_not_found(open_store):
    planner, store = MonteCarlo(4), open_store()
    label(store, planner, FinishedLabels(store, planner))
    found = FinishedLabels(store, planner)
    (problem, traces), second = UNITS[0]
    assert is_found(found, [second, (problem, traces)])
    for changed in (
        (replace(problem, answer="7"), traces),
        (problem, traces[:1]),
        (problem, [replace(traces[0], steps=("1 + 1 = 3", "#### 2")), traces[1]]),
    ):
        spent = Spent()
        assert found.find([changed, second], spent) is None
        assert spent.rollouts == 0
    for other in (MonteCarlo(8), FirstError(4)):
        assert not any(is_found(FinishedLabels(store, other), unit) for unit in UNITS)


def test_what_another_writer_finishes_meanwhile_is_found(open_store):
    planner, store, other = MonteCarlo(4), open_store(), open_store()
    waiting = FinishedLabels(other, planner)
    assert not is_found(waiting, UNITS[1])
    labeled, _ = label(store, planner, FinishedLabels(store, planner))
    assert waiting.find(UNITS[1], Spent()) == labeled[1]


def test_a_killed_writer_loses_its_last_unit_alone(open_store, tmp_path):
    planner, store = MonteCarlo(4), open_store()
    label(store, planner, FinishedLabels(store, planner))
    index = tmp_path / "labels" / "rollouts-0.index"
    whole = index.read_bytes()
    index.write_bytes(whole[:-1])
    found = FinishedLabels(open_store(), planner)
    assert [is_found(found, unit) for unit in UNITS] == [True, False]
    label(store, planner, found, UNITS[1:])
    assert index.read_bytes() == whole


def test_what_could_not_be_checked_is_not_kept(open_store):
    planner, store = MonteCarlo(4), open_store()
    finished = FinishedLabels(store, planner)
    labeled, _ = label(store, planner, finished, UNITS[1:])
    taken = list(store.read(["set/c"]))
    later = FinishedLabels(store, MonteCarlo(8))
    later.add(UNITS[1], labeled[0], [replace(taken[0], outcome="timeout"), *taken[1:]])
    assert not is_found(FinishedLabels(store, MonteCarlo(8)), UNITS[1])


def test_what_two_writers_have_finished_is_found_once(open_store, tmp_path):
    planner, store = MonteCarlo(4), open_store()
    finished = FinishedLabels(store, planner)
    labeled, _ = label(store, planner, finished, UNITS[1:])
    finished.add(UNITS[1], labeled[0], [])
    rows = [json.loads(line) for line in (tmp_path / "labels/rollouts-0.jsonl").read_text().splitlines()]
    assert [len(row["key"]) for row in rows] == [20, 20]
    assert finished.find(UNITS[1], Spent()) == labeled[0]
