"""Models and lengths shaped like real ones, for benchmarks: random weights take as long as trained ones.

Prompt and trace lengths are those of GSM8K train in SmolLM2's tokens (the first 2,000 rows; prompts in the template
`chat_cot`), as minimum, nine deciles and maximum, so that a benchmark needs neither the data nor the tokenizer.

>>> import random
>>> rng = random.Random(0)
>>> [draw(rng, STEPS) for _ in range(5)]
[6, 6, 4, 4, 4]

Left out: which traces share what; that is what each benchmark is about.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerBase

PROMPT_TOKENS = (68, 85, 91, 96, 101, 105, 110, 116, 125, 138, 243)
TRACE_TOKENS = (27, 48, 57, 67, 76, 85, 95, 108, 122, 149, 343)  # rationale, "#### answer" and line ends
STEPS = (3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 10)

_SHAPES = {  # vocabulary, width, width of the MLP, layers, heads, key-value heads
    "tiny": (512, 32, 64, 2, 4, 2),  # for the tests
    "10m": (8192, 256, 768, 10, 8, 4),
    "135m": (49152, 576, 1536, 30, 9, 3),  # SmolLM2-135M
    "1.5b": (151936, 1536, 8960, 28, 12, 2),  # Qwen2.5-1.5B
    "7b": (152064, 3584, 18944, 28, 28, 4),  # Qwen2.5-7B
}
SHAPES = tuple(_SHAPES)


def llama(shape: str, vocab_size: int | None = None) -> LlamaConfig:
    """The config of a Llama of one of `SHAPES`, with another vocabulary if asked for."""
    from transformers import LlamaConfig  # not above: the flags of a benchmark need no transformers

    vocabulary, width, mlp, layers, heads, key_value_heads = _SHAPES[shape]
    return LlamaConfig(
        vocab_size=vocab_size or vocabulary,
        hidden_size=width,
        intermediate_size=mlp,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        tie_word_embeddings=True,
    )


def save_llama(
    shape: str,
    folder: str | Path,
    tokenizer: PreTrainedTokenizerBase,
    device: str = "cpu",
    vocab_size: int | None = None,
) -> str:
    """The folder of a model with random weights of one of `SHAPES`; made only if there is none.

    Drawn on `device`: in fp32 on the CPU, in bf16 on a GPU, where 7B in fp32 would take a minute and fill a disk.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from prm.models.folders import SAFELY

    folder = Path(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        torch.manual_seed(0)
        part = folder.with_name(f"{folder.name}.part")  # a run that is killed leaves no half a model under the name
        with torch.device(device):
            numbers = torch.float32 if device == "cpu" else torch.bfloat16
            AutoModelForCausalLM.from_config(llama(shape, vocab_size), dtype=numbers, **SAFELY).save_pretrained(part)
        tokenizer.save_pretrained(part)
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    return str(folder)


def draw(rng: random.Random, deciles: Sequence[int]) -> int:
    """A number from a distribution given by its deciles, linear between them."""
    place = rng.random() * (len(deciles) - 1)
    low = int(place)
    return round(deciles[low] + (place - low) * (deciles[low + 1] - deciles[low]))


def sums(rng: random.Random, tokens: int) -> str:
    """A text of so many tokens of the arithmetic set's tokenizer.

    >>> sums(random.Random(0), 8)
    '49 + 97 + 53 + 5'
    """
    return " + ".join(str(rng.randrange(100)) for _ in range(tokens // 2))
