"""Attention over a packed tree equals separate sequences: outputs, logits, gradients; Llama, Qwen2, LoRA, every head."""

import random

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import Qwen2Config, Qwen3NextConfig

from prm.models import tree_attention
from prm.models.loading import from_base
from prm.models.packing import pack
from prm.training.trainer import add_lora


def random_traces(vocabulary, seed=0):
    rng = random.Random(seed)
    sequences = []
    for _ in range(3):
        prompt = [rng.randrange(vocabulary) for _ in range(rng.randint(3, 30))]
        stem = [rng.randrange(vocabulary) for _ in range(rng.randint(2, 20))]
        for i in range(4):
            sequences.append(prompt + stem * (i % 2) + [rng.randrange(vocabulary) for _ in range(rng.randint(1, 50))])
    return sequences


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tiny_llama, tiny_qwen2, merging_tokenizer):
    folders = {}
    for name, make in (("llama", tiny_llama), ("qwen2", tiny_qwen2)):
        folders[name] = str(tmp_path_factory.mktemp(name))
        make(len(merging_tokenizer)).save_pretrained(folders[name])
        merging_tokenizer.save_pretrained(folders[name])
    return folders


@pytest.mark.parametrize("small", [1, 64, 10_000])
def test_kernel_calls_equal_a_dense_mask_in_outputs_and_gradients(small, monkeypatch):
    monkeypatch.setattr(tree_attention, "SMALL", small)
    torch.manual_seed(0)
    row = pack(random_traces(50))
    tokens = len(row.input_ids)
    shapes = [(1, heads, tokens, 16) for heads in (6, 2, 2)]  # grouped queries
    query, key, value = (torch.randn(shape, requires_grad=True) for shape in shapes)
    tree = tree_attention.attention_calls(row.subtree_end)
    assert {1: len(tree) > 20, 64: len(tree) > 3, 10_000: len(tree) == 3}[small]  # three roots
    out, _ = tree_attention.tree_attention(torch.nn.Module(), query, key, value, None, tree=tree, scaling=0.3)
    weights = torch.randn_like(out)
    got = torch.autograd.grad((out * weights).sum(), (query, key, value))

    i = torch.arange(tokens)
    mask = (i[None, :] <= i[:, None]) & (i[:, None] < row.subtree_end[None, :])
    dense = scaled_dot_product_attention(
        query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1), attn_mask=mask, scale=0.3
    ).transpose(1, 2)
    expected = torch.autograd.grad((dense * weights).sum(), (query, key, value))
    assert torch.allclose(out, dense, atol=2e-6)
    for a, b in zip(got, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("small", [1, 64])
@pytest.mark.parametrize("path", ["cpu", "flex"])
def test_kept_keys_are_seen_by_what_continues_them(small, path, monkeypatch):
    """Six kept tokens in front of a row of five; the mask is written down by hand. FlexAttention is uncompiled."""
    monkeypatch.setattr(tree_attention, "SMALL", small)
    below = torch.tensor([[0, 5], [0, 5], [0, 3], [2, 2], [3, 5], [0, 3]])  # the fourth is continued by nothing
    ends = torch.tensor([3, 2, 3, 5, 5])
    seen = torch.tensor(
        [
            [1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0, 1, 1, 0, 1, 0, 0],
            [1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0],
            [1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1],
        ]
    ).bool()
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, tokens, 16) for tokens in (5, 11, 11))
    expected = scaled_dot_product_attention(query, key, value, attn_mask=seen).transpose(1, 2)
    if path == "flex":
        mask = create_block_mask(tree_attention.flex_mask(ends, below), None, None, 5, 11, device="cpu")
        out = flex_attention(query, key, value, block_mask=mask).transpose(1, 2)
    else:
        tree = tree_attention.attention_calls(ends, below)
        out, _ = tree_attention.tree_attention(torch.nn.Module(), query, key, value, None, tree=tree, scaling=None)
    assert torch.allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("base", ["llama", "qwen2"])
@pytest.mark.parametrize("lora_r", [0, 4])
@pytest.mark.parametrize("head", ["linear", "mlp", "lm_tokens"])
def test_packed_row_equals_separate_sequences_in_logits_and_gradients(base, lora_r, head, bases):
    torch.manual_seed(0)
    model = from_base(bases[base], head=head)
    if lora_r:
        model = add_lora(model, lora_r)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.3)  # B starts at zero, and so would A's gradient
    sequences = random_traces(50)
    weights = [torch.randn(len(sequence), 2) for sequence in sequences]

    separate = [model(torch.tensor([sequence])).logits[0] for sequence in sequences]
    sum((logits * w).sum() for logits, w in zip(separate, weights, strict=True)).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()

    row = pack(sequences)
    assert len(row.input_ids) < 0.7 * sum(map(len, sequences))
    packed = model(**row.model_inputs(), step_index=torch.cat(row.positions_N)).logits
    (packed * torch.cat(weights)).sum().backward()
    assert torch.allclose(packed, torch.cat(separate), atol=1e-5)
    for name, p in model.named_parameters():
        if p.requires_grad:
            scale = float(expected[name].abs().max())
            assert torch.allclose(p.grad, expected[name], atol=1e-5 * max(1.0, scale)), name


