"""One training run from its examples to a checkpoint that is proved to hold what was trained."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import EarlyStoppingCallback

from prm.storage.rows import LabeledRow
from prm.training.arguments import VerifierArguments
from prm.training.resume import find_checkpoint
from prm.training.tracking import WandbTracking
from prm.training.trainer import VerifierTrainer


def run_training(
    trainer: VerifierTrainer, eval_rows: Sequence[LabeledRow], arguments: VerifierArguments | None = None
) -> dict[str, float]:
    """Train, save, evaluate, prove that the checkpoint holds what was trained, then publish it where that is asked for.

    Args:
        arguments: recorded in the W&B run, together with the data they name.

    Returns:
        The validation metrics.
    """
    args = trainer.args
    tracking = WandbTracking(trainer, arguments) if "wandb" in (args.report_to or ()) else None
    if tracking:
        trainer.add_callback(tracking)
    if arguments and arguments.early_stopping is not None:
        trainer.add_callback(EarlyStoppingCallback(arguments.early_stopping))
    checkpoint = find_checkpoint(args.resume_from_checkpoint, str(args.output_dir), trainer.verifier_config)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(_internal_call=True)  # as the Trainer's own saves: not pushed before it is known to be good
    trainer.save_state()
    metrics = trainer.evaluate()
    some = [(row.problem.prompt, row.labeled.trace.steps) for row in eval_rows[:8]]
    codec = trainer.verifier_config.codec  # a trace that was truncated in training is compared as far as it is read
    fits = [codec.fit(codec.encode(trainer.tokenizer, prompt, steps)) for prompt, steps in some]
    steps_N = [steps[:fit] for (_, steps), fit in zip(some, fits, strict=True)]
    difference = trainer.check_saved([prompt for prompt, _ in some], steps_N)
    if trainer.is_world_process_zero():
        print(f"saved {args.output_dir}; loaded again, scores agree to {difference:.1g}")
    trainer.save_metrics("eval", metrics)
    trainer.create_model_card()  # once more: the metrics are known now
    if tracking:
        tracking.finish()
    if args.push_to_hub:
        trainer.push_to_hub()
    return metrics
