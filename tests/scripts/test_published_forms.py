"""Every published form, from a file as its publisher writes it to a verifier: convert, build, load, train.

`FORMS` writes the same traces in every form, field names and containers as the published files have them. What is read
must be what was written, and all of it must be trained on.
"""

import json
import random
import runpy
import sys

import datasets
import pytest

from prm.conversions import IMPORTERS
from prm.datasets import arithmetic
from prm.storage.rows import read_labeled
from prm.types import labels_to_first_error

MARK = "ки"


def traces(seed):
    """(problem, steps, a label per step, index of the first wrong step or -1), for problems of all splits."""
    rng = random.Random(seed)
    for split, size in (("train", 6), ("validation", 2), ("test", 1)):
        for problem in arithmetic.load(split, size, 100 + seed):
            right, student = arithmetic.solution(problem.prompt), arithmetic.student_trace(problem.prompt, rng)
            for steps in (right, (*right[:-1], "#### 0"), student):
                labels = list(arithmetic.check_steps(problem.prompt, steps))
                yield problem.prompt, list(steps), labels, labels.index(False) if False in labels else -1


def numbered(steps):
    return [f"Step {i}: {step}" for i, step in enumerate(steps, 1)]


def signs(labels):
    return ["+" if good else "-" for good in labels]


def joined(steps, marks, between="\n"):
    return between.join(f"{step} {mark}" for step, mark in zip(steps, marks, strict=True))


def shepherd(q, steps, labels, first):
    texts = (f"{q} {joined(numbered(steps), marks)}" for marks in ([MARK] * len(steps), signs(labels)))
    return dict(zip(("input", "label"), texts, strict=True)) | {"task": "GSM8K"}


