"""Labeling on a Ray cluster of two nodes, one of which is killed in the middle of the work."""

import json
import os
import time

import pytest

LABEL = {"generator": "arithmetic", "max_new_tokens": 80, "chunk": 2, "rollouts": 2}


@pytest.fixture
def cluster():
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    # A killed node is missed after seconds instead of half a minute.
    prompt = {"health_check_period_ms": 500, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 5}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": prompt}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


def test_a_killed_node_loses_nothing(cluster, scripts, tmp_path):
    traces, output = tmp_path / "traces.jsonl", tmp_path / "labeled.jsonl"
    sampling = {"generator": "arithmetic", "problems": "arithmetic", "limit": 24, "samples": 2, "max_new_tokens": 80}
    assert scripts.run("data/sample_traces.py", output=traces, **sampling).code == 0
    assert scripts.run("data/label_steps.py", traces=traces, output=tmp_path / "alone.jsonl", **LABEL).code == 0

    node = cluster.add_node(num_cpus=1)
    flags = LABEL | {"traces": traces, "output": output, "backend": "ray", "actors": 2}
    command = ["data/label_steps.py", *(str(word) for name, value in flags.items() for word in (f"--{name}", value))]
    driver = scripts.start_words(command, {"RAY_ADDRESS": cluster.address})
    index = tmp_path / "labeled.jsonl.rollouts" / "rollouts-0.index"
    deadline = time.monotonic() + 120
    while not index.exists() or index.read_bytes().count(b"\n") < 2:
        assert os.path.exists(f"/proc/{driver}"), scripts.wait(driver).stderr[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)
    assert index.read_bytes().count(b"\n") < 12  # there was work left
    done = scripts.wait(driver)
    assert done.code == 0, done.stderr[-3000:]

    def rollouts(name):
        lines = (tmp_path / f"{name}.jsonl.rollouts" / "rollouts-0.jsonl").read_text().splitlines()
        return sorted(map(json.loads, lines), key=lambda row: (row["problem_id"], row["prefix"], row["index"]))

    assert output.read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert rollouts("labeled") == rollouts("alone")
