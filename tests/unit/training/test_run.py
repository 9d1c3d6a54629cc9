"""What one run does, in which order, and with which of its flags; the training itself is tested in test_trainer.py."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from transformers import EarlyStoppingCallback

from prm.encoding.codec import StepCodec
from prm.training import run
from prm.training.run import fit
from prm.verifiers.checkpoint import VerifierConfig

CONFIG = VerifierConfig("prm", StepCodec(), "value", "last", "base", "hash")
MADE = SimpleNamespace(
    config=CONFIG, train="examples", validation="held out", report="3 traces", prompts="prompts", steps_N="steps"
)


@pytest.fixture
def fitted(monkeypatch, capsys):
    """`fitted(**flags)`: what the run did, as (name, arguments) pairs, and what it printed."""

    def call(push=False, report_to=(), train_examples=None, first=True, **flags):
        done = []

        class Trainer:
            def __init__(self, *given, **named):
                done.append(("made", given, named))

            def __getattr__(self, name):
                return lambda *given, **named: done.append((name, given, named))

            def evaluate(self):
                done.append(("evaluate", (), {}))
                return {"eval_loss": 0.25, "rows": 3}

            def check_saved(self, prompts, steps_N):
                done.append(("check_saved", (prompts, steps_N), {}))
                return 2e-7

            def is_world_process_zero(self):
                return first

        monkeypatch.setattr(run, "VerifierTrainer", Trainer)
        monkeypatch.setattr(
            run, "WandbTracking", lambda *its: SimpleNamespace(its=its, finish=lambda: done.append(("finish",)))
        )
        for name in ("set_seed", "remove"):
            monkeypatch.setattr(run, name, lambda *its, name=name: done.append((name, its, {})))
        monkeypatch.setattr(run, "hash_of_base", lambda path: f"weights of {path}")
        monkeypatch.setattr(run, "load_model", lambda arguments: "model")
        monkeypatch.setattr(run, "settings_text", lambda *its: "settings")
        monkeypatch.setattr(run, "find_checkpoint", lambda *its: ("checkpoint", its))
        arguments = SimpleNamespace(
            **{
                "model": "base",
                "lora_r": 0,
                "loss": lambda: "loss",
                "tokens_per_row": 7,
                "early_stopping": None,
            }
            | flags
        )
        training = SimpleNamespace(
            seed=5, output_dir="out", report_to=report_to, resume_from_checkpoint="auto", push_to_hub=push,
            local_process_index=0 if first else 1,
        )  # fmt: skip
        fit(arguments, training, MADE, "tokenizer", train_examples)
        return done, capsys.readouterr().out

    return call


def named(done, name):
    return [its for its in done if its[0] == name]


def test_a_run_checks_trains_saves_evaluates_and_proves_what_it_saved(fitted):
    done, said = fitted()
    assert [name for name, *_ in done] == [
        "set_seed", "made", "train", "save_model", "save_state", "evaluate", "check_saved", "save_metrics",
        "create_model_card", "remove",
    ]  # fmt: skip
    assert done[0][1] == (5,)
    assert done[-1][1] == (MADE,)
    config = replace(CONFIG, base_weights=None)
    (_, given, more), *_ = named(done, "made")
    assert given[0] == "model"
    assert given[2:] == (config, "tokenizer", "examples", "held out")
    assert more == {"objective": "loss", "settings": "settings", "tokens_per_row": 7}
    assert named(done, "train")[0][2] == {"resume_from_checkpoint": ("checkpoint", ("auto", "out", config))}
    assert named(done, "save_model")[0][2] == {"_internal_call": True}
    assert named(done, "check_saved")[0][1] == ("prompts", "steps")
    assert named(done, "save_metrics")[0][1] == ("eval", {"eval_loss": 0.25, "rows": 3})
    assert "saved out; loaded again, scores agree to 2e-07" in said
    assert said.endswith("eval_loss                                0.2500\n")


def test_the_base_of_a_lora_is_part_of_the_config(fitted):
    done, _ = fitted(lora_r=4)
    assert named(done, "made")[0][1][2].base_weights == "weights of base"


def test_flags_add_what_they_name_and_nothing_else(fitted):
    done, _ = fitted(early_stopping=3, report_to=["wandb"], push=True, train_examples="pairs")
    (_, (tracking,), _), (_, (stopping,), _) = named(done, "add_callback")
    assert tracking.its[2] == "3 traces"
    assert isinstance(stopping, EarlyStoppingCallback)
    assert stopping.early_stopping_patience == 3
    assert named(done, "made")[0][1][4] == "pairs"
    assert [name for name, *_ in done[-4:]] == ["create_model_card", "finish", "remove", "push_to_hub"]
    done, said = fitted(first=False, report_to=["tensorboard"])
    assert not named(done, "add_callback")
    assert not named(done, "remove")  # another process of the machine does it
    assert "saved out" not in said
