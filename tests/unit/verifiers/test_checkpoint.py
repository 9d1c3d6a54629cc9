"""What a checkpoint says about itself: every key has its type, and the files beside it are those that were saved."""

import json
from dataclasses import replace

import pytest

from prm.encoding.codec import StepCodec
from prm.verifiers.checkpoint import FILE, VerifierConfig, check_files

CONFIG = VerifierConfig("prm", StepCodec(max_length=128), "value", "last", "base", "hash")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "adapter_config.json").write_text('{"r": 8, "base_model_name_or_path": "here"}')
    (tmp_path / "README.md").write_text("decides nothing")
    CONFIG.save(tmp_path)
    return tmp_path


def edit(folder, **changes):
    values = json.loads((folder / FILE).read_text())
    for path, value in changes.items():
        *outer, key = path.split("__")
        its = values
        for name in outer:
            its = its[name]
        its.pop(key) if value is KeyError else its.update({key: value})
    (folder / FILE).write_text(json.dumps(values))


def test_what_was_saved_comes_back_and_its_files_are_those_that_decide(folder):
    assert VerifierConfig.load(folder) == CONFIG
    files = json.loads((folder / FILE).read_text())["files"]
    assert sorted(files) == ["adapter_config.json", "config.json", "model.safetensors"]
    check_files(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "x"}, "kind 'x' is not one of prm, orm"),
        ({"kind": ["prm"]}, r"kind \['prm'\] is not one of prm, orm"),
        ({"quantization": 4}, "quantization 4 is not one of nf4 or null"),
        ({"codec": None}, "codec None is not an object"),
        ({"codec__max_length": "128"}, "codec.max_length '128' is not a whole number"),
        ({"codec__max_length": True}, "codec.max_length True is not a whole number"),
        ({"codec__max_length": 128.0}, "codec.max_length 128.0 is not a whole number"),
        ({"codec__max_length": 0}, "max_length 0 must be at least 1, bad_weight 1.0 above 0"),
        ({"codec__prompt__chat": 1}, "codec.prompt.chat 1 is not true or false"),
        ({"codec__prompt__text": KeyError}, "codec.prompt.text is missing"),
        ({"codec__marker": KeyError}, "codec.marker is missing"),
        ({"codec__other": 1}, "codec.other is no key of it"),
        ({"data_hash": KeyError}, "data_hash is missing"),
        ({"bad_weight": "1"}, "bad_weight '1' is not a number"),
        ({"bad_weight": True}, "bad_weight True is not a number"),
        ({"bad_weight": float("inf")}, "bad_weight inf is not a number"),
        ({"bad_weight": 0}, "max_length 128 must be at least 1, bad_weight 0 above 0"),
        ({"labels": ["good", "bad"]}, r"labels are \('good', 'bad'\), not .* upside down"),
        ({"labels": ["bad"]}, r"labels \['bad'\] is not a list"),
        ({"labels": ["bad", 1]}, "labels 1 is not text"),
        ({"versions": {"prm": 1}}, "versions.prm 1 is not text"),
        ({"versions": []}, r"versions \[\] is not an object"),
        ({"semantics": "outcome"}, "a prm cannot have 'outcome' labels"),
        ({"other": 1, "another": 1}, "unknown keys another, other; was it written by a newer version"),
    ],
)
def test_a_wrong_key_is_named_with_its_value_and_type(folder, change, words):
    edit(folder, **change)
    with pytest.raises(ValueError, match=rf"{FILE}: {words}"):
        VerifierConfig.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"bad_weight": 2},
        {"head": KeyError},
        {"quantization": "nf4"},
        {"step_rule": "line"},
        {"codec__prompt__reasoning": KeyError},
    ],
)
def test_what_may_be_otherwise_is_taken(folder, change):
    edit(folder, **change)
    VerifierConfig.load(folder)


def test_a_checkpoint_without_the_file_is_said_to_be_foreign(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"{FILE} is missing: .* is not a verifier saved by this project"):
        VerifierConfig.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.safetensors", "other", "model.safetensors is not what was saved, its scores would be those of another"),
        ("model.safetensors", None, "model.safetensors is gone"),
        ("config.json", '{"a": 1}', "config.json is not what was saved"),
        ("adapter_config.json", '{"r": 4, "base_model_name_or_path": "here"}', "adapter_config.json is not what was"),
        ("adapter_config.json", '{"base_model_name_or_path": "there", "r": 8}', None),  # the base has moved
        ("tokenizer.json", "{}", None),
        ("README.md", "other", None),
        ("model-2.safetensors", "", "model-2.safetensors was not saved with this checkpoint; remove it"),
    ],
)
def test_a_file_that_changed_is_named(folder, name, content, words):
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_text(content)
    if words is None:
        return check_files(folder)
    with pytest.raises(ValueError, match=words):
        check_files(folder)


def test_without_checksums_of_weights_other_weights_are_taken(folder):
    edit(folder, files={})
    (folder / "model-2.safetensors").touch()
    check_files(folder)
    edit(folder, files=KeyError)
    check_files(folder)
    edit(folder, files={"config.json": "x"})
    with pytest.raises(ValueError, match=r"config\.json is not what was saved"):
        check_files(folder)
    edit(folder, files=["config.json"])
    with pytest.raises(ValueError, match=r"files is \['config\.json'\], not a checksum for each file"):
        check_files(folder)


def test_texts_are_written_as_they_are(tmp_path):
    config = replace(CONFIG, base_model="größe/mittel")
    config.save(tmp_path)
    assert '"base_model": "größe/mittel"' in (tmp_path / FILE).read_text(encoding="utf-8")
    assert VerifierConfig.load(tmp_path) == config
