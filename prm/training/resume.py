"""The checkpoint from which a killed run continues.

The Trainer writes `checkpoint-<step>/trainer_state.json` after everything else in the folder, but resumes from the folder
of the highest step whether that file exists or not. A run that was killed while it saved leaves a torn one.

    checkpoint-20/  ... trainer_state.json    complete: the run continues from here
    checkpoint-30/  model.safetensors         torn: passed over, and written again when the run gets there
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from prm.verifiers.checkpoint import VerifierConfig

STATE = "trainer_state.json"


def find_checkpoint(resume: str | bool | None, output_dir: str, config: VerifierConfig) -> str | None:
    """The folder to resume from.

    Args:
        resume: `--resume_from_checkpoint`: a folder; true = the newest complete one in `output_dir`; None or false = none.
        config: of this run; a checkpoint of other data or another codec is refused.

    Raises:
        ValueError: no complete checkpoint, or one of another run.
    """
    if resume is None or str(resume).lower() == "false":
        return None
    if str(resume).lower() != "true":
        folder = Path(str(resume))
        if not is_complete(folder):
            raise ValueError(
                f"{folder} has no complete {STATE}: it is not a checkpoint, or its run was killed while it was written;"
                " give an older one, or --resume_from_checkpoint true for the newest complete one"
            )
    else:
        folders = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
        newest_first = sorted(folders, key=lambda path: -int(path.name.removeprefix("checkpoint-")))
        complete = [path for path in newest_first if is_complete(path)]
        if not complete:
            raise ValueError(f"{output_dir} holds no complete checkpoint; start without --resume_from_checkpoint")
        folder = complete[0]
        for torn in newest_first[: newest_first.index(folder)]:
            print(f"{torn} is torn (its run was killed while it was written); passed over")
    saved = VerifierConfig.load(folder)
    if (saved.data_hash, saved.codec) != (config.data_hash, config.codec):
        raise ValueError(
            f"{folder} was trained on data of hash {saved.data_hash} with {saved.codec}, this run has {config.data_hash}"
            f" and {config.codec}; resume with the same data and flags, or start over in another --output_dir"
        )
    return str(folder)


def is_complete(folder: Path) -> bool:
    """Whether the Trainer finished writing this checkpoint."""
    try:
        json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return True
