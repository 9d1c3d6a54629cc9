"""Scripts that were killed (SIGKILL) and started again end with the same bytes as scripts that were not."""

import os
import random
import re
import signal
import time

import pytest

SAMPLE = {
    "generator": "arithmetic",
    "problems": "arithmetic",
    "limit": 24,
    "samples": 2,
    "max_new_tokens": 80,
    "chunk": 2,
}
LABEL = {"generator": "arithmetic", "rollouts": 2, "max_new_tokens": 80, "chunk": 2}


@pytest.fixture(scope="module")
def traces(scripts, tmp_path_factory):
    """48 traces of 24 problems and the journal they came from, by a run that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "traces.jsonl"
    done = scripts.run("data/sample_traces.py", output=path, **SAMPLE)
    assert done.code == 0, done.stderr
    assert len(path.read_text().splitlines()) == 48
    return path


def kill_in_the_middle(scripts, journal, size, pause, script, **flags):
    """Start a run, wait until its journal has `size` bytes, then `pause` seconds, and kill it."""
    pid = scripts.start(script, **flags)
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size >= size):
        assert time.monotonic() < deadline, "the journal does not grow"
        time.sleep(0.002)
    time.sleep(pause)
    os.kill(pid, signal.SIGKILL)
    assert scripts.wait().code == -signal.SIGKILL


def test_labeling_killed_five_times(scripts, traces, tmp_path):
    whole, torn = tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
    done = scripts.run("data/label_steps.py", traces=traces, output=whole, **LABEL)
    assert done.code == 0, done.stderr
    rollouts = (tmp_path / "whole.jsonl.rollouts").read_bytes()
    assert rollouts.count(b'{"commit"') == 12

    rng = random.Random(0)
    journal = tmp_path / "torn.jsonl.rollouts"
    sizes = []
    commits = [line.end() for line in re.finditer(rb'{"commit".*\n', rollouts)]
    for size in sorted(rng.sample([0, *commits[:9]], 5)):
        kill_in_the_middle(
            scripts, journal, size, rng.uniform(0, 0.05), "data/label_steps.py", traces=traces, output=torn, **LABEL
        )
        assert rollouts.startswith(journal.read_bytes())
        assert not torn.exists()
        sizes.append(journal.stat().st_size)
    assert len(set(sizes)) >= 3  # the kills were spread over the work

    done = scripts.run("data/label_steps.py", traces=traces, output=torn, **LABEL)
    assert done.code == 0, done.stderr
    assert journal.read_bytes() == rollouts
    assert torn.read_bytes() == whole.read_bytes()
    assert len(torn.read_text().splitlines()) == 48

    written = torn.stat().st_mtime_ns
    again = scripts.run("data/label_steps.py", traces=traces, output=torn, **LABEL)
    assert (again.code, again.stdout) == (0, f"{torn} is complete already\n")
    assert torn.stat().st_mtime_ns == written
    assert journal.read_bytes() == rollouts


def test_sampling_killed_twice(scripts, traces, tmp_path):
    output, journal = tmp_path / "traces.jsonl", tmp_path / "traces.jsonl.journal"
    whole = traces.with_name("traces.jsonl.journal").read_bytes()
    rng = random.Random(1)
    for share in (0.2, 0.7):
        kill_in_the_middle(
            scripts, journal, share * len(whole), rng.uniform(0, 0.02), "data/sample_traces.py", output=output, **SAMPLE
        )
        assert whole.startswith(journal.read_bytes())
        assert not output.exists()
    done = scripts.run("data/sample_traces.py", output=output, **SAMPLE)
    assert done.code == 0, done.stderr
    assert journal.read_bytes() == whole
    assert output.read_bytes() == traces.read_bytes()


def test_a_run_killed_before_its_meta_is_not_complete(scripts, traces, tmp_path):
    """All chunks are committed, then the process dies: the next one writes the output and says where it came from."""
    output = tmp_path / "traces.jsonl"
    output.with_name("traces.jsonl.journal").write_bytes(traces.with_name("traces.jsonl.journal").read_bytes())
    done = scripts.run("data/sample_traces.py", output=output, **SAMPLE)
    assert done.code == 0, done.stderr
    assert output.read_bytes() == traces.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "traces.config.yaml",
        "traces.jsonl",
        "traces.jsonl.journal",
        "traces.meta.json",
    ]
