"""Models and tokenizers from folders, hub names and GGUF files; fingerprints of weights; base models with a new head;
4-bit weights.

Left out: finished verifiers, which `prm.verifiers.loading` loads and checks.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prm.models import tree_attention
from prm.models.step_classifier import HEAD, HEADS, LABELS, classifier_class
from prm.types import Head

# A bar for every small model would be noise; one that takes long to load has it.
transformers.utils.logging.set_tqdm_hook(lambda bar, args, options: bar(*args, **options | {"delay": 5}))


def load_model_and_tokenizer(
    path: str, gguf_file: str | None = None, dtype: torch.dtype | str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer from a folder, a hub name, or a GGUF file inside either.

    A GGUF model is dequantized and rebuilt as a plain fp32 model, because `save_pretrained` refuses what came from GGUF.
    """
    if gguf_file is None:
        return never_pack(_load(AutoModelForCausalLM, path, dtype=dtype)), _load(AutoTokenizer, path)
    loaded = _load(AutoModelForCausalLM, path, gguf_file=gguf_file, dtype=torch.float32)
    config = type(loaded.config)(
        **{k: v for k, v in loaded.config.to_dict().items() if k not in ("quantization_config", "architectures")}
    )
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    return model, _load(AutoTokenizer, path, gguf_file=gguf_file)


def _load(kind: Any, path: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(path, **options)
    except OSError as error:  # it may say only that there is no connection
        reason = str(error).splitlines()[0]
        raise OSError(f"{path!r} is no folder with a model, and could not be loaded from the hub: {reason}") from error


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """The model, with its weights in this dtype. `model.to(dtype)` would also round the frequencies of the rotary
    embeddings, which are buffers, and with them every angle: in bf16 by up to 0.4%, one radian after 256 tokens."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def fingerprint(model: torch.nn.Module, settings: tuple = ()) -> str:
    """Eight hex digits of the settings and of the first values of every parameter."""
    digest = hashlib.sha256(repr(settings).encode())
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def read_weights(folder: Path) -> tuple[int, str]:
    """The number of parameters of a safetensors checkpoint, and eight hex digits of the first values of each of them.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
    """
    digest, num_parameters = hashlib.sha256(), 0
    for name, shape, values in _first_values(folder):
        digest.update(f"{name}{shape}".encode() + values.numpy().tobytes())
        num_parameters += prod(shape)
    return num_parameters, digest.hexdigest()[:8]


def hash_of_base(path: str) -> str:
    """Sixteen hex digits that tell one base from another: of name, shape and first values of each stored tensor.

    They are read from the files, so that they do not depend on the device or on 4-bit loading, and rounded to bf16, so
    that copies in fp32 and in bf16 are one base (a copy in fp16, which loses small values, is another one). How a copy is
    cut into files does not matter, nor do the heads, which no adapter reads. One page of each tensor is read: a fine-tuned
    or merged model differs there, one that was edited elsewhere only does not.

    Args:
        path: folder or hub name.

    Raises:
        FileNotFoundError: the base holds no safetensors. OSError, ValueError: it is no folder and not on the hub.
    """
    folder = path if Path(path).is_dir() else snapshot_download(path, allow_patterns="model*.safetensors")
    digest = hashlib.sha256()
    for name, shape, values in sorted(_first_values(Path(folder)), key=lambda stored: stored[0]):
        if not name.startswith(("lm_head.", f"{HEAD}.")):
            digest.update(f"{name}{shape}".encode() + values.bfloat16().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def _first_values(folder: Path) -> Iterator[tuple[str, list[int], torch.Tensor]]:
    """Name, shape and the first values, at most 64, of every tensor of a safetensors checkpoint, in fp32."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} has no model*.safetensors; save the model with `save_pretrained`")
    for file in files:
        with safe_open(file, "pt") as tensors:
            for name in sorted(tensors.keys()):
                stored = tensors.get_slice(name)
                shape = stored.get_shape()
                first = stored[:64] if len(shape) == 1 else stored[:1]
                yield name, shape, first.flatten()[:64].float()


