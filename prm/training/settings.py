"""config.yaml of a trained model: all flags of its run, as a file for `--config`, and the command that was given.

    # Made by this command, on 1 process(es):
    #   accelerate launch recipes/train_prm.py --config recipes/configs/prm_arithmetic.yaml
    # The same run once more: recipes/train_prm.py --config <this file> --output_dir <another folder>
    model: prm/assets/arithmetic_generator
    data: outputs/quickstart/labeled.jsonl
    ...
    learning_rate: 0.001

Flags that nobody gave are there with their defaults, which may change with a version. Left out is what says nothing about
the model: going on from a checkpoint, replacing a finished model, the key for the hub, the number of this process.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import yaml

from prm.command_line import REFUSED, same_command
from prm.verifiers.checkpoint import SETTINGS_FILE

if TYPE_CHECKING:
    from transformers import TrainingArguments

LEFT_OUT = {*REFUSED, "resume_from_checkpoint", "overwrite_output_dir", "hub_token", "local_rank", "debug"}


def settings_text(arguments: Any, training: TrainingArguments) -> str:
    """The text of `config.yaml`.

    Args:
        arguments: dataclass of the recipe's own flags.
        training: before the Trainer has changed anything in it.
    """
    command = same_command()
    library = training.to_dict()
    # `to_dict` takes the tokens of a vocabulary for secrets, too.
    library |= {name: value for name, value in vars(training).items() if name in ("eos_token", "pad_token")}
    values = {name: value for name, value in {**asdict(arguments), **library}.items() if name not in LEFT_OUT}
    return (
        f"# Made by this command, on {training.world_size} process(es):\n#   {command}\n"
        f"# The same run once more: --config <this {SETTINGS_FILE}> --output_dir <another folder>\n"
        + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    )
