r"""Training speed and memory: ours (packed prefix trees) against the stock path (padded batches), alternately in one run.

The stock path is that of TRL's last PRM trainer (1.13): `Trainer` + `AutoModelForTokenClassification` + a padding
collator, micro-batches of 8 traces drawn at random. Where `trl==1.13.0` is installed, it is that `PRMTrainer` itself
("stock" in the JSON says which). Ours has the 16 traces of one problem in a row. Both have the same shape of model, the
same traces, the same number of traces per optimizer step (128 of 8 problems: with fewer, the cost of padding depends on
the draw), fp32, and no gradient checkpointing. Measured are

- seconds of whole optimizer steps, ours and stock in turn, after one that is not counted, on GSM8K-shaped data (16
  independent traces per problem, a chat-templated prompt, lengths drawn from those of GSM8K in SmolLM2 tokens, nothing
  shared except the prompt) and on tree-shaped data (a trace of five steps, and four rollouts from the end of each of its
  first four steps, as in Monte Carlo labeling);
- activation memory: bytes that autograd keeps for the backward pass of one micro-batch of 8 traces;
- FLOP utilization: 6 x parameters of the body x tokens computed, relative to a matrix product measured in the same run.

Left out: the optimizer's memory and GPUs. Nothing else should run on the machine.

Reads   nothing
Writes  the last line of its output, JSON; with --plot a picture

    python eval/bench_training.py --model 135m
"""

from __future__ import annotations

import importlib.util
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.evaluation.workloads import PROMPT_TOKENS, SHAPES, STEPS, TRACE_TOKENS, draw, llama
from prm.training.examples import TraceExample
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:  # each function imports what it uses: help and a typo must not wait for torch
    import torch
    from transformers import LlamaConfig, Trainer

HEADER = list(range(10, 34))
"""The chat template's system turn, the same tokens in front of every prompt."""
TRACES_PER_PROBLEM = 16
OUR_BATCH = 16
"""Traces of a micro-batch, those of one problem. Longer rows were no faster per token on a CPU."""
MODEL_INPUTS = ("input_ids", "position_ids", "subtree_end", "step_index")


@dataclass
class Arguments:
    model: str = field(default="135m", metadata={"help": "shape of the model", "choices": list(SHAPES)})
    num_problems: int = field(default=8, metadata={"help": "problems (16 traces each) per optimizer step", "least": 1})
    rounds: int = field(
        default=1, metadata={"help": "optimizer steps of each side that are counted, taken in turn", "least": 1}
    )
    plot: Path | None = field(
        default=None, metadata={"help": "picture of cost against vocabulary and against tokens; takes minutes more"}
    )


