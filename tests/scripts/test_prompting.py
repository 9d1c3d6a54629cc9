"""Prompt templates through the scripts: what is recorded, what is refused, and a second call that is killed and goes on."""

import json
import os
import shutil
import signal
import time

import pytest

FLAGS = {
    "generator": "arithmetic",
    "problems": "arithmetic",
    "limit": 8,
    "chunk": 2,
    "samples": 2,
    "max_new_tokens": 80,
}
TWO_CALLS = "data/prompts/arithmetic_zero_shot_cot.yaml"


def ok(done):
    assert done.code == 0, done.stderr
    return done


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(scripts, tmp_path_factory):
    """Traces of two calls by a run that nobody disturbed."""
    path = tmp_path_factory.mktemp("two") / "traces.jsonl"
    done = ok(scripts.run("data/sample_traces.py", prompt=TWO_CALLS, output=path, **FLAGS))
    assert "'answers asked for': 16" in done.stdout
    return path


def test_every_trace_ends_with_the_answer_that_was_asked_for(whole):
    rows = rows_of(whole)
    assert len(rows) == 16
    for row in rows:
        *reasoning, last = row["completions"]
        assert last == f"#### {row['answer']}"
        assert reasoning[-1].startswith("#### ")  # the embedded generator states one by itself, too
        assert row["status"] == "ok"
    meta = json.loads((whole.parent / "traces.meta.json").read_text())
    assert (meta["template"]["text"], meta["template"]["trigger"]) == ("{prompt}\n", "#### ")
    assert TWO_CALLS in meta["inputs"]
    assert meta["generated_tokens"] == sum(row["num_tokens"] for row in rows)


def test_a_killed_run_asks_for_nothing_twice(scripts, whole, tmp_path):
    flags = FLAGS | {"prompt": TWO_CALLS, "output": tmp_path / "torn.jsonl"}
    store, rows = (
        tmp_path / "torn.jsonl.rollouts/rollouts-0.jsonl",
        whole.parent / "traces.jsonl.rollouts/rollouts-0.jsonl",
    )
    for kill in range(2):
        pid = scripts.start("data/sample_traces.py", **flags)
        deadline = time.monotonic() + 60
        while not store.exists() or store.stat().st_size <= 0.4 * kill * rows.stat().st_size:
            assert time.monotonic() < deadline, "the store does not grow"
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        scripts.wait(pid)
    done = ok(scripts.run("data/sample_traces.py", **flags))
    assert (tmp_path / "torn.jsonl").read_bytes() == whole.read_bytes()
    assert store.read_bytes() == rows.read_bytes()
    assert "'answers asked for': 16" not in done.stdout  # some of them were in the store


def test_labels_and_search_ask_as_sampling_did(scripts, whole, tmp_path):
    """The prompt of the traces is that of the rollouts; majority voting finds the traces that sampling found."""
    ok(scripts.run("data/label_steps.py", traces=whole, rollouts=2, output=tmp_path / "labeled.jsonl"))
    rollouts = rows_of(tmp_path / "labeled.jsonl.rollouts/rollouts-0.jsonl")
    assert len(rollouts) > 16
    assert all(rollout["text"].splitlines()[-1].startswith("#### ") for rollout in rollouts)
    labeled = rows_of(tmp_path / "labeled.jsonl")
    assert all(row["counts"][-1] == [int(row["correct"]), 1] for row in labeled)

    search = FLAGS | {"split": "train", "prompt": TWO_CALLS, "output_dir": tmp_path / "search"}
    ok(scripts.run("eval/run_search.py", methods="majority", **search))
    found = rows_of(tmp_path / "search/results.jsonl")
    candidates = [row["candidates"][i]["completions"] for row in found for i in row["results"][0]["candidates"]]
    assert candidates == [row["completions"] for row in rows_of(whole)]
    assert [row["results"][0]["cost"]["generator_calls"] for row in found] == [4] * 8
    meta = json.loads((tmp_path / "search/meta.json").read_text())
    assert meta["generator"]["template"]["trigger"] == "#### "


@pytest.fixture
def few_shot(root, tmp_path):
    """A template and its exemplars that a test may change."""
    for name in ("arithmetic_few_shot_cot.yaml", "arithmetic_exemplars.jsonl"):
        shutil.copy(root / "data/prompts" / name, tmp_path / name)
    return tmp_path / "arithmetic_few_shot_cot.yaml", tmp_path / "arithmetic_exemplars.jsonl"


def test_an_exemplar_that_is_to_be_solved_is_refused(scripts, few_shot, tmp_path):
    template, exemplars = few_shot
    template.write_text(template.read_text().replace("shots: 2", 'ids: ["0", "7", "8"]'))
    known = [json.loads(line)["prompt"] for line in exemplars.read_text().splitlines()]
    problems = tmp_path / "problems.jsonl"
    rows = [{"id": "new", "prompt": "Start with 1, add 1.", "answer": "2"}]
    rows += [{"id": f"known/{i}", "prompt": prompt.upper(), "answer": "2"} for i, prompt in enumerate(known[1:4])]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = {"generator": "arithmetic", "problems": problems, "split": "all", "prompt": template, "samples": 1}
    message = "2 of the 3 exemplars of the prompt are among the problems to solve, such as 'Start with 58, add 12"
    for script, output in (("data/sample_traces.py", "output"), ("eval/run_search.py", "output_dir")):
        done = scripts.run(script, **flags | {output: tmp_path / "out.jsonl"})
        assert done.code == 1
        assert message in done.last_line
        assert "(known/1: whole problem)" in done.last_line
        assert not (tmp_path / "out.jsonl").exists()


def test_another_text_of_the_same_file_is_another_prompt(scripts, few_shot, tmp_path):
    template, exemplars = few_shot
    flags = FLAGS | {"limit": 1, "prompt": template, "output": tmp_path / "traces.jsonl"}
    ok(scripts.run("data/sample_traces.py", **flags))
    meta = json.loads((tmp_path / "traces.meta.json").read_text())
    assert len(meta["template"]["exemplars"]) == 2
    exemplars.write_text(exemplars.read_text().replace("#### ", "= "))
    for changed in ({}, {"output": tmp_path / "other.jsonl", "store": tmp_path / "traces.jsonl.rollouts"}):
        done = scripts.run("data/sample_traces.py", **flags | changed)
        assert done.code == 1
        assert ("template: was '" if changed else f"{exemplars}: was '") in done.last_line
