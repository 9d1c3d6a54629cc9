"""Training that was killed (SIGKILL) and resumed ends with the weights of training that was not, over the same batches."""

import json
import os
import random
import re
import shutil
import signal
import time

import pytest
from safetensors.torch import load_file

from prm.datasets import arithmetic
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.training.resume import is_complete
from prm.types import LabeledTrace, Trace

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def flags(tmp_path_factory, tiny_llama):
    """50 traces in batches of 4: 13 steps an epoch, a checkpoint every 5, so that most lie inside an epoch."""
    folder = tmp_path_factory.mktemp("data")
    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    tiny_llama(len(tokenizer)).save_pretrained(folder / "base")
    rng = random.Random(0)
    rows = []
    for problem in arithmetic.load("train", 58):
        steps = arithmetic.student_trace(problem.prompt, rng)
        values = tuple(rng.random() for _ in steps)
        labels = tuple(value > 0.5 for value in values)
        trace = Trace(problem.id, steps, steps[-1], None)
        rows.append(labeled_to_row(problem, LabeledTrace(trace, labels, values, None, "random", "value")))
    write_jsonl(folder / "train.jsonl", rows[:50])
    write_jsonl(folder / "validation.jsonl", rows[50:])
    return {
        "model": folder / "base",
        "data": folder / "train.jsonl",
        "eval_data": folder / "validation.jsonl",
        "max_length": 128,
        "max_steps": 60,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_steps": 5,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }


def steps_done(folder):
    """The steps of the complete checkpoints: a kill can leave a `trainer_state.json` that is there, but half written."""
    paths = [path for path in folder.glob("checkpoint-*") if is_complete(path)]
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in paths)


def kill_after(scripts, output, step, **flags):
    pid = scripts.start("recipes/train_prm.py", output_dir=output, **flags)
    deadline = time.monotonic() + 60
    while not is_complete(output / f"checkpoint-{step}"):
        assert time.monotonic() < deadline, "no checkpoint"
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    assert scripts.wait(pid).code == -signal.SIGKILL


def log(folder):
    """(step, loss, gradient norm, learning rate) of every step."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [(e["step"], e["loss"], e["grad_norm"], e["learning_rate"]) for e in history if "grad_norm" in e]


@pytest.mark.parametrize("lora_r", [0, 4])
def test_training_killed_twice(lora_r, scripts, flags, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = scripts.run("recipes/train_prm.py", output_dir=whole, lora_r=lora_r, **flags)
    assert done.code == 0, done.stderr

    kill_after(scripts, killed, 15, lora_r=lora_r, **flags)
    first = steps_done(killed)
    kill_after(scripts, killed, first[-1] + 10, lora_r=lora_r, **flags, resume_from_checkpoint=True)
    done_before = steps_done(killed)
    assert 15 <= first[-1] < done_before[-1] < 60
    assert not list(killed.glob("*.safetensors"))

    # A third kill, this one while a checkpoint was written: its weights are there, its last file is not.
    last = killed / f"checkpoint-{done_before[-1]}"
    torn = killed / f"checkpoint-{done_before[-1] + 5}"
    shutil.copytree(last, torn, dirs_exist_ok=True, ignore=shutil.ignore_patterns("trainer_state.json", "optimizer.pt"))

    done = scripts.run("recipes/train_prm.py", output_dir=killed, lora_r=lora_r, **flags, resume_from_checkpoint=True)
    assert done.code == 0, done.stderr
    assert f"{torn} is torn (its run was killed while it was written); passed over" in done.stdout
    logged = len(re.findall("'grad_norm': ", done.stdout))
    assert logged == 60 - done_before[-1]  # it went on from there and not from the start

    assert [entry[0] for entry in log(killed)] == list(range(1, 61))
    for entry, expected in zip(log(killed), log(whole), strict=True):
        assert entry == pytest.approx(expected, abs=TOLERANCE)
    name = "adapter_model.safetensors" if lora_r else "model.safetensors"
    weights, expected = load_file(killed / name), load_file(whole / name)
    assert weights.keys() == expected.keys()
    assert max(float((weights[key] - expected[key]).abs().max()) for key in expected) < TOLERANCE
    assert max(float((load_file(last / name)[key] - expected[key]).abs().max()) for key in expected) > 1e-3
