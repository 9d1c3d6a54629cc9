r"""Train a process reward model on labeled traces: one score per step.

Reads   labeled.jsonl    LabeledTrace rows (data/label_steps.py), or TRL stepwise rows with --semantics; also a folder of
                         data/build_dataset.py, or such a data set on the hub
Writes  <output_dir>/    a verifier checkpoint that `prm.load_verifier` takes; config.yaml with all settings and the command;
                         eval_results.json with its validation metrics

    accelerate launch --quiet recipes/train_prm.py --config recipes/configs/prm_arithmetic.yaml
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from prm.command_line import TRAINING_ARGUMENTS, run_script
from prm.storage.rows import read_labeled
from prm.training.arguments import VerifierArguments, check_given
from prm.types import Semantics

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainingArguments

    from prm.training.input import TrainingInput
    from prm.training.trainer import VerifierTrainer


@dataclass
class PrmArguments(VerifierArguments):
    semantics: Literal["value", "correctness"] | None = field(
        default=None, metadata={"help": "what the labels mean, for rows that do not say so"}
    )
    targets: Literal["soft", "hard", "counts"] | None = field(
        default=None,
        metadata={
            "help": "soft = the values, hard = the labels, counts = the rollouts (beta_binomial); default: soft for value,"
            " hard for correctness"
        },
    )
    objective: Literal["cross_entropy", "squared_error", "ranking", "beta_binomial"] = field(
        default="cross_entropy",
        metadata={"help": "loss (prm/training/losses.py); ranking: PQM; beta_binomial: how sure a score is, too"},
    )
    until_first_error: bool = field(default=False, metadata={"help": "no target after the first bad step"})
    aggregation: Literal["last", "min", "product", "mean"] | None = field(
        default=None,
        metadata={"help": "how step scores become a trace score; default: last for value, product otherwise"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "ranking" and self.targets == "soft":
            raise ValueError("--objective ranking orders good before bad steps and needs --targets hard")
        if (self.targets or "counts") != "counts" and self.objective == "beta_binomial":
            raise ValueError(
                f"--objective beta_binomial learns from counts, not from {self.targets}; give --targets counts"
            )
        if self.targets == "counts" and self.objective != "beta_binomial":
            raise ValueError("--targets counts is what --objective beta_binomial learns from; give that, too")


def main(script: PrmArguments, training: TrainingArguments) -> VerifierTrainer:
    # Not at the top: help and a typo must not wait for torch.
    from prm.models.loading import load_tokenizer
    from prm.training.input import made_once
    from prm.training.run import fit

    tokenizer = load_tokenizer(script.model)
    made = made_once(script, training, tokenizer, partial(make, script, tokenizer))
    its = made.config
    script = replace(script, semantics=its.semantics, targets=its.targets, aggregation=its.aggregation)
    return fit(script, training, made, tokenizer)


def make(script: PrmArguments, tokenizer: PreTrainedTokenizerBase) -> TrainingInput:
    """Rows -> examples, and what they mean."""
    from prm.training.examples import prm_examples
    from prm.training.input import look_at
    from prm.training.run import read_rows

    train_rows, eval_rows = read_rows(script, partial(read_labeled, semantics=script.semantics))

    # What the labels mean decides what is learned, and how step scores become a trace score.
    places: dict[Semantics, str] = {}
    for row in (*train_rows, *eval_rows):
        places.setdefault(row.labeled.semantics, row.where)
    if len(places) > 1:
        named = " but ".join(f"{kind!r} in {where}" for kind, where in places.items())
        raise ValueError(f"labels mean {named}; a verifier can learn only one: train and validate on one kind")
    (semantics,) = places
    usual = {"ranking": "hard", "beta_binomial": "counts"}.get(
        script.objective, "soft" if semantics == "value" else "hard"
    )
    targets = script.targets or usual
    if targets == "counts" and semantics != "value":
        raise ValueError(
            f"{places[semantics]}: its labels mean {semantics}, --objective beta_binomial learns from counts of rollouts;"
            " leave it out, or label traces with data/label_steps.py"
        )
    config = script.verifier_config(
        "prm", semantics, train_rows, script.aggregation, targets=targets, until_first_error=script.until_first_error
    )
    print(f"targets     {targets}, semantics {semantics}")
    train, validation = (
        prm_examples(rows, config.codec, tokenizer, targets, script.until_first_error, script.overlong)
        for rows in (train_rows, eval_rows)
    )
    return look_at(script.data, config, train, validation, tokenizer)


if __name__ == "__main__":
    run_script(main, PrmArguments, TRAINING_ARGUMENTS, check_given)
    from prm.training.distributed import close_process_group

    close_process_group()
