"""recipes/train_generator.py: what is learned is what sampling asks for, and loss is on the steps only."""

import json
import re
import runpy
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from prm.datasets import arithmetic
from prm.encoding.prompts import prompt_template
from prm.generators import load_generator
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import trace_to_row
from prm.types import Trace

TINY = {
    **{"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2},
    **{"max_length": 64, "bf16": "false", "gradient_checkpointing": "false", "use_cpu": "true", "disable_tqdm": "true"},
    **{"save_strategy": "no", "report_to": "none", "lr_scheduler_type": "constant", "seed": 3},
}
PROBLEM = arithmetic.load("train", 1)[0]
STEPS = arithmetic.solution(PROBLEM.prompt)


def train(scripts, output, **flags):
    done = scripts.run("recipes/train_generator.py", output_dir=output, **(TINY | flags))
    assert done.code == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def solved(tmp_path_factory) -> Path:
    """One problem in GSM8K's form, with a calculator mark in its first step, 64 times."""
    first, *rest = STEPS
    marked = re.sub(r"= (\d+)$", r"= <<x=\1>>\1", first)
    assert marked != first
    path = tmp_path_factory.mktemp("solved") / "solved.jsonl"
    row = json.dumps({"question": PROBLEM.prompt, "answer": "\n".join([marked, *rest])})
    path.write_text(f"{row}\n" * 64)
    return path


@pytest.fixture(scope="module")
def learned(scripts, solved, tmp_path_factory) -> Path:
    """A new model that has seen that problem until it knows it by heart."""
    path = tmp_path_factory.mktemp("learned")
    train(scripts, path, data=solved, learning_rate=1e-2, num_train_epochs=12, per_device_train_batch_size=16)
    return path


def test_the_loss_is_that_of_the_steps(scripts, learned, tmp_path):
    """With learning rate 0 the saved model is the one whose loss was logged; it is worked out again here."""
    flags = {"limit": 8, "max_length": 96, "learning_rate": 0, "num_train_epochs": 1, "per_device_train_batch_size": 8}
    log = train(scripts, tmp_path, model=learned, data="arithmetic", **flags)
    logged = float(re.search(r"'train_loss': '?([\d.]+)", log)[1])
    generator = load_generator(str(tmp_path))
    of_prompts, of_steps = [], []
    for row in arithmetic.student_examples(8, seed=3):
        prompt = generator.tokenizer(row["prompt"] + "\n")["input_ids"]
        steps = [*generator.tokenizer(row["completion"])["input_ids"], generator.tokenizer.eos_token_id]
        with torch.inference_mode():
            chances = torch.log_softmax(generator.model(torch.tensor([prompt + steps])).logits[0], -1)
        losses = [-chances[i, token].item() for i, token in enumerate((prompt + steps)[1:])]
        of_prompts += losses[: len(prompt) - 1]
        of_steps += losses[len(prompt) - 1 :]
    expected = sum(of_steps) / len(of_steps)
    assert logged == pytest.approx(expected, rel=1e-3)
    assert abs(sum(of_prompts + of_steps) / len(of_prompts + of_steps) - expected) > 0.1  # else it would prove nothing
    assert f"8 traces, {len(of_prompts) + len(of_steps) + 8:,} tokens" in log
    assert "0 are longer than --max_length 96" in log


def test_of_exercises_only_what_follows_them_is_learned(root):
    row = {"prompt": "", "turns": [("47 + 38", " = 75\n = 85\n"), ("6 + 3", " = 9\n\n")]}
    tokenizer = arithmetic.build_tokenizer()
    encode = runpy.run_path(str(root / "recipes/train_generator.py"))["encode"]
    example = encode(tokenizer, prompt_template("plain"), row, None)
    assert tokenizer.decode(example["input_ids"]) == "\n47 + 38 = 75\n = 85\n6 + 3 = 9\n\n<eos>"
    learned = [token for token, label in zip(example["input_ids"], example["labels"], strict=True) if label != -100]
    assert tokenizer.decode(learned) == " = 75\n = 85\n = 9\n\n<eos>"
    assert all(label in (-100, token) for token, label in zip(example["input_ids"], example["labels"], strict=True))


def test_what_was_learned_is_what_is_sampled(learned):
    generator = load_generator(str(learned), temperature=0, max_new_tokens=40)
    (continuation,) = generator.generate([generator.encode(PROBLEM.prompt)], [0])
    assert continuation.text == "\n".join(STEPS)  # without the calculator mark
    assert continuation.stop == "eos"
    (step,) = generator.generate([generator.encode(PROBLEM.prompt, STEPS[:1])], [0], until="step")
    assert step.text == STEPS[1] + "\n"


def test_a_lora_is_merged_into_a_plain_folder(scripts, solved, learned, tmp_path):
    train(
        scripts, tmp_path, model=learned, data=solved, limit=16, lora_r=2, learning_rate=1e-2, num_train_epochs=2,
        per_device_train_batch_size=8,
    )  # fmt: skip
    assert not list(tmp_path.glob("adapter*"))
    tuned, base = load_generator(str(tmp_path)), load_generator(str(learned))
    assert tuned.num_parameters == base.num_parameters
    before, after = base.model.state_dict(), tuned.model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("_proj" in name for name in changed)


def test_its_settings_are_a_config_that_gives_the_same_model(scripts, solved, tmp_path):
    flags = {"data": solved, "limit": 16, "max_steps": 1, "learning_rate": 1e-2, "license": "mit"}
    train(scripts, tmp_path / "one", **flags, per_device_train_batch_size=8)
    train_again = {"config": tmp_path / "one" / "config.yaml", "output_dir": tmp_path / "two"}
    done = scripts.run("recipes/train_generator.py", **train_again)
    assert done.code == 0, done.stderr
    texts = [(tmp_path / name / "config.yaml").read_text() for name in ("one", "two")]
    one, two = map(yaml.safe_load, texts)
    assert (one["license"], one["limit"], one["max_length"], one["max_steps"]) == ("mit", 16, 64, 1)
    assert two == one | {"output_dir": str(tmp_path / "two")}
    assert f"#   python recipes/train_generator.py --config {tmp_path}/one/config.yaml --output_dir" in texts[1]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    card = ModelCard.load(tmp_path / "one" / "README.md")
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "text-generation")
    assert f"trained from scratch on 16 traces of `{solved}`" in card.text
    assert "| `learning_rate` | 0.01 |" in card.text


