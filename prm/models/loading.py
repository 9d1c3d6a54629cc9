"""Models and tokenizers from folders, hub names and GGUF files; base models with a new head; 4-bit weights.

Every model of this project is loaded here or in `prm.verifiers.loading`, so that none is loaded unchecked
(`prm.models.folders`).

Left out: finished verifiers, which `prm.verifiers.loading` loads and checks.
"""

from __future__ import annotations

import copy
import importlib.util
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from prm.models import tree_attention
from prm.models.folders import (
    MODEL_FILES,
    SAFELY,
    check_config,
    check_counts,
    check_finite,
    check_loaded,
    check_size,
    local_folder,
    opening,
    refuse_names,
    stored_in_gguf,
    stored_tensors,
)
from prm.models.step_classifier import HEAD, HEADS, LABELS, classifier_class
from prm.types import Head

if TYPE_CHECKING:  # it imports bitsandbytes, and that torch's compiler: two seconds that only adapters need
    from peft import LoraConfig

# A bar for every small model would be noise; one that takes long to load has it.
transformers.utils.logging.set_tqdm_hook(lambda bar, args, options: bar(*args, **options | {"delay": 5}))


def load_model_and_tokenizer(
    path: str, gguf_file: str | None = None, dtype: torch.dtype | str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer from a folder, a hub name, or a GGUF file inside either.

    A GGUF model is dequantized and rebuilt as a plain fp32 model, because `save_pretrained` refuses what came from GGUF.

    Raises:
        OSError: no such folder or name. ValueError: it is damaged, or weights and config do not fit; names the folder.
    """
    if gguf_file is None:
        model = load_weights(AutoModelForCausalLM, path, dtype=dtype)
        return never_pack(model), load_tokenizer(path)
    file = local_folder(path, gguf_file) / gguf_file
    with opening(path):
        stored = stored_in_gguf(file)
        config = AutoConfig.from_pretrained(path, gguf_file=gguf_file, **SAFELY)
        check_counts(file, config.to_dict(), stored)
        with torch.device("meta"):
            check_size(file, stored, AutoModelForCausalLM.from_config(copy.deepcopy(config), **SAFELY))
        kind: Any = AutoModelForCausalLM
        loaded, info = kind.from_pretrained(
            path,
            config=config,
            gguf_file=gguf_file,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **SAFELY,
        )
        check_loaded(str(file), info)
        layers = tuple(f"blk.{i}." for i in range(config.num_hidden_layers))  # transformers passes over the rest
        rest = (name for name in stored if name.startswith("blk.") and not name.startswith(layers))
        refuse_names(str(file), rest, "holds {}, for which its header has no place: layers would be left out")
        config = type(loaded.config)(
            **{k: v for k, v in loaded.config.to_dict().items() if k not in ("quantization_config", "architectures")}
        )
        model = type(loaded)(config)
        model.load_state_dict(loaded.state_dict())
    check_finite(path, model.named_parameters())
    return model, load_tokenizer(path, gguf_file=gguf_file)


def load_weights(kind: Any, path: str, config: PreTrainedConfig | None = None, **options: Any) -> Any:
    """A model whose weights are all there, all used, of the right shapes and finite.

    Args:
        kind: an Auto class, or the class of the model.
        config: of the model, if it is not that of the folder.
        options: for `from_pretrained`.

    Raises:
        OSError: no such folder or name. ValueError: as `prm.models.folders`.
    """
    folder = local_folder(path, *MODEL_FILES)
    with opening(path):
        stored = stored_tensors(folder)
        check_config(folder, stored)
        config = config or AutoConfig.from_pretrained(path, **SAFELY)
        build = kind if issubclass(kind, PreTrainedModel) else partial(kind.from_config, **SAFELY)
        with torch.device("meta"):
            check_size(folder, stored, build(copy.deepcopy(config)))
        model, info = kind.from_pretrained(
            path,
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused here, by name
            use_safetensors=True,
            **SAFELY,
            **options,
        )
    check_loaded(path, info)
    check_finite(path, model.named_parameters())
    return model


def load_config(path: str) -> PreTrainedConfig:
    """The config of a model, after a look at how much it asks for."""
    folder = local_folder(path, *MODEL_FILES)
    with opening(path):
        check_config(folder, stored_tensors(folder))
        return AutoConfig.from_pretrained(path, **SAFELY)


def load_tokenizer(path: str, **options: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Raises:
        OSError: no such folder or name. ValueError: it is damaged; names the folder.
    """
    with opening(path):
        if Path(path, "config.json").is_file():  # it is read, too
            check_config(Path(path))
        return AutoTokenizer.from_pretrained(path, **SAFELY, **options)


def usual_device(device: str | None) -> str:
    """The device that was chosen, or else the GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """The model, with its weights in this dtype. `model.to(dtype)` would also round the frequencies of the rotary
    embeddings, which are buffers, and with them every angle: in bf16 by up to 0.4%, one radian after 256 tokens."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


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
    config = load_config(path)
    config.num_labels = len(LABELS)
    config.id2label = dict(LABELS)
    config.label2id = {label: i for i, label in LABELS.items()}
    config.classifier_dropout = 0.0
    config.use_cache = False
    # A new head, and the language model's own that is not read, are no news: transformers need not report them.
    kind = classifier_class(config, head)
    kind._keys_to_ignore_on_load_missing = [rf"^{HEAD}\."]
    kind._keys_to_ignore_on_load_unexpected = [*(kind._keys_to_ignore_on_load_unexpected or ()), r"^lm_head\."]
    stored = stored_tensors(local_folder(path, *MODEL_FILES))
    other = {f"{HEAD}.0.weight", f"{HEAD}.2.weight"} if head != "mlp" else {f"{HEAD}.weight"}
    if other & stored.keys():
        raise ValueError(
            f"{path} is a verifier whose head is not {head}; go on with the head it has, or start from its base"
        )
    model = load_weights(kind, path, config, dtype=dtype, attn_implementation=tree_attention.NAME, **options)
    is_verifier = any("TokenClassification" in name for name in config.architectures or ())
    if head == "lm_tokens" and not is_verifier:
        _start_as_lm_tokens(model.score, path)
    return never_pack(model)


def _start_as_lm_tokens(score: nn.Linear, path: str) -> None:
    """Make the head the language model's rows of "-" (bad) and "+" (good)."""
    tokenizer = load_tokenizer(path)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("-", "+")]
    if any(len(tokens) != 1 for tokens in ids) or ids[0] == ids[1] or tokenizer.unk_token_id in ids[0] + ids[1]:
        raise ValueError(
            f"{path}: '-' and '+' are the tokens {ids}, each must be one known token; train with --head linear"
        )
    rows = load_weights(AutoModelForCausalLM, path, dtype=torch.float32).get_output_embeddings().weight
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


def lora_config(r: int, alpha: float, target_modules: str | list[str] = "all-linear") -> LoraConfig:
    """LoRA on linear layers of the body; the head is trained in full and saved with the adapter.

    PEFT wraps no module that `modules_to_save` names, so "all-linear" leaves the head out.
    """
    from peft import LoraConfig

    return LoraConfig(
        task_type="TOKEN_CLS",
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        target_modules=target_modules,
        modules_to_save=[HEAD],
    )
