"""config.yaml of a trained verifier: as --config it gives the same run again (a generator's: tests/scripts)."""

import importlib.util
import sys
import warnings
from dataclasses import asdict

import pytest
import yaml
from transformers import TrainingArguments

from prm.command_line import TRAINING_ARGUMENTS, flags_of, library_flags, parse
from prm.training.settings import LEFT_OUT, settings_text

PRM = {"model": "base", "data": "größe.jsonl", "lora_r": 4, "until_first_error": True, "separator": "\n\n"}
ORM = {"model": "base", "data": "org/set", "tokens": "all", "limit": 3, "license": "mit"}
TRAINING = {"output_dir": "out", "max_steps": 2, "learning_rate": 3e-4, "lr_scheduler_type": "cosine", "use_cpu": True}
TRAINING |= {
    "report_to": "none",
    "save_strategy": "no",
    "eval_strategy": "steps",
    "eval_steps": 5,
    "hub_token": "secret",
}


@pytest.mark.parametrize(
    ("script", "name", "own"), [("train_prm", "PrmArguments", PRM), ("train_orm", "OrmArguments", ORM)]
)
def test_it_is_a_config_with_all_settings_of_the_run(script, name, own, root, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location(script, root / "recipes" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, script, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    kind = vars(module)[name]
    monkeypatch.setattr(sys, "argv", [f"recipes/{script}.py", "--config", "my file.yaml"])
    arguments = kind(**own, overwrite_output_dir=True)
    training = TrainingArguments(**TRAINING, resume_from_checkpoint="auto")
    text = settings_text(arguments, training)
    assert text.startswith("# Made by this command, on 1 process(es):\n#   ")
    assert f" recipes/{script}.py --config 'my file.yaml'\n" in text
    assert f"data: {own['data']}\n" in text
    assert "secret" not in text
    own_names = [name for name in asdict(arguments) if name not in LEFT_OUT]
    assert list(yaml.safe_load(text))[: len(own_names)] == own_names  # a reader looks for these first

    (tmp_path / "config.yaml").write_text(text)
    own_flags, library = flags_of(kind), library_flags(TRAINING_ARGUMENTS)
    values = parse(["--config", str(tmp_path / "config.yaml")], own_flags | library, module.main)
    assert set(values) == {*own_flags, *library} - LEFT_OUT  # given or not
    again = kind(**{flag: value for flag, value in values.items() if flag in own_flags})
    assert asdict(again) == asdict(arguments) | {"overwrite_output_dir": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trained = TrainingArguments(**{flag: value for flag, value in values.items() if flag in library})
    assert trained.to_dict() == training.to_dict() | {"resume_from_checkpoint": None}
