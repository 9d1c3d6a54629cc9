"""Random verifiers of every layout that is exported, small enough for vLLM's CPU build (attention heads of 32).

body     tokenizer                            a step ends with
llama    plain: three tokens for ".\\n\\n"      the separator "\\n"
qwen2    trimming: texts begin with BOS       the marker "<step>"
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from prm.encoding.codec import StepCodec
from prm.encoding.prompts import PromptTemplate
from prm.models.loading import from_base
from prm.types import Head
from prm.verifiers.checkpoint import VerifierConfig

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "pad_token_id": None,
}
KINDS = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
MARKER = "<step>"
BIAS = (0.25, 1.0)


def with_marker(tokenizer):
    """The tokenizer with one token more, that only ends steps, and "-" and "+"."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [MARKER]})
    tokenizer.add_tokens(["-", "+"])
    return tokenizer


def make_verifier(
    folder: Path,
    body: str,
    tokenizer,
    *,
    kind: str = "prm",
    marker: bool = False,
    head: Head = "linear",
    bias: tuple[float, float] | None = BIAS,
    dtype: torch.dtype = torch.float32,
) -> str:
    """Save a random verifier. Its weights are large, so that a wrong position or label shows in its scores.

    Args:
        bias: of the head; None: the head has none.
    """
    config_class, model_class = KINDS[body]
    base = folder.parent / f"{folder.name}_base"
    torch.manual_seed(0)
    model_class(config_class(vocab_size=len(tokenizer), **SIZES, token_classification_bias=bias is not None)).to(
        dtype
    ).save_pretrained(base)
    tokenizer.save_pretrained(base)
    model = from_base(str(base), head=head)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    if bias is not None and head == "linear":
        with torch.no_grad():
            model.score.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    codec = StepCodec(PromptTemplate("Q: {prompt}\n"), marker=MARKER if marker else None, max_length=200)
    semantics = "outcome" if kind == "orm" else "value"
    VerifierConfig(kind, codec, semantics, "last", "org/base", "hash", head=head, step_rule="line").save(folder)
    return str(folder)
