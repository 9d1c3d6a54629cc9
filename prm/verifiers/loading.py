"""Finished verifiers from their folders: full, merged, or a LoRA adapter.

A folder that lacks weights, or whose labels have another order, is refused. So is an adapter on another base than that of
its training: any base of the same shape would take it, and the scores would be those of no trained model. What is compared
is a hash of the base's weights (`prm.models.loading.hash_of_base`). Stored reference scores would need a tolerance, since
they move by about 0.01 between bf16 and fp32, and an adapter on a slightly different base can move less.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from torch import nn
from transformers import AutoConfig

from prm.models import tree_attention
from prm.models.loading import from_base, hash_of_base, never_pack, nf4
from prm.models.step_classifier import HEAD, LABELS, classifier_class
from prm.types import Head
from prm.verifiers.checkpoint import FILE, VerifierConfig


def load_classifier(path: str, base_model: str | None = None) -> nn.Module:
    """A finished verifier: a full or merged checkpoint, or a LoRA adapter folder (then merged into its base, unless that
    has 4-bit weights).

    Args:
        path: checkpoint folder.
        base_model: where the base of an adapter is, if it is no longer where the adapter says.

    Raises:
        ValueError: the head is missing, or the labels are not `0 = bad, 1 = good`; the base of an adapter is not found, or
            is not the one that it was trained on; `base_model` is given for a checkpoint that needs none.
    """
    if (Path(path) / "adapter_config.json").is_file():
        return _load_adapter(path, base_model)
    if base_model is not None:
        raise ValueError(
            f"{path} holds whole weights and has no use for base_model={base_model!r}, which is for LoRA adapters;"
            " leave it out"
        )
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
    place = _find_base(path, config) if base_model is None else base_model
    _check_base(path, place, config)
    # In fp32, as in training: the bf16 in which most bases are stored would shift the scores by about 0.01.
    shape: Head = "mlp" if head == "mlp" else "linear"  # the trained head replaces whatever the base starts with
    options = {} if config.quantization is None else {"quantization_config": nf4()}
    base = from_base(place, torch.float32, shape, **options)
    model = PeftModel.from_pretrained(base, path)
    return model.merge_and_unload() if config.quantization is None else model  # merging would round to 4 bits again


def _find_base(path: str, config: VerifierConfig) -> str:
    """Where the base of an adapter is: where it was in training, or where it is now if both were moved together."""
    recorded = str(PeftConfig.from_pretrained(path).base_model_name_or_path)
    moved = (parent / config.base_model for parent in Path(path).absolute().parents)
    for folder in (Path(recorded), *moved):
        if folder.is_dir():
            return str(folder)
    if Path(recorded).is_absolute():
        raise ValueError(f"{path}: its base {config.base_model!r} is no longer at {recorded}; {_SAY_WHERE}")
    return recorded  # a hub name


def _check_base(path: str, place: str, config: VerifierConfig) -> None:
    try:
        found = hash_of_base(place)
    except (OSError, ValueError) as error:  # of a name that is no hub name, too
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: its base {place!r} could not be read ({reason}); {_SAY_WHERE}") from error
    if config.base_weights is None:
        raise ValueError(
            f"{path}/{FILE} does not say on which base the adapter was trained, which cannot be checked then; if it was"
            f' {place!r}, add "base_weights": "{found}" to it'
        )
    if found != config.base_weights:
        raise ValueError(
            f"{path} was trained on {config.base_model!r} with weights {config.base_weights}, but {place!r} has weights"
            f" {found}: on another base its scores mean nothing; {_SAY_WHERE}, or train again on this one"
        )


_SAY_WHERE = "give the folder or hub name of the base it was trained on as base_model="


def _check_labels(path: str, id2label: dict[int, str]) -> None:
    if {int(i): label for i, label in id2label.items()} != LABELS:
        raise ValueError(
            f"{path}: labels are {id2label}, this project needs {LABELS}; a checkpoint of unknown label order is refused"
            " because its scores could be upside down. If label 1 means good, set id2label in its config.json"
        )
