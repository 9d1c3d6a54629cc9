"""Two processes train and validate as one does: same rows, same step, same metrics (gloo on the CPU)."""

import json
import random
import runpy
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from prm.datasets import arithmetic
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Trace

ROOT = Path(__file__).resolve().parents[2]


def value_rows(count):
    """Traces of 3 to 9 steps with random values; every third step has no label."""
    rng = random.Random(0)
    for i, problem in enumerate(arithmetic.load("train", count)):
        steps = arithmetic.student_trace(problem.prompt, rng)
        labels = tuple(None if (i + j) % 3 == 2 else rng.random() < 0.5 for j in range(len(steps)))
        values = tuple(None if label is None else rng.random() for label in labels)
        trace = Trace(problem.id, steps, steps[-1], None)
        yield labeled_to_row(problem, LabeledTrace(trace, labels, values, None, "random", "value"))


def torchrun(processes):
    # Not `accelerate launch --cpu --num_processes 2`: without mpirun it starts one process and does not say so.
    return ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]


def test_two_processes_equal_one(scripts, tmp_path, tiny_llama, monkeypatch):
    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    tiny_llama(len(tokenizer)).save_pretrained(tmp_path / "base")
    rows = list(value_rows(17))
    write_jsonl(tmp_path / "train.jsonl", rows[:8])
    write_jsonl(tmp_path / "validation.jsonl", rows[8:])  # nine: the last batch of the second process is filled up

    def arguments(output, **changes):
        values = {
            "model": tmp_path / "base",
            "data": tmp_path / "train.jsonl",
            "eval_data": tmp_path / "validation.jsonl",
            "output_dir": output,
            "max_length": 128,
            "max_steps": 1,
            "optim": "sgd",
            "learning_rate": 0.5,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 1e9,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        return [word for name, value in (values | changes).items() for word in (f"--{name}", str(value))]

    two = arguments(tmp_path / "two", per_device_train_batch_size=4, per_device_eval_batch_size=2)
    script = str(ROOT / "recipes" / "train_prm.py")
    done = scripts.launch(torchrun(2), script, two)
    assert done.code == 0, done.stderr[-3000:]

    one = arguments(tmp_path / "one", per_device_train_batch_size=8, per_device_eval_batch_size=9)
    monkeypatch.setattr(sys, "argv", ["train_prm.py", *one])
    runpy.run_path(script, run_name="__main__")

    weights = {name: load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")}
    assert weights["one"].keys() == weights["two"].keys()
    assert max(float((weights["one"][k] - weights["two"][k]).abs().max()) for k in weights["one"]) < 1e-5

    logs = {
        name: json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"][0] for name in weights
    }
    assert logs["one"]["grad_norm"] > 0.1
    for quantity in ("loss", "grad_norm"):
        assert logs["two"][quantity] == pytest.approx(logs["one"][quantity], abs=1e-5)

    metrics = {name: json.loads((tmp_path / name / "eval_results.json").read_text()) for name in weights}
    measured = [name for name in metrics["one"] if not name.endswith(("_runtime", "_per_second"))]
    assert {"eval_loss", "eval_auc", "eval_trace_auc", "eval_n_steps"} <= set(measured)
    for name in measured:
        assert metrics["two"][name] == pytest.approx(metrics["one"][name], abs=1e-5), name


EVERY_OBJECTIVE = """
import random, sys
import torch
from safetensors.torch import save_file
from transformers import TrainingArguments
from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.storage.rows import LabeledRow
from prm.training.examples import orm_examples, pair_examples, prm_examples
from prm.training.distributed import close_process_group
from prm.training.losses import OBJECTIVES, weigh_bad
from prm.training.trainer import VerifierTrainer
from prm.types import LabeledTrace, Trace
from prm.verifiers.checkpoint import VerifierConfig
from prm.models.loading import from_base

base, size, output, tokens = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]) or None
codec, tokenizer, rng = StepCodec(max_length=128), arithmetic.build_tokenizer(), random.Random(0)
steps, outcomes = [], []
for problem in arithmetic.load("train", 8):
    for index in range(2):
        gold = arithmetic.solution(problem.prompt)
        trace = Trace(problem.id, gold if index else (*gold[:-1], "#### 0"), None, bool(index), index=index)
        values = tuple(rng.random() for _ in gold)
        labels = tuple(value > 0.4 for value in values)
        steps.append(LabeledRow(problem, LabeledTrace(trace, labels, values, None, "random", "value")))
        outcomes.append(LabeledRow(problem, LabeledTrace(trace, (bool(index),) * len(gold), None, None, "", "outcome")))
hard = prm_examples(steps[:8], codec, tokenizer, "hard").examples
data = {
    "cross_entropy": hard,
    "squared_error": prm_examples(steps[:8], codec, tokenizer, "soft").examples,
    "ranking": hard,
    "weighted": hard,
    "bradley_terry": pair_examples(orm_examples(outcomes, codec, tokenizer).examples),
    "every_token": orm_examples(outcomes[:8], codec, tokenizer, "all").examples,
}
weights = {}
for name, examples in data.items():
    assert len(examples) == 8
    torch.manual_seed(0)
    arguments = TrainingArguments(
        output, per_device_train_batch_size=size, max_steps=1, learning_rate=0.05, optim="sgd", max_grad_norm=1e9,
        lr_scheduler_type="constant", save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
    )
    config = VerifierConfig("prm", codec, "value", "last", base, "")
    objective = OBJECTIVES.get(name) or (weigh_bad(OBJECTIVES["cross_entropy"], 3.0 if name == "weighted" else 1.0))
    trainer = VerifierTrainer(
        from_base(base), arguments, config, tokenizer, examples, objective=objective, tokens_per_row=tokens
    )
    start = trainer.model.score.weight.detach().clone()
    trainer.train()
    model = trainer.accelerator.unwrap_model(trainer.model)
    assert (model.score.weight - start).abs().max() > 1e-4, name
    weights |= {f"{name}/{key}": tensor.detach().clone() for key, tensor in model.named_parameters()}
if trainer.is_world_process_zero():
    save_file(weights, output + "/weights.safetensors")
del trainer, model
close_process_group()
"""


def test_every_objective_takes_the_same_step_in_two_processes(scripts, tmp_path, tiny_llama):
    """In rows by tokens, too, of which the processes have different numbers."""
    tiny_llama(len(arithmetic.build_tokenizer())).save_pretrained(tmp_path / "base")
    (tmp_path / "worker.py").write_text(EVERY_OBJECTIVE)
    weights = []
    for processes, size, tokens in ((1, 8, 0), (2, 4, 0), (2, 4, 70)):
        output = tmp_path / f"out{processes}_{tokens}"
        output.mkdir()
        done = scripts.launch(
            torchrun(processes), str(tmp_path / "worker.py"), [tmp_path / "base", size, output, tokens]
        )
        assert done.code == 0, done.stderr[-3000:]
        weights.append(load_file(output / "weights.safetensors"))
    assert len({name.split("/")[0] for name in weights[0]}) == 6
    for name, tensor in weights[0].items():
        assert all(float((tensor - others[name]).abs().max()) < 1e-5 for others in weights[1:]), name
