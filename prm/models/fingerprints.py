"""Fingerprints: models that answer differently have different names, so that no store and no journal mixes their answers.

    fingerprint(model, tokenizer, settings)    "1f9a03c7"             of a model in memory; part of its name
    read_weights(folder)                       (135000000, "5e0c...") of a folder, without loading it (vLLM does)
    hash_of_base("org/base")                   "9f2c41d8a0b3e7f6"     of the base of an adapter, however it is stored

All of them read every value: a model that was edited anywhere is another one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prm.models.folders import MODEL_FILES, local_folder, stored_tensors
from prm.models.step_classifier import HEAD


def fingerprint(model: Any, tokenizer: PreTrainedTokenizerBase, settings: tuple = ()) -> str:
    """Eight hex digits of all that changes what a model says: every weight, config and generation config, the tokenizer, and
    the settings. Changes with none of them: the place of the folder and the version of a library.

    Weights are read as a whole: 0.7 s per GB where nothing else runs (sha256 of OpenSSL on an x86 server).
    """
    digest = hashlib.sha256(repr(settings).encode())
    for name, tensor in sorted(model.state_dict().items()):
        _add(digest, name, tensor)
    for config in (model.config, model.generation_config) if model.can_generate() else (model.config,):
        values = config.to_diff_dict()
        kept = {name: value for name, value in values.items() if name not in _NO_MATTER and not name.startswith("_")}
        digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    digest.update(tokenizer_text(tokenizer).encode())
    return digest.hexdigest()[:8]


_NO_MATTER = {"transformers_version", "architectures", "dtype", "torch_dtype", "use_cache"}
"""Of a config: who wrote it, and what is overridden when a model is loaded here."""


def tokenizer_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """All that decides what a tokenizer makes of a text or a chat."""
    whole = (
        json.loads(tokenizer.backend_tokenizer.to_str())
        if isinstance(tokenizer, PreTrainedTokenizerFast)
        else {"vocab": tokenizer.get_vocab(), "class": type(tokenizer).__name__}
    )
    for name in ("truncation", "padding"):  # of the last call
        whole.pop(name, None)
    return json.dumps([whole, tokenizer.special_tokens_map, tokenizer.chat_template], sort_keys=True, default=str)


def _add(digest: Any, name: str, tensor: torch.Tensor) -> None:
    digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
    whole = tensor.detach().cpu().contiguous().flatten()
    if whole.numel():
        digest.update(whole.view(torch.uint8).numpy())


def read_weights(folder: Path) -> tuple[int, str]:
    """The number of parameters of a safetensors checkpoint, and eight hex digits of all their values and of the folder's
    small files: config, generation config, tokenizer.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
    """
    digest, num_parameters = hashlib.sha256(), 0
    for name, tensor in _stored_values(folder):
        _add(digest, name, tensor)
        num_parameters += tensor.numel()
    for file in sorted(file for pattern in MODEL_FILES[:-1] for file in folder.glob(pattern)):
        if not file.name.endswith(".safetensors.index.json"):
            digest.update(file.name.encode() + file.read_bytes())
    return num_parameters, digest.hexdigest()[:8]


def hash_of_base(path: str) -> str:
    """Sixteen hex digits that tell one base from another: of name, shape and all values of each stored tensor.

    They are read from the files, so that they do not depend on the device or on 4-bit loading, and rounded to bf16, so
    that copies in fp32 and in bf16 are one base (a copy in fp16, which loses small values, is another one). How a copy is
    cut into files does not matter, nor do the heads, which no adapter reads.

    Args:
        path: folder or hub name.

    Raises:
        FileNotFoundError: the base holds no safetensors. OSError: it is no folder and not on the hub. ValueError: a file is
            damaged.
    """
    digest = hashlib.sha256()
    for name, tensor in _stored_values(local_folder(path, "model*.safetensors")):
        if not name.startswith(("lm_head.", f"{HEAD}.")):
            _add(digest, name, tensor.bfloat16() if tensor.is_floating_point() else tensor)
    return digest.hexdigest()[:16]


def _stored_values(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and values of every tensor, in the order of the names, however the checkpoint is cut into files."""
    stored = stored_tensors(folder)
    with ExitStack() as stack:
        files = {s.file: stack.enter_context(safe_open(s.file, "pt")) for s in stored.values()}
        for name in sorted(stored):
            yield name, files[stored[name].file].get_tensor(name)
