"""How fast training goes and how much of it is useful, in the Trainer's own log, so in every tracker.

    {"loss": 0.412, ..., "tokens_per_second": 182000.0, "useful_token_share": 1.6, "tokens_saved_by_sharing": 0.375,
     "flop_utilization": 0.43, "step": 50}

`tokens_per_second`        tokens that went through the model, summed over processes
`useful_token_share`       tokens of the traces without sharing, per token computed: padding would make it less than 1,
                           packing makes it more, since what traces share is computed once
`tokens_saved_by_sharing`  the same from the other side: share of the traces' tokens that did not have to be computed
`flop_utilization`         FLOPs of the computed tokens per second / FLOPs per second of a large matrix product in the same
                           precision on the same device, measured once at the start (not a number from a data sheet)

Time is that of the steps since the last log, without evaluations and saves. FLOPs are 6 per weight and token (Kaplan et
al. 2020), less where weights are frozen. The embedding, which is looked up and not multiplied, attention over the context,
and what gradient checkpointing computes twice are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from transformers import TrainerCallback, TrainingArguments

PRODUCTS = 10


class Throughput(TrainerCallback):
    """Counts tokens and seconds between two logs. `VerifierTrainer` adds every micro-batch and asks at every log."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.flops_per_token = training_flops_per_token(model)
        self._tokens: torch.Tensor | int = 0
        self._seconds = 0.0

    def on_train_begin(self, args: TrainingArguments, state, control, **kwargs) -> None:
        # What the devices could do, in the precision of the training; all processes together, as the tokens are.
        dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else torch.float32
        self.peak = matrix_product_flops(args.device, dtype) * args.world_size
        self._since = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state, control, **kwargs) -> None:
        self._add_time()

    # Evaluating and saving come after a step ended: the clock starts again, and their time is counted nowhere.
    def on_evaluate(self, args: TrainingArguments, state, control, **kwargs) -> None:
        self._since = time.perf_counter()

    def on_save(self, args: TrainingArguments, state, control, **kwargs) -> None:
        self._since = time.perf_counter()

    def add(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Count a micro-batch. The counts stay on the device until the next log: reading them would wait for the step."""
        self._tokens = self._tokens + count_tokens(batch)

    def since_last_log(self, accelerator) -> dict[str, float]:
        """The numbers of the module's docstring. All processes must call it, right after a step."""
        # The Trainer has just read the loss, that is, waited for what the device still had to compute after the step.
        self._add_time()
        computed, unshared = accelerator.reduce(self._tokens, "sum").tolist()
        speed = computed / self._seconds
        self._tokens, self._seconds = 0, 0.0
        return {
            "tokens_per_second": speed,
            "useful_token_share": unshared / computed,
            "tokens_saved_by_sharing": 1 - computed / unshared,
            "flop_utilization": speed * self.flops_per_token / self.peak,
        }

    def _add_time(self) -> None:
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now


def count_tokens(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """(2,) tokens of a packed row: as computed, and of its traces without sharing."""
    unshared = batch["sequence_tokens"]
    return torch.stack([torch.full_like(unshared, batch["input_ids"].numel()), unshared])


def training_flops_per_token(model: torch.nn.Module) -> float:
    """Per weight and token: 2 forward; 2 for the gradient of the activations, unless the whole body is frozen; 2 for the
    gradient of the weight, where it is trained."""
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    weights = [p for p in model.parameters() if p is not embedding]
    size, trained = _count(weights), _count([p for p in weights if p.requires_grad])
    body_trained = any(p.requires_grad for p in model.get_decoder().parameters())  # type: ignore[operator]
    return (4.0 if body_trained else 2.0) * size + 2.0 * trained


def _count(weights: Sequence[torch.nn.Parameter]) -> int:
    """Quantized to 4 bits, two weights share a byte."""
    return sum(p.numel() if p.is_floating_point() else 2 * p.numel() for p in weights)


@cache
def matrix_product_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of a square matrix product: the best of a few rounds, well under a second in all."""
    size = 512 if device.type == "cpu" else 4096
    generator = torch.Generator(device)  # a separate one: measuring must not change what is trained
    a, b = (torch.randn(size, size, device=device, generator=generator).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(4):  # the first warms up
        started = time.perf_counter()
        for _ in range(PRODUCTS):
            a @ b
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2.0 * size**3 * PRODUCTS / min(seconds)
