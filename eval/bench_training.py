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
- FLOP utilization: 6 x parameters of the body x tokens computed, relative to a matrix product measured in the same run;
- exactness: how far logits and gradients of 8 traces are from those of padded rows with the same weights, relative to their
  norm.

With `--device cuda` both train in bf16 (autocast, fp32 weights), ours in rows as large as the memory holds, stock with the
best of `--stock_batches`; one after the other, because two optimizers would not fit side by side. Memory is then the peak of
whole steps, and exactness is measured in bf16, too. Nothing else should run on the machine.

Reads   nothing
Writes  the last line of its output, JSON

    python eval/bench_training.py --model 135m
"""

from __future__ import annotations

import gc
import importlib.util
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.command_line import run_script
from prm.datasets import arithmetic
from prm.encoding.codec import StepCodec
from prm.evaluation.workloads import SHAPES, llama, save_llama
from prm.training.examples import TraceExample
from prm.training.workloads import MODEL_INPUTS, gsm8k_problem, labels_of, pad, seconds_of, tree_problem
from prm.verifiers.checkpoint import VerifierConfig

if TYPE_CHECKING:  # each function imports what it uses: help and a typo must not wait for torch
    import torch
    from transformers import Trainer

OUR_BATCH = 16
"""Traces of a micro-batch, those of one problem. Longer rows were no faster per token on a CPU."""


@dataclass
class Arguments:
    model: str = field(default="135m", metadata={"help": "shape of the model", "choices": list(SHAPES)})
    num_problems: int = field(default=8, metadata={"help": "problems (16 traces each) per optimizer step", "least": 1})
    rounds: int = field(
        default=1, metadata={"help": "optimizer steps of each side that are counted, taken in turn", "least": 1}
    )
    device: str = field(default="cpu", metadata={"help": "where", "choices": ["cpu", "cuda"]})
    sides: list[str] = field(
        default_factory=lambda: ["stock", "ours"], metadata={"help": "what to measure", "choices": ["stock", "ours"]}
    )
    data: list[str] = field(
        default_factory=lambda: ["gsm8k", "tree"], metadata={"help": "shapes of the data", "choices": ["gsm8k", "tree"]}
    )
    stock_batches: list[int] = field(
        default_factory=lambda: [8], metadata={"help": "traces of a padded micro-batch; the fastest counts", "least": 1}
    )
    tokens_per_row: int | None = field(
        default=None,
        metadata={"help": "tokens of our rows; default: 16 traces, on a GPU what it holds", "least": 1},
    )
    lora_r: int = field(default=0, metadata={"help": "LoRA rank; 0 = full fine-tuning", "least": 0})
    load_in_4bit: bool = field(default=False, metadata={"help": "4-bit weights under the LoRA"})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "compute activations twice"})
    torch_compile: bool = field(default=False, metadata={"help": "the Trainer's flag, for both sides"})
    base: Path | None = field(
        default=None, metadata={"help": "folder of the random weights, made if there is none; default: a temporary one"}
    )


@dataclass
class Measured:
    """One side on one kind of data."""

    seconds: float
    peak: int
    """Bytes of the GPU's memory."""
    tokens: int
    """Computed in an optimizer step, padding included."""


