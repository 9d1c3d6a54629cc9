"""Training of an implicit PRM: the loss against autograd by hand however the batch is split, and the folder it leaves."""

import json
import math
import random
from types import SimpleNamespace

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from prm.datasets import arithmetic
from prm.encoding.layouts import Layout
from prm.encoding.prompts import PromptTemplate
from prm.storage.rows import LabeledRow
from prm.training import implicit
from prm.training.examples import orm_examples
from prm.training.implicit import ImplicitTrainer, fit_implicit, ratio_examples
from prm.types import LabeledTrace, Trace
from prm.verifiers import find_verifier, load_verifier

BETA, RATE = 0.3, 0.5
TEXT = Layout(PromptTemplate("{prompt}\n"), "\n", None, 128, form="text")


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("base")
    tokenizer = arithmetic.build_tokenizer()
    tiny_llama(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sets(base):
    """Examples of 8 traces to train on and 8 to validate on, two per problem, a right and a wrong one."""
    rows = []
    for problem in arithmetic.load("train", 8):
        gold = arithmetic.solution(problem.prompt)
        for right, steps in ((True, gold), (False, arithmetic.student_trace(problem.prompt, random.Random(1)))):
            labels = (right,) * len(steps)
            trace = Trace(problem.id, steps, steps[-1], right, index=int(right))
            rows.append(LabeledRow(problem, LabeledTrace(trace, labels, None, None, "outcome", "outcome")))
    tokenizer = AutoTokenizer.from_pretrained(base)
    return [orm_examples(part, TEXT, tokenizer) for part in (rows[:8], rows[8:])]


@pytest.fixture
def settings(tmp_path):
    def make(**changes):
        values = {"output_dir": str(tmp_path / "out"), "max_steps": 1, "logging_steps": 1, "learning_rate": RATE}
        values |= {"lr_scheduler_type": "constant", "optim": "sgd", "max_grad_norm": 1e9, "save_strategy": "no"}
        values |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 8}
        return TrainingArguments(**values | changes)

    return make


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_the_step_is_the_same_however_the_batch_is_split_and_equals_autograd_by_hand(base, sets, settings):
    tokenizer, (train, _) = AutoTokenizer.from_pretrained(base), sets
    start = load(base)
    with torch.no_grad():  # a policy that is not its reference, else every log-odds is 0
        for parameter in start.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    weights = {name: tensor.clone() for name, tensor in start.state_dict().items()}

    total = torch.zeros(())
    for row, example in zip(train.rows, train.examples, strict=True):
        ids = torch.tensor(tokenizer(f"{row.problem.prompt}\n" + "\n".join(row.labeled.trace.steps))["input_ids"])
        assert tuple(ids.tolist()) == example.input_ids
        first = len(tokenizer(f"{row.problem.prompt}\n")["input_ids"])
        sums = [
            model(ids[None]).logits[0].log_softmax(-1)[:-1].gather(1, ids[1:, None])[first - 1 :].sum()
            for model in (start, load(base).eval())
        ]
        p = (BETA * (sums[0] - sums[1])).sigmoid()
        total = total - (p.log() if row.labeled.labels[-1] else (1 - p).log())
    loss = total / len(train.examples)
    loss.backward()
    expected = {name: p.detach() - RATE * p.grad for name, p in start.named_parameters()}
    assert abs(loss.item() - math.log(2)) > 0.01

    prompts = [row.problem.prompt for row in train.rows]
    examples = ratio_examples(train.examples, prompts, TEXT, tokenizer, load(base), row_tokens=100)
    for size, accumulation in ((8, 1), (2, 4)):
        model = load(base)
        model.load_state_dict(weights)
        args = settings(per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
        trainer = ImplicitTrainer(model, args, tokenizer, examples, BETA)
        trainer.train()
        (log,) = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert log["loss"] == pytest.approx(loss.item(), abs=1e-5)
        for name, parameter in trainer.model.named_parameters():
            assert torch.allclose(parameter, expected[name], atol=1e-5), (size, name)


def test_the_folder_loads_by_itself_and_knows_its_reference(base, sets, settings, tmp_path, capsys):
    tokenizer = AutoTokenizer.from_pretrained(base)
    made = "# Made by this command\nlicense: mit\nbeta: 0.3\n"
    metrics = fit_implicit(base, settings(learning_rate=0.05), TEXT, BETA, tokenizer, *sets, made)
    assert set(metrics) == {"eval_trace_auc", "eval_trace_auc_within_problem", "eval_calibration_error"}
    folder = str(tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(part in card for part in ("8 traces", "`trace_auc` ", "| `beta` | 0.3 |", "License: mit"))
    assert list(yaml.safe_load((tmp_path / "out" / "family.yaml").read_text()))[:2] == ["like", "reference"]
    assert (tmp_path / "out" / "config.yaml").read_text() == made
    assert json.loads((tmp_path / "out" / "eval_results.json").read_text()) == metrics
    said = capsys.readouterr().out
    assert f"saved {folder}; loaded again, scores agree to " in said
    assert f"eval_trace_auc                           {metrics['eval_trace_auc']:.4f}\n" in said
    verifier = find_verifier(folder)
    assert (verifier.kind, verifier.beta, verifier.codec) == ("prm", BETA, TEXT)
    row = sets[1].rows[0]
    scores = verifier.score(row.problem.prompt, row.labeled.trace.steps)
    assert len(scores) == len(row.labeled.trace.steps)
    assert scores[-1] != pytest.approx(0.5, abs=1e-3)  # it has learned something
    # Another reference.
    other = tmp_path / "other"
    model = load(base)
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    model.save_pretrained(other)
    tokenizer.save_pretrained(other)
    with pytest.raises(ValueError, match="was trained against a reference with weights"):
        load_verifier(folder, base_model=str(other))
    # The reference is gone.
    file = tmp_path / "out" / "family.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"reference": str(tmp_path / "gone")}))
    with pytest.raises((OSError, ValueError), match="gone"):
        load_verifier(folder)
    assert load_verifier(folder, base_model=base).score(row.problem.prompt, row.labeled.trace.steps) == scores


@pytest.mark.parametrize("plan", ["fsdp", "deepspeed"])
def test_plans_that_cut_the_model_up_and_other_examples_are_refused(plan, base, sets, settings, tmp_path, monkeypatch):
    tokenizer, (train, validation) = AutoTokenizer.from_pretrained(base), sets
    small = tmp_path / "bf16"
    load(base).bfloat16().save_pretrained(small)
    given = []

    def stand_in(model, *rest):
        given.append(model.dtype)
        return SimpleNamespace(is_fsdp_enabled=plan == "fsdp", is_deepspeed_enabled=plan == "deepspeed")

    monkeypatch.setattr(implicit, "ImplicitTrainer", stand_in)

    def fit(beta):
        fit_implicit(str(small), settings(), TEXT, beta, tokenizer, train, validation, "")

    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="in one process or with DDP; leave FSDP and DeepSpeed out"):
        fit(BETA)
    assert given == [torch.float32]  # whatever the base is stored in
    monkeypatch.setattr(implicit, "find_checkpoint", lambda *its: str(tmp_path / "out" / "checkpoint-1"))
    with pytest.raises(ValueError, match="leave FSDP"):
        fit(BETA)
    with pytest.raises(ValueError, match="was trained on examples of hash"):
        fit(2 * BETA)
