"""recipes/train_prm.py and recipes/train_orm.py from the command line, on 48 traces and a tiny random base.

Those runs that need a process of their own (launcher, W&B, kill) are subprocesses; the others run the script in this one.
"""

import json
import os
import random
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import TrainingArguments

from prm.datasets import arithmetic
from prm.storage.jsonl import write_jsonl
from prm.storage.rows import labeled_to_row
from prm.types import LabeledTrace, Trace
from prm.verifiers import load_verifier

ROOT = Path(__file__).resolve().parents[2]
PROBLEMS = arithmetic.load("train", 16)
COMMON = {
    "max_length": 128,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "constant",
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "seed": 0,
}


def labeled_rows(problems, semantics="correctness"):
    """Per problem its solution, the solution with a wrong answer, and a student's trace, with exact labels. The rows are
    labeled traces and checked traces in one."""
    rng = random.Random(0)
    for problem in problems:
        gold = arithmetic.solution(problem.prompt)
        for index, steps in enumerate((gold, (*gold[:-1], "#### 0"), arithmetic.student_trace(problem.prompt, rng))):
            labels = arithmetic.check_steps(problem.prompt, steps)
            trace = Trace(problem.id, steps, steps[-1].removeprefix("#### "), labels[-1], index=index)
            values = tuple(map(float, labels))
            yield labeled_to_row(problem, LabeledTrace(trace, labels, values, None, "exact", semantics))


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_llama):
    """A folder with `base/` (random model, its tokenizer), train.jsonl (36 rows), validation.jsonl (12 rows), prm.yaml."""
    folder = tmp_path_factory.mktemp("files")
    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(folder / "base")
    tiny_llama(len(tokenizer)).save_pretrained(folder / "base")
    write_jsonl(folder / "train.jsonl", labeled_rows(PROBLEMS[:12]))
    write_jsonl(folder / "validation.jsonl", labeled_rows(PROBLEMS[12:]))
    paths = {"model": folder / "base", "data": folder / "train.jsonl", "eval_data": folder / "validation.jsonl"}
    (folder / "prm.yaml").write_text(yaml.safe_dump({name: str(path) for name, path in paths.items()} | COMMON))
    return folder


