"""Which checkpoint a killed run goes on from."""

import dataclasses
import json
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from prm.encoding.codec import StepCodec
from prm.training.resume import check_examples, check_output_dir, fault, find_checkpoint, is_complete
from prm.verifiers.checkpoint import VerifierConfig

CONFIG = VerifierConfig("prm", StepCodec(max_length=128), "value", "last", "base", "hash")


@pytest.fixture
def folder(tmp_path):
    """Whole checkpoints at 5, 10 and 100, a torn one at 105, one whose last file is torn at 110, and other folders."""
    for step in (5, 10, 100, 105, 110):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        save_file({"weight": torch.ones(2)}, path / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            with zipfile.ZipFile(path / name, "w") as archive:
                archive.writestr("data", "0" * 100)
        CONFIG.save(path)
        if step != 105:
            state = '{"global_step": 110, "log' if step == 110 else f'{{"global_step": {step}}}'
            (path / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-best").mkdir()
    return tmp_path


@pytest.mark.parametrize("resume", [True, "True", "true"])
def test_newest_complete_checkpoint(resume, folder, capsys):
    assert find_checkpoint(resume, str(folder), CONFIG) == str(folder / "checkpoint-100")
    told = capsys.readouterr().out.splitlines()
    assert [line.split(" is torn")[0] for line in told] == [str(folder / f"checkpoint-{step}") for step in (110, 105)]


def test_named_checkpoint_and_none(folder):
    assert find_checkpoint(str(folder / "checkpoint-5"), "elsewhere", CONFIG) == str(folder / "checkpoint-5")
    assert find_checkpoint(None, str(folder), CONFIG) is None
    assert find_checkpoint("False", str(folder), CONFIG) is None


def test_torn_absent_and_foreign_checkpoints_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint-105 is no checkpoint, or torn \(its run was killed"):
        find_checkpoint(str(folder / "checkpoint-105"), str(folder), CONFIG)
    with pytest.raises(ValueError, match="holds no complete checkpoint; start without --resume_from_checkpoint"):
        find_checkpoint(True, str(tmp_path / "new"), CONFIG)
    for changes in (
        {"data_hash": "other"},
        {"codec": StepCodec(max_length=64)},
        {"base_weights": "other"},
        {"objective": "ranking"},
        {"bad_weight": 2.0},
        {"targets": "soft"},
        {"training_data": "24 traces"},
    ):
        with pytest.raises(ValueError, match="resume with the same data and flags, or start over"):
            find_checkpoint(True, str(folder), dataclasses.replace(CONFIG, **changes))


@pytest.mark.parametrize("changes", [{"versions": {"prm": "0"}}, {"base_model": "moved"}])
def test_a_base_that_moved_and_newer_libraries_do_not_stop_it(folder, changes):
    assert find_checkpoint(True, str(folder), dataclasses.replace(CONFIG, **changes)) is not None


def test_auto_resumes_only_if_there_is_something_to_resume_from(folder, tmp_path):
    assert find_checkpoint("auto", str(folder), CONFIG) == str(folder / "checkpoint-100")
    assert find_checkpoint("auto", str(folder)) == str(folder / "checkpoint-100")  # a generator
    assert find_checkpoint("auto", str(tmp_path / "new"), CONFIG) is None


def test_a_finished_model_is_not_replaced_by_mistake(folder, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    for resume in (None, "auto"):
        check_output_dir(str(new), resume, overwrite=False)
    (new / "model-00001-of-00002.safetensors").touch()
    (folder / "adapter_model.safetensors").touch()
    with pytest.raises(
        ValueError, match=r"new holds a finished model; add --overwrite_output_dir .*--resume_from_check"
    ):
        check_output_dir(str(new), None, overwrite=False)
    with pytest.raises(ValueError, match="finished model"):
        check_output_dir(str(new), "auto", overwrite=False)  # there is no checkpoint, so it would start over
    check_output_dir(str(new), None, overwrite=True)
    check_output_dir(str(new), "true", overwrite=False)  # that there is no checkpoint is said by `find_checkpoint`
    for resume in ("auto", "true", True, str(folder / "checkpoint-5")):
        check_output_dir(str(folder), resume, overwrite=False)


def lost(name):
    return lambda folder: (folder / name).unlink()


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def not_a_number(folder):
    save_file({"weight": torch.tensor([1.0, float("nan")])}, folder / "model.safetensors")


def shard_lost(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors", "c": "model-3.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def changed_since(folder):
    CONFIG.save(folder)
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")


def one_byte(folder):
    content = (folder / "optimizer.pt").read_bytes()
    (folder / "optimizer.pt").write_bytes(content.replace(b"000", b"010", 1))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lost("trainer_state.json"), "its run was killed while it was written"),
        (written("trainer_state.json", b"{"), "its run was killed while it was written"),
        (written("trainer_state.json", b"[]"), "trainer_state.json does not say at which step"),
        (written("trainer_state.json", b'{"global_step": null}'), "trainer_state.json does not say at which step"),
        (lost("optimizer.pt"), "it has no optimizer.pt, as after --save_only_model"),
        (lost("scheduler.pt"), "it has no scheduler.pt"),
        (lost("rng_state.pth"), "it has no rng_state.pth"),
        (lost("model.safetensors"), "it has no weights"),
        (written("optimizer.pt", b""), "optimizer.pt is damaged"),
        (written("scheduler.pt", b"PK"), "scheduler.pt is damaged"),
        (written("training_args.bin", b"x"), "training_args.bin is damaged"),
        (one_byte, "optimizer.pt is damaged"),
        (shard_lost, "it has no model-2.safetensors"),
        (not_a_number, "weight"),
        (written("model.safetensors", b"x"), "model.safetensors"),
        (changed_since, "model.safetensors is not what was saved"),
    ],
)
def test_what_a_torn_checkpoint_lacks_is_said(folder, damage, reason):
    checkpoint = folder / "checkpoint-5"
    assert fault(checkpoint) is None
    assert is_complete(checkpoint)
    damage(checkpoint)
    found = fault(checkpoint)
    assert found is not None
    assert reason in found
    assert ("--save_only_model" in found) == ("--save_only_model" in reason)
    assert not is_complete(checkpoint)


@pytest.mark.parametrize("name", ["optimizer.bin", "optimizer_0", "global_step5"])
def test_the_optimizer_may_be_that_of_several_processes(folder, name):
    checkpoint = folder / "checkpoint-5"
    (checkpoint / "optimizer.pt").rename(checkpoint / name)
    assert fault(checkpoint) is None


def test_a_generator_goes_on_with_its_examples_alone(folder, tmp_path):
    checkpoint = str(folder / "checkpoint-5")
    check_examples(checkpoint, str(folder), "abc")  # the first time nothing is known
    assert (folder / "examples.hash").read_text() == "abc\n"
    check_examples(checkpoint, str(folder), "abc")
    with pytest.raises(
        ValueError, match="checkpoint-5 was trained on examples of hash abc, this run has xyz; resume with"
    ):
        check_examples(checkpoint, str(folder), "xyz")
    check_examples(None, str(folder), "xyz")
    assert (folder / "examples.hash").read_text() == "xyz\n"
    check_examples(None, str(tmp_path / "a" / "new"), "abc")
    assert (tmp_path / "a/new/examples.hash").read_text() == "abc\n"