def test_right_traces_of_a_built_data_set_are_learned(scripts, tmp_path):
    folder = tmp_path / "set"
    traces = [
        Trace(PROBLEM.id, STEPS, PROBLEM.answer, True),
        Trace(PROBLEM.id, (*STEPS[:-1], "#### 0"), "0", False, index=1),
        Trace(PROBLEM.id, STEPS[:-1], None, None, index=2),
    ]
    write_jsonl(folder / "train.jsonl", [trace_to_row(PROBLEM, trace) for trace in traces * 4])
    log = train(scripts, tmp_path / "model", data=folder, max_steps=1)
    assert "8 traces do not end right, or it is unknown whether they do; they are left out" in log
    assert "4 traces, " in log


def test_what_it_refuses(scripts, solved, tmp_path):
    other = arithmetic.load("test", 1)[0]
    test_only = tmp_path / "test.jsonl"
    test_only.write_text(json.dumps({"prompt": other.prompt, "answer": "1"}) + "\n")
    for message, flags in {
        "--data arithmetic needs --limit": {"data": "arithmetic"},
        "missing.jsonl does not exist": {"data": tmp_path / "missing.jsonl"},
        f"no solved problem in the train split of {test_only}": {"data": test_only},
        "no step is left to learn from": {"data": solved, "max_length": 4},
        "error: prompt template 'chatt' is not one of plain, ": {"data": solved, "prompt": "chatt"},
        "error: --hiden_size is no flag of recipes/train_generator.py, did you mean --hidden_size?": {
            "data": solved,
            "hiden_size": 3,
        },
    }.items():
        done = scripts.run("recipes/train_generator.py", output_dir=tmp_path / "out", **(TINY | flags))
        assert done.code != 0, message
        assert message in done.last_line, done.stderr


def test_traces_that_lose_their_end_are_counted(scripts, solved, tmp_path):
    log = train(
        scripts, tmp_path, data=solved, limit=8, max_length=12, max_steps=1, per_device_train_batch_size=8
    )  # fmt: skip
    assert "8 are longer than --max_length 12 and lose their end" in log
