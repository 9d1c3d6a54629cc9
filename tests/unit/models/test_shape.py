"""The FLOPs of a model's shape against those that torch counts while it runs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prm.models.loading import from_base
from prm.models.shape import model_shape


@pytest.mark.parametrize("kind", ["tiny_llama", "tiny_qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_language_model(request, kind, tied):
    model = request.getfixturevalue(kind)(200)
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    check(model, tokens=12)


def test_a_classifier(tiny_llama, tmp_path):
    tiny_llama(200).save_pretrained(tmp_path)
    check(from_base(str(tmp_path), torch.float32), tokens=12)


def test_a_model_may_say_the_size_of_its_heads(tiny_llama):
    check(tiny_llama(200, head_dim=16), tokens=12)  # where 32 // 4 is 8


def check(model, tokens):
    """The plain attention multiplies all pairs of tokens, later ones too, and masks half of them afterwards."""
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(input_ids=torch.arange(tokens)[None])
    shape = model_shape(model)
    every_pair = 4 * shape.attention * tokens * tokens
    vectors = sum(p.numel() for p in model.parameters() if p.ndim == 1)  # norms and biases are no matrix products
    assert counter.get_total_flops() == 2 * (shape.weights - vectors) * tokens + every_pair
