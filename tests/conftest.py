"""What several tests need: an offline environment, three tokenizers that differ where it hurts, two tiny models.

The tokenizers are byte-level BPEs, trained here in milliseconds on a few lines of math text:

    plain_tokenizer       ".", "\\n" and "\\n" stay three tokens in ".\\n\\n"
    merging_tokenizer     ".\\n\\n" is one token and so is "\\n\\n", as in Qwen2.5 and Llama 3
    trimming_tokenizer    starts its texts with a BOS token; its chat template trims messages, as Llama 3's does

Functions that tests call (`tiny_llama`, `imported_modules`, ...) are fixtures, because tests cannot import this file.
"""

from __future__ import annotations

import ast
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# Before any library reads them. An empty cache of our own: a model in the user's cache must not make a test pass.
_CACHE = tempfile.TemporaryDirectory(prefix="prm-tests-")
os.environ.update(
    HF_HOME=_CACHE.name,
    HF_HUB_OFFLINE="1",
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    WANDB_DATA_DIR=_CACHE.name,  # artifacts wait here for their upload
    WANDB_CACHE_DIR=_CACHE.name,
    CUDA_VISIBLE_DEVICES="",  # expected numbers are those of the CPU
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",  # two pytest workers with two threads each are slower than one
    PYTHONPATH=str(Path(__file__).resolve().parent.parent),  # `prm` of this checkout, whichever one is installed
)

_TEXT = [
    "Start with 47, add 38, subtract 12.\n47 + 38 = 85\n85 - 12 = 73\n#### 73\n",
    "Natalia sold 48 clips in April.\n\nShe sold 48 / 2 = 24 clips in May.\n\nSo she sold 48 + 24 = 72.\n\n",
    "Let x be 4.\n\nThen 2x = 8\n\nand x + 3 = 7.\n\nThe answer is \\boxed{7}.\n\n",
] * 4
_CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<eos>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_TRIMMING_CHAT = (
    "<bos>{% for message in messages %}<|{{ message['role'] }}|>\n\n{{ message['content'] | trim }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tracked_files(root: Path) -> list[Path]:
    """Every file that belongs to the repository."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True)
    if listing.returncode != 0:
        pytest.skip(f"{root} is no git checkout, so which files belong to the project is unknown")
    return [path for name in listing.stdout.split("\0") if name and (path := root / name).is_file()]


@pytest.fixture(scope="session")
def imported_modules() -> Callable[[Path], list[tuple[int, str]]]:
    """(line, dotted name) for every import of a file, those inside functions included; `from a import b` gives a.b."""

    def read(path: Path) -> list[tuple[int, str]]:
        found = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found += [(node.lineno, "." * node.level + f"{node.module or ''}.{alias.name}") for alias in node.names]
        return found

    return read


@pytest.fixture(scope="session")
def plain_tokenizer():
    tokenizer = _train_bpe(r"\n", _CHAT)
    assert tokenizer.tokenize("4.\n\n") == ["4", ".", "Ċ", "Ċ"]
    return tokenizer


@pytest.fixture(scope="session")
def merging_tokenizer():
    # The piece "punctuation with the line ends after it" of Qwen's pattern, and line ends on their own.
    tokenizer = _train_bpe(r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+", _CHAT)
    assert tokenizer.tokenize("4.\n\n") == ["4", ".ĊĊ"]
    assert tokenizer.tokenize("8\n\n") == ["8", "ĊĊ"]
    return tokenizer


@pytest.fixture(scope="session")
def trimming_tokenizer():
    from tokenizers.processors import TemplateProcessing

    tokenizer = _train_bpe(r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+", _TRIMMING_CHAT, bos_token="<bos>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    assert tokenizer("4")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer.apply_chat_template([{"role": "user", "content": "4.\n\n"}], tokenize=False) == (
        "<bos><|user|>\n\n4.<eos>"
    )
    return tokenizer


@pytest.fixture(scope="session")
def tiny_llama():
    """`tiny_llama(vocab_size, seed=0, hidden_size=32)`: a random 2-layer `LlamaForCausalLM` in eval mode."""
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(vocab_size: int, seed: int = 0, **sizes: int) -> LlamaForCausalLM:
        return _random_model(LlamaForCausalLM, LlamaConfig(vocab_size=vocab_size, **_SIZES | sizes), seed)

    return make


@pytest.fixture(scope="session")
def tiny_qwen2():
    """`tiny_qwen2(vocab_size, seed=0)`: a random 2-layer `Qwen2ForCausalLM` in eval mode."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    def make(vocab_size: int, seed: int = 0) -> Qwen2ForCausalLM:
        return _random_model(Qwen2ForCausalLM, Qwen2Config(vocab_size=vocab_size, **_SIZES), seed)

    return make


@pytest.fixture
def clock(monkeypatch):
    """`clock("2031-03-01")`: the day on which chat templates are rendered from now on."""
    import datetime

    def set_day(day: str) -> None:
        class Clock:
            now = staticmethod(lambda: datetime.datetime.fromisoformat(day))

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)

    return set_day


@pytest.fixture(params=[False, True], ids=["no_avx512_bf16", "avx512_bf16"])
def avx512_bf16(request, monkeypatch) -> bool:
    """What bitsandbytes is told of the processor, whatever it is: with avx512_bf16 its 4-bit layers pack their weights.

    Layers ask when they are made. On a processor without it, the product with packed weights is wrong, because the kernel
    that reads them is not there.
    """
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: request.param)
    return request.param


@pytest.fixture(scope="session")
def avx512_bf16_python() -> list[str]:
    """The command `python script.py arguments...` without `script.py arguments...`, in which the native library of
    bitsandbytes says from the start that the processor has avx512_bf16.

    On a processor without it, a product with packed weights ends the process with an illegal instruction.
    """
    return [sys.executable, "-c", _AVX512_BF16]


@pytest.fixture(scope="session")
def openai_server():
    """`with openai_server(model, tokenizer, faults=[...]) as server`; see tests/openai_server.py."""
    from openai_server import OpenAIServer

    return OpenAIServer


@pytest.fixture(scope="session")
def chat_server():
    """`with chat_server(script, faults=[...]) as server`; see tests/chat_server.py."""
    from chat_server import ChatServer

    return ChatServer


_AVX512_BF16 = """
import ctypes, runpy, sys

load_library = ctypes.cdll.LoadLibrary

def load(name):
    library = load_library(name)
    if "bitsandbytes" in name:
        library.has_avx512bf16_cpu = lambda: True
    return library

ctypes.cdll.LoadLibrary = load
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # ten times the usual: with 0.02 the outputs of random models hardly differ
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}


def _random_model(kind, config, seed: int):
    import torch

    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config).eval()


def _train_bpe(pieces: str, chat_template: str, bos_token: str | None = None):
    """A byte-level BPE whose merges stay inside `pieces` (a regular expression) and between them."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<eos>", "<|system|>", "<|user|>", "<|assistant|>"] + ([bos_token] if bos_token else [])
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(rf"{pieces}| ?\p{{L}}+|\p{{N}}"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, min_frequency=2, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token=bos_token,
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )


SLOW = {"test_conformance.py", "test_loading.py", "test_openai.py", "test_packaging.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scripts are slow, and first, so that no process waits for another at the end. So are the files that start servers,
    interpreters or builds."""
    scripts = Path(__file__).parent / "scripts"
    for item in items:
        if scripts in item.path.parents or item.path.name in SLOW:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: scripts not in item.path.parents)


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector, which trainers call all the time, need not look through it."""
    gc.collect()
    gc.freeze()