def turns(q, steps, labels, first):
    contents = numbered(steps)
    contents[0] = f"{q} {contents[0]}"
    pairs = zip(contents, signs(labels), strict=True)
    return {
        "conversations": [
            {"role": role, "content": text}
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
    }


def rated(q, steps, labels, first):
    made = [
        {"completions": [{"text": step, "rating": 1 if good else -1, "flagged": False}], "chosen_completion": 0}
        for step, good in zip(steps, labels, strict=True)
    ]
    label = {"steps": made, "finish_reason": "solution" if first < 0 else "found_error"}
    return {"question": {"problem": q, "ground_truth_answer": ""}, "label": label}


def prefixes(q, steps, labels, first):
    texts = ["\n\n".join([q, *steps[: i + 1]]) for i in range(len(steps))]
    nodes = [{"solution_prefix": text, "mc_value": float(good)} for text, good in zip(texts, labels, strict=True)]
    return {"question_id": 0, "question": q, "final_answer": "", "reasoning_steps": [{"solution_prefix": q}, *nodes]}


def per_step(q, steps, labels, first):
    shown, marks = [{"step_index": i, "title": "", "text": step} for i, step in enumerate(steps, 1)], signs(labels)
    return [
        {
            "question": q,
            "solution_index": first,
            "prefix_steps": shown[:i],
            "current_step": shown[i],
            "label": marks[i],
        }
        | {"rollout_success": 3 * labels[i], "rollout_total": 4}
        for i in range(len(steps))
    ]


def acts(q, steps, labels, first):
    messages = [{"role": "user", "content": q}, *({"role": "assistant", "content": step} for step in steps)]
    return {
        "question": q,
        "messages": messages,
        "step_labels": {str(i): 1 if good else -1 for i, good in enumerate(labels, 1)},
    }


FORMS = {
    "agent_process_bench": acts,
    "axolotl": lambda q, steps, labels, first: {"prompt": q, "completions": steps, "labels": labels},
    "bigbench_mistake": lambda q, steps, labels, first: {
        "input": q, "steps": steps, "target": "1", "answer": "2", "mistake_index": first if first >= 0 else None
    },
    "fover": lambda q, steps, labels, first: {"problem": q, "solution_steps": steps, "error_labels": labels},
    "genprm": lambda q, steps, labels, first: {
        "conversations": [{"role": "system", "content": "Review."}, *(
            {"role": role, "content": text}
            for i, (step, good) in enumerate(zip(steps, labels, strict=True))
            for role, text in (
                ("user", step if i else f"Question: {q}\n\n{step}"), ("assistant", f"\\boxed{{{'Yes' if good else 'No'}}}")
            )
        )],
    },
    "math_shepherd": shepherd,
    "med_prm": lambda q, steps, labels, first: {
        "question": q, "options": "", "correct_answer": "B", "steps": [f"{step} {MARK}" for step in steps],
        "prm_hard_label": list(map(int, labels)), "prm_soft_label": [good * 0.75 for good in labels], "orm_label": 0,
    },
    "mr_ben": lambda q, steps, labels, first: {
        "Question_UUID": q, "Subject": "math", "Question": q, "Options": "", "Ground_Truth_Answer": "B",
        "Model_Solution_Steps": steps, "Model_Solution_Correctness": "correct" if first < 0 else "incorrect",
        "Model_Solution_First_Error_Step": "N/A" if first < 0 else str(first + 1),
    },
    "mr_gsm8k": lambda q, steps, labels, first: {
        "uuid": q, "question": q, "ground_truth_answer": "1", "model_output_steps": steps, "question_type": "original",
        "model_output_answer_correctness": "wrong",
        "model_output_solution_correctness": "correct" if first < 0 else "wrong",
        "model_output_solution_first_error_step": "N/A" if first < 0 else first + 1,
    },
    "omega_prm": prefixes,
    "openr": lambda q, steps, labels, first: {
        "question": q, "process": joined(steps, ["\n" * 5] * len(steps), ""), "label": signs(labels)
    },
    "openrlhf": lambda q, steps, labels, first: {
        "input": f"{q} {joined(numbered(steps), [MARK] * len(steps))}", "value": signs(labels)
    },
    "prm800k": rated,
    "prm800k_flat": lambda q, steps, labels, first: {
        "question": q, "answer": joined(steps, [MARK] * len(steps)), "labels": ["-"] * len(steps),
        "raw_labels": [1 if good else -1 for good in labels], "result": "1", "phase": "phase2",
    },
    "prmbench": lambda q, steps, labels, first: {
        "original_question": q, "modified_question": q, "modified_process": steps, "idx": q, "classification": "redundency",
        "error_steps": [i for i, good in enumerate(labels, 1) if not good],
    },
    "processbench": lambda q, steps, labels, first: {
        "id": "gsm8k-0", "generator": "m", "problem": q, "steps": steps, "final_answer_correct": first < 0, "label": first
    },
    "reasoneval_mr": lambda q, steps, labels, first: {
        "id": 0, "question": q, "ground_truth_answer": "1", "model_output_step_format": [[step] for step in steps],
        "model_output_solution_correctness": "correct" if first < 0 else "wrong",
        "model_output_solution_first_error_step": "N/A" if first < 0 else first + 1,
    },
    "rlhflow": turns,
    "step_per_row": per_step,
    "thinkprm": lambda q, steps, labels, first: {
        "problem": q, "prefix": "\n".join(steps), "cot": "...", "prefix_steps": steps, "gt_step_labels": signs(labels),
        "prefix_label": first < 0,
    },
    "trl": lambda q, steps, labels, first: {"prompt": q, "completions": steps, "labels": labels},
    "versaprm": lambda q, steps, labels, first: {
        "domain": "math", "question": q, "answer": "1",
        "chain_of_thoughts": [{"steps": steps, "labels": [1 if good else -1 for good in labels]}],
    },
}  # fmt: skip
ARRAYS = ("med_prm", "mr_gsm8k", "versaprm")
NUMBERED = ("math_shepherd", "openrlhf", "rlhflow")
TO_FIRST_ERROR = ("bigbench_mistake", "mr_ben", "mr_gsm8k", "processbench", "reasoneval_mr")
"""Forms that say nothing of the steps after the first error."""
VALUES = ("math_shepherd", "med_prm", "omega_prm", "openr", "openrlhf", "rlhflow", "step_per_row")


def text_of(name, rows):
    """The file as it is published."""
    if name == "mr_ben":
        return json.dumps({"key-1": rows[:5], "key-2": rows[5:]})
    if name in ARRAYS:
        return json.dumps(rows, indent=2, ensure_ascii=False)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture(scope="module")
def run(root):
    """`run("data/build_dataset.py", flag=value, ...)`: a script in this process; what it raises ends the test."""

    def run(script, **flags):
        words = [script]
        for name, value in flags.items():
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words)
            runpy.run_path(str(root / script), run_name="__main__")

    return run


