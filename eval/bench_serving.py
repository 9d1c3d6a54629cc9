r"""How many tokens vLLM computes for a verifier in a tree search: as a token head, and as its twin with one logit.

Every step of the search asks for scores of all open nodes, each a prefix that was asked for before and one new step. vLLM
reads no prefix cache for token-level scores (vllm#28194), and does for one logit at the last token (vllm#20930). The model
is random; only its shape matters. Needs vLLM (`make test-vllm` makes an environment with it).

Prints  per layout: tokens asked for, computed and cached, seconds; for a tree, and for whole traces as in best-of-N

    python eval/bench_serving.py --steps 8 --step_tokens 48 --prompt_tokens 128 --nodes 8
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from prm.command_line import run_script

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYOUTS = {"token_classification": "token_classify", "sequence_classification": "classify"}
"""Layout -> vLLM's name for what is asked."""


@dataclass
class Arguments:
    steps: int = field(default=8, metadata={"help": "steps of a trace", "least": 1})
    step_tokens: int = field(default=48, metadata={"help": "tokens of a step", "least": 1})
    prompt_tokens: int = field(default=128, metadata={"help": "tokens of the prompt", "least": 1})
    nodes: int = field(default=8, metadata={"help": "open nodes of the search", "least": 1})
    hidden_size: int = field(default=256, metadata={"help": "width of the model, a multiple of 64", "least": 64})
    layers: int = field(default=4, metadata={"help": "layers of the model", "least": 1})
    block: int = field(
        default=32, metadata={"help": "tokens of a block of vLLM's cache (on CPUs 32 or more)", "least": 1}
    )
    seed: int = field(default=0, metadata={"help": "seed of tree and model", "least": 0})


def main(args: Arguments) -> None:
    for layout in LAYOUTS:  # an engine leaves behind what the next one in its process stumbles over
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(layout, args))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the process that measured {layout} ended with {process.exitcode}; it has said why")


def measure(layout: str, args: Arguments) -> None:
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    rng = random.Random(args.seed)

    def draw(tokens: int) -> list[int]:
        return [rng.randrange(10, 1000) for _ in range(tokens)]

    # A beam search: a quarter of the nodes goes on, with four children each. Waves of prefixes, one per step.
    waves, open_nodes = [], [draw(args.prompt_tokens)]
    for _ in range(args.steps):
        children = max(1, args.nodes // len(open_nodes))
        waves.append([node + draw(args.step_tokens) for node in open_nodes for _ in range(children)])
        open_nodes = waves[-1][: max(1, args.nodes // 4)]
    # Best-of-N: whole traces of one prompt. The twin needs a request for each of their steps.
    prompt = draw(args.prompt_tokens)
    pool = [[prompt + draw(args.steps * args.step_tokens) for _ in range(args.nodes)]]
    if layout == "sequence_classification":
        ends = [args.prompt_tokens + (i + 1) * args.step_tokens for i in range(args.steps)]
        pool = [[trace[:end] for trace in pool[0]] for end in ends]

    with TemporaryDirectory() as folder:
        engine, task = start(Path(folder), layout, args), LAYOUTS[layout]
        ask(engine, task, [draw(args.prompt_tokens)])  # warm
        for name, requests in (("tree", waves), ("best_of_n", pool)):
            started, counts = time.perf_counter(), [ask(engine, task, wave) for wave in requests]
            asked, cached = (sum(column) for column in zip(*counts, strict=True))
            row = {"layout": layout, "search": name, "requests": sum(map(len, requests)), "asked": asked}
            row |= {"computed": asked - cached, "cached": cached}
            print(json.dumps(row | {"seconds": round(time.perf_counter() - started, 2)}), flush=True)


def start(folder: Path, layout: str, args: Arguments) -> Any:
    """vLLM's engine on a random model of this layout."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import (
        LlamaConfig,
        LlamaForSequenceClassification,
        LlamaForTokenClassification,
        PreTrainedTokenizerFast,
    )
    from vllm import LLM

    length = args.prompt_tokens + (args.steps + 1) * args.step_tokens
    torch.manual_seed(args.seed)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=args.hidden_size,
        intermediate_size=4 * args.hidden_size,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden_size // 64,
        max_position_embeddings=length,
        num_labels=2 if layout == "token_classification" else 1,
        pad_token_id=0,
    )
    kind: Any = LlamaForTokenClassification if layout == "token_classification" else LlamaForSequenceClassification
    kind(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(1000)}, unk_token="0"))  # vLLM will not start without
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0").save_pretrained(folder)
    pooler = {"task": "token_classify", "pooling_type": "ALL"} if layout == "token_classification" else None
    return LLM(
        model=str(folder),
        runner="pooling",
        dtype="float32",
        max_model_len=length,
        block_size=args.block,
        enforce_eager=True,
        pooler_config=pooler,
    )


def ask(engine: Any, task: str, ids_N: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Tokens of these requests, and how many of them were in the cache."""
    prompts = [{"prompt_token_ids": list(ids)} for ids in ids_N]
    found = engine.encode(prompts, pooling_task=task, use_tqdm=False)
    return sum(map(len, ids_N)), sum(output.num_cached_tokens for output in found)


if __name__ == "__main__":
    run_script(main, Arguments)
