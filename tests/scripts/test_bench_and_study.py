"""Benchmarks and studies run, agree with themselves and end with the JSON that they promise. What they measure at full
size is in eval/README.md and recipes/README.md; times are not asserted."""

import json
import random
import sys

import pytest

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Trace


def last_json(done):
    assert done.code == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_generators(scripts):
    result = last_json(scripts.run("eval/bench_generators.py", limit=2, rollouts=2, rounds=1, max_new_tokens=30))
    assert result["generate_speedup"] > 0
    assert result["generator"] == "arithmetic"


def test_scoring(scripts):
    result = last_json(scripts.run("eval/bench_scoring.py", model="tiny", candidates=8, rounds=1))
    assert result["largest_difference"] < 1e-5  # the padded rows of the baseline are scored alike
    assert {"speedup_padded", "speedup_per_step"} <= result.keys()


def test_search(scripts):
    result = last_json(scripts.run("eval/bench_search.py", model="tiny", steps=8, rounds=1))
    assert result["largest_difference"] < 1e-5  # what is kept changes no score, against the padded rows of the baseline
    assert result["verifier_token_ratio"] > 5
    assert result["verifier_speedup"] > 0
    ours, padded = ([tokens[way] for tokens in result["tokens"].values()] for way in ("ours", "padded"))
    # From 8 to 16 steps there are twice as many new ones as from 4 to 8.
    assert 1.8 < (ours[2] - ours[1]) / (ours[1] - ours[0]) < 2.2
    assert (padded[2] - padded[1]) / (padded[1] - padded[0]) > 2.5


def test_training(scripts):
    result = last_json(scripts.run("eval/bench_training.py", model="tiny", num_problems=1, rounds=1))
    assert {"speedup_gsm8k", "speedup_tree", "flop_utilization"} <= result.keys()
    assert result["token_ratio_tree"] > result["token_ratio_gsm8k"] > 2
    assert result["memory_ratio_gsm8k"] < 0.5


def test_ways_of_training(load, tmp_path, monkeypatch, capsys):
    rng = random.Random(0)
    rows = []
    for problem in arithmetic.load("train", 20):
        for index in range(2):
            steps = arithmetic.student_trace(problem.prompt, rng)
            labels = arithmetic.check_steps(problem.prompt, steps)
            trace = Trace(problem.id, steps, steps[-1], labels[-1], index=index)
            rows.append(
                labeled_to_row(problem, LabeledTrace(trace, labels, tuple(map(float, labels)), None, "", "value"))
            )
    write_jsonl(tmp_path / "labeled.jsonl", rows)
    study = load("study_training")
    arguments = ["--output_dir", str(tmp_path / "study"), "--labels", str(tmp_path / "labeled.jsonl")]
    arguments += ["--num_problems", "3", "--seeds", "1", "--variants", "hard linear frozen"]
    monkeypatch.setattr(sys, "argv", ["study_training.py", *arguments])
    run_script(study.main, study.Arguments)
    *_, line = capsys.readouterr().out.splitlines()
    numbers = json.loads(line)["hard linear frozen"]
    assert 0 <= numbers["best_of_16"]["mean"] <= 1
    assert numbers["best_of_16"]["sd"] == 0
    assert "| hard linear frozen | " in (tmp_path / "study" / "table.md").read_text()

    run_script(study.main, study.Arguments)
    again = capsys.readouterr().out
    assert again.splitlines()[-1] == line
    assert "1/1" not in again  # nothing was trained again

    write_jsonl(tmp_path / "labeled.jsonl", rows[:-1])
    with pytest.raises(SystemExit, match="holds runs on other data"):
        run_script(study.main, study.Arguments)
