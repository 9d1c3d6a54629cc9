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


def find_checkpoint(resume: str | bool | None, output_dir: str, config: VerifierConfig | None = None) -> str | None:
    """The folder to resume from.

    Args:
        resume: `--resume_from_checkpoint`: a folder; true = the newest complete one in `output_dir`; auto = the same, or
            none if there is none; None or false = none.
        config: of this run; a checkpoint of other data, another codec or, of a LoRA, another base is refused. None for a
            generator.

    Raises:
        ValueError: no complete checkpoint, or one of another run.
    """
    wish = str(resume).lower()
    if wish in ("none", "false"):
        return None
    if wish in ("true", "auto"):
        newest, torn = _newest(output_dir)
        if newest is None:
            if wish == "auto":
                return None
            raise ValueError(f"{output_dir} holds no complete checkpoint; start without --resume_from_checkpoint")
        folder = newest
        for path in torn:
            print(f"{path} is torn (its run was killed while it was written); passed over")
    else:
        folder = Path(str(resume))
        if not is_complete(folder):
            raise ValueError(
                f"{folder} has no complete {STATE}: it is not a checkpoint, or its run was killed while it was written;"
                " give an older one, or --resume_from_checkpoint true for the newest complete one"
            )
    if config is not None:
        saved = VerifierConfig.load(folder)
        then, now = (
            {"data of hash": c.data_hash, "codec": c.codec, "base weights": c.base_weights} for c in (saved, config)
        )
        if differing := [name for name in then if then[name] != now[name]]:
            was, has = (", ".join(f"{name} {values[name]}" for name in differing) for values in (then, now))
            raise ValueError(
                f"{folder} was trained with {was}, this run has {has}; resume with the same data and flags, or start over in"
                " another --output_dir"
            )
    return str(folder)


def check_output_dir(output_dir: str, resume: str | bool | None, overwrite: bool) -> None:
    """Refuse to replace a finished model by mistake.

    Raises:
        ValueError: `output_dir` holds weights, `overwrite` is false, and there is no checkpoint to resume from.
    """
    wish = str(resume).lower()
    starts_over = wish in ("none", "false") or (wish == "auto" and _newest(output_dir)[0] is None)
    if starts_over and not overwrite and any(Path(output_dir).glob("*.safetensors")):
        raise ValueError(
            f"{output_dir} holds a finished model; add --overwrite_output_dir to replace it,"
            " --resume_from_checkpoint true to go on from its newest checkpoint, or give another --output_dir"
        )


def _newest(output_dir: str) -> tuple[Path | None, list[Path]]:
    """The newest complete checkpoint, and the torn ones that are newer."""
    folders = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    newest_first = sorted(folders, key=lambda path: -int(path.name.removeprefix("checkpoint-")))
    complete = next((path for path in newest_first if is_complete(path)), None)
    return complete, newest_first[: newest_first.index(complete)] if complete else newest_first


def is_complete(folder: Path) -> bool:
    """Whether the Trainer finished writing this checkpoint."""
    try:
        json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return True
