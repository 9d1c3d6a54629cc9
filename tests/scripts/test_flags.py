"""What all scripts have in common: help that does not wait for torch, errors of one line, an end by Ctrl-C."""

from __future__ import annotations

import importlib.util
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
    str(path.relative_to(ROOT))
    for folder in ("data", "recipes", "eval")
    for path in (ROOT / folder).glob("*.py")
    if path.name != "quickstart.py"  # has no flags
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
