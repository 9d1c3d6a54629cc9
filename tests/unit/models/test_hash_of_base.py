"""Two bases have one hash if and only if they are one base, however they are stored."""

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from prm.models.fingerprints import hash_of_base


@pytest.fixture(scope="module")
def base(tmp_path_factory, tiny_llama):
    """A random Llama as most are stored, in bf16."""
    folder = tmp_path_factory.mktemp("base")
    tiny_llama(100).bfloat16().save_pretrained(folder)
    return str(folder)


def edited(base, folder, **changes):
    """A copy with other tensors; None removes one."""
    tensors = load_file(Path(base, "model.safetensors")) | changes
    folder.mkdir()
    save_file({n: t for n, t in tensors.items() if t is not None}, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def test_precision_files_and_heads_do_not_matter(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.save_pretrained(tmp_path / "fp32")
    model.bfloat16().save_pretrained(tmp_path / "files", max_shard_size="20KB")
    assert len(list((tmp_path / "files").glob("*.safetensors"))) > 1
    expected = hash_of_base(base)
    assert len(expected) == 16
    for copy in (
        str(tmp_path / "fp32"),
        str(tmp_path / "files"),
        edited(base, tmp_path / "tied", **{"lm_head.weight": None}),
        edited(base, tmp_path / "verifier", **{"score.weight": torch.ones(2, 32)}),
    ):
        assert hash_of_base(copy) == expected, copy


def test_other_weights_names_and_shapes_do(base, tmp_path, tiny_llama):
    tiny_llama(100, seed=1).bfloat16().save_pretrained(tmp_path / "seed")
    name = "model.layers.1.self_attn.o_proj.weight"
    weight = load_file(Path(base, "model.safetensors"))[name]
    norm = load_file(Path(base, "model.safetensors"))["model.norm.weight"].clone()
    norm[1] += 1
    hashes = [
        hash_of_base(edited(base, tmp_path / "norm", **{"model.norm.weight": norm})),
        hash_of_base(base),
        hash_of_base(str(tmp_path / "seed")),
        # As a LoRA that is merged changes it: a little of every row.
        hash_of_base(edited(base, tmp_path / "merged", **{name: weight + 0.01 * torch.randn(32, 32).bfloat16()})),
        hash_of_base(edited(base, tmp_path / "renamed", **{name: None, name.replace("1", "2"): weight})),
        hash_of_base(edited(base, tmp_path / "shape", **{name: weight[:16]})),
    ]
    assert len(set(hashes)) == len(hashes)


def test_a_hub_name_is_read_from_the_cache(base, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--base" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    for file in Path(base).iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert hash_of_base("org/base") == hash_of_base(base)


def test_what_holds_no_safetensors_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(FileNotFoundError, match=r"has no model\*\.safetensors; save the model with `save_pretrained`"):
        hash_of_base(str(tmp_path))
    with pytest.raises(OSError, match="snapshot"):
        hash_of_base("org/nowhere")
