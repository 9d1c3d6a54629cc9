"""`eval/score_steps.py`: every benchmark's form in, predictions under the benchmark's ids and figures out; killed and
started again, it asks for nothing twice. What the figures are is in tests/unit/evaluation."""

import json
import random
import re

import pytest
import torch

from prm.datasets import arithmetic

CALCULATOR = '''
import os, re
from prm.types import Scores

CALLS = {calls!r}

class Calculator:
    """Right or wrong by the arithmetic of a step; writes down what it was asked for, and may be killed on the way."""

    name, kind, num_parameters = "calculator", "prm", 0

    def score_batch(self, prompts, steps_N):
        with open(CALLS, "a") as file:
            file.write(f"{{len(steps_N)}}\\n")
        if os.path.getsize(CALLS) == 2 * int(os.environ.get("KILLED_AT", "-1")):
            os.kill(os.getpid(), 9)
        return [None if "too long" in steps else self.score(steps) for steps in steps_N]

    def score(self, steps):
        scores = tuple(0.9 if self.right(step) else 0.2 for step in steps)
        return Scores(steps=scores, trace=min(scores))

    def right(self, step):
        stated = re.match(r"(\\d+) ([-+*]) (\\d+)\\b.* = (\\d+)$", step)
        return stated is None or eval("".join(stated.groups()[:3])) == int(stated[4])
'''


@pytest.fixture
def calculator(tmp_path):
    """(what a command line names, the file of its calls)"""
    calls = tmp_path / "calls"
    (tmp_path / "calculator.py").write_text(CALCULATOR.format(calls=str(calls)))
    return f"{tmp_path / 'calculator.py'}:Calculator", calls


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def attempts(n):
    """(problem, steps, labels) of students, each problem twice."""
    rng = random.Random(0)
    for problem in arithmetic.load("test", n):
        for _ in range(2):
            steps = arithmetic.student_trace(problem.prompt, rng)
            yield problem, steps, arithmetic.check_steps(problem.prompt, steps)


def processbench(n):
    for i, (problem, steps, labels) in enumerate(attempts(n)):
        first = labels.index(False) if False in labels else -1
        right = steps[-1] == f"#### {problem.answer}"
        subset = "gsm8k" if i % 3 else "math"
        yield {
            "id": f"{subset}-{i}", "generator": "g", "problem": problem.prompt, "steps": steps,
            "final_answer_correct": right, "label": first,
        }  # fmt: skip


@pytest.fixture
def benchmark(tmp_path):
    return write(tmp_path / "processbench.jsonl", processbench(12))


def test_processbench_with_a_verifier_and_again_with_its_predictions(scripts, tmp_path, benchmark, calculator):
    """A verifier that calculates finds the first wrong step of every trace: all figures are 1."""
    verifier, calls = calculator
    flags = {"benchmark": "processbench", "data": benchmark, "threshold_from": "gsm8k", "batch": 5}
    done = scripts.run("eval/score_steps.py", verifier=verifier, output_dir=tmp_path / "out", **flags)
    assert done.code == 0, done.stderr
    assert "ProcessBench (Calculator)" in done.stdout
    said = read(tmp_path / "out/predictions.jsonl")
    rows = read(benchmark)
    assert [its["id"] for its in said] == [row["id"] for row in rows]
    assert [its["prediction"] for its in said] == [row["label"] for row in rows]
    assert all(len(its["scores"]) == len(row["steps"]) for its, row in zip(said, rows, strict=True))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert set(summary["official"]["rules"]) == {"official", "half_is_right", "first_minus", "threshold_from_gsm8k"}
    assert {its["f1_average"] for its in summary["official"]["rules"].values()} == {1.0}
    assert summary["steps"]["auc_within_problem"] == 1.0
    # 12 problems in batches of 5, their traces together.
    assert calls.read_text().split() == ["10", "10", "4"]

    again = scripts.run("eval/score_steps.py", verifier=verifier, output_dir=tmp_path / "out", **flags)
    assert again.code == 0, again.stderr
    assert calls.read_text().split() == ["10", "10", "4"], "nothing is scored twice"

    joined = scripts.run(
        "eval/score_steps.py", predictions=tmp_path / "out/predictions.jsonl", output_dir=tmp_path / "joined", **flags
    )
    assert joined.code == 0, joined.stderr
    assert (tmp_path / "joined/predictions.jsonl").read_bytes() == (tmp_path / "out/predictions.jsonl").read_bytes()
    theirs = json.loads((tmp_path / "joined/summary.json").read_text())
    assert theirs | {"verifier": None} == summary | {"verifier": None}


