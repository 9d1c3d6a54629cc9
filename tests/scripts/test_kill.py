"""Scripts that were killed (SIGKILL) and started again end with the same bytes as scripts that were not."""

import json
import os
import random
import signal
import time

import pytest

KILLS = int(os.environ.get("PRM_KILLS", "5"))
"""Of one writer, and as many of three; the work grows with them."""
PROBLEMS = 8 * KILLS // 5
SAMPLE = {
    "generator": "arithmetic",
    "problems": "arithmetic",
    "limit": PROBLEMS,
    "samples": 2,
    "max_new_tokens": 80,
    "chunk": 2,
}
LABEL = {"generator": "arithmetic", "max_new_tokens": 80}
METHODS = {
    "monte_carlo": {"method": "monte_carlo", "chunk": 2},
    "adaptive": {"method": "adaptive", "chunk": 4, "tolerance": 0.2},
}


@pytest.fixture(scope="module")
def traces(scripts, tmp_path_factory):
    """Two traces of each problem and the store they came from, by a run that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "traces.jsonl"
    done = scripts.run("data/sample_traces.py", output=path, **SAMPLE)
    assert done.code == 0, done.stderr
    assert len(path.read_text().splitlines()) == 2 * PROBLEMS
    return path


def size_of(folder) -> int:
    return sum(path.stat().st_size for path in folder.glob("rollouts-*.jsonl"))


def wait_for(folder, size) -> None:
    deadline = time.monotonic() + 60
    while size_of(folder) < size:
        assert time.monotonic() < deadline, "the store does not grow"
        time.sleep(0.002)


def rollouts_of(folder) -> list[dict]:
    rows = [json.loads(line) for path in folder.glob("rollouts-*.jsonl") for line in path.read_text().splitlines()]
    return sorted(rows, key=lambda row: (row["problem_id"], row["prefix"], row["index"]))


@pytest.fixture(scope="module")
def whole(scripts, traces):
    """Labels by a run that nobody disturbed, for a method; and its store."""
    made = {}

    def label(method):
        if method not in made:
            path = made[method] = traces.with_name(f"{method}.jsonl")
            flags = LABEL | METHODS[method] | {"traces": traces}
            done = scripts.run("data/label_steps.py", output=path, **flags)
            assert done.code == 0, done.stderr
        return made[method], made[method].with_name(f"{method}.jsonl.rollouts")

    return label


@pytest.mark.parametrize(("method", "kills"), [("monte_carlo", KILLS), ("adaptive", 2)])
def test_one_writer_killed_again_and_again(scripts, traces, whole, tmp_path, method, kills):
    expected, store = whole(method)
    flags = LABEL | METHODS[method] | {"traces": traces, "output": tmp_path / "torn.jsonl"}
    torn = tmp_path / "torn.jsonl.rollouts"
    rng = random.Random(0)
    rows = (store / "rollouts-0.jsonl").read_bytes()
    for kill in range(kills):
        pid = scripts.start("data/label_steps.py", **flags)
        wait_for(torn, 0.9 * kill / kills * len(rows))
        time.sleep(rng.uniform(0, 0.05))
        os.kill(pid, signal.SIGKILL)
        assert scripts.wait(pid).code == -signal.SIGKILL
        assert not (tmp_path / "torn.jsonl").exists()
    done = scripts.run("data/label_steps.py", **flags)
    assert done.code == 0, done.stderr
    assert (tmp_path / "torn.jsonl").read_bytes() == expected.read_bytes()
    assert (torn / "rollouts-0.jsonl").read_bytes() == rows
    assert (torn / "rollouts-0.index").read_bytes() == (store / "rollouts-0.index").read_bytes()
    assert sorted(path.name for path in torn.iterdir()) == [
        "labels",
        "lock",
        "rollouts-0.index",
        "rollouts-0.jsonl",
        "store.json",
    ]

    written = (tmp_path / "torn.jsonl").stat().st_mtime_ns
    again = scripts.run("data/label_steps.py", **flags)
    assert (again.code, again.stdout) == (0, f"{tmp_path / 'torn.jsonl'} is complete already\n")
    assert (tmp_path / "torn.jsonl").stat().st_mtime_ns == written


def test_three_writers_of_one_store_are_killed_at_random(scripts, traces, whole, tmp_path):
    """No rollout is lost, none is done twice, and the labels are those of one undisturbed writer."""
    expected, store = whole("monte_carlo")
    flags = LABEL | METHODS["monte_carlo"] | {"traces": traces, "output": tmp_path / "torn.jsonl"}
    torn = tmp_path / "torn.jsonl.rollouts"
    rng = random.Random(1)
    writers = [scripts.start("data/label_steps.py", **flags) for _ in range(3)]
    for kill in range(KILLS):
        # Early enough: three writers take little time for what is left after the last kill.
        wait_for(torn, 0.5 * kill / KILLS * size_of(store))
        time.sleep(rng.uniform(0, 0.05))
        victim = rng.randrange(3)
        os.kill(writers[victim], signal.SIGKILL)
        assert scripts.wait(writers[victim]).code == -signal.SIGKILL
        writers[victim] = scripts.start("data/label_steps.py", **flags)
    for writer in writers:
        done = scripts.wait(writer)
        assert done.code == 0, done.stderr
    assert (tmp_path / "torn.jsonl").read_bytes() == expected.read_bytes()
    assert len(list(torn.glob("rollouts-*.jsonl"))) > 1
    assert rollouts_of(torn) == rollouts_of(store)


def test_sampling_killed_twice(scripts, traces, tmp_path):
    output, torn = tmp_path / "traces.jsonl", tmp_path / "traces.jsonl.rollouts"
    whole = (traces.with_name("traces.jsonl.rollouts") / "rollouts-0.jsonl").read_bytes()
    rng = random.Random(1)
    for share in (0.2, 0.7):
        pid = scripts.start("data/sample_traces.py", output=output, **SAMPLE)
        wait_for(torn, share * len(whole))
        time.sleep(rng.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        assert scripts.wait(pid).code == -signal.SIGKILL
        assert not output.exists()
    done = scripts.run("data/sample_traces.py", output=output, **SAMPLE)
    assert done.code == 0, done.stderr
    assert (torn / "rollouts-0.jsonl").read_bytes() == whole
    assert output.read_bytes() == traces.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "traces.config.yaml",
        "traces.jsonl",
        "traces.jsonl.rollouts",
        "traces.meta.json",
    ]


def test_more_samples_cost_only_the_new_ones(scripts, traces, tmp_path):
    store = {"store": traces.with_name("traces.jsonl.rollouts")}
    before = len(rollouts_of(store["store"]))
    done = scripts.run("data/sample_traces.py", output=tmp_path / "more.jsonl", **(SAMPLE | store | {"samples": 3}))
    assert done.code == 0, done.stderr
    assert (before, len(rollouts_of(store["store"]))) == (2 * PROBLEMS, 3 * PROBLEMS)
    more = [json.loads(line) for line in (tmp_path / "more.jsonl").read_text().splitlines()]
    fewer = [json.loads(line) for line in traces.read_text().splitlines()]
    assert [row for row in more if row["index"] < 2] == fewer
