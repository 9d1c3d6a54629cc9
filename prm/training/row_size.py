"""How many tokens a row of training may have on this GPU: measured at the start, in place of a number per model and card.

What a row needs grows with its tokens, on top of a part that every row needs (gradients, weights cast to bf16). Two rows of
real examples, a short and a longer one, go forward and backward once; the line through their peaks says what fits beside
the optimizer's state:

    rows        41,984 tokens each: 52.3 GB are free, a row takes 6.2 GB and 1.03 MB a token

A GPU is not faster for rows beyond `MOST` tokens, so none has more. The GPU with the least room decides for all processes.
Left out: CPUs, where longer rows are no faster per token, and DeepSpeed, whose backward pass would take a step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Trainer, TrainerCallback

from prm.training.batches import RowCollator, StepCollator, sequence_of
from prm.training.examples import Example

PROBES = (1024, 4096)
"""Tokens of the two measured rows."""
MOST = 65_536
SHARE = 0.85
"""Of the free memory, because memory is lost between blocks and rows differ in how their traces share tokens."""
STATE = 8
"""Bytes of the optimizer's state per trained weight: AdamW has the most of the usual ones, two numbers in fp32."""


class RowSize(TrainerCallback):
    """Sets the budget of a collator that has none, when the model is where it will train and before a batch is made."""

    def __init__(self, trainer: Trainer, rows: RowCollator, examples: Sequence[Example]) -> None:
        self.trainer = trainer
        self.rows = rows
        self.examples = examples

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if self.rows.tokens_per_row is None:
            self.rows.tokens_per_row = measure(self.trainer, self.examples)


def measure(trainer: Trainer, examples: Sequence[Example]) -> int:
    """Tokens per row that fit into the memory of the process's GPU. Every process must call it, before its first step."""
    probes = probe_rows(examples)
    if probes is None:
        return MOST  # all examples together are a short row
    model, accelerator = trainer.model_wrapped, trainer.accelerator
    short, long = (StepCollator()(row) for row in probes)
    need(trainer, model, short)  # compiles, and makes what libraries keep
    (x, low), (y, high) = ((batch["input_ids"].numel(), need(trainer, model, batch)) for batch in (short, long))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    state = STATE * trained // (accelerator.num_processes if trainer.is_fsdp_enabled else 1)
    device = trainer.args.device
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    tokens, fixed, each = tokens_that_fit((x, low), (y, high), free - state)
    tokens = int(accelerator.gather(torch.tensor([tokens], device=device)).min())
    if trainer.is_world_process_zero():
        print(
            f"rows        {tokens:,} tokens each: {(free - state) / 1e9:.1f} GB are free, a row takes {fixed / 1e9:.1f} GB"
            f" and {each / 1e6:.2f} MB a token"
        )
    return tokens


def need(trainer: Trainer, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> int:
    """Bytes at the peak of a forward and backward pass, gradients included, beyond those of before."""
    device = trainer.args.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    model.train()
    inputs = trainer._prepare_inputs(batch)
    with trainer.compute_loss_context_manager():
        loss = trainer.compute_loss(model, inputs, num_items_in_batch=1)
    trainer.accelerator.backward(loss)
    model.zero_grad()
    return torch.cuda.max_memory_allocated(device) - before


def probe_rows(examples: Sequence[Example]) -> list[list[Example]] | None:
    """The first examples that have as many tokens as each of `PROBES`; None if all together have fewer."""
    rows: list[list[Example]] = []
    tokens = 0
    for i, example in enumerate(examples):
        tokens += len(sequence_of(example))
        while len(rows) < len(PROBES) and tokens >= PROBES[len(rows)]:
            rows.append(list(examples[: i + 1]))
        if len(rows) == len(PROBES):
            return rows
    return None


def tokens_that_fit(short: tuple[int, int], long: tuple[int, int], room: int) -> tuple[int, float, float]:
    """
    >>> tokens_that_fit((1000, 3_000_000), (4000, 9_000_000), 101_000_000)  # 1 MB, and 2 kB a token
    (42425, 1000000.0, 2000.0)

    Args:
        short, long: tokens of a row and the bytes that it needed.
        room: bytes for rows.

    Returns:
        Tokens of a row, and the bytes of the line through the two rows: those of no token and those of each.

    Raises:
        ValueError: not even the short row fits.
    """
    each = max(1.0, (long[1] - short[1]) / max(1, long[0] - short[0]))
    fixed = max(0.0, short[1] - each * short[0])
    tokens = int((SHARE * room - fixed) / each)
    if tokens < short[0]:
        raise ValueError(
            f"a row of {short[0]} tokens leaves no room on this GPU ({room / 1e9:.1f} GB beside the optimizer's state);"
            " train with --lora_r 16, --gradient_checkpointing, or on more GPUs (recipes/accelerate/fsdp2.yaml)"
        )
    return min(tokens, MOST), fixed, each
