"""Whole scripts in bad surroundings: what they have done is never lost, and what they say is one line."""

import json
import os
import re
import resource

import pytest

from prm.files import sole_writer

SAMPLE = {
    "generator": "arithmetic",
    "problems": "arithmetic",
    "limit": 6,
    "samples": 2,
    "max_new_tokens": 80,
    "chunk": 2,
}
SEARCH = SAMPLE | {"methods": ["majority"], "split": "validation"}


@pytest.fixture(scope="module")
def whole(scripts, tmp_path_factory):
    """Traces by a run that nobody disturbed."""
    path = tmp_path_factory.mktemp("whole") / "traces.jsonl"
    done = scripts.run("data/sample_traces.py", output=path, **SAMPLE)
    assert done.code == 0, done.stderr
    return path


def test_without_git_progress_bars_and_unicode_into_a_folder_that_is_not_there(scripts, whole, tmp_path):
    output = tmp_path / "new" / "folder" / "traces.jsonl"
    words = ["data/sample_traces.py", "--store", tmp_path / "store", "--output", output]
    words += [word for name, value in SAMPLE.items() for word in (f"--{name}", value)]
    environment = {"PATH": str(tmp_path), "TQDM_DISABLE": "1", "PYTHONIOENCODING": "ascii:strict"}
    done = scripts.wait(scripts.start_words([str(word) for word in words], environment))
    assert done.code == 0, done.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert json.loads(output.with_suffix(".meta.json").read_text())["git"] is None


def test_a_disk_that_is_full_again_and_again(scripts, whole, tmp_path):
    """The limit rises until the run fits; each run goes on where the one before had to stop."""
    flags = SAMPLE | {"output": tmp_path / "traces.jsonl"}
    command = ["data/sample_traces.py", *(str(word) for name, its in flags.items() for word in (f"--{name}", its))]
    codes = []
    for size in (1_000, 3_000, 10**9):  # what is printed goes to a file, too: without progress bars it is short
        pid = scripts.start_words(command, {"TQDM_DISABLE": "1"})
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        done = scripts.wait(pid)
        codes.append(done.code)
        if done.code:
            assert re.fullmatch(rf"error: {tmp_path}\S+: File too large; what is committed is safe: .*", done.last_line)
            assert not flags["output"].exists()
    assert codes[0] == 1
    assert codes[-1] == 0
    assert flags["output"].read_bytes() == whole.read_bytes()
    stores = [path.parent / "traces.jsonl.rollouts" / "rollouts-0.jsonl" for path in (whole, flags["output"])]
    assert stores[0].read_bytes() == stores[1].read_bytes()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_search_whose_meta_json_is_empty_writes_it_again(scripts, tmp_path):
    run = tmp_path / "search"
    flags = SEARCH | {"output_dir": run}
    with_lock = sole_writer(run / ".lock", run, "wait")  # a second search into the folder of one that runs
    done = scripts.run("eval/run_search.py", **flags)
    assert (done.code, done.last_line) == (
        1,
        f"error: {run} is written by process {os.getpid()} on {os.uname().nodename}; wait for it, or give another"
        " --output_dir",
    )
    with_lock.close()
    done = scripts.run("eval/run_search.py", **flags)
    assert done.code == 0, done.stderr
    results = (run / "results.jsonl").read_bytes()
    for damage in (b"", b'{"unfinished_problems": 0', b"[]"):
        (run / "meta.json").write_bytes(damage)
        done = scripts.run("eval/run_search.py", **flags)
        assert done.code == 0, done.stderr
        assert "meta.json" in done.stderr
        assert json.loads((run / "meta.json").read_text())["unfinished_problems"] == 0
        assert (run / "results.jsonl").read_bytes() == results
    assert scripts.run("eval/run_search.py", **flags).stdout == f"{run} is complete already\n"
