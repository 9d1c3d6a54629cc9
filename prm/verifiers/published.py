"""Published verifiers (`prm.verifiers.families`) as a `StepVerifier`: their body, and their head in the form of ours.

Whatever a family calls its head, its score is a softmax over two logits that are linear in a hidden state, or in a hidden
layer above it. So its tensors become the two rows (bad, good) of the head of `prm.models.step_classifier`, exactly, and
packing, prefix cache, fp32 head and cost accounting are those of every verifier here. H is the size of a hidden state:

    head                  tensors of the checkpoint                        rows (bad, good)
    token_classifier      score.weight (2, H), score.bias (2)              as they are
    mlp                   score.0.{weight,bias}, score.2.{weight,bias}     as they are; of one output z: (0, z)
    value                 v_head.summary.weight (1, H), .bias (1)          (0, z): the score is sigmoid(z)
    sequence_classifier   score.weight (1 or 2, H)                         (0, z), or as they are
    tokens                lm_head.weight (vocabulary, H)                   its rows of the two tokens

Checkpoints need safetensors and bring no code: of pickles and `auto_map` nothing is run. A tensor that is missing or has
another name or shape is refused by name, as everywhere (`prm.models.folders`). A LoRA on a published head (OpenR) is merged
into its base in fp32. Left out: regression heads of several outputs, and 4-bit weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from prm.models import tree_attention
from prm.models.folders import (
    MODEL_FILES,
    Stored,
    check_finite,
    local_folder,
    opening,
    read_json,
    refuse_names,
    stored_tensors,
)
from prm.models.loading import in_dtype, load_config, load_tokenizer, load_weights, never_pack, usual_device
from prm.models.step_classifier import HEAD, LABELS, Fp32Linear, classifier_class
from prm.models.tree_attention import check_supported
from prm.types import Dtype
from prm.verifiers.checkpoint import VerifierConfig
from prm.verifiers.families import Family, PublishedHead
from prm.verifiers.loading import lora_of, with_lora
from prm.verifiers.step_verifier import StepVerifier

_TENSORS: dict[PublishedHead, tuple[str, ...]] = {
    "token_classifier": ("score.weight", "score.bias"),
    "mlp": ("score.0.weight", "score.0.bias", "score.2.weight", "score.2.bias"),
    "value": ("v_head.summary.weight", "v_head.summary.bias"),
    "sequence_classifier": ("score.weight",),
    "tokens": ("lm_head.weight",),
}
"""Names of the tensors of each head, in order; the last one has one row per output."""

_LOADED: set[PublishedHead] = {"token_classifier", "mlp", "sequence_classifier"}
"""Heads with the names of ours: they are loaded with the body, the others are put in."""


def load_published(
    path: str, family: Family, device: str | None = None, base_model: str | None = None, dtype: Dtype | None = None
) -> StepVerifier:
    """A published checkpoint as a verifier.

    Args:
        path: folder or hub name.
        base_model: where the base of an adapter is, if it is not where its adapter_config.json says.

    Raises:
        OSError: no such folder or name. ValueError: it lacks a tensor of the family or has others, is damaged, or its
            tokenizer is not that of the family.
    """
    device = usual_device(device)
    tokenizer = load_tokenizer(path)
    folder = local_folder(path, "adapter_*", *MODEL_FILES)
    if (folder / "adapter_config.json").is_file():
        model = _with_adapter(path, folder, family, tokenizer, base_model)
    elif base_model is not None:
        raise ValueError(f"{path} holds whole weights and has no use for base_model={base_model!r}; leave it out")
    else:
        model = _load(path, family, tokenizer)
    if dtype:
        in_dtype(model.get_decoder(), getattr(torch, dtype))
    layout = family.codec.at_most(model.config.max_position_embeddings)
    if family.head == "sequence_classifier":
        layout = replace(layout, pad_id=model.config.pad_token_id)
    config = VerifierConfig(
        kind=family.kind,
        codec=layout,
        semantics=family.semantics,
        aggregation=family.aggregation,
        base_model="",  # where a checkpoint is does not change its name
        data_hash="",
        step_rule=family.step_rule,
        versions={},
    )
    check_supported(model.config, layout.max_length)
    return StepVerifier(model.to(device), tokenizer, config, dtype=dtype)


def _load(path: str, family: Family, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype | str = "auto") -> Any:
    config, stored = load_config(path), stored_tensors(local_folder(path, *MODEL_FILES))
    _check_labels(path, config)
    names = list(_TENSORS[family.head])
    if family.head == "tokens":
        _check_logits(path, config)
        if config.tie_word_embeddings and "lm_head.weight" not in stored:
            names = ["model.embed_tokens.weight"]
    if family.head == "token_classifier" and not config.to_dict().get("token_classification_bias", True):
        names.remove("score.bias")
    refuse_names(path, set(names) - stored.keys(), f"lacks {{}}, which a {family.head} head has")
    config.num_labels = stored[names[-1]].shape[0] if family.head in _LOADED else len(LABELS)
    config.token_classification_bias = "score.bias" in names
    config.use_cache = False
    kind = classifier_class(config, "mlp" if family.head == "mlp" else "linear")
    if family.head not in _LOADED:
        kind._keys_to_ignore_on_load_missing = [rf"^{HEAD}\."]
    # A language model's own head is read by the head `tokens` alone.
    kind._keys_to_ignore_on_load_unexpected = [f"^{re.escape(name)}$" for name in (*names, "lm_head.weight")]
    model = load_weights(kind, path, config, dtype=dtype, attn_implementation=tree_attention.NAME)
    rows = None
    if family.head == "tokens":
        rows = [_token_id(path, tokenizer, text) for text in (family.bad, family.good)]
        if max(rows) >= stored[names[0]].shape[0] or rows[0] == rows[1]:
            raise ValueError(
                f"{path}: {family.bad!r} and {family.good!r} are the tokens {rows} of its tokenizer, {names[0]} has"
                f" {stored[names[0]].shape[0]} rows; use the tokenizer and the weights of one verifier"
            )
    weight, *bias = (_read(path, stored, name, rows) for name in names if ".0." not in name)
    _put_head(path, model, weight, bias[0] if bias else torch.zeros(len(weight)))
    return never_pack(model)


def _put_head(path: str, model: Any, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Make the last layer of the head one with two outputs, whatever its parts (outputs, H) and (outputs,) were."""
    check_finite(path, [("of its head", weight), ("of its head", bias)])
    if len(weight) == 1:  # one output z: the logits (0, z)
        weight, bias = (torch.cat([torch.zeros_like(part), part]) for part in (weight, bias))
    last = Fp32Linear(model.config.hidden_size, len(LABELS), dtype=torch.float32)
    if weight.shape != last.weight.shape or bias.shape != last.bias.shape:
        raise ValueError(
            f"{path}: its head has weights of shape {tuple(weight.shape)} and {len(bias)} biases; in these families it has"
            f" one or two outputs of {last.in_features} inputs"
        )
    last.load_state_dict({"weight": weight, "bias": bias})
    if isinstance(model.score, nn.Sequential):
        model.score[-1] = last
    else:
        model.score = last
    model.config.num_labels, model.config.id2label = len(LABELS), dict(LABELS)