def main(args: Arguments) -> None:
    import torch

    from prm.models.loading import from_base

    rng = random.Random(0)
    config = llama(args.model)
    ceiling = matrix_product()
    print(f"{args.model} shape, {torch.get_num_threads()} threads, matrix product {ceiling / 1e9:.0f} GFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        base = save_base(config, folder)
        gsm8k = [gsm8k_problem(rng, f"p{i}", config.vocab_size) for i in range(args.num_problems)]
        trees = [tree_problem(rng, f"t{i}", config.vocab_size) for i in range(args.num_problems)]
        result = {"model": args.model, "stock": stock(), "matrix_product_gflops": round(ceiling / 1e9, 1)}
        for name, problems in (("gsm8k", gsm8k), ("tree", trees)):
            examples = [example for problem in problems for example in problem]
            seconds = time_steps(base, examples, args.rounds)
            tokens = {side: count_tokens(side, examples) for side in seconds}
            for side in seconds:
                rate = len(examples) * args.rounds / seconds[side]
                print(f"{name:6} {side:6} {rate:8.3f} traces/s  {tokens[side]:8,} tokens per optimizer step")
            result[f"speedup_{name}"] = round(seconds["stock"] / seconds["ours"], 2)
            result[f"token_ratio_{name}"] = round(tokens["stock"] / tokens["ours"], 2)
            body = sum(p.numel() for n, p in from_base(base).named_parameters() if "layers" in n)
            achieved = 6 * body * tokens["ours"] * args.rounds / seconds["ours"]
            result["flop_utilization" + ("" if name == "gsm8k" else "_tree")] = round(achieved / ceiling, 3)
        memory = {side: activation_bytes(side, base, gsm8k[0][:8]) for side in ("stock", "ours")}
        print(f"activations of 8 traces: stock {memory['stock'] / 1e6:,.0f} MB, ours {memory['ours'] / 1e6:,.0f} MB")
        result["memory_ratio_gsm8k"] = round(memory["ours"] / memory["stock"], 3)
        if args.plot:
            result["plot"] = plot(args.plot)
    print(json.dumps(result))


def make_example(problem: str, prompt: list[int], steps: Sequence[list[int]]) -> TraceExample:
    ids, ends = list(prompt), []
    for step in steps:
        ids += step
        ends.append(len(ids) - 1)
    return TraceExample(
        input_ids=tuple(ids),
        step_ends=tuple(ends),
        targets=tuple(float(i % 2) for i in range(len(steps))),
        hard=tuple(i % 2 == 1 for i in range(len(steps))),
        steps=tuple(range(len(steps))),
        problem=problem,
        truncated=False,
    )


def random_ids(rng: random.Random, count: int, vocabulary: int) -> list[int]:
    return [rng.randrange(100, vocabulary) for _ in range(count)]


def make_prompt(rng: random.Random, vocabulary: int) -> list[int]:
    return HEADER + random_ids(rng, draw(rng, PROMPT_TOKENS) - len(HEADER), vocabulary)


def gsm8k_problem(rng: random.Random, name: str, vocabulary: int) -> list[TraceExample]:
    """Independent traces of one problem: they share the prompt and nothing else."""
    prompt = make_prompt(rng, vocabulary)
    examples = []
    for _ in range(TRACES_PER_PROBLEM):
        tokens, count = draw(rng, TRACE_TOKENS), draw(rng, STEPS)
        cuts = sorted(rng.sample(range(1, tokens), count - 1))
        steps = [random_ids(rng, b - a, vocabulary) for a, b in zip([0, *cuts], [*cuts, tokens], strict=True)]
        examples.append(make_example(name, prompt, steps))
    return examples


def tree_problem(rng: random.Random, name: str, vocabulary: int) -> list[TraceExample]:
    """Four rollouts from the end of each of the first four steps of a trace of five."""
    prompt = make_prompt(rng, vocabulary)
    trunk = [random_ids(rng, draw(rng, TRACE_TOKENS) // 5 or 1, vocabulary) for _ in range(5)]
    examples = []
    for kept in range(1, 5):
        for _ in range(4):
            rest = [random_ids(rng, draw(rng, TRACE_TOKENS) // 5 or 1, vocabulary) for _ in range(5 - kept)]
            examples.append(make_example(name, prompt, [*trunk[:kept], *rest]))
    return examples


def pad(examples: Sequence[TraceExample]) -> dict[str, torch.Tensor]:
    """Batches of the stock collator: rows padded to the longest on the right, labels -100 except at step ends."""
    import torch

    width = max(len(e.input_ids) for e in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, e in enumerate(examples):
        ids[i, : len(e.input_ids)] = torch.tensor(e.input_ids)
        mask[i, : len(e.input_ids)] = 1
        labels[i, : len(e.input_ids)] = torch.tensor(labels_of(e))
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def labels_of(example: TraceExample) -> list[int]:
    """A label for every token: -100 except at step ends."""
    labels = [-100] * len(example.input_ids)
    for end, target in zip(example.step_ends, example.targets, strict=True):
        labels[end] = int(target)
    return labels


def shuffled(examples: Sequence[TraceExample]) -> list[TraceExample]:
    """The stock sampler's random order, fixed so that it is the same in every round."""
    examples = list(examples)
    random.Random(1).shuffle(examples)
    return examples


@cache
def stock() -> str:
    """What runs the stock path."""
    return "Trainer" if importlib.util.find_spec("trl.experimental.prm") is None else "trl.experimental.prm.PRMTrainer"


def make_trainer(side: str, base: str, examples: Sequence[TraceExample]) -> Trainer:
    from datasets import Dataset
    from transformers import AutoModelForTokenClassification, Trainer, TrainingArguments

    from prm.models.loading import from_base
    from prm.training.trainer import VerifierTrainer

    size = 8 if side == "stock" else min(OUR_BATCH, len(examples))
    settings: dict[str, Any] = {
        "output_dir": f"{base}/out",
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": len(examples) // size,
        "max_steps": 1,
        "learning_rate": 1e-6,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "remove_unused_columns": False,
        "use_cpu": True,
    }
    if side == "stock":
        model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2, trust_remote_code=False)
        settings["train_sampling_strategy"] = "sequential"  # `shuffled` has drawn the order
        if stock() == "Trainer":
            return Trainer(model, TrainingArguments(**settings), pad, shuffled(examples))
        from trl.experimental.prm import PRMConfig, PRMTrainer  # type: ignore[import-not-found]

        args = PRMConfig(**settings, gradient_checkpointing=False, bf16=False)
        rows = [{"input_ids": list(e.input_ids), "labels": labels_of(e)} for e in shuffled(examples)]
        return PRMTrainer(
            model, args, train_dataset=Dataset.from_list(rows), processing_class=arithmetic.build_tokenizer()
        )
    codec = StepCodec(max_length=2048)
    config = VerifierConfig("prm", codec, "value", "last", base, "")
    return VerifierTrainer(
        from_base(base), TrainingArguments(**settings), config, arithmetic.build_tokenizer(), examples
    )


def time_steps(base: str, examples: Sequence[TraceExample], rounds: int) -> dict[str, float]:
    """Seconds of `rounds` optimizer steps of each side, taken in turn, one step at a time.

    The first step of each is not counted: it allocates the optimizer's state and memory that later steps reuse (at 10M
    parameters, ours takes a fifth longer). The clock runs from the first batch that is collated to the end of the step.
    """
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        """The seconds of each epoch; here an epoch is one optimizer step."""

        def __init__(self) -> None:
            self.laps: list[float] = []

        def on_epoch_begin(self, args, state, control, **others):
            self._began = time.perf_counter()

        def on_epoch_end(self, args, state, control, **others):
            self.laps.append(time.perf_counter() - self._began)

    trainers = {side: make_trainer(side, base, examples) for side in ("stock", "ours")}
    clocks = {side: Stopwatch() for side in trainers}
    for side, trainer in trainers.items():
        trainer.add_callback(clocks[side])
    for _ in range(1 + rounds):
        for trainer in trainers.values():
            trainer.train()
    return {side: sum(clock.laps[1:]) for side, clock in clocks.items()}


def count_tokens(side: str, examples: Sequence[TraceExample]) -> int:
    """Tokens the model computes in one optimizer step, padding included."""
    if side == "stock":
        order = shuffled(examples)
        return sum(pad(order[i : i + 8])["input_ids"].numel() for i in range(0, len(order), 8))
    from prm.models.packing import pack

    groups = [examples[i : i + OUR_BATCH] for i in range(0, len(examples), OUR_BATCH)]
    return sum(len(pack([e.input_ids for e in group]).input_ids) for group in groups)


def activation_bytes(side: str, base: str, examples: Sequence[TraceExample]) -> int:
    """Bytes kept for the backward pass of one micro-batch, without weights; what is kept twice counts once."""
    import torch
    from transformers import AutoModelForTokenClassification

    from prm.models.loading import from_base
    from prm.training.batches import StepCollator

    if side == "stock":
        model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2, trust_remote_code=False).train()
        batch = pad(examples)
    else:
        model = from_base(base).train()
        batch = StepCollator()(examples)
        batch = {name: batch[name] for name in MODEL_INPUTS}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(**batch)
        _ = output.loss if side == "stock" else output.logits.sum()
    return sum(kept.values())


def matrix_product(size: int = 2048) -> float:
    """FLOP/s of an fp32 matrix product: the best of 20, because other work on the machine slows some of them."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds_of(lambda: a @ b) for _ in range(20))


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def save_base(config: LlamaConfig, folder: str) -> str:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    arithmetic.build_tokenizer().save_pretrained(folder)
    return folder


def plot(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Two panels on the 10M shape, forward and backward: milliseconds per labeled step against the vocabulary, with two
    logits per step and with all of the vocabulary's; milliseconds against the traces of one problem, packed and padded."""
    import matplotlib.pyplot as plt
    import torch

    from prm.models.loading import from_base
    from prm.training.batches import StepCollator

    plt.switch_backend("Agg")
    rng = random.Random(2)
    points: dict[str, list[tuple[int, float]]] = {
        name: [] for name in ("two logits at step ends", "full-vocabulary logits", "packed tree", "padded rows")
    }

    def note(name: str, x: int, work: Callable[[], torch.Tensor], parts: int = 1) -> None:
        work().sum().backward()
        milliseconds = 1000 * min(seconds_of(lambda: work().sum().backward()) for _ in range(3))
        points[name].append((x, milliseconds / parts))

    def load(vocabulary: int) -> torch.nn.Module:
        with tempfile.TemporaryDirectory() as folder:
            return from_base(save_base(llama("10m", vocabulary), folder)).train()

    def collate(examples: Sequence[TraceExample]) -> dict[str, torch.Tensor]:
        collated = StepCollator()(examples)
        return {name: collated[name] for name in MODEL_INPUTS}

    batch = collate(gsm8k_problem(rng, "p", 8192))
    everywhere = {name: tensor for name, tensor in batch.items() if name != "step_index"}
    steps = len(batch["step_index"])
    for size in (8192, 32768, 131072):
        model = load(size)
        note("two logits at step ends", size, lambda model=model: model(**batch).logits, steps)
        model.score = torch.nn.Linear(model.config.hidden_size, size, bias=False)
        note(
            "full-vocabulary logits",
            size,
            lambda model=model: model(**everywhere).logits.flatten(0, 1)[batch["step_index"]][:, :2],
            steps,
        )

    model, problem = load(8192), gsm8k_problem(rng, "p", 8192)
    for count in (1, 2, 4, 8, 16):
        examples = problem[:count]
        inputs, ids = collate(examples), pad(examples)["input_ids"]
        note("packed tree", count, lambda inputs=inputs: model(**inputs).logits)
        note("padded rows", count, lambda ids=ids: model(ids).logits)

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for axis, names in zip(axes, (list(points)[:2], list(points)[2:]), strict=True):
        for name in names:
            axis.plot(*zip(*points[name], strict=True), marker="o", label=name)
        axis.legend(frameon=False)
    axes[0].set(xscale="log", xlabel="vocabulary", ylabel="ms per labeled step", ylim=(0, None))
    axes[1].set(
        xlabel="traces of one problem", ylabel="ms, forward and backward", xticks=[1, 2, 4, 8, 16], ylim=(0, None)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return points


if __name__ == "__main__":
    run_script(main, Arguments)