@pytest.mark.parametrize(
    ("steps", "rounding"), [(None, 0.0), (torch.tensor([3, 9]), 1e-5)]
)  # the last MLP of steps only
def test_gradient_checkpointing_changes_nothing(bases, steps, rounding):
    model = from_base(bases["llama"]).train()
    row = pack(random_traces(50))
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        model(**row.model_inputs(), step_index=steps).logits.sum().backward()
        gradients.append(model.get_decoder().layers[0].mlp.up_proj.weight.grad.clone())
    assert torch.allclose(*gradients, rtol=0.0, atol=rounding)


@pytest.mark.slow
def test_compiled_layers_read_the_positions_of_each_row(bases):
    """The last MLP is computed at the steps only, by hooks that change with every row: compiled code must not keep those of
    the first. Traced without a compiler, which is what could go wrong."""
    plain, traced = (from_base(bases["llama"]).train() for _ in range(2))
    traced.load_state_dict(plain.state_dict())
    for layer in traced.model.layers:
        layer.compile(backend="eager")
    for seed in range(3):
        row = pack(random_traces(50, seed)[seed : seed + 4])
        inputs = row.model_inputs() | {"step_index": torch.tensor([positions[-1] for positions in row.positions_N])}
        weights = (
            [p for p in plain.parameters() if p.requires_grad],
            [p for p in traced.parameters() if p.requires_grad],
        )
        logits = plain(**inputs).logits, traced(**inputs).logits
        assert torch.allclose(*logits, atol=1e-6)
        expected, got = (
            torch.autograd.grad(its.logsumexp(-1).sum(), to) for its, to in zip(logits, weights, strict=True)
        )
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, got, strict=True))


def test_flex_attention_with_the_mask_of_gpus_equals_the_calls_of_the_cpu():
    """FlexAttention uncompiled, on the CPU; its GPU kernel is not run by the tests."""
    row = pack(random_traces(50))
    tokens = len(row.input_ids)
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, tokens, 16) for _ in range(3))
    block_mask = create_block_mask(tree_attention.flex_mask(row.subtree_end), None, None, tokens, tokens, device="cpu")
    tree = tree_attention.attention_calls(row.subtree_end)
    ours, _ = tree_attention.tree_attention(torch.nn.Module(), query, key, value, None, tree=tree, scaling=None)
    assert torch.allclose(flex_attention(query, key, value, block_mask=block_mask).transpose(1, 2), ours, atol=2e-6)


def test_dropout_and_soft_caps_are_refused():
    row = pack([[1, 2], [1, 3]])
    tree = tree_attention.attention_calls(row.subtree_end)
    x = torch.randn(1, 2, 3, 8)
    for option in ({"dropout": 0.1}, {"softcap": 30.0}):
        with pytest.raises(ValueError, match="asks for attention dropout or soft-capped scores"):
            tree_attention.tree_attention(torch.nn.Module(), x, x, x, None, tree=tree, **option)


def test_window_shorter_than_a_trace_is_refused():
    config = Qwen2Config(num_hidden_layers=2, use_sliding_window=True, sliding_window=64, max_window_layers=0)
    tree_attention.check_supported(config, 64)
    with pytest.raises(ValueError, match="qwen2 models attend to the last 64 tokens only, and traces may have 65"):
        tree_attention.check_supported(config, 65)
    unused = Qwen2Config(num_hidden_layers=2, use_sliding_window=False, sliding_window=64)
    tree_attention.check_supported(unused, 65)


def test_layers_that_carry_a_state_along_the_row_are_refused():
    config = Qwen3NextConfig(num_hidden_layers=4)
    with pytest.raises(ValueError, match="qwen3_next models have full_attention, linear_attention layers"):
        tree_attention.check_supported(config, 64)


def test_batch_of_several_packed_rows_is_refused(bases):
    row = pack([[1, 2], [1, 3]]).model_inputs()
    twice = {name: tensor.repeat(2, 1) for name, tensor in row.items()}
    with pytest.raises(ValueError, match="packed rows come one at a time, this batch has 2"):
        from_base(bases["llama"])(**twice)
