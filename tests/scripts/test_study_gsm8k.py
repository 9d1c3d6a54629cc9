"""The study of a chat model at a tiny size, with the embedded generator; its stages are run by one process (`scripts`)."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import sys
from types import SimpleNamespace

import pytest

from prm.command_line import run_script
from prm.stages import Stages

FLAGS = {
    "generator": "arithmetic",
    "base": "prm/assets/arithmetic_generator",
    "larger": "arithmetic",
    "problems": "arithmetic",
    "prompt": "plain",
    "baselines": "data/prompts/arithmetic_direct.yaml",
    "temperature": "1",
    "max_new_tokens": "60",
    "max_length": "128",
    "lora_r": "4",
    "epochs": "1",
    "pilot": "6",
    "samples": "4",
    "tree": "2",
    "batch_size": "48",
    "hours": "0.5",
}


@pytest.fixture
def study(load, scripts, monkeypatch):
    """`study(folder, tested=12, ...)` runs it; the scripts that it started are in `study.commands`."""
    module, handler = load("study_gsm8k"), signal.getsignal(signal.SIGTERM)
    commands: list[list[str]] = []

    def run(self, title, command, stdout=None, alive=lambda seconds: None):
        commands.append(shlex.split(command))
        done = scripts.wait(scripts.start_words(commands[-1]))
        if done.code:
            raise SystemExit(done.stderr[-3000:])
        return 1.0, done.stdout

    def study(folder, **flags):
        words = [word for name, value in (FLAGS | flags).items() for word in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["eval/study_gsm8k.py", *words, "--output_dir", str(folder)])
        commands.clear()
        run_script(module.main, module.Arguments)

    monkeypatch.setattr(Stages, "run", run)
    study.commands, study.module = commands, module
    yield study
    signal.signal(signal.SIGTERM, handler)


def names(study) -> list[str]:
    return [words[0].rpartition("/")[2] for words in study.commands]


def test_from_nothing_to_a_table_and_nothing_twice(study, tmp_path, capsys):
    study(tmp_path, labeled=8, tested=12)
    printed = capsys.readouterr().out
    assert "pilot: 6 problems x 4, " in printed
    assert names(study) == [
        *("sample_traces.py", "label_steps.py", "train_prm.py"),  # the pilot
        *("sample_traces.py", "label_steps.py", "train_prm.py", "train_orm.py"),
        *("run_search.py", "run_search.py", "run_search.py", "write_report.py"),
    ]
    found = json.loads((tmp_path / "study.json").read_text())
    assert (found["problems"], found["missing"]) == (12, 0)
    rows = {(row["method"], row["n"]): row for row in found["methods"]}
    assert {n for name, n in rows if name == "PRM weighted vote"} == {2, 4}
    assert rows["majority vote", 4]["difference"] is None
    assert rows["arithmetic_direct: single sample", 1]["difference"]["mean"] < 0  # it calculates only step by step
    assert rows["PRM REBASE [samples=2]", 2]["difference"]["low"] is not None
    assert rows["PRM best-of-N", 4]["flops"] > rows["majority vote", 4]["flops"] > 0
    assert rows["PRM best-of-N", 4]["generated_tokens"] == 2 * rows["PRM best-of-N", 2]["generated_tokens"]
    # The same model answers once at the FLOPs of one sample.
    assert found["equal_flops"][0]["method"] == "majority vote"
    assert 0.9 < found["equal_flops"][0]["n"] < 1.6
    assert (tmp_path / "study.md").read_text().startswith("12 problems\n\n| method | N | accuracy |")

    # Labeled and tested problems are apart, and so are those that were trained and validated on.
    ids = {
        name: {json.loads(line)["problem_id"] for line in (tmp_path / name).open()}
        for name in ("traces.jsonl", "train.jsonl", "validation.jsonl", "search/results.jsonl")
    }
    assert len(ids["traces.jsonl"]) == 8
    assert not ids["traces.jsonl"] & ids["search/results.jsonl"]
    assert all(ids.values())
    assert not ids["train.jsonl"] & ids["validation.jsonl"]

    # Started again, it writes the report from what is there, however long it may take now.
    study(tmp_path, labeled=8, tested=12, hours=3)
    assert names(study) == ["write_report.py"]
    assert capsys.readouterr().out.split("12 problems\n")[1] == printed.split("12 problems\n")[1]

    with pytest.raises(SystemExit, match=r"was begun with other settings \(tested: was 12, now 10\)"):
        study(tmp_path, labeled=8, tested=10)


def test_sizes_fit_into_the_hours(study, tmp_path, capsys, monkeypatch):
    """No stage is run: what the pilot would measure is given, and every look at the clock is 20 s later."""
    clock = itertools.count(0, 20)
    monkeypatch.setattr(study.module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    measured = {
        "tokens": 30.0,
        "right": 0.4,
        "mixed_share": 0.5,
        "sample": 1.0,
        "label": 10.0,
        "train": 1.0,
        "score": 0.5,
    }
    monkeypatch.setattr(study.module, "measure", lambda *_: measured | {"start": 0.0})
    monkeypatch.setattr(study.module, "keep_mixed", lambda traces: traces)
    monkeypatch.setattr(study.module, "divide", lambda labeled: None)
    limits = []

    def run(self, title, command, stdout=None, alive=lambda seconds: None):
        limits.append(command.partition("--max_hours ")[2])
        return 1.0, ""

    monkeypatch.setattr(Stages, "run", run)
    with pytest.raises(SystemExit, match=r"--hours 0.05 are too few for an interval .* the pilot says 0\.\d"):
        study(tmp_path, hours=0.05)
    # A stage that has written nothing was stopped by the hours.
    with pytest.raises(SystemExit, match=r"error: the 0\.3 hours are over; the same command, started again, goes on"):
        study(tmp_path, hours=0.3)
    assert 0 < float(limits[-1]) < 0.3
    plan = json.loads((tmp_path / "plan.json").read_text())
    # A labeled problem takes 4 samples, and half of them 10 s of labels and 2 x 4 traces to learn: 13 s. A tested one
    # takes 4 x (1 + 2 x 0.5) s, the tree 2 x 2, the other prompt 4 and the larger model 3 samples: 19 s.
    spent = 13 * (plan["labeled"] - 6) + 19 * plan["tested"]
    assert 0.3 * 3600 - 80 < spent < 0.3 * 3600
    assert min(plan["labeled"], plan["tested"]) > 20
    assert re.search(rf"^search +{plan['tested']} +4 ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"generator": "arithmetc"}, "arithmetc does not exist, did you mean arithmetic?"),
        ({"base": "nowhere"}, "nowhere does not exist"),
        ({"prompt": "chat_cott"}, "chat_cott"),
        ({"problems": "nowhere.jsonl"}, "nowhere.jsonl does not exist"),
        ({"tested": 5000}, "--tested 5000: arithmetic has 2000 problems in its split validation"),
    ],
)
def test_what_cannot_work_is_refused_at_once(study, tmp_path, flags, message):
    with pytest.raises(SystemExit, match=message.replace("?", r"\?")):
        study(tmp_path / "new", **flags)
    assert study.commands == []
    assert not (tmp_path / "new").exists()
