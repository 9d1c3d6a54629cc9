"""VerifierTrainer: the Hugging Face `Trainer` with our loss, packed rows, evaluation per step, and complete checkpoints.

Everything else (optimizer, schedules, DDP, FSDP, resuming, logging) is the stock `Trainer`. After the last save, the
checkpoint is loaded again and its scores are compared with those of the model in memory (`check_saved`).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import AutocastKwargs
from peft import PeftModel, get_peft_model
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.integrations import unset_hf_deepspeed_config

from prm.evaluation.step_metrics import step_report
from prm.files import write_whole
from prm.models.loading import lora_config
from prm.models.tree_attention import check_supported
from prm.training.batches import ProblemSampler, RowCollator, StepCollator
from prm.training.distributed import check_devices, fills_rows
from prm.training.examples import Example, TraceExample
from prm.training.losses import Objective, cross_entropy
from prm.training.row_size import RowSize
from prm.training.throughput import Throughput
from prm.verifiers.checkpoint import FILE, SETTINGS_FILE, VerifierConfig
from prm.verifiers.model_card import write_model_card
from prm.verifiers.step_verifier import TOLERANCE, StepVerifier, largest_difference

NOT_READ = ("labels", "step_trace", "rollouts", "sequence_tokens")
"""What a batch has beside the arguments of the model."""

PADDING = -100.0
"""Fills the ragged rows of an evaluation; no score, loss or target can have this value."""

NEEDED = {
    "average_tokens_across_devices": (True, "the loss is divided by the targets of all processes"),
    "label_smoothing_factor": (0.0, "targets are probabilities already, and smoothing would do nothing"),
    "train_sampling_strategy": ("random", "traces are drawn problem by problem, and no row has padding"),
    "bf16_full_eval": (False, "it would cast the fp32 head; --bf16 is autocast in evaluation too"),
    "fp16_full_eval": (False, "it would cast the fp32 head; --fp16 is autocast in evaluation too"),
}
"""Flags of the Trainer that would silently change the result, or silently do nothing: the value needed, and why."""


def add_lora(model: PreTrainedModel, r: int) -> PeftModel:
    """LoRA on all linear layers of the body, with alpha = 2 r (`prm.models.loading.lora_config`)."""
    return get_peft_model(model, lora_config(r, 2 * r))  # type: ignore[return-value]


class VerifierTrainer(Trainer):
    """Trains a `StepClassifier` (or its LoRA) on examples of `prm.training.examples`."""

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        config: VerifierConfig,
        tokenizer: PreTrainedTokenizerBase,
        train_examples: Sequence[Example],
        eval_examples: Sequence[TraceExample] = (),
        objective: Objective = cross_entropy,
        settings: str = "",
        tokens_per_row: int | None = None,
    ) -> None:
        """
        Args:
            config: what the checkpoint says about itself.
            settings: its `config.yaml` (`prm.training.settings`); none is written if it is empty.
            tokens_per_row: most tokens of a row of training, shared ones counted once. None = on a GPU what its memory
                holds (`prm.training.row_size`), elsewhere every micro-batch is a row.

        Raises:
            ValueError: several GPUs in one process, an unsupported model, or flags that cannot work.
        """
        if args.n_gpu > 1:
            raise ValueError(
                f"{args.n_gpu} GPUs in one process; start with `accelerate launch` so that each has its own"
            )
        check_supported(model.config, config.codec.max_length)  # type: ignore[arg-type]
        for name, (needed, why) in NEEDED.items():
            if (value := args.to_dict()[name]) != needed:
                raise ValueError(f"--{name} {value} is refused: {why}; leave it out")
        self.rows = RowCollator(tokens_per_row) if fills_rows(args, tokens_per_row) else None
        if self.rows:
            # An optimizer step has as many traces as asked for; into how many rows they are cut is not the Trainer's matter.
            args.per_device_train_batch_size *= args.gradient_accumulation_steps
            args.gradient_accumulation_steps = 1
        if args.device.type == "cuda":
            # Looking for NaN waits for every step; without it the next batch is made while the device computes.
            args.logging_nan_inf_filter = False
        args.remove_unused_columns = False
        args.label_names = ["labels"]
        self.verifier_config = config
        self.objective: Objective = objective
        self.tokenizer = tokenizer
        self.train_examples = train_examples
        self.eval_examples = eval_examples
        self.settings = settings
        self.last_scores_N: list[list[float]] = []
        """Of the last evaluation, for every example of `eval_examples`."""
        self.last_metrics: dict[str, float] = {}
        """Of the last evaluation, without the prefix `eval_`."""
        self.throughput = Throughput(model)
        super().__init__(
            model=model,
            args=args,
            data_collator=StepCollator(),
            train_dataset=_ListDataset(train_examples),
            eval_dataset=_ListDataset(eval_examples) if eval_examples else None,
            processing_class=tokenizer,
            compute_loss_func=objective,  # makes the Trainer count the targets of all micro-batches and processes
            compute_metrics=self._metrics if eval_examples else None,
            # In this order: the clock starts after the measuring.
            callbacks=[*([RowSize(self, self.rows, train_examples)] if self.rows else []), self.throughput],
        )
        check_devices(args, self.accelerator, lora=isinstance(model, PeftModel))

    def get_train_dataloader(self) -> DataLoader:
        """Rows are cut for training only: an evaluation has every batch in one row, in order."""
        collator = self.data_collator
        self.data_collator = self.rows or collator
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collator

    def training_step(self, model, inputs, num_items_in_batch=None):
        rows = inputs.get("rows", [inputs])
        for row in rows:
            self.throughput.add(row)
        count = len(rows)
        if self.rows and self.args.world_size > 1:
            # Processes compute together: one with fewer rows repeats its last without effect, as long as the others go on.
            count = int(self.accelerator.gather(torch.tensor([count], device=self.args.device)).max())
        loss: Any = 0.0
        for i in range(count):
            # Divided by infinity, a row adds no loss and no gradient.
            targets: Any = num_items_in_batch if i < len(rows) else math.inf
            # Gradients are exchanged once, after the last row.
            with nullcontext() if i + 1 == count else self.accelerator.no_sync(model):
                loss = loss + super().training_step(model, rows[min(i, len(rows) - 1)], targets)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self.throughput.since_last_log(self.accelerator)
        super().log(logs, start_time)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Like the stock method, but the objective also knows which trace each step belongs to."""
        # Not for the model: targets and owners of the steps, and a count that `training_step` has read.
        labels, traces, rollouts, _ = (inputs.pop(name) for name in NOT_READ)
        outputs = model(**inputs)
        # One loss per target; none is averaged away inside a micro-batch.
        losses = self.objective(outputs.logits, labels, traces, rollouts)
        # Divided by the targets of the whole optimizer step, in all micro-batches and processes. The backward pass
        # averages gradients over processes, which would divide by their number once more: hence the factor.
        loss = losses.sum() / num_items_in_batch * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True):
        """accelerate puts autocast around the forward pass, except under FSDP2 (see `check_devices`)."""
        if self.is_fsdp_enabled:
            # No cache: a cached cast would outlive the gathered weight it was made of.
            return self.accelerator.autocast(AutocastKwargs(cache_enabled=False))
        return super().autocast_smart_context_manager(cache_enabled)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Loss of this batch; scores and losses of its steps; their targets. The last three are (traces, most steps),
        filled with PADDING."""
        inputs = self._prepare_inputs(inputs)
        labels, traces, rollouts, _ = (inputs.pop(name) for name in NOT_READ)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**inputs).logits
        # The cross-entropy whatever the objective is, so that runs with different objectives can be compared.
        scores, losses = torch.softmax(logits, -1)[:, 1], cross_entropy(logits, labels, traces, rollouts)
        # One row per trace: the Trainer gathers rows from all processes and drops those that only fill up the last batch.
        # The losses go along, because `_metrics` averages them over steps, not over batches.
        return losses.mean(), (_ragged(scores, traces), _ragged(losses, traces)), _ragged(labels, traces)

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        scores, losses = (np.asarray(array, dtype=float) for array in prediction.predictions)
        scores_N = [row[row != PADDING].tolist() for row in scores]
        report = step_report(
            scores_N,
            [example.hard for example in self.eval_examples],
            [example.problem for example in self.eval_examples],
            targets_N=[example.targets for example in self.eval_examples],
            aggregation=self.verifier_config.aggregation,
        )
        # In place of the Trainer's own `loss`, a mean of batch means: it depends on batch size and number of processes.
        report = {"loss": float(losses[losses != PADDING].mean()), **report}
        self.last_scores_N = scores_N
        self.last_metrics = {name: value for name, value in report.items() if not math.isnan(value)}
        return dict(self.last_metrics)  # the Trainer renames the keys of what it is given

    def _get_train_sampler(self, train_dataset=None) -> Sampler:
        problems = [example.problem for example in self.train_examples]
        return ProblemSampler(problems, self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def _get_eval_sampler(self, eval_dataset):
        """In order, so that scores can be matched with their examples."""
        return SequentialSampler(eval_dataset)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        super()._save(output_dir, state_dict)
        self._describe(output_dir or str(self.args.output_dir))

    def _describe(self, folder: str) -> None:
        """Add what makes a folder of weights a verifier: how it is read, and a model card for people."""
        if self.args.should_save:
            self.verifier_config.save(folder)
            if self.settings:
                write_whole(Path(folder) / SETTINGS_FILE, self.settings)
            name = self.args.hub_model_id or Path(str(self.args.output_dir)).name
            write_model_card(folder, name, self.verifier_config, self.tokenizer, self.last_metrics)

    def create_model_card(self, *args, **kwargs) -> None:
        """Ours, in place of the stock card, which knows nothing about steps. `push_to_hub` calls this."""
        self._describe(str(self.args.output_dir))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """The stock method copies weights and tokenizer from the checkpoint; our own files have to be added."""
        if self.is_world_process_zero():
            for name in (FILE, SETTINGS_FILE, "README.md"):
                if (described := Path(checkpoint_folder) / name).is_file():
                    shutil.copy(described, str(self.args.output_dir))
        super()._push_from_checkpoint(checkpoint_folder)

    def check_saved(self, prompts: Sequence[str], steps_N: Sequence[Sequence[str]]) -> float:
        """Load the saved checkpoint and compare its scores with the model's; the largest difference.

        Every process must call it, because a sharded model computes only if all take part; the first process compares,
        the others return 0. Call it last: it takes mixed precision off the model.

        Raises:
            RuntimeError: they differ by more than `TOLERANCE`, so the checkpoint does not hold what was trained.
        """
        folder = str(self.args.output_dir)
        # Without mixed precision: under bf16 autocast, the same weights score about 0.01 differently once they are merged.
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        live_N = StepVerifier(model, self.tokenizer, self.verifier_config).score_batch(prompts, steps_N)
        if not self.is_world_process_zero():
            return 0.0
        # The others have returned: under ZeRO-3, `from_pretrained` would wait for them.
        unset_hf_deepspeed_config()
        saved = StepVerifier.from_pretrained(folder, str(self.args.device))
        # The caller gives traces that fit, so all are scored.
        live_S, saved_S = (
            [x for its in scores_N if its for x in its.steps]
            for scores_N in (live_N, saved.score_batch(prompts, steps_N))
        )
        difference = largest_difference(saved_S, live_S)
        if not difference <= TOLERANCE:  # true for NaN, too
            raise RuntimeError(
                f"{folder}: its scores differ from those of the trained model by {difference:.2g} (more than"
                f" {TOLERANCE:g}): the checkpoint is not what was trained; do not use it"
            )
        return difference


class _ListDataset(Dataset):
    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> Example:
        return self.examples[i]


def _ragged(values: torch.Tensor, traces: torch.Tensor) -> torch.Tensor:
    """(steps,) values and the trace of each -> (traces, most steps of a trace), filled with PADDING."""
    per_trace = torch.bincount(traces)
    column = torch.arange(len(traces), device=traces.device) - (per_trace.cumsum(0) - per_trace)[traces]
    padded = torch.full((len(per_trace), int(per_trace.max())), PADDING, device=values.device)
    padded[traces, column] = values.float()
    return padded
