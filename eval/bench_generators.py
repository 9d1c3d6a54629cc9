r"""Rollout speed: ours against plain `generate` with `num_return_sequences`, and vLLM where it is installed.

The work of labeling: every prefix of a few traces, 8 rollouts from each, so prompts are ragged and begin alike. Ways:

- ours: `HfGenerator`; prefixes read once, samples leave the batch when they have ended;
- plain: `model.generate(..., num_return_sequences=8)` on left-padded batches of the same number of rows, in the order
  given. It ends at the end token only, so it may go on writing after an answer; the mean lengths printed say how much;
- vllm: `VllmGenerator` (only if `import vllm` works), on as many threads.

With `--shape 135m` the weights are random and the work is shaped like GSM8K: prompts and rollouts as long as its problems
and solutions, each rollout ended at its drawn length; what the plain way writes after it counts for nothing.

With `--parts true` our engine runs without what it has for a GPU, too: `each_token` looks at every token, `no_graph` starts
every kernel from Python, `growing` has a table of keys and values that grows, and no sample takes the place of another.
Their rollouts are ours, but for the rounding of batches of other shapes; those of `no_graph` to the last one, on a GPU.

Rounds are taken in turn; before them, each way warms up with its first batch. Rates are rollouts per second: what is
written after an answer is no gain. Needs the machine for itself.

Reads   nothing, or the folder of a model
Writes  the last line of its output, JSON: generate_speedup = ours / plain, vllm_ratio = vllm / ours or null

    python eval/bench_generators.py --generator arithmetic
"""

from __future__ import annotations

import importlib.util
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.datasets.problems import load_problems
from prm.encoding.prompts import HELP, prompt_template
from prm.encoding.steps import split_steps
from prm.evaluation.workloads import PROMPT_TOKENS, SHAPES, TRACE_TOKENS, draw, llama, save_llama
from prm.generators import derive_seed, load_generator

if TYPE_CHECKING:
    from prm.generators.hf import HfGenerator

Rollouts = list[tuple[int, ...]]
"""Sampled token ids, end token included."""


@dataclass
class Arguments:
    generator: str = field(default="arithmetic", metadata={"help": "`arithmetic` (embedded), a folder or a hub name"})
    problems: str = field(
        default="arithmetic",
        metadata={
            "help": "`arithmetic`, `arithmetic_hard`, `gsm8k`, hub name, or JSON Lines, JSON, CSV or Parquet file"
        },
    )
    prompt: str = field(default="plain", metadata={"help": f"prompt template: {HELP}"})
    limit: int = field(default=16, metadata={"help": "problems, one trace each", "least": 1})
    rollouts: int = field(default=8, metadata={"help": "rollouts from each prefix", "least": 1})
    max_new_tokens: int = field(default=80, metadata={"help": "longest rollout in tokens", "least": 1})
    batch_size: int = field(default=256, metadata={"help": "sequences decoded at once", "least": 1})
    rounds: int = field(default=3, metadata={"help": "rounds that are counted; the ways take turns", "least": 1})
    device: str = field(default="cpu", metadata={"help": "where", "choices": ["cpu", "cuda"]})
    shape: str | None = field(
        default=None, metadata={"help": "random weights of this shape in place of --generator", "choices": list(SHAPES)}
    )
    parts: bool = field(default=False, metadata={"help": "also without each of the parts that a GPU gains by"})
    base: Path | None = field(
        default=None, metadata={"help": "folder of the random weights, made if there is none; default: a temporary one"}
    )


def main(args: Arguments) -> None:
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


