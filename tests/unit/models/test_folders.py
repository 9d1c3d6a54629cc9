"""Folders of models that are not whole or not what they say: from where on they are refused, and what is named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from prm.models import folders
from prm.models.folders import (
    Stored,
    check_config,
    check_finite,
    check_loaded,
    check_size,
    opening,
    read_json,
    refuse_names,
    stored_tensors,
)
from prm.models.loading import load_config, load_tokenizer


def config(folder, **values):
    (folder / "config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("values", "stored", "refused"),
    [
        ({"num_hidden_layers": 1000}, (), None),
        ({"num_hidden_layers": 1001}, (), "num_hidden_layers is 1,001"),
        ({"num_hidden_layers": 1500}, ["layers.1499.w", "layers.7.w"], None),
        ({"num_hidden_layers": 1501}, ["layers.1499.w"], "num_hidden_layers is 1,501"),
        ({"hidden_size": 10**6, "vocab_size": 10**6}, (), None),
        ({"text_config": {"n_routed_experts": 10**6}}, (), "n_routed_experts is 1,000,000"),
        ({"depth": 10**6}, (), "depth is"),
        ({"depth_of_noise": 10**6, "layers_seed": 10**6}, (), None),  # of other things
        ({"num_labels": "many"}, (), None),
    ],
)
def test_a_config_that_makes_more_than_its_weights_have_is_refused(values, stored, refused, tmp_path):
    if refused is None:
        return check_config(config(tmp_path, **values), stored)
    with pytest.raises(ValueError, match=rf"config\.json: {refused}.*, more than its weights have"):
        check_config(config(tmp_path, **values), stored)


def test_a_config_is_read_once_it_is_of_the_size_of_one(tmp_path):
    file = config(tmp_path, a=1) / "config.json"
    assert read_json(file) == {"a": 1}
    file.write_text('{"a": 1}' + " " * ((10 << 20) - 8))
    assert read_json(file) == {"a": 1}
    file.write_text('{"a": 1}' + " " * ((10 << 20) - 7))
    with pytest.raises(ValueError, match=r"config\.json has 10,485,761 bytes; a config has fewer than 10,485,760"):
        read_json(file)


def test_a_model_of_more_than_eight_times_its_weights_is_refused():
    stored = {"a": Stored((1000, 500), "F32", Path("x")), "b": Stored((500_000,), "F32", Path("x"))}
    model = torch.nn.Linear(1, 1, bias=False, device="meta")
    model.weight = torch.nn.Parameter(torch.empty(8_000_000, device="meta"))
    model.register_buffer("more", torch.empty(1 << 20, device="meta"))
    check_size(Path("m"), stored, model)
    model.register_buffer("one", torch.empty(1, device="meta"))
    with pytest.raises(ValueError, match=r"describes a model of 9,048,577 numbers, its weights hold 1,000,000"):
        check_size(Path("m"), stored, model)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], None),
        ("cab", "m lacks a, b, c. Save"),
        ("dcab", "m lacks a, b, c and 1 more tensors. Save or download it again"),
    ],
)
def test_three_names_are_said_and_how_many_more_there_are(names, said):
    if said is None:
        return refuse_names("m", names, "lacks {}")
    with pytest.raises(ValueError, match=said):
        refuse_names("m", names, "lacks {}")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, None),
        ({"missing_keys": ["a"]}, "m lacks a; it is incomplete"),
        ({"mismatched_keys": [("a", (1,), (2,))]}, "m has a of another shape than its config says"),
        ({"unexpected_keys": ["a"]}, "m holds a, for which its config has no place"),
    ],
)
def test_every_tensor_has_its_place(keys, said):
    info = {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": []} | keys
    if said is None:
        return check_loaded("m", info)
    with pytest.raises(ValueError, match=said):
        check_loaded("m", info)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(value):
    good = [
        ("a", torch.ones(2)), ("b", torch.tensor([7])), ("c", torch.empty(0)), ("d", torch.empty(3, device="meta"))
    ]  # fmt: skip
    check_finite("m", good)
    with pytest.raises(ValueError, match="m: the weights bad are not all finite numbers"):
        check_finite("m", [*good, ("bad", torch.tensor([1.0, value, 2.0]))])


def test_tensors_are_described_from_their_headers(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no model\*\.safetensors; save the model with"):
        stored_tensors(tmp_path)
    save_file({"a": torch.ones(2, 3), "b": torch.ones(1, dtype=torch.bfloat16)}, tmp_path / "model-1.safetensors")
    save_file({"c": torch.ones(1)}, tmp_path / "other.safetensors")
    file = tmp_path / "model-1.safetensors"
    assert stored_tensors(tmp_path) == {"a": Stored((2, 3), "F32", file), "b": Stored((1,), "BF16", file)}
    assert list(stored_tensors(tmp_path, "other*")) == ["c"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("layers"), "^m cannot be loaded: KeyError: 'layers'. A file in it is damaged"),
        (RuntimeError(), "^m cannot be loaded: RuntimeError. A file in it"),
        (RuntimeError("a\n  b"), "RuntimeError: a b. A file"),
        (ValueError("m lacks a"), "^m lacks a$"),
        (OSError("m lacks a"), "^m lacks a$"),
        (RuntimeError("m lacks a"), "^m cannot be loaded: RuntimeError: m lacks a"),
        (ValueError("x"), "^m cannot be loaded: ValueError: x"),
        (ValueError("m needs trust_remote_code=True"), "^m brings code of its own, which is not run here"),
    ],
)
def test_what_a_library_raises_names_the_folder(error, said):
    with pytest.raises((ValueError, OSError), match=said), opening("m"):
        raise error


@pytest.mark.parametrize("load", [load_config, load_tokenizer])
def test_a_config_is_looked_at_before_anything_is_built_of_it(load, tmp_path):
    save_file({"layers.0.w": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="num_hidden_layers is 1,000,000, more than its weights have"):
        load(str(config(tmp_path, model_type="llama", num_hidden_layers=10**6)))


def test_of_the_hub_only_the_wanted_files_are_loaded(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(folders, "snapshot_download", lambda *its, **settings: asked.append((its, settings)) or "here")
    assert folders.local_folder(str(tmp_path), "*.json") == tmp_path
    assert folders.local_folder("org/name", "*.json", "model*.safetensors") == Path("here")
    assert asked == [(("org/name",), {"allow_patterns": ["*.json", "model*.safetensors"]})]