def _read(path: str, stored: Mapping[str, Stored], name: str, rows: list[int] | None) -> torch.Tensor:
    """A tensor in fp32, or these rows of it."""
    with opening(path), safe_open(stored[name].file, "pt") as file:
        if rows is None:
            return file.get_tensor(name).float()
        part = file.get_slice(name)
        return torch.cat([part[row : row + 1] for row in rows]).float()


def _token_id(path: str, tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """The one token of a text, before which a tokenizer may put a blank of its own."""
    *before, last = tokenizer(text, add_special_tokens=False)["input_ids"] or [tokenizer.unk_token_id]
    if str(tokenizer.decode(before)).strip() or str(tokenizer.decode([last])).strip() != text.strip():
        raise ValueError(
            f"{path}: its tokenizer has no single token for {text!r}, which this family compares; use the tokenizer that the"
            " verifier was trained with, or a family with its tokens (good, bad)"
        )
    return last


def _check_labels(path: str, config: PreTrainedConfig) -> None:
    """Refuse a config that gives its labels a meaning, and not the one of all families: label 1 is good."""
    labels = {int(i): label for i, label in (config.id2label or {}).items()}
    if labels not in (LABELS, {i: f"LABEL_{i}" for i in labels}):
        raise ValueError(
            f"{path}: its labels are {labels}; in this family label 1 means good. If it does here, too, set id2label to"
            f" {LABELS} in its config.json, else swap the rows of its head"
        )


def _check_logits(path: str, config: PreTrainedConfig) -> None:
    """Refuse language models whose logits are not their head's products: their softmax is another one."""
    values = config.to_dict()
    for key, plain in (("final_logit_softcapping", None), ("logit_scale", 1), ("logits_scaling", 1)):
        if values.get(key, plain) not in (None, plain):
            raise ValueError(
                f"{path}: {key} {values[key]} changes the logits of this language model, which is not supported; use a"
                " Llama, Mistral, Qwen2 or Qwen3"
            )


def _with_adapter(
    path: str, folder: Path, family: Family, tokenizer: PreTrainedTokenizerBase, base_model: str | None
) -> Any:
    """A LoRA on the body of its base, whose head is that of the family."""
    stored = stored_tensors(folder, "adapter_model.safetensors")
    lora = lora_of(path, stored, _plain_lora)
    base = base_model or str(read_json(folder / "adapter_config.json").get("base_model_name_or_path"))
    model = _load(base, family, tokenizer, torch.float32)
    lora.task_type = None  # PEFT would look for a language model's methods
    return with_lora(path, model, lora, stored, "the body of its base").merge_and_unload()


def _plain_lora(r: int, alpha: float, layers: list[str]) -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", r=r, lora_alpha=alpha, target_modules=layers)  # type: ignore[arg-type]
