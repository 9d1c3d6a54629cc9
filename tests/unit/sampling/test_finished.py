"""Traces that are kept: found again as they were, without any rollout, and never those of something else."""

from dataclasses import replace

import pytest

from prm.generators.scripted import ScriptedGenerator
from prm.sampling.finished import FinishedTraces
from prm.sampling.rollouts import Request, RolloutSource
from prm.sampling.traces import trace_from_rollout
from prm.storage.rollout_store import RolloutStore
from prm.types import Problem

PROBLEMS = [Problem(f"set/{name}", f"What is 1 + 1, {name}?", "2", "set", kept={"topic": "sums"}) for name in "abc"]
CHUNKS = [PROBLEMS[:2], PROBLEMS[2:]]


@pytest.fixture
def open_store(tmp_path):
    return lambda: RolloutStore(tmp_path, {"generator": "scripted", "seed": 0})


def sample(store, finished, chunks=CHUNKS, samples=4):
    """The traces of all chunks, as `data/sample_traces.py` makes them."""
    texts = ("1 + 1 = 2\n#### 2\n", "1 + 1 = 3\n#### 3\n", "I do not know\n")
    generator = ScriptedGenerator(lambda prefix, seed: texts[seed % 3])
    traces = []
    for chunk in chunks:
        source = RolloutSource(generator, 0, store.read([problem.id for problem in chunk]), store.append)
        taken = source.take([Request(problem, (), samples) for problem in chunk])
        traces.append([[trace_from_rollout(rollout, (), generator) for rollout in rollouts] for rollouts in taken])
        finished.add(chunk, traces[-1])
    return traces


def test_what_is_done_is_found_without_its_rollouts_and_by_every_writer(open_store, tmp_path):
    store, other = open_store(), FinishedTraces(open_store(), 4)
    assert other.find(CHUNKS[0]) is None
    traces = sample(store, FinishedTraces(store, 4))
    (tmp_path / "rollouts-0.jsonl").unlink()
    for found in (FinishedTraces(store, 4), other):
        assert [found.find(chunk) for chunk in CHUNKS] == traces
    assert {trace.status for chunk in traces for its in chunk for trace in its} == {"ok", "no_answer"}
    assert other.find(PROBLEMS) == [*traces[0], *traces[1]]


def test_traces_of_something_else_are_not_found(open_store):
    store = open_store()
    sample(store, FinishedTraces(store, 4))
    found = FinishedTraces(store, 4)
    assert FinishedTraces(store, 5).find(CHUNKS[1]) is None
    for changed in (replace(PROBLEMS[0], answer="3"), replace(PROBLEMS[0], prompt="What is 1 + 2?")):
        assert found.find([changed, PROBLEMS[1]]) is None
    assert found.find([replace(PROBLEMS[0], level=3, kept={}), PROBLEMS[1]]) is not None  # no part of a trace


def test_a_killed_writer_loses_its_last_chunk_alone(open_store, tmp_path):
    store = open_store()
    sample(store, FinishedTraces(store, 4))
    index = tmp_path / "traces" / "rollouts-0.index"
    whole = index.read_bytes()
    index.write_bytes(whole[:-1])
    found = FinishedTraces(open_store(), 4)
    assert [found.find(chunk) is not None for chunk in CHUNKS] == [True, False]
    sample(store, found, CHUNKS[1:])
    assert index.read_bytes() == whole


def test_what_could_not_be_checked_is_not_kept(open_store):
    store = open_store()
    finished = FinishedTraces(store, 4)
    chunk = [[replace(PROBLEMS[0]), PROBLEMS[1]]]
    traces = sample(store, FinishedTraces(store, 8), chunk)
    traces[0][1][2] = replace(traces[0][1][2], status="timeout", correct=None)
    finished.add(chunk[0], traces[0])
    assert finished.find(chunk[0]) is None
    assert finished.find(chunk[0][:1]) == [traces[0][0]]
