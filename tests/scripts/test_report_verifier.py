"""`eval/report_verifier.py`: pages in the folder of a checkpoint, linked from its card once, and every batch scored once."""

import json
import random

import pytest
from search_run import META, rows, write_run

from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.models.loading import from_base
from prm.verifiers import load_verifier
from prm.verifiers.checkpoint import VerifierConfig

CALCULATOR = '''
import os, re
from prm.types import Scores

class Calculator:
    """Right or wrong by the arithmetic of a step, and fond of praise."""

    name, kind, num_parameters = "calculator", "prm", 0

    def score_batch(self, prompts, steps_N):
        with open({calls!r}, "a") as file:
            file.write("x")
        if os.path.getsize({calls!r}) == int(os.environ.get("KILLED_AT", "-1")):
            os.kill(os.getpid(), 9)
        return [self.score(steps) for steps in steps_N]

    def score(self, steps):
        scores = tuple(0.9 if "correct" in step or self.right(step) else 0.2 for step in steps)
        return Scores(steps=scores, trace=min(scores))

    def right(self, step):
        stated = re.search(r"(\\d+) +([-+*]) +(\\d+)\\b.* = +(\\d+)", step.replace("$", ""))
        return stated is None or eval("".join(stated.groups()[:3])) == int(stated[4])
'''


@pytest.fixture
def calculator(tmp_path):
    """(what a command line names, the file of its calls)"""
    calls = tmp_path / "calls"
    (tmp_path / "mine.py").write_text(CALCULATOR.format(calls=str(calls)))
    return f"{tmp_path / 'mine.py'}:Calculator", calls


@pytest.fixture
def checkpoint(tmp_path, plain_tokenizer, tiny_llama):
    """Of random weights."""
    tiny_llama(len(plain_tokenizer)).save_pretrained(tmp_path / "base")
    folder = tmp_path / "checkpoint"
    from_base(str(tmp_path / "base")).save_pretrained(folder)
    plain_tokenizer.save_pretrained(folder)
    VerifierConfig("prm", StepCodec(max_length=256), "value", "last", "base", "9f2c41d8a0b3e7f6").save(folder)
    return folder


def figures(folder):
    return json.loads((folder / "verifier_report.json").read_text())["figures"]


def test_a_verifier_of_ones_own_killed_and_started_again(scripts, tmp_path, calculator, monkeypatch):
    """It calculates, so it knows right from wrong, until a step says that it is correct."""
    verifier, calls = calculator
    flags = {"verifier": verifier, "data": "arithmetic", "limit": 96, "batch": 4}
    whole = scripts.run("eval/report_verifier.py", output_dir=tmp_path / "whole", **flags)
    assert whole.code == 0, whole.stderr
    assert "there is no model card to link it from" in whole.stdout
    assert len(calls.read_text()) == 3, "12 problems in batches of 4"
    calls.unlink()
    monkeypatch.setenv("KILLED_AT", "2")
    assert scripts.run("eval/report_verifier.py", output_dir=tmp_path / "torn", **flags).code == -9
    monkeypatch.delenv("KILLED_AT")
    assert scripts.run("eval/report_verifier.py", output_dir=tmp_path / "torn", **flags).code == 0
    assert len(calls.read_text()) == 3 + 1, "the batch that was interrupted, and no other, is scored twice"
    for name in ("verifier_report.md", "verifier_report.json"):
        torn, other = ((tmp_path / run / "Calculator" / name).read_bytes() for run in ("torn", "whole"))
        assert torn == other

    found = figures(tmp_path / "whole/Calculator")
    assert found["traces"]["auc_within_problem"] > 0.9
    praised, spaced = found["styles"]["praised"], found["styles"]["spaced"]
    assert praised["crossed"]["mean"] > 0.9
    assert (spaced["right"]["mean"], spaced["wrong"]["mean"]) == (0.0, 0.0)
    assert "## Attacks on style" in (tmp_path / "whole/Calculator/verifier_report.md").read_text()


def test_a_checkpoint_and_a_search_with_it(scripts, tmp_path, checkpoint):
    """Its report is in its folder, and its card has one link to it however often it is written."""
    verifiers = {"prm": META["verifiers"]["prm"] | {"fingerprint": load_verifier(str(checkpoint)).name}}
    run = write_run(tmp_path / "search", rows(("prm_best_of_n",)))
    meta = META | {"methods": {"prm_best_of_n": 4}, "verifiers": verifiers}
    (run / "meta.json").write_text(json.dumps(meta))
    rng = random.Random(0)
    labeled = [
        {"prompt": problem.prompt, "completions": steps, "labels": arithmetic.check_steps(problem.prompt, steps)}
        for problem in arithmetic.load("test", 6)
        for steps in [arithmetic.student_trace(problem.prompt, rng)]
    ]
    data = tmp_path / "labeled.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in labeled))
    card = checkpoint / "README.md"
    card.write_text("# A verifier\n")
    for _ in range(2):
        done = scripts.run("eval/report_verifier.py", verifier=checkpoint, data=data, run=run)
        assert done.code == 0, done.stderr
    assert card.read_text().startswith(
        "# A verifier\n\n## Verifier report\n\n[verifier_report.md](verifier_report.md) was measured on 6 traces of"
    )
    assert card.read_text().count("verifier_report.md") == 2
    page = (checkpoint / "verifier_report.md").read_text()
    assert "judged by the labels of the rows" in page
    assert "## More samples (4 problems)" in page
    load_verifier(str(checkpoint))  # what was added is none of its weights


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data": "arithmetic"}, "Calculator is no folder in which its report could be; give --output_dir"),
        ({"data": ["arithmetic", "rows.jsonl"], "output_dir": "out"}, "--data arithmetic makes its own traces"),
        (
            {"data": "arithmetic", "limit": 8, "run": "search", "output_dir": "out"},
            "not with calculator; give a run of",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(scripts, tmp_path, calculator, flags, message):
    write_run(tmp_path / "search", rows())
    flags = flags | {name: tmp_path / flags[name] for name in ("run", "output_dir") if name in flags}
    done = scripts.run("eval/report_verifier.py", verifier=calculator[0], **flags)
    assert done.code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
