"""What all scripts have in common: help that does not wait for torch, errors of one line, an end by Ctrl-C."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from prm.command_line import flags_of

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    str(path.relative_to(ROOT)) for folder in ("data", "recipes", "eval") for path in (ROOT / folder).glob("*.py")
)
HEAVY = {"torch", "transformers", "datasets", "trl", "peft", "matplotlib"}


def call(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_a_typo_import_nothing_heavy(script):
    started = time.monotonic()
    done = call("-X", "importtime", script, "--help")
    assert time.monotonic() - started < 5
    assert done.returncode == 0
    assert set(re.findall(r"\| +(\w+)$", done.stderr, re.MULTILINE)) & HEAVY == set()
    assert done.stdout.startswith(f"usage: python {script} [--config FILE.yaml] [flags]\n\n")
    example = done.stdout.split("\n\n")[2]
    assert script in example
    assert "--config" in done.stdout
    assert len(done.stdout.splitlines()) < 90

    typo = call(script, "--sed", "3")
    assert (typo.returncode, typo.stdout) == (2, "")
    assert re.fullmatch(rf"error: --sed is no flag of {script}[,;] .*\n", typo.stderr)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_number_has_limits(script, monkeypatch):
    """A temperature below 0 would sample nonsense, a `limit` below 0 leave out the last problems."""
    spec = importlib.util.spec_from_file_location("script_under_test", ROOT / script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (arguments,) = [
        thing
        for thing in vars(module).values()
        if getattr(thing, "__module__", "") == spec.name and thing.__name__.endswith("Arguments")
    ]
    without = [
        name
        for name, flag in flags_of(arguments).items()
        if {int, float} & {flag.kind, *get_args(flag.kind)} and flag.least == flag.above == -math.inf
    ]
    assert without == []


RUN_ALL = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        print(end.code)
print(*{"torch", "transformers", "datasets", "trl", "peft"} & sys.modules.keys())
"""


def test_what_cannot_work_is_refused_before_anything_heavy_is_imported(tmp_path):
    model, traces = "prm/assets/arithmetic_generator", "tests/golden/final_steps.jsonl"
    train = f"recipes/train_prm.py --output_dir {tmp_path} --model"
    search = f"eval/run_search.py --output_dir {tmp_path} --problems arithmetic --limit 1 --generator"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").touch()
    expected = {
        f"{train} {model} --data nowhere.jsonl": "nowhere.jsonl does not exist; give a path, or owner/name on the hub",
        f"{train} {model} --data tests/golden": "tests/golden holds no train.jsonl",
        f"{train} {model} --data {traces} --eval_data nowhere.csv": "nowhere.csv does not exist",
        f"{train} arithmetic --data {traces}": "arithmetic is a generator's name, no folder; give --model "
        + str(ROOT / "prm/assets/arithmetic_generator"),
        f"{train} {model} --data {traces} --output_dir {tmp_path}/model": f"{tmp_path}/model holds a finished model",
        f"recipes/train_generator.py --output_dir {tmp_path}/model --data arithmetic --limit 3": "holds a finished",
        f"{search} arithmetc": "arithmetc does not exist, did you mean arithmetic?",
        f"{search} arithmetic --problems gsmk8": "gsmk8 does not exist, did you mean gsm8k?",
        f"{search} arithmetic --verifiers {tmp_path}": "must be name=path, such as prm=outputs/prm",
        f"{search} arithmetic --verifiers prm={tmp_path}/gone": f"{tmp_path}/gone",
        f"{search} arithmetic --methods best_of_m": "no strategy 'best_of_m', did you mean 'best_of_n'?",
        f"{search} arithmetic --methods best_of_n": "best_of_n asks for scores; name a verifier after it: best_of_n prm",
        f"data/judge_steps.py --traces {traces} --judge typo --output {tmp_path}/x.jsonl": "typo does not exist",
    }
    done = call("-c", RUN_ALL, json.dumps([command.split() for command in expected]))
    assert done.returncode == 0, done.stderr
    *lines, heavy = done.stdout.split("\n")[:-1]
    for line, (command, message) in zip(lines, expected.items(), strict=True):
        assert line.startswith("error: "), command
        assert message in line, command
    assert heavy == ""


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_error_is_a_line_that_begins_with_error(script):
    """`run_script` makes it of an exception; a script that ends itself, after the output of another, says it too."""
    ends = re.findall(r"(?:sys\.exit|SystemExit)\(\s*(f?\".*)", (ROOT / script).read_text(encoding="utf-8"))
    assert [text for text in ends if "\\nerror: " not in text] == []


def test_accelerate_adds_no_traceback():
    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--quiet", "--cpu", "--num_processes", "1"]
    done = call(*launch, "recipes/train_prm.py", "--config", "nowhere.yaml")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: nowhere.yaml: No such file or directory"
    assert "Traceback" not in done.stderr


def test_an_interrupted_run_names_the_command_that_goes_on(scripts, tmp_path):
    traces = tmp_path / "traces.jsonl"
    flags = {"generator": "arithmetic", "problems": "arithmetic", "limit": 2000, "output": traces}
    pid = scripts.start("data/sample_traces.py", **flags)
    store = tmp_path / "traces.jsonl.rollouts" / "rollouts-0.jsonl"
    while not (store.exists() and store.stat().st_size):
        time.sleep(0.02)
    os.kill(pid, signal.SIGINT)
    done = scripts.wait(pid)
    assert done.code == 130
    assert "Traceback" not in done.stderr
    command = "data/sample_traces.py --generator arithmetic --problems arithmetic --limit 2000"
    assert done.last_line == f"to go on: python {command} --output {traces}"