def compare(args: Arguments, folder: Path) -> None:
    # Not at the top: help and a typo must not wait for torch.
    import torch

    from prm.generators.hf import HfGenerator

    settings = {
        "template": prompt_template(args.prompt),
        "max_new_tokens": args.max_new_tokens,
        "batch_size": args.batch_size,
    }
    if args.shape:
        base = args.base or folder / args.shape
        args.generator = save_llama(args.shape, base, arithmetic.build_tokenizer(), args.device)
    ours = load_generator(args.generator, device=args.device, **settings)
    assert isinstance(ours, HfGenerator)
    limits = None
    if args.shape:
        rng, vocabulary = random.Random(0), llama(args.shape).vocab_size
        lengths = [draw(rng, PROMPT_TOKENS) for _ in range(args.limit)]
        prefixes = [[rng.randrange(100, vocabulary) for _ in range(length)] for length in lengths]
        limits = [draw(rng, TRACE_TOKENS) for _ in range(len(prefixes) * args.rollouts)]
    else:
        prefixes = trace_prefixes(ours, args.problems, args.limit)
    ways: dict[str, Callable[[list[list[int]], int], Rollouts]] = {
        "ours": lambda some, turn: roll_out(ours, some, args.rollouts, turn, limits),
        "plain": lambda some, turn: torch.inference_mode()(roll_out_plain)(ours, some, args.rollouts, turn, limits),
    }
    parts = without_parts(ours, settings) if args.parts else {}
    for name, engine in parts.items():
        ways[name] = lambda some, turn, engine=engine: roll_out(engine, some, args.rollouts, turn, limits)
    if importlib.util.find_spec("vllm"):
        options = {"gpu_memory_utilization": 0.3}
        vllm = load_generator(args.generator, engine="vllm", engine_options=options, **settings)
        ways["vllm"] = lambda some, turn: roll_out(vllm, some, args.rollouts, turn, limits)

    seconds, tokens = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0)
    last: dict[str, Rollouts] = {}
    first = prefixes[: max(1, args.batch_size // args.rollouts)]
    for turn in range(args.rounds + 1):
        for name, sample in ways.items():
            started = time.perf_counter()
            rollouts = sample(prefixes if turn else first, turn)
            if turn:
                seconds[name] += time.perf_counter() - started
                tokens[name] += sum(map(len, rollouts))
                last[name] = rollouts
    count = len(prefixes) * args.rollouts * args.rounds
    rates = {name: count / seconds[name] for name in ways}
    lengths = [len(prefix) for prefix in prefixes]
    named = args.shape or args.generator
    where = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    print(f"{named}: {len(prefixes)} prefixes of {min(lengths)} to {max(lengths)} tokens,", end=" ")
    print(f"{args.rollouts} rollouts each, {args.rounds} rounds, {where}")
    for name in ways:
        print(
            f"{name:10} {rates[name]:8.1f} rollouts/s  {tokens[name] / seconds[name]:8.0f} tokens/s"
            f"  {tokens[name] / count:6.1f} tokens per rollout"
        )
    same = {name: fmean(map(tuple.__eq__, last[name], last["ours"])) for name in parts}
    for name, share in same.items():
        print(f"{name}: {share:.1%} of its rollouts are those of ours")
    result = {
        "generator": named,
        "device": where,
        "tokens_per_second": {name: round(tokens[name] / seconds[name]) for name in ways},
        "same_rollouts": same,
        "generate_speedup": round(rates["ours"] / rates["plain"], 2),
        "vllm_ratio": round(rates["vllm"] / rates["ours"], 2) if "vllm" in rates else None,
    }
    print(json.dumps(result))


def without_parts(ours: HfGenerator, settings: dict[str, Any]) -> dict[str, HfGenerator]:
    """The same model in engines that do without one part each."""
    from prm.generators.hf import HfGenerator
    from prm.models.growing_rows import GrowingRows
    from prm.models.slots import Slots

    each_token, no_graph, growing = (HfGenerator(ours.model, ours.tokenizer, name="x", **settings) for _ in range(3))
    each_token.block = 1
    no_graph.rows = Slots(ours.model, ours.context)
    no_graph.rows.captures = False
    growing.rows = GrowingRows(ours.model, ours.context)
    return {"each_token": each_token, "no_graph": no_graph, "growing": growing}


def trace_prefixes(generator: HfGenerator, problems: str, limit: int) -> list[list[int]]:
    """The ids of every prefix of one trace of each problem, the whole trace left out."""
    prefixes = []
    for problem in load_problems(problems, "test", limit):
        (trace,) = generator.generate([generator.encode(problem.prompt)], [derive_seed(0, problem.id)])
        steps = split_steps(trace.text, generator.step_rule)
        prefixes += [generator.encode(problem.prompt, steps[:i]) for i in range(max(1, len(steps)))]
    return prefixes


def roll_out(generator, prefixes: Sequence[Sequence[int]], n: int, turn: int, limits: Sequence[int] | None) -> Rollouts:
    seeds = [derive_seed(turn, p, i) for p in range(len(prefixes)) for i in range(n)]
    asked = [prefix for prefix in prefixes for _ in range(n)]
    found = generator.generate(asked, seeds, limits=limits and limits[: len(asked)])
    return [continuation.token_ids for continuation in found]


def roll_out_plain(
    generator: HfGenerator, prefixes: Sequence[Sequence[int]], n: int, turn: int, limits: Sequence[int] | None
) -> Rollouts:
    import torch

    model, tokenizer = generator.model, generator.tokenizer
    torch.manual_seed(turn)
    rows = max(1, generator.batch_size // n)
    rollouts: Rollouts = []
    for start in range(0, len(prefixes), rows):
        # It goes on until the longest has ended.
        most = max(limits[start * n : (start + rows) * n]) if limits else generator.max_new_tokens
        batch = prefixes[start : start + rows]
        width = max(map(len, batch))
        ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(prefix)) + list(prefix) for prefix in batch])
        mask = torch.tensor([[0] * (width - len(prefix)) + [1] * len(prefix) for prefix in batch])
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            do_sample=True,
            top_k=0,
            num_return_sequences=n,
            max_new_tokens=most,
            pad_token_id=tokenizer.pad_token_id,
        )
        for row in output[:, width:].tolist():
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            rollouts.append(tuple(row[: min(end, limits[len(rollouts)]) if limits else end]))
    return rollouts


if __name__ == "__main__":
    run_script(main, Arguments)
