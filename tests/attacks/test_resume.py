"""Checkpoints from which training cannot go on as if it had never stopped: passed over with their fault, or refused.

Without `optimizer.pt` or `scheduler.pt` the Trainer goes on with new ones, and the weights differ by 0.02 where 1e-6 is
promised. Damaged files ended it with a traceback.
"""

import json
import os

import pytest
import torch
from safetensors.torch import save_file

from prm.encoding.codec import StepCodec
from prm.training.resume import check_examples, find_checkpoint
from prm.verifiers.checkpoint import FILE, VerifierConfig

CONFIG = VerifierConfig("prm", StepCodec(max_length=128), "value", "last", "base", "hash")


@pytest.fixture
def run(tmp_path):
    """The output folder of a run with two checkpoints, as torch and the Trainer write them."""
    for step in (10, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"weight": torch.arange(500.0)}, folder / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch.save({"state": torch.arange(500.0)}, folder / name)
        CONFIG.save(folder)
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return tmp_path


def gone(name):
    return lambda folder: (folder / name).unlink()


def cut(name, to):
    return lambda folder: os.truncate(folder / name, to)


def flipped(name, byte):
    def flip(folder):
        content = bytearray((folder / name).read_bytes())
        content[byte] ^= 0x10
        (folder / name).write_bytes(content)

    return flip


def diverged(folder):
    save_file({"weight": torch.tensor([1.0, float("nan")])}, folder / "model.safetensors")
    CONFIG.save(folder)


def half_of_two(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    weights = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


ATTACKS = {
    "no optimizer": (gone("optimizer.pt"), r"it has no optimizer\.pt, as after --save_only_model"),
    "no scheduler": (gone("scheduler.pt"), r"it has no scheduler\.pt"),
    "no random state": (gone("rng_state.pth"), r"it has no rng_state\.pth"),
    "no weights": (gone("model.safetensors"), "it has no weights"),
    "no state": (gone("trainer_state.json"), "its run was killed while it was written"),
    "no step": (lambda folder: (folder / "trainer_state.json").write_text("{}"), r"trainer_state\.json does not say"),
    "a list": (lambda folder: (folder / "trainer_state.json").write_text("[]"), r"trainer_state\.json does not say"),
    "state not UTF-8": (lambda folder: (folder / "trainer_state.json").write_bytes(b"\xff"), "its run was killed"),
    "optimizer empty": (cut("optimizer.pt", 0), r"optimizer\.pt is damaged"),
    "optimizer cut": (cut("optimizer.pt", 1500), r"optimizer\.pt is damaged"),
    "a bit of the optimizer": (flipped("optimizer.pt", 1500), r"optimizer\.pt is damaged"),
    "a bit of the scheduler": (flipped("scheduler.pt", 1500), r"scheduler\.pt is damaged"),
    "random state cut": (cut("rng_state.pth", 700), r"rng_state\.pth is damaged"),
    "weights empty": (cut("model.safetensors", 0), r"model\.safetensors cannot be loaded"),
    "weights cut": (cut("model.safetensors", 900), r"model\.safetensors cannot be loaded"),
    "a bit of the weights": (flipped("model.safetensors", -3), r"model\.safetensors is not what was saved"),
    "NaN": (diverged, "the weights weight are not all finite"),
    "half of the files": (half_of_two, r"it has no model-00002-of-00002\.safetensors"),
    "prm_config empty": (cut(FILE, 0), r"prm_config\.json is empty"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_checkpoint_that_is_not_whole_is_passed_over_with_its_fault(attack, run, capsys):
    damage, message = ATTACKS[attack]
    newest = run / "checkpoint-20"
    assert find_checkpoint("auto", str(run), CONFIG) == str(newest)
    damage(newest)
    assert find_checkpoint("auto", str(run), CONFIG) == str(run / "checkpoint-10")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{newest} is torn (")
    with pytest.raises(ValueError, match=rf"checkpoint-20 is no checkpoint, or torn \(.*{message}"):
        find_checkpoint(str(newest), str(run), CONFIG)


def test_a_generator_is_not_resumed_on_other_examples(run):
    for first in (None, str(run / "checkpoint-20")):
        check_examples(first, str(run), "9f2c41d8a0b3e7f6")
    with pytest.raises(ValueError, match="was trained on examples of hash 9f2c41d8a0b3e7f6, this run has 0000"):
        check_examples(str(run / "checkpoint-20"), str(run), "0000")