def test_the_class_of_the_readme_predicts_as_the_official_script(
    root, scripts, tmp_path, benchmark, merging_tokenizer, tiny_qwen2
):
    """That script pads batches, takes the argmax of the two logits, and the first 0 for the first wrong step."""
    from transformers import AutoModelForTokenClassification

    folder = tmp_path / "checkpoint"
    tiny_qwen2(len(merging_tokenizer)).save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2).eval()
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(folder)
    merging_tokenizer.save_pretrained(folder)
    blocks = re.findall(r"^```python\n(.*?)^```", (root / "eval/README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (its for its in blocks if "class TrlVerifier" in its)
    (tmp_path / "trl_verifier.py").write_text(re.sub(r'CHECKPOINT = ".*?"', f'CHECKPOINT = "{folder}"', block))
    verifier = f"{tmp_path / 'trl_verifier.py'}:TrlVerifier"
    done = scripts.run(
        "eval/score_steps.py", benchmark="processbench", data=benchmark, verifier=verifier, output_dir=tmp_path / "out"
    )
    assert done.code == 0, done.stderr

    expected = []
    for row in read(benchmark):
        pieces = [merging_tokenizer(text + "\n").input_ids for text in (row["problem"], *row["steps"])]
        ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0)[1:] - 1
        ids = [token for piece in pieces for token in piece]
        padded = torch.tensor([ids + [merging_tokenizer.pad_token_id] * 7])
        with torch.no_grad():
            called = model(padded).logits[0, ends].argmax(-1).tolist()
        expected.append(called.index(0) if 0 in called else -1)
    assert [its["prediction"] for its in read(tmp_path / "out/predictions.jsonl")] == expected
    assert len(set(expected)) > 2


def test_a_killed_run_ends_as_one_that_was_not(scripts, tmp_path, benchmark, calculator, monkeypatch):
    verifier, calls = calculator
    flags = {"benchmark": "processbench", "data": benchmark, "verifier": verifier, "batch": 4}
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert scripts.run("eval/score_steps.py", output_dir=whole, **flags).code == 0
    calls.unlink()
    for killed_at in (2, 4):  # within the second batch, then within the third
        monkeypatch.setenv("KILLED_AT", str(killed_at))
        assert scripts.run("eval/score_steps.py", output_dir=torn, **flags).code == -9
        assert not (torn / "predictions.jsonl").exists()
    monkeypatch.delenv("KILLED_AT")
    done = scripts.run("eval/score_steps.py", output_dir=torn, **flags)
    assert done.code == 0, done.stderr
    for name in ("predictions.jsonl", "summary.json", "scores.journal"):
        assert (torn / name).read_bytes() == (whole / name).read_bytes()
    # Three batches, and the two that the kills interrupted.
    assert len(calls.read_text().split()) == 3 + 2


def test_prmbench_and_what_cannot_be_scored(scripts, tmp_path, calculator):
    rows = [
        {"idx": "p1", "classification": "circular", "modified_question": "q", "error_steps": [2, 9],
         "modified_process": ["1 + 1 = 2", "2 + 2 = 5", "done"]},
        {"idx": "p1", "classification": "circular", "modified_question": "q", "error_steps": [1],
         "modified_process": ["the same id"]},
        {"idx": "p1", "classification": "multi_solutions", "modified_question": "q", "error_steps": [],
         "modified_process": ["1 + 1 = 2"]},
        {"idx": "p2", "classification": "circular", "modified_question": "q", "error_steps": [1],
         "modified_process": ["too long", "2 + 2 = 4"]},
        {"idx": "p3", "classification": "circular", "modified_question": "q", "error_steps": [1],
         "modified_process": [" ", "2 + 2 = 4"]},
    ]  # fmt: skip
    flags = {"benchmark": "prmbench", "data": write(tmp_path / "prmbench.jsonl", rows), "verifier": calculator[0]}
    done = scripts.run("eval/score_steps.py", output_dir=tmp_path / "out", **flags)
    assert done.code == 0, done.stderr
    assert (
        "warning: 1 of 4 traces are longer than the verifier reads, or without a critique that can be read (too_long)"
        in done.stdout
    )
    assert "warning: 1 of 4 traces are with a blank step (empty_step)" in done.stdout
    assert "warning: 1 rows repeat an id of --data and were left out" in done.stdout
    figures = json.loads((tmp_path / "out/summary.json").read_text())["official"]
    assert (figures["prm_score"], figures["not_scored"], figures["beyond"], figures["steps"]) == (1.0, 2, 1, 4)
    assert figures["groups"]["simplicity"] is None, "redundency is not there"
    said = {its["id"]: its["scores"] for its in read(tmp_path / "out/predictions.jsonl")}
    assert said["circular_p1"] == [0.9, 0.2, 0.9]
    assert said["circular_p2"] is None


def test_mr_gsm8k(scripts, tmp_path, calculator):
    rows = [
        {"uuid": str(i), "question": problem.prompt, "question_type": "original", "model_output_steps": steps,
         "model_output_answer_correctness": "correct",
         "model_output_solution_correctness": "correct" if all(labels) else "wrong",
         "model_output_solution_first_error_step": "N/A" if all(labels) else str(labels.index(False) + 1)}
        for i, (problem, steps, labels) in enumerate(attempts(6))
    ]  # fmt: skip
    (tmp_path / "MR-GSM8K.json").write_text(json.dumps(rows))
    flags = {"benchmark": "mr_gsm8k", "data": tmp_path / "MR-GSM8K.json", "verifier": calculator[0]}
    done = scripts.run("eval/score_steps.py", output_dir=tmp_path / "out", **flags)
    assert done.code == 0, done.stderr
    figures = json.loads((tmp_path / "out/summary.json").read_text())["official"]["all"]
    assert (figures["mcc"], figures["step_accuracy"]) == (1.0, 1.0)
    assert figures["mr_score_without_reasons"] == pytest.approx(0.5)


def test_labeled_rows_and_their_exact_truth(scripts, tmp_path, calculator):
    """The labels are all `true`, so no AUC has a value; the exact truth is that of the calculator."""
    rows = [
        {"prompt": problem.prompt, "completions": steps, "labels": [True] * len(steps), "id": f"{problem.id}#{i}",
         "problem_id": problem.id, "index": i, "semantics": "value", "correct": False}
        for i, (problem, steps, _) in enumerate(attempts(12))
    ]  # fmt: skip
    flags = {"benchmark": "rows", "data": write(tmp_path / "rows.jsonl", rows), "verifier": calculator[0], "limit": 20}
    labels = scripts.run("eval/score_steps.py", output_dir=tmp_path / "labels", **flags)
    exact = scripts.run("eval/score_steps.py", output_dir=tmp_path / "exact", truth="exact", **flags)
    assert (labels.code, exact.code) == (0, 0), labels.stderr + exact.stderr
    assert "Step scores against the labels of the rows" in labels.stdout
    assert "NaN" in labels.stdout
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("labels", "exact")]
    assert [its["traces"] for its in summaries] == [20, 20]
    assert summaries[0]["steps"]["auc"] is None
    assert summaries[1]["steps"]["auc"] > 0.6
    assert [its["official"] for its in summaries] == [None, None]


