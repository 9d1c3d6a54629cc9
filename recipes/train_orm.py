r"""Train an outcome reward model: one score per trace, read at its last step.

Reads   traces.jsonl     checked traces (data/sample_traces.py), or labeled ones (data/label_steps.py); also a folder of
                         data/build_dataset.py, or such a data set on the hub
Writes  <output_dir>/    a verifier checkpoint that `prm.load_verifier` takes; config.yaml with all settings and the command;
                         eval_results.json with its validation metrics

    accelerate launch --quiet recipes/train_orm.py --config recipes/configs/orm_arithmetic.yaml
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

from prm.command_line import TRAINING_ARGUMENTS, run_script
from prm.storage.rows import read_outcomes
from prm.training.arguments import VerifierArguments, check_given

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainingArguments

    from prm.training.input import TrainingInput
    from prm.training.trainer import VerifierTrainer


@dataclass
class OrmArguments(VerifierArguments):
    objective: Literal["cross_entropy", "squared_error", "bradley_terry"] = field(
        default="cross_entropy",
        metadata={
            "help": "loss (prm/training/losses.py); bradley_terry compares a right and a wrong trace of one problem"
        },
    )
    tokens: Literal["last", "all"] = field(
        default="last",
        metadata={"help": "where the outcome is learned: at the last token, or at every one (Cobbe et al. 2021)"},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "bradley_terry" and self.tokens == "all":
            raise ValueError("--objective bradley_terry compares whole traces and needs --tokens last")


def main(script: OrmArguments, training: TrainingArguments) -> VerifierTrainer:
    # Not at the top: help and a typo must not wait for torch.
    from prm.models.loading import load_tokenizer
    from prm.training.examples import pair_examples
    from prm.training.input import made_once
    from prm.training.run import fit

    tokenizer = load_tokenizer(script.model)
    made = made_once(script, training, tokenizer, partial(make, script, tokenizer))
    pairs = None
    if script.objective == "bradley_terry":
        pairs = pair_examples(made.train, seed=training.seed)
        print(
            f"pairs       {len(pairs)}, from {len({pair.problem for pair in pairs})} of"
            f" {len({example.problem for example in made.train})} problems; the others have no right or no wrong trace"
        )
    return fit(script, training, made, tokenizer, pairs)


def make(script: OrmArguments, tokenizer: PreTrainedTokenizerBase) -> TrainingInput:
    """Rows -> examples."""
    from prm.training.examples import orm_examples
    from prm.training.input import look_at
    from prm.training.run import read_rows

    train_rows, eval_rows = read_rows(script, read_outcomes)
    config = script.verifier_config("orm", "outcome", train_rows, tokens=script.tokens)
    # Validation reads the last step only, as scoring does, wherever the outcome is learned.
    train = orm_examples(train_rows, config.codec, tokenizer, script.tokens, script.overlong)
    validation = orm_examples(eval_rows, config.codec, tokenizer, overlong=script.overlong)
    return look_at(script.data, config, train, validation, tokenizer)


if __name__ == "__main__":
    run_script(main, OrmArguments, TRAINING_ARGUMENTS, check_given)
    from prm.training.distributed import close_process_group

    close_process_group()
