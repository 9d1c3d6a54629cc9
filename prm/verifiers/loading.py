"""Finished verifiers from their folders: full, merged, or a LoRA adapter.

A folder that lacks weights, or whose labels have another order, is refused. So is an adapter on another base than that of
its training: any base of the same shape would take it, and the scores would be those of no trained model. What is compared
is a hash of the base's weights (`prm.models.fingerprints.hash_of_base`). Stored reference scores would need a tolerance,
since they move by about 0.01 between bf16 and fp32, and an adapter on a slightly different base can move less.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from prm.models import tree_attention
from prm.models.fingerprints import hash_of_base
from prm.models.folders import Stored, check_finite, opening, read_json, refuse_names, stored_tensors
from prm.models.loading import from_base, load_config, load_weights, lora_config, never_pack, nf4
from prm.models.step_classifier import HEAD, LABELS, classifier_class
from prm.types import Head
from prm.verifiers.checkpoint import FILE, VerifierConfig

if TYPE_CHECKING:
    from peft import LoraConfig


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
    config, head = load_config(path), VerifierConfig.load(path).head
    _check_labels(path, config.id2label)
    stored = stored_tensors(Path(path))
    # A base may say that the heads of its token classifiers have no bias.
    with_bias = config.to_dict().get("token_classification_bias", True)
    if lost := _lost_head(head, stored, with_bias):
        raise ValueError(
            f"{path} lacks {', '.join(sorted(lost))}: the head was lost when it was saved, its scores would be random."
            " Train again, or save with Trainer.save_model / PEFT task_type TOKEN_CLS"
        )
    quantized = "quantization_config" in config.to_dict()
    _check_dtypes(path, stored, _STORED_AS.get(str(config.dtype)), quantized)
    kind = classifier_class(config, head)
    return never_pack(load_weights(kind, path, dtype="auto", attn_implementation=tree_attention.NAME))


def _load_adapter(path: str, base_model: str | None) -> nn.Module:
    config, stored = VerifierConfig.load(path), stored_tensors(Path(path), "adapter_model.safetensors")
    head = config.head
    if lost := _lost_head(head, stored):
        raise ValueError(
            f"{path}: the adapter holds no {lost[0]}, so the trained head is lost and its scores would be random."
            " Train with LoraConfig(task_type='TOKEN_CLS', modules_to_save=['score']), as recipes/train_prm.py does"
        )
    _check_dtypes(path, stored)
    lora = lora_of(path, stored, lora_config)
    place = _find_base(path, config) if base_model is None else base_model
    _check_base(path, place, config)
    # In fp32, as in training: the bf16 in which most bases are stored would shift the scores by about 0.01.
    shape: Head = "mlp" if head == "mlp" else "linear"  # the trained head replaces whatever the base starts with
    options = {} if config.quantization is None else {"quantization_config": nf4()}
    base = from_base(place, torch.float32, shape, **options)
    model = with_lora(path, base, lora, stored, "its adapter_config.json")
    return model.merge_and_unload() if config.quantization is None else model  # merging would round to 4 bits again


def with_lora(path: str, model: Any, lora: LoraConfig, stored: Mapping[str, Stored], whose: str) -> Any:
    """The model with the adapter in this folder.

    Args:
        stored: the tensors of the adapter.
        whose: what has no place for a tensor that is left over, for the message.

    Raises:
        ValueError: the adapter lacks a tensor, has one more, or holds numbers that are not finite; names them.
    """
    from peft import PeftModel, get_peft_model_state_dict  # not above: see `prm.models.loading`

    # PEFT only warns of tensors that it did not find, and is silent about those that it did not use.
    with opening(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys")
        adapted = PeftModel.from_pretrained(model, path, config=lora)
    used = get_peft_model_state_dict(adapted)
    refuse_names(path, used.keys() - stored.keys(), "lacks {}; the adapter is incomplete")
    refuse_names(path, stored.keys() - used.keys(), f"holds {{}}, for which {whose} has no place")
    check_finite(path, used.items())
    return adapted


def lora_of(path: str, stored: Mapping[str, Stored], make: Callable[[int, float, list[str]], LoraConfig]) -> LoraConfig:
    """The LoRA of adapter_config.json, with nothing else that PEFT could do.

    Patterns are refused: some match for ever, and which layers a pattern means depends on the base.

    Args:
        make: the LoRA of this rank, alpha and layers; what else the file says must be as in this one.

    Raises:
        ValueError: the file is damaged, or describes something else; names the key.
    """
    file = Path(path) / "adapter_config.json"
    values = read_json(file)
    rank, alpha, targets = (values.get(name) for name in ("r", "lora_alpha", "target_modules"))
    ranks = {tensor.shape[0] for name, tensor in stored.items() if name.endswith("lora_A.weight")}
    if not isinstance(rank, int) or ranks != {rank}:
        wrong = f"r is {rank!r:.80}, its tensors have rank {', '.join(map(str, ranks)) or 'none'}"
    elif not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        wrong = f"lora_alpha is {alpha!r:.80}, it must be a number above 0"
    elif not isinstance(targets, list) or not all(map(_is_name, targets)):
        wrong = f"target_modules is {targets!r:.80}, it must be a list of names of layers"
    else:
        ours = make(rank, alpha, targets)
        wrong = other_than(values, ours.to_dict() | {"peft_type": "LORA"})
    if wrong:
        raise ValueError(f"{file}: {wrong}; copy the adapter again, or merge it with the tool that made it")
    return ours


def other_than(values: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What is in adapter_config.json and not in that of an adapter of this project; empty if nothing is."""
    # What a newer PEFT adds and leaves empty changes nothing.
    other = {name: value for name, value in values.items() if value and name not in _FREE and value != ours.get(name)}
    return ", ".join(
        f"{name} is {value!r:.80}, which adapters of this project do not have" for name, value in other.items()
    )


