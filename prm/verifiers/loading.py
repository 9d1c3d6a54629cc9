"""Finished verifiers from their folders: full, merged, or a LoRA adapter.

A folder that lacks weights, or whose labels have another order, is refused.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from torch import nn
from transformers import AutoConfig

from prm.models import tree_attention
from prm.models.loading import from_base, never_pack, nf4
from prm.models.step_classifier import HEAD, LABELS, classifier_class
from prm.types import Head
from prm.verifiers.checkpoint import VerifierConfig


def load_classifier(path: str, base_model: str | None = None) -> nn.Module:
    """A finished verifier: a full or merged checkpoint, or a LoRA adapter folder (then merged into its base, unless that
    has 4-bit weights).

    Args:
        path: checkpoint folder.
        base_model: where the base of an adapter is, if it is no longer where the adapter says.

    Raises:
        ValueError: the head is missing, or the labels are not `0 = bad, 1 = good`.
    """
    if (Path(path) / "adapter_config.json").is_file():
        return _load_adapter(path, base_model)
    config = AutoConfig.from_pretrained(path)
    _check_labels(path, config.id2label)
    model, info = classifier_class(config, VerifierConfig.load(path).head).from_pretrained(
        path, dtype="auto", attn_implementation=tree_attention.NAME, output_loading_info=True
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise ValueError(
            f"{path} lacks {', '.join(missing)}: the head was lost when it was saved, its scores would be random."
            " Train again, or save with Trainer.save_model / PEFT task_type TOKEN_CLS"
        )
    return never_pack(model)


def _load_adapter(path: str, base_model: str | None) -> nn.Module:
    from safetensors import safe_open

    with safe_open(str(Path(path) / "adapter_model.safetensors"), framework="pt") as weights:
        keys = set(weights.keys())
    config = VerifierConfig.load(path)
    head = config.head
    names = ("0.weight", "0.bias", "2.weight", "2.bias") if head == "mlp" else ("weight", "bias")
    lost = [name for name in names if not any(key.endswith(f"{HEAD}.{name}") for key in keys)]
    if lost:
        raise ValueError(
            f"{path}: the adapter holds no {HEAD}.{lost[0]}, so the trained head is lost and its scores would be random."
            " Train with LoraConfig(task_type='TOKEN_CLS', modules_to_save=['score']), as recipes/train_prm.py does"
        )
    peft_config = PeftConfig.from_pretrained(path)
    # In fp32, as in training: the bf16 in which most bases are stored would shift the scores by about 0.01.
    shape: Head = "mlp" if head == "mlp" else "linear"  # the trained head replaces whatever the base starts with
    options = {} if config.quantization is None else {"quantization_config": nf4()}
    base = from_base(base_model or peft_config.base_model_name_or_path, torch.float32, shape, **options)
    model = PeftModel.from_pretrained(base, path)
    return model.merge_and_unload() if config.quantization is None else model  # merging would round to 4 bits again


def _check_labels(path: str, id2label: dict[int, str]) -> None:
    if {int(i): label for i, label in id2label.items()} != LABELS:
        raise ValueError(
            f"{path}: labels are {id2label}, this project needs {LABELS}; a checkpoint of unknown label order is refused"
            " because its scores could be upside down. If label 1 means good, set id2label in its config.json"
        )
