"""Models and lengths for benchmarks: they have the sizes that they say."""

import random

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from prm.evaluation.workloads import draw, llama, save_llama


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ("135m", 134_515_008),  # what SmolLM2-135M has, whose output layer is its embedding
        ("10m", 9_966_848),  # 8192 x 256 + 10 (3 x 256 x 256 + 3 x 256 x 768 + 2 x 256) + 256
    ],
)
def test_a_shape_has_the_size_of_its_name(shape, parameters):
    with torch.device("meta"):
        model = LlamaForCausalLM(llama(shape))
    assert model.num_parameters() == parameters
    assert llama(shape, vocab_size=100).vocab_size == 100


def test_half_of_the_lengths_lie_below_the_median():
    rng = random.Random(0)
    drawn = [draw(rng, (0, 10, 100)) for _ in range(2000)]
    assert 0.45 < sum(length < 10 for length in drawn) / 2000 < 0.55
    assert (min(drawn), max(drawn)) == (0, 100)


def test_a_model_is_drawn_once_always_the_same_and_under_its_name_only_when_it_is_whole(tmp_path, plain_tokenizer):
    (tmp_path / "empty").mkdir()
    first = load_file(f"{save_llama('tiny', tmp_path / 'first', plain_tokenizer)}/model.safetensors")
    torch.rand(1)
    again = load_file(f"{save_llama('tiny', tmp_path / 'empty', plain_tokenizer)}/model.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert {tensor.dtype for tensor in first.values()} == {torch.float32}
    assert (tmp_path / "first" / "tokenizer.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "first"]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "model.safetensors").write_text("of another run")
    save_llama("tiny", str(tmp_path / "there"), plain_tokenizer)
    assert (tmp_path / "there" / "model.safetensors").read_text() == "of another run"