def _is_name(text: object) -> bool:
    return isinstance(text, str) and text.replace("_", "").replace(".", "").isalnum()


_FREE = {
    *("r", "lora_alpha", "target_modules", "modules_to_save", "exclude_modules", "lora_dropout", "inference_mode"),
    *("base_model_name_or_path", "revision", "auto_mapping", "peft_version", "init_lora_weights"),
}
"""Keys of adapter_config.json that are checked elsewhere, or that are for training, and not read."""


def _lost_head(head: Head, stored: Mapping[str, Stored], with_bias: bool = True) -> list[str]:
    last = ("weight", "bias") if with_bias else ("weight",)
    names = ("0.weight", "0.bias", *(f"2.{name}" for name in last)) if head == "mlp" else last
    return [f"{HEAD}.{name}" for name in names if not any(key.endswith(f"{HEAD}.{name}") for key in stored)]


_STORED_AS = {"torch.float32": "F32", "torch.bfloat16": "BF16", "torch.float16": "F16"}


def _check_dtypes(path: str, stored: Mapping[str, Stored], dtype: str | None = None, quantized: bool = False) -> None:
    """Refuse weights that were converted after training: the body has one kind of numbers, the head fp32.

    Args:
        dtype: that of the body, as its config says.
        quantized: the config says how whole numbers become weights.
    """
    body = [name for name in stored if f".{HEAD}." not in f".{name}"]
    dtype = dtype or Counter(stored[name].dtype for name in body or stored).most_common(1)[0][0]
    for name, its in stored.items():
        right = dtype if name in body or its.dtype != "F32" else "F32"
        if its.dtype != right and not (quantized and its.dtype in ("U8", "I8")):
            raise ValueError(
                f"{path}: the weights {name} are stored as {its.dtype} and not as {right}: they were changed after"
                " training; use those that were saved"
            )


def _find_base(path: str, config: VerifierConfig) -> str:
    """Where the base of an adapter is: where it was in training, or where it is now if both were moved together."""
    recorded = str(read_json(Path(path) / "adapter_config.json").get("base_model_name_or_path"))
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


def _check_labels(path: str, id2label: Any) -> None:
    if {int(i): label for i, label in id2label.items()} != LABELS:
        raise ValueError(
            f"{path}: labels are {id2label}, this project needs {LABELS}; a checkpoint of unknown label order is refused"
            " because its scores could be upside down. If label 1 means good, set id2label in its config.json"
        )