def main(args: Arguments) -> None:
    import torch

    rng = random.Random(0)
    config = llama(args.model)
    ceiling = matrix_product(args.device)
    where = f"{torch.get_num_threads()} threads" if args.device == "cpu" else torch.cuda.get_device_name()
    print(f"{args.model} shape, {where}, matrix product {ceiling / 1e9:,.0f} GFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        base = save_llama(args.model, args.base or Path(folder) / "base", arithmetic.build_tokenizer(), args.device)
        gsm8k = [gsm8k_problem(rng, f"p{i}", config.vocab_size) for i in range(args.num_problems)]
        trees = [tree_problem(rng, f"t{i}", config.vocab_size) for i in range(args.num_problems)]
        result: dict[str, Any] = {"model": args.model, "device": where, "stock": stock()}
        result["matrix_product_gflops"] = round(ceiling / 1e9, 1)
        for name, problems in (("gsm8k", gsm8k), ("tree", trees)):
            if name not in args.data:
                continue
            examples = [example for problem in problems for example in problem]
            found = measure(args, base, f"{folder}/{name}", examples)
            rates = {side: len(examples) * args.rounds / it.seconds for side, it in found.items()}
            for side, it in found.items():
                memory = f"  {it.peak / 1e9:6.1f} GB" if it.peak else ""
                print(
                    f"{name:6} {side:8} {rates[side]:8.3f} traces/s  {it.tokens:8,} tokens per optimizer step{memory}"
                )
            # Of the stock path the fastest batch counts.
            best = {side: max((s for s in found if s.startswith(side)), key=lambda s: rates[s]) for side in args.sides}
            result[f"traces_per_second_{name}"] = {side: round(rates[best[side]], 3) for side in best}
            if args.device != "cpu":
                result[f"peak_gb_{name}"] = {side: round(found[best[side]].peak / 1e9, 2) for side in best}
            if len(best) == 2:
                result[f"speedup_{name}"] = round(rates[best["ours"]] / rates[best["stock"]], 2)
                result[f"token_ratio_{name}"] = round(found[best["stock"]].tokens / found[best["ours"]].tokens, 2)
            if "ours" in best and not args.lora_r:
                achieved = 6 * body_parameters(args.model) * found["ours"].tokens * args.rounds / found["ours"].seconds
                result["flop_utilization" + ("" if name == "gsm8k" else "_tree")] = round(achieved / ceiling, 3)
        if len(args.sides) == 2 and not args.lora_r:
            if args.device == "cpu":
                memory = {side: activation_bytes(side, base, gsm8k[0][:8]) for side in args.sides}
                print(f"activations of 8 traces: {', '.join(f'{s} {m / 1e6:,.0f} MB' for s, m in memory.items())}")
                result["memory_ratio_gsm8k"] = round(memory["ours"] / memory["stock"], 3)
            for numbers in ["fp32"] if args.device == "cpu" else ["fp32", "bf16"]:
                apart = differences(base, gsm8k[0][:8], args.device, numbers)
                print(
                    f"packed and padded in {numbers}: logits {apart['logits']:.1g}, gradients {apart['gradients']:.1g}"
                )
                result[f"difference_{numbers}"] = apart
    print(json.dumps(result))


def shuffled(examples: Sequence[TraceExample]) -> list[TraceExample]:
    """The stock sampler's random order, fixed so that it is the same in every round."""
    examples = list(examples)
    random.Random(1).shuffle(examples)
    return examples


@cache
def stock() -> str:
    """What runs the stock path."""
    return "Trainer" if importlib.util.find_spec("trl.experimental.prm") is None else "trl.experimental.prm.PRMTrainer"


def make_trainer(side: str, args: Arguments, base: str, output: str, examples: Sequence[TraceExample]) -> Trainer:
    """
    Args:
        side: "ours", or "stock 8" with the traces of its micro-batch.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForTokenClassification, Trainer, TrainingArguments

    from prm.models.loading import from_base, nf4
    from prm.training.trainer import VerifierTrainer, add_lora

    size = min(OUR_BATCH if side == "ours" else int(side.split()[1]), len(examples))
    settings: dict[str, Any] = {
        "output_dir": output,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": len(examples) // size,
        # On a CPU the sides take turns, a step at a time.
        "max_steps": 1 if args.device == "cpu" else 1 + args.rounds,
        "learning_rate": 1e-6,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_strategy": "no",
        "remove_unused_columns": False,
        "use_cpu": args.device == "cpu",
        "bf16": args.device != "cpu",
        "gradient_checkpointing": args.gradient_checkpointing,
        "torch_compile": args.torch_compile,
    }
    options = {"quantization_config": nf4()} if args.load_in_4bit else {}
    if side == "ours":
        model = from_base(base, torch.float32, **options)
    else:
        model = AutoModelForTokenClassification.from_pretrained(
            base, num_labels=2, trust_remote_code=False, dtype=torch.float32, **options
        )
    if args.lora_r:
        model = add_lora(model, args.lora_r)  # type: ignore[assignment]
    tokenizer = arithmetic.build_tokenizer()
    if side == "ours":
        config = VerifierConfig("prm", StepCodec(max_length=2048), "value", "last", base, "")
        return VerifierTrainer(
            model, TrainingArguments(**settings), config, tokenizer, examples, tokens_per_row=args.tokens_per_row
        )
    settings["train_sampling_strategy"] = "sequential"  # `shuffled` has drawn the order
    if stock() == "Trainer":
        return Trainer(model, TrainingArguments(**settings), pad, shuffled(examples))
    from trl.experimental.prm import PRMConfig, PRMTrainer  # type: ignore[import-not-found]

    rows = [{"input_ids": list(e.input_ids), "labels": labels_of(e)} for e in shuffled(examples)]
    return PRMTrainer(model, PRMConfig(**settings), train_dataset=Dataset.from_list(rows), processing_class=tokenizer)


def measure(args: Arguments, base: str, output: str, examples: Sequence[TraceExample]) -> dict[str, Measured]:
    """`args.rounds` optimizer steps of each side: on a CPU taken in turn, one step at a time, on a GPU one after the other.

    The first step of each is not counted: it allocates the optimizer's state and memory that later steps reuse (at 10M
    parameters, ours takes a fifth longer). The clock runs from the first batch that is collated to the end of the step.
    """
    import torch
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        """The seconds of each epoch; here an epoch is one optimizer step."""

        def __init__(self) -> None:
            self.laps: list[float] = []

        def on_epoch_begin(self, settings, state, control, **others):
            self._began = time.perf_counter()

        def on_epoch_end(self, settings, state, control, **others):
            if args.device != "cpu":
                torch.cuda.synchronize()
            self.laps.append(time.perf_counter() - self._began)

    sides = [*(f"stock {size}" for size in args.stock_batches if "stock" in args.sides), *({"ours"} & set(args.sides))]
    found = {}
    for together in [sides] if args.device == "cpu" else [[side] for side in sides]:
        if args.device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        trainers = {side: make_trainer(side, args, base, output, examples) for side in together}
        clocks = {side: Stopwatch() for side in trainers}
        for side, trainer in trainers.items():
            trainer.add_callback(clocks[side])
        for _ in range(1 + args.rounds if args.device == "cpu" else 1):
            for trainer in trainers.values():
                trainer.train()
        peak = 0 if args.device == "cpu" else torch.cuda.max_memory_allocated()
        for side in together:
            tokens = count_tokens(side, trainers[side], examples)
            found[side] = Measured(sum(clocks[side].laps[1:]), peak, tokens)
        trainers.clear()
        del trainer
        gc.collect()  # a trainer is part of reference cycles
    return found


def count_tokens(side: str, trainer: Trainer, examples: Sequence[TraceExample]) -> int:
    """Tokens the model computes in one optimizer step, padding included."""
    if side != "ours":
        order, size = shuffled(examples), int(side.split()[1])
        return sum(pad(order[i : i + size])["input_ids"].numel() for i in range(0, len(order), size))
    from prm.training.batches import RowCollator, StepCollator

    if isinstance(rows := trainer.rows, RowCollator):  # type: ignore[attr-defined]
        return sum(row["input_ids"].numel() for row in rows(examples)["rows"])
    groups = [examples[i : i + OUR_BATCH] for i in range(0, len(examples), OUR_BATCH)]
    return sum(StepCollator()(group)["input_ids"].numel() for group in groups)


def differences(base: str, examples: Sequence[TraceExample], device: str, numbers: str) -> dict[str, float]:
    """How far logits and gradients of our packed row are from those of padded rows, relative to the norm of the latter."""
    import torch
    from transformers import AutoModelForTokenClassification

    from prm.models.loading import from_base
    from prm.training.batches import StepCollator

    ours = from_base(base, torch.float32).to(device).train()  # type: ignore[arg-type]
    padded = AutoModelForTokenClassification.from_pretrained(
        base, num_labels=2, trust_remote_code=False, dtype=torch.float32
    )
    padded.load_state_dict(ours.state_dict())
    padded.to(device).train()
    padded.dropout.p = 0.0
    batch = {name: tensor.to(device) for name, tensor in StepCollator()(examples).items()}
    rows = {name: tensor.to(device) for name, tensor in pad(examples).items() if name != "labels"}
    ends = [(i, end) for i, example in enumerate(examples) for end in example.step_ends]
    with torch.autocast(device, torch.bfloat16, enabled=numbers == "bf16"):
        packed = ours(**{name: batch[name] for name in MODEL_INPUTS}).logits
        expected = padded(**rows).logits[tuple(zip(*ends, strict=True))]
    for logits in (packed, expected):
        torch.nn.functional.cross_entropy(logits.float(), batch["labels"].long(), reduction="sum").backward()
    wanted = dict(padded.named_parameters())
    pairs = [(p.grad, wanted[name].grad) for name, p in ours.named_parameters() if p.grad is not None]
    apart = sum(float((a - b).square().sum()) for a, b in pairs) ** 0.5
    norm = sum(float(b.square().sum()) for _, b in pairs) ** 0.5
    with torch.no_grad():
        return {"logits": float((packed - expected).norm() / expected.norm()), "gradients": apart / norm}


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


def body_parameters(shape: str) -> int:
    import torch
    from transformers import LlamaModel

    with torch.device("meta"):
        return sum(p.numel() for name, p in LlamaModel(llama(shape)).named_parameters() if "layers" in name)


def matrix_product(device: str, size: int = 2048) -> float:
    """FLOP/s of a matrix product, in fp32 on a CPU: the best of 20, because other work on the machine slows some of them."""
    import torch

    from prm.training.throughput import matrix_product_flops

    if device != "cpu":
        return matrix_product_flops(torch.device(device), torch.bfloat16)
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds_of(lambda: a @ b) for _ in range(20))


if __name__ == "__main__":
    run_script(main, Arguments)
    from prm.training.distributed import close_process_group

    close_process_group()