def from_base(path: str, dtype: torch.dtype | str = "auto", head: Head = "linear", **options: Any) -> PreTrainedModel:
    """A classifier with a new head on a language model (or on another verifier of ours, whose head is kept).

    Args:
        options: for `from_pretrained`, such as a `quantization_config`.

    Raises:
        ValueError: the folder lacks weights other than those of the head; `lm_tokens` and the tokenizer has no single
            token for "+" or "-".
    """
    if head not in HEADS:
        raise ValueError(f"head {head!r} is not one of {', '.join(HEADS)}")
    if Path(path).is_dir():
        path = str(Path(path).absolute())  # an adapter records it, and is loaded from other working directories
    config = AutoConfig.from_pretrained(path)
    config.num_labels = len(LABELS)
    config.id2label = dict(LABELS)
    config.label2id = {label: i for i, label in LABELS.items()}
    config.classifier_dropout = 0.0
    config.use_cache = False
    # A new head, and the language model's own that is not read, are no news: transformers need not report them.
    kind = classifier_class(config, head)
    kind._keys_to_ignore_on_load_missing = [rf"^{HEAD}\."]
    kind._keys_to_ignore_on_load_unexpected = [*(kind._keys_to_ignore_on_load_unexpected or ()), r"^lm_head\."]
    model, info = kind.from_pretrained(
        path,
        config=config,
        dtype=dtype,
        attn_implementation=tree_attention.NAME,
        output_loading_info=True,
        **options,
    )
    if info["missing_keys"]:
        raise ValueError(
            f"{path} lacks {len(info['missing_keys'])} weights of its body, for instance {min(info['missing_keys'])}; it is"
            " incomplete"
        )
    if any(key.startswith(f"{HEAD}.") for key in info["unexpected_keys"]):
        raise ValueError(
            f"{path} is a verifier whose head is not {head}; go on with the head it has, or start from its base"
        )
    is_verifier = any("TokenClassification" in name for name in config.architectures or ())
    if head == "lm_tokens" and not is_verifier:
        _start_as_lm_tokens(model.score, path)
    return never_pack(model)


def _start_as_lm_tokens(score: nn.Linear, path: str) -> None:
    """Make the head the language model's rows of "-" (bad) and "+" (good)."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("-", "+")]
    if any(len(tokens) != 1 for tokens in ids) or ids[0] == ids[1] or tokenizer.unk_token_id in ids[0] + ids[1]:
        raise ValueError(
            f"{path}: '-' and '+' are the tokens {ids}, each must be one known token; train with --head linear"
        )
    rows = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).get_output_embeddings().weight
    with torch.no_grad():
        score.weight.copy_(rows[[tokens[0] for tokens in ids]])
        if score.bias is not None:
            score.bias.zero_()


def never_pack(model: PreTrainedModel) -> PreTrainedModel:
    """The model, with packing of its 4-bit weights switched off.

    On x86 processors with `avx512_bf16`, the first forward pass in eval mode on the CPU rearranges ("packs") the weights of
    every 4-bit layer for a faster kernel (bitsandbytes 0.50, `Linear4bit.forward`). This project never lets it, because

    - the kernel rounds inputs, scales and outputs to bf16 where training computes in fp32, so that scores would differ from
      those in training (by 0.004 on a random model of two layers);
    - the weights stay packed when training goes on after an evaluation, and the kernel has no gradient: the gradients of the
      LoRA matrices would lack the paths through the 4-bit layers (on the same model they were wrong by 1% to 52%);
    - only layers with a multiple of 32 outputs and of 64 inputs (the block size) can be packed; others fail in the middle of
      that forward pass, for instance with "shape '[32, 0]' is invalid";
    - a packed model that is moved to a GPU computes nonsense (bitsandbytes#2078).

    Without packing, every processor dequantizes a layer and multiplies in fp32 (on the CPU; see `nf4`), in training and in
    scoring, for layers of any shape. The price is the speed of that kernel.

    The kernel itself was not run for these numbers: bitsandbytes packed, and the product was computed as its source does.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":  # by name, because bitsandbytes is an optional requirement
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
    return model


def nf4() -> BitsAndBytesConfig:
    """4-bit weights for the body (QLoRA, Dettmers et al. 2305.14314); the head stays as it is.

    Raises:
        ValueError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError(
            '4-bit weights need bitsandbytes: pip install "prm-toolkit[qlora]"; or leave --load_in_4bit out'
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
        llm_int8_skip_modules=[HEAD],
    )
