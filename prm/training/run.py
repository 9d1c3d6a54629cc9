"""One training run: from a file of labeled rows to a checkpoint that is proved to hold what was trained.

A recipe reads rows (`read_rows`), decides what its targets are and makes examples of the rows, once for all processes
(`prm.training.input`), and hands them to `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, TrainingArguments, set_seed

from prm.datasets.benchmarks import check_training
from prm.datasets.splits import hold_out
from prm.models.fingerprints import hash_of_base
from prm.models.loading import from_base, nf4
from prm.storage.rows import LabeledRow
from prm.training.arguments import VerifierArguments
from prm.training.data import training_source, validation_source
from prm.training.examples import Example
from prm.training.input import TrainingInput, remove
from prm.training.preflight import unlabeled
from prm.training.resume import find_checkpoint
from prm.training.settings import settings_text
from prm.training.tracking import WandbTracking
from prm.training.trainer import VerifierTrainer, add_lora


class Sources(Protocol):
    """What names the rows, among the flags of a training script."""

    data: str
    eval_data: str | None
    limit: int | None
    allow_benchmark: bool


def read_rows(arguments: Sources, read: Callable[..., list[LabeledRow]]) -> tuple[list[LabeledRow], list[LabeledRow]]:
    """The rows to train on and the rows to validate on (`prm.training.data`). Prints how many training rows have no label.

    Args:
        read: (file or hub name, split=of the latter) -> the rows that have a label.

    Raises:
        ValueError: there is no such row; or one to train on is from a benchmark.
    """
    source = training_source(arguments.data)
    labeled = read(source, split="train")
    print(f"unlabeled   {unlabeled(source, len(labeled))}")
    rows = _not_empty(source, labeled[: arguments.limit])
    if not arguments.allow_benchmark:
        check_training((row.where, row.problem) for row in rows)
    held_out = validation_source(arguments.data, arguments.eval_data)
    if held_out is None:
        return hold_out(rows)
    return rows, _not_empty(held_out, read(held_out, split="validation"))


def load_model(arguments: VerifierArguments) -> torch.nn.Module:
    """The base model with a new head, in fp32 (mixed precision is the Trainer's), with a LoRA or frozen if asked for."""
    options = {"quantization_config": nf4()} if arguments.load_in_4bit else {}
    model = from_base(arguments.model, torch.float32, arguments.head, **options)
    if arguments.lora_r:
        return add_lora(model, arguments.lora_r)
    if arguments.freeze_backbone:
        model.get_decoder().requires_grad_(False)
    return model


def fit(
    arguments: VerifierArguments,
    training: TrainingArguments,
    made: TrainingInput,
    tokenizer: PreTrainedTokenizerBase,
    train_examples: Sequence[Example] | None = None,
) -> VerifierTrainer:
    """Train, save, evaluate, prove that the checkpoint holds what was trained, then publish it where that is asked for.

    Args:
        train_examples: what is trained on in place of the examples of `made`: pairs of them.

    Returns:
        The trainer; its `last_metrics` are those of the final evaluation.

    Raises:
        ValueError: flags that cannot work (`VerifierTrainer`).
        RuntimeError: the saved checkpoint scores differently from the trained model.
    """
    config = replace(made.config, base_weights=hash_of_base(arguments.model) if arguments.lora_r else None)
    set_seed(training.seed)  # a new head and a new LoRA start with random weights
    trainer = VerifierTrainer(
        load_model(arguments),
        training,
        config,
        tokenizer,
        made.train if train_examples is None else train_examples,
        made.validation,
        objective=arguments.loss(),
        settings=settings_text(arguments, training),
        tokens_per_row=arguments.tokens_per_row,
    )
    tracking = WandbTracking(trainer, arguments, made.report) if "wandb" in (training.report_to or ()) else None
    if tracking:
        trainer.add_callback(tracking)
    if arguments.early_stopping is not None:
        trainer.add_callback(EarlyStoppingCallback(arguments.early_stopping))

    checkpoint = find_checkpoint(training.resume_from_checkpoint, str(training.output_dir), config)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(_internal_call=True)  # like the Trainer's own saves: not pushed before it is known to be good
    trainer.save_state()
    metrics = trainer.evaluate()

    difference = trainer.check_saved(made.prompts, made.steps_N)
    if trainer.is_world_process_zero():
        print(f"saved {training.output_dir}; loaded again, scores agree to {difference:.1g}")
    trainer.save_metrics("eval", metrics)
    trainer.create_model_card()  # once more: the metrics are known now
    if tracking:
        tracking.finish()
    if training.local_process_index == 0:
        remove(made)
    if training.push_to_hub:
        trainer.push_to_hub()
    print("\n".join(f"{name:40} {value:.4f}" for name, value in metrics.items() if isinstance(value, float)))
    return trainer


def _not_empty(path: str, rows: list[LabeledRow]) -> list[LabeledRow]:
    if not rows:
        raise ValueError(
            f"{path} has no row to use: a PRM needs rows with status ok, an ORM traces whose outcome is known"
        )
    return rows