@pytest.fixture(scope="module")
def converted(run, tmp_path_factory):
    """form -> the file that its published file was converted to."""
    folder = tmp_path_factory.mktemp("forms")
    made = {}
    for seed, (name, form) in enumerate(FORMS.items()):
        rows = []
        for trace in traces(seed):
            row = form(*trace)
            rows += row if isinstance(row, list) else [row]
        published = folder / f"{name}.{'json' if name == 'mr_ben' or name in ARRAYS else 'jsonl'}"
        published.write_text(text_of(name, rows), encoding="utf-8")
        made[name] = folder / f"labeled_{name}.jsonl"
        options = {"semantics": "correctness"} if name in ("trl", "axolotl") else {}
        run("data/convert_dataset.py", source=name, input=published, output=made[name], **options)
    return made


def test_every_format_is_tried():
    assert FORMS.keys() == IMPORTERS.keys() - {"columns"}


@pytest.mark.parametrize("name", FORMS)
def test_what_is_read_is_what_was_written(converted, name):
    expected = []
    for prompt, steps, labels, first in traces(list(FORMS).index(name)):
        steps = numbered(steps) if name in NUMBERED else steps
        if name == "agent_process_bench":
            prompt, steps = f"user: {prompt}", [f"assistant: {step}" for step in steps]
        made = labels_to_first_error(len(steps), first) if name in TO_FIRST_ERROR else tuple(labels)
        expected.append((prompt, tuple(steps), made))
    rows = read_labeled(converted[name])
    assert [(row.problem.prompt, row.labeled.trace.steps, row.labeled.labels) for row in rows] == expected
    assert {row.labeled.semantics for row in rows} == {"value" if name in VALUES else "correctness"}
    assert len({row.labeled.trace.id for row in rows}) == len(rows)


@pytest.mark.parametrize("semantics", ["value", "correctness"])
def test_all_forms_are_trained_on(converted, run, tmp_path, semantics, capsys):
    from prm import load_verifier

    forms = [name for name in FORMS if (name in VALUES) == (semantics == "value")]
    folder, verifier = tmp_path / "set", tmp_path / "verifier"
    allowed = {} if semantics == "value" else {"allow_benchmark": "true"}
    run("data/build_dataset.py", labels=[converted[name] for name in forms], output_dir=folder, **allowed)
    train = datasets.load_dataset(str(folder))["train"]
    sources = {name.split("/")[0] for name in train["problem_id"]}
    assert sources == {
        {"trl": "prompt", "axolotl": "prompt", "prm800k_flat": "prm800k"}.get(name, name) for name in forms
    }
    more = {"targets": "hard"} if semantics == "value" else {}
    run(
        "recipes/train_prm.py", model="prm/assets/arithmetic_generator", data=folder, output_dir=verifier, max_length=256,
        max_steps=1, per_device_train_batch_size=2, save_strategy="no", report_to="none", disable_tqdm="true",
        **allowed, **more,
    )  # fmt: skip
    assert len(load_verifier(verifier).score("Start with 1, add 1.", ["1 + 1 = 2", "#### 2"])) == 2
    run(
        "eval/score_steps.py", benchmark="rows", data=[converted[name] for name in forms], verifier=verifier,
        output_dir=tmp_path / "steps",
    )  # fmt: skip
    scored = json.loads((tmp_path / "steps" / "summary.json").read_text())
    assert scored["traces"] == sum(len(read_labeled(converted[name])) for name in forms)
    assert (scored["not_scored"], scored["truth"]) == ({}, "the labels of the rows")
    if semantics == "correctness":
        with pytest.raises(SystemExit) as refused:
            run("data/build_dataset.py", labels=[converted["prmbench"]], output_dir=tmp_path / "refused")
        assert "is a problem of PRMBench, a benchmark" in str(refused.value)
