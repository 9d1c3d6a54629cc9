"""The trap of small verifiers: their loss falls while they choose worse than chance within a problem. The shipped
configuration must not: sampled, labeled and trained as the quickstart does it, on fewer of its problems."""

import json
import random
import re

import pytest

from prm.datasets import arithmetic
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Trace


@pytest.fixture(scope="module")
def labeled(scripts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("main_job")
    traces, output = folder / "traces.jsonl", folder / "labeled.jsonl"
    done = scripts.run("data/sample_traces.py", config="data/configs/arithmetic_traces.yaml", limit=150, output=traces)
    assert done.code == 0, done.stderr
    done = scripts.run(
        "data/label_steps.py", config="data/configs/arithmetic_labels.yaml", traces=traces, rollouts=4, output=output
    )
    assert done.code == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """Eight students' traces for each of 60 unseen problems, with exact labels and outcomes."""
    rng = random.Random(7)
    rows = []
    for problem in arithmetic.load("validation", 60):
        for index in range(8):
            steps = arithmetic.student_trace(problem.prompt, rng)
            right = steps[-1] == f"#### {problem.answer}"
            labels = (*arithmetic.check_steps(problem.prompt, steps)[:-1], right)
            trace = Trace(problem.id, steps, steps[-1].removeprefix("#### "), right, index=index)
            rows.append(
                labeled_to_row(problem, LabeledTrace(trace, labels, tuple(map(float, labels)), None, "exact", "value"))
            )
    path = tmp_path_factory.mktemp("validation") / "exact.jsonl"
    write_jsonl(path, rows)
    return path


@pytest.fixture(scope="module")
def prm(scripts, labeled, validation, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "prm"
    done = scripts.run(
        "recipes/train_prm.py",
        config="recipes/configs/prm_arithmetic.yaml",
        data=labeled,
        eval_data=validation,
        output_dir=output,
        num_train_epochs=4,
    )
    assert done.code == 0, done.stderr
    return output


def test_the_shipped_prm_chooses_within_a_problem(prm):
    metrics = json.loads((prm / "eval_results.json").read_text())
    assert metrics["eval_trace_auc_within_problem"] > 0.8
    assert abs(metrics["eval_length_correlation_within_problem"]) < 0.2


def test_the_example_of_the_readme_tells_the_right_trace_from_the_wrong_one(root, prm):
    """The order only: its scores are those of the whole quickstart."""
    (example,) = re.findall(r"^```python\n(.*?)^```$", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert example.count('"outputs/quickstart/prm"') == 1
    names: dict = {}
    exec(example.replace("outputs/quickstart/prm", str(prm)), names)
    first, wrong_step, answer = names["wrong"]
    assert min(*names["right"], first) > max(wrong_step, answer)
    assert min(*names["right"], first) > 0.5 > wrong_step


def test_the_example_of_the_readme_shows_a_right_and_a_wrong_trace(root):
    calls = re.findall(r"verifier\.score\(problem, (\[.*?\])\)", (root / "README.md").read_text())
    (prompt,) = re.findall(r'^problem = "(.*)"$', (root / "README.md").read_text(), re.MULTILINE)
    checks = [arithmetic.check_steps(prompt, json.loads(steps)) for steps in calls]
    assert checks == [(True, True, True), (True, False, False)]