@pytest.fixture
def run_here(monkeypatch):
    """`run_here(script, *arguments)`: the script in this process; what it raises would end it with an error code."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(ROOT / "recipes" / script), run_name="__main__")

    return run


def flags(**values):
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def read(path):
    return json.loads(path.read_text())


def logged(output, name):
    """The values of one quantity at every logged step."""
    return [entry[name] for entry in read(output / "trainer_state.json")["log_history"] if name in entry]


def test_prm_through_accelerate_with_flags_over_yaml_and_wandb_offline(files, tmp_path):
    output = tmp_path / "prm"
    launch = ["launch", "--cpu", "--num_processes", "1", "recipes/train_prm.py"]
    command = ["-m", "accelerate.commands.accelerate_cli", *launch]
    arguments = flags(config=files / "prm.yaml", output_dir=output, max_steps=2, report_to="wandb")
    result = subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=ROOT,
        env=os.environ | {"WANDB_DIR": str(tmp_path), "WANDB_MODE": "offline", "WANDB_PROJECT": "prm-tests"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]

    assert read(output / "trainer_state.json")["global_step"] == 2  # the flag
    assert logged(output, "learning_rate") == [0.01, 0.01]  # the YAML's, not the default 5e-5
    metrics = read(output / "eval_results.json")
    assert {
        "eval_loss",
        "eval_auc",
        "eval_auc_within_problem",
        "eval_trace_auc_within_problem",
        "eval_balanced_accuracy",
        "eval_first_error_accuracy",
        "eval_calibration_error",
        "eval_length_correlation",
    } <= metrics.keys()
    assert metrics["eval_n_traces"] == 12
    assert "train       36 traces" in result.stdout
    assert "validation  12 traces" in result.stdout
    assert "targets     hard, semantics correctness" in result.stdout

    verifier = load_verifier(str(output))
    assert (verifier.config.kind, verifier.aggregation, verifier.config.codec.max_length) == ("prm", "product", 128)
    assert len(verifier.score(PROBLEMS[0].prompt, arithmetic.solution(PROBLEMS[0].prompt))) == 3

    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    (log,) = run.glob("run-*.wandb")
    recorded = log.read_bytes()
    assert b"eval/trace_auc_within_problem" in recorded
    assert b"lora_r" in recorded  # our own flags, in addition to the Trainer's


def test_orm_with_lora_where_wandb_cannot_be_imported(files, tmp_path):
    broken = tmp_path / "stub" / "wandb"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('no wandb here')\n")
    output = tmp_path / "orm"
    data = {"data": files / "train.jsonl", "eval_data": files / "validation.jsonl", "model": files / "base"}
    result = subprocess.run(
        [sys.executable, "recipes/train_orm.py", *flags(**data, **COMMON, output_dir=output, max_steps=2, lora_r=4)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path / 'stub'}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "train       36 traces, 36 labeled steps" in result.stdout  # one per trace
    assert (output / "adapter_model.safetensors").is_file()
    assert "eval_trace_auc_within_problem" in read(output / "eval_results.json")
    verifier = load_verifier(str(output))
    assert (verifier.config.kind, verifier.config.semantics, verifier.aggregation) == ("orm", "outcome", "last")


@pytest.mark.parametrize(
    ("more", "head"),
    [
        ({"objective": "ranking", "bad_weight": 1}, "linear"),
        ({"objective": "squared_error", "bad_weight": 2}, "linear"),
        ({"until_first_error": True, "head": "mlp", "freeze_backbone": True}, "mlp"),
    ],
)
def test_prm_objectives_heads_and_ways_end_in_a_checkpoint_that_scores(more, head, files, tmp_path, run_here, capsys):
    run_here("train_prm.py", *flags(config=files / "prm.yaml", output_dir=tmp_path / "prm", max_steps=2, **more))
    assert "loaded again, scores agree" in capsys.readouterr().out
    verifier = load_verifier(str(tmp_path / "prm"))
    assert verifier.config.head == head
    assert len(verifier.score(PROBLEMS[0].prompt, arithmetic.solution(PROBLEMS[0].prompt))) == 3


QLORA = {"lora_r": 4, "load_in_4bit": True, "max_steps": 2, "eval_strategy": "steps", "eval_steps": 1}
"""Trains on after an evaluation."""


def test_qlora_ends_in_a_checkpoint_that_scores(avx512_bf16, files, tmp_path, run_here, capsys):
    """On layers of 32 inputs, which bitsandbytes cannot pack."""
    run_here("train_prm.py", *flags(config=files / "prm.yaml", output_dir=tmp_path / "prm", **QLORA))
    assert "loaded again, scores agree" in capsys.readouterr().out
    verifier = load_verifier(str(tmp_path / "prm"))
    assert verifier.config.quantization == "nf4"
    assert len(verifier.score(PROBLEMS[0].prompt, arithmetic.solution(PROBLEMS[0].prompt))) == 3


def test_qlora_trains_the_same_where_the_processor_has_avx512_bf16(
    files, tmp_path, run_here, tiny_llama, avx512_bf16_python
):
    """On layers of 64 and more inputs, which bitsandbytes can pack. It also has no reason to warn."""
    tokenizer = arithmetic.build_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    tiny_llama(len(tokenizer), hidden_size=64).save_pretrained(tmp_path / "base")
    arguments = flags(config=files / "prm.yaml", model=tmp_path / "base", **QLORA)
    run_here("train_prm.py", *arguments, *flags(output_dir=tmp_path / "here"))
    command = [*avx512_bf16_python, "recipes/train_prm.py", *arguments, *flags(output_dir=tmp_path / "there")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "gemm_4bit_forward" not in result.stdout + result.stderr
    for name in ("loss", "grad_norm", "eval_loss"):
        assert logged(tmp_path / "there", name) == pytest.approx(logged(tmp_path / "here", name), rel=1e-4), name


@pytest.mark.parametrize("more", [{"objective": "bradley_terry"}, {"tokens": "all"}])
def test_orm_on_pairs_or_at_every_token_exports_to_one_logit(more, files, tmp_path, run_here, capsys):
    output = tmp_path / "orm"
    run_here("train_orm.py", *flags(config=files / "prm.yaml", output_dir=output, max_steps=2, **more))
    assert read(output / "eval_results.json")["eval_n_steps"] == 12  # read at the last step, whatever is learned
    export = flags(verifier=output, form="sequence_classification", output_dir=tmp_path / "reward")
    run_here("export_verifier.py", *export)
    out = capsys.readouterr().out
    has_bias = "objective" not in more  # pairs do not move it
    assert ("its logits are the log-odds of the verifier minus" in out) == has_bias
    assert f"serve it with\nvllm serve {tmp_path / 'reward'} --runner pooling --dtype float32 --max-model-len" in out
    with pytest.raises(SystemExit, match=r"reward holds a model; give another --output_dir"):
        run_here("export_verifier.py", *export)
    assert read(tmp_path / "reward" / "config.json")["architectures"] == ["LlamaForSequenceClassification"]


def test_truncated_validation_rows_do_not_end_a_finished_run(files, tmp_path, run_here, capsys):
    run_here(
        "train_prm.py",
        *flags(config=files / "prm.yaml", output_dir=tmp_path / "prm", max_steps=1, max_length=40, overlong="truncate"),
    )
    out = capsys.readouterr().out
    (validation,) = [line for line in out.splitlines() if line.startswith("validation  12 traces")]
    assert "0 truncated" not in validation
    assert "loaded again, scores agree" in out
    assert (tmp_path / "prm" / "eval_results.json").is_file()


def test_main_takes_dataclasses_and_returns_the_trainer(files, tmp_path):
    names = runpy.run_path(str(ROOT / "recipes" / "train_prm.py"), run_name="imported")
    script = names["PrmArguments"](model=str(files / "base"), data=str(files / "train.jsonl"), objective="ranking")
    script.eval_data, script.max_length = str(files / "validation.jsonl"), 128
    training = TrainingArguments(str(tmp_path / "prm"), max_steps=2, report_to="none", disable_tqdm=True)
    trainer = names["main"](script, training)
    assert trainer.state.global_step == 2
    assert trainer.last_metrics["n_traces"] == 12
    assert load_verifier(str(tmp_path / "prm")).config == trainer.verifier_config


def test_early_stopping_ends_a_run_that_gets_no_better(files, tmp_path, run_here):
    more = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "early_stopping": 2}
    more |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "learning_rate": 1.0, "max_steps": 20}
    run_here("train_prm.py", *flags(**{"config": files / "prm.yaml", "output_dir": tmp_path / "prm"} | more))
    assert read(tmp_path / "prm" / "trainer_state.json")["global_step"] < 20


@pytest.mark.parametrize(
    ("script", "more", "message"),
    [
        ("train_prm.py", {"objective": "ranking", "targets": "soft"}, "orders good before bad steps and needs"),
        ("train_orm.py", {"objective": "bradley_terry", "tokens": "all"}, "compares whole traces and needs"),
        ("train_prm.py", {"objective": "ranking", "bad_weight": 2}, "compares steps with each other"),
        ("train_prm.py", {"load_in_4bit": True}, "4-bit weights cannot be trained"),
    ],
)
def test_settings_that_make_no_sense_are_refused(script, more, message, files, tmp_path, run_here):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        run_here(script, *flags(config=files / "prm.yaml", output_dir=tmp_path / "out", **more))


def test_trl_rows_train_unchanged_once_their_meaning_is_given(files, tmp_path, run_here):
    rows = [{k: row[k] for k in ("prompt", "completions", "labels")} for row in labeled_rows(PROBLEMS)]
    write_jsonl(tmp_path / "trl.jsonl", rows)
    settings = COMMON | {"data": tmp_path / "trl.jsonl", "model": files / "base", "output_dir": tmp_path / "prm"}
    settings |= {"eval_data": tmp_path / "trl.jsonl", "max_steps": 1}
    with pytest.raises(SystemExit, match=r"error: .*trl\.jsonl:1: .*add --semantics value"):
        run_here("train_prm.py", *flags(**settings))
    run_here("train_prm.py", *flags(**settings, semantics="correctness"))
    config = load_verifier(str(tmp_path / "prm")).config
    assert (config.semantics, config.aggregation) == ("correctness", "product")
    assert read(tmp_path / "prm" / "eval_results.json")["eval_n_traces"] == 48


def test_value_labels_choose_soft_targets_and_the_last_score(files, tmp_path, run_here, capsys):
    write_jsonl(tmp_path / "value.jsonl", labeled_rows(PROBLEMS, "value"))
    settings = COMMON | {"data": tmp_path / "value.jsonl", "eval_data": tmp_path / "value.jsonl", "max_steps": 1}
    run_here("train_prm.py", *flags(**settings, model=files / "base", output_dir=tmp_path / "prm", limit=6))
    assert "targets     soft, semantics value" in capsys.readouterr().out
    assert load_verifier(str(tmp_path / "prm")).aggregation == "last"


def test_mixed_meanings_are_refused_in_training_and_validation_rows(files, tmp_path, run_here):
    value, correctness = list(labeled_rows(PROBLEMS, "value")), list(labeled_rows(PROBLEMS))
    write_jsonl(tmp_path / "mixed.jsonl", value[:3] + correctness[3:])
    write_jsonl(tmp_path / "value.jsonl", value)
    base = flags(**COMMON, model=files / "base", output_dir=tmp_path / "prm")
    paths = flags(data=tmp_path / "mixed.jsonl", eval_data=tmp_path / "value.jsonl")
    with pytest.raises(
        SystemExit, match=r"error: labels mean 'value' in .*/mixed\.jsonl:1 but 'correctness' in .*:4; a"
    ):
        run_here("train_prm.py", *base, *paths)
    paths = flags(data=tmp_path / "value.jsonl", eval_data=files / "validation.jsonl")
    message = r"error: labels mean 'value' in .*/value\.jsonl:1 but 'correctness' in .*/validation\.jsonl:1; a verifier"
    with pytest.raises(SystemExit, match=message):
        run_here("train_prm.py", *base, *paths)


@pytest.mark.parametrize("script", ["train_prm.py", "train_orm.py"])
def test_unknown_flags_and_keys_and_empty_files_are_refused_by_name(script, files, tmp_path, run_here, capsys):
    config = flags(config=files / "prm.yaml", output_dir=tmp_path / "out")
    with pytest.raises(SystemExit):
        run_here(script, *config, *flags(learning_ratio=0.1))
    line = f"error: --learning_ratio is no flag of recipes/{script}, did you mean --learning_rate?\n"
    assert capsys.readouterr().err == line

    settings = yaml.safe_load((files / "prm.yaml").read_text()) | {"learning_ratio": 0.1}
    (tmp_path / "typo.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(SystemExit):
        run_here(script, *flags(config=tmp_path / "typo.yaml", output_dir=tmp_path / "out"))
    line = f"error: {tmp_path / 'typo.yaml'}: no flag 'learning_ratio', did you mean learning_rate?\n"
    assert capsys.readouterr().err == line

    with pytest.raises(SystemExit, match="error: prompt template 'poem' is not one of plain, "):
        run_here(script, *config, *flags(prompt="poem"))

    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    for name in ("data", "eval_data"):
        with pytest.raises(SystemExit, match=r"error: .*empty\.jsonl holds no row"):
            run_here(script, *config, *flags(**{name: empty}))
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_finished_model_is_replaced_only_on_demand(files, tmp_path, run_here, capsys):
    output = tmp_path / "prm"
    settings = flags(config=files / "prm.yaml", output_dir=output, max_steps=1)
    run_here("train_prm.py", *settings)
    before = (output / "model.safetensors").read_bytes()
    for more in ([], ["--resume_from_checkpoint", "auto"]):  # there is no checkpoint, so both would start over
        with pytest.raises(SystemExit, match=r"error: .*prm holds a finished model; add --overwrite_output_dir"):
            run_here("train_prm.py", *settings, *more, *flags(seed=1))
    with pytest.raises(SystemExit):
        run_here("train_prm.py", *settings, "--do_train", "false")
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: --do_train is refused: this script always trains; leave it out"
    )
    assert (output / "model.safetensors").read_bytes() == before
    run_here("train_prm.py", *settings, "--overwrite_output_dir", *flags(seed=1))
    assert (output / "model.safetensors").read_bytes() != before


def test_a_built_data_set_is_data_and_the_settings_of_a_run_give_it_again(files, tmp_path, run_here, monkeypatch):
    """A LoRA, whose base is given by a relative path and found from elsewhere."""
    monkeypatch.chdir(ROOT)
    folder = tmp_path / "set"
    shutil.copytree(files, folder)
    settings = COMMON | {"model": os.path.relpath(files / "base", ROOT), "data": folder, "lora_r": 4, "max_steps": 1}
    run_here("train_prm.py", *flags(**settings, output_dir=tmp_path / "one"))
    assert read(tmp_path / "one" / "eval_results.json")["eval_n_traces"] == 12  # those of validation.jsonl
    run_here("train_prm.py", *flags(config=tmp_path / "one" / "config.yaml", output_dir=tmp_path / "two"))
    one, two = (yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("one", "two"))
    assert (one["data"], one["targets"], one["semantics"], one["aggregation"]) == (
        str(folder),
        "hard",
        "correctness",
        "product",
    )
    assert two == one | {"output_dir": str(tmp_path / "two")}
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]
    text = (tmp_path / "one" / "README.md").read_text()
    assert "A score is the probability that this step is right, whatever follows." in text
    assert f"`{folder}`. 36 traces, " in text
    assert "labeled by exact. SHA-256 begins with" in text

    run_here("merge_adapter.py", *flags(verifier=tmp_path / "one", output_dir=tmp_path / "merged"))
    with pytest.raises(SystemExit, match=r"merged holds a model; give another --output_dir"):
        run_here("merge_adapter.py", *flags(verifier=tmp_path / "one", output_dir=tmp_path / "merged"))
    monkeypatch.chdir(tmp_path)
    prompt, steps = PROBLEMS[0].prompt, arithmetic.solution(PROBLEMS[0].prompt)
    assert load_verifier(str(tmp_path / "merged")).score(prompt, steps) == pytest.approx(
        load_verifier(str(tmp_path / "one")).score(prompt, steps), abs=1e-5
    )


def test_auto_starts_without_a_checkpoint_and_goes_on_from_one(files, tmp_path, run_here):
    output = tmp_path / "prm"
    settings = {"config": files / "prm.yaml", "output_dir": output, "resume_from_checkpoint": "auto"}
    settings |= {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    run_here("train_prm.py", *flags(**settings))
    assert logged(output, "learning_rate") == [0.01, 0.01]
    run_here("train_prm.py", *flags(**settings | {"max_steps": 3, "learning_rate": 0.02}))
    assert read(output / "trainer_state.json")["global_step"] == 3
    assert len(logged(output, "learning_rate")) == 3  # two steps are those of the first run