def test_an_embedded_set_needs_no_data_and_its_tables_go_on_the_report(scripts, tmp_path, calculator):
    from search_run import rows, write_run

    flags = {"benchmark": "arithmetic_hard", "verifier": calculator[0], "limit": 100, "output_dir": tmp_path / "steps"}
    done = scripts.run("eval/score_steps.py", **flags)
    assert done.code == 0, done.stderr
    assert "Step scores against exact step truth (Calculator)" in done.stdout
    run = write_run(tmp_path / "search", rows())
    done = scripts.run("eval/write_report.py", run=run, output_dir=tmp_path / "report", steps=tmp_path / "steps")
    assert done.code == 0, done.stderr
    for page in ("report.md", "report.html"):
        assert "Step scores against exact step truth (Calculator)" in (tmp_path / "report" / page).read_text()
    summary = json.loads((tmp_path / "report/summary.json").read_text())
    assert summary["step_runs"][0]["traces"] == 100
    done = scripts.run("eval/write_report.py", run=run, output_dir=tmp_path / "report", steps=run)
    assert done.code == 1
    assert "summary.json is missing; give a folder that eval/score_steps.py finished" in done.stderr


def test_an_orm_is_scored_too_and_said_to_be_one(scripts, tmp_path, calculator):
    name, _ = calculator
    path = tmp_path / "calculator.py"
    path.write_text(path.read_text().replace('"prm", 0', '"orm", 0'))
    done = scripts.run("eval/score_steps.py", benchmark="arithmetic", verifier=name, limit=8, output_dir=tmp_path / "o")
    assert done.code == 0, done.stderr
    assert "note: this is an ORM" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give either --verifier"),
        ({"verifier": "v", "predictions": "p"}, "give either --verifier"),
        ({"verifier": "v"}, "--benchmark processbench needs --data"),
        ({"verifier": "v", "data": "d", "benchmark": "arithmetic"}, "--benchmark arithmetic makes its own traces"),
        ({"verifier": "v", "data": "d", "truth": "exact"}, "--truth exact is for --benchmark rows"),
        ({"verifier": "v", "data": "d", "benchmark": "rows", "threshold_from": "math"}, "--threshold_from is for"),
    ],
)
def test_what_cannot_be_meant_is_refused(scripts, tmp_path, flags, message):
    done = scripts.run("eval/score_steps.py", **{"benchmark": "processbench", "output_dir": tmp_path / "o"} | flags)
    assert done.code == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_predictions_of_other_traces_are_refused(scripts, tmp_path, benchmark):
    said = write(tmp_path / "said.jsonl", [{"id": "omnimath-7", "prediction": 0}])
    flags = {"benchmark": "processbench", "data": benchmark, "predictions": said, "output_dir": tmp_path / "o"}
    done = scripts.run("eval/score_steps.py", **flags)
    assert done.code == 1
    assert "no prediction has an id of --data, such as 'math-0'; it has 'omnimath-7'" in done.stderr
