"""The checkpoint from which a killed run continues.

The Trainer writes `checkpoint-<step>/trainer_state.json` after everything else in the folder, but resumes from the folder
of the highest step whether that file exists or not, and with a new optimizer where the old one is missing. A run that was
killed while it saved leaves a torn one; so does a disk that was full or forgot something.

    checkpoint-20/  ... trainer_state.json    complete: the run continues from here
    checkpoint-30/  model.safetensors         torn: passed over, and written again when the run gets there

Every file is read once: archives of torch have a checksum of each part, and prm_config.json has those of the weights. Not
compared are flags that may be changed on purpose, such as the number of steps and the learning rate.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import asdict
from pathlib import Path

from prm.files import write_whole
from prm.verifiers.checkpoint import FILE, VerifierConfig, check_files

STATE = "trainer_state.json"
EXAMPLES = "examples.hash"
NEEDED = {
    "weights": ("*.safetensors", "pytorch_model_fsdp*", "global_step*"),
    "optimizer.pt": ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*"),
    "scheduler.pt": ("scheduler.pt", "global_step*"),
    "rng_state.pth": ("rng_state*.pth",),
}
"""What a checkpoint must hold, and under which names: those of one process or DDP, of FSDP and of DeepSpeed."""
MAY_DIFFER = {"versions", "base_model"}
"""Of `prm_config.json`: a folder may have moved, and a LoRA is compared with the weights of its base."""


def find_checkpoint(resume: str | bool | None, output_dir: str, config: VerifierConfig | None = None) -> str | None:
    """The folder to resume from.

    Args:
        resume: `--resume_from_checkpoint`: a folder; true = the newest complete one in `output_dir`; auto = the same, or
            none if there is none; None or false = none.
        config: of this run; a checkpoint of other data or rows, another objective or codec or, of a LoRA, another base is
            refused. None for a generator.

    Raises:
        ValueError: no complete checkpoint, or one of another run.
    """
    wish = str(resume).lower()
    if wish in ("none", "false"):
        return None
    if wish in ("true", "auto"):
        newest, torn = _newest(output_dir)
        for path, reason in torn:
            print(f"{path} is torn ({reason}); passed over")
        if newest is None:
            if wish == "auto":
                return None
            raise ValueError(f"{output_dir} holds no complete checkpoint; start without --resume_from_checkpoint")
        folder = newest
    else:
        folder = Path(str(resume))
        if what := fault(folder):
            raise ValueError(
                f"{folder} is no checkpoint, or torn ({what}); give an older one, or --resume_from_checkpoint true for"
                " the newest complete one"
            )
    if config is not None:
        then, now = asdict(VerifierConfig.load(folder)), asdict(config)
        if differing := [name for name in now if then[name] != now[name] and name not in MAY_DIFFER]:
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


def check_examples(checkpoint: str | None, output_dir: str, digest: str) -> None:
    """Refuse to go on with other examples, and leave the hash of these for the next time. For a generator, whose checkpoints
    do not say what they learned from.

    Raises:
        ValueError: the run of the checkpoint had others.
    """
    file = None if checkpoint is None else Path(checkpoint).parent / EXAMPLES
    if file and file.is_file() and (then := file.read_text(encoding="utf-8").strip()) != digest:
        raise ValueError(
            f"{checkpoint} was trained on examples of hash {then}, this run has {digest}; resume with the same data and"
            " flags, or start over in another --output_dir"
        )
    write_whole(Path(output_dir) / EXAMPLES, digest + "\n")


def _newest(output_dir: str) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest complete checkpoint, and the torn ones that are newer, with what is wrong with them."""
    folders = [path for path in Path(output_dir).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    torn: list[tuple[Path, str]] = []
    for folder in sorted(folders, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        if (reason := fault(folder)) is None:
            return folder, torn
        torn.append((folder, reason))
    return None, torn


def is_complete(folder: Path) -> bool:
    """Whether training can go on from this checkpoint as if it had never stopped."""
    return fault(folder) is None


def fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None if nothing is."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "its run was killed while it was written"
    if not isinstance(state, dict) or not isinstance(state.get("global_step"), int):
        return f"{STATE} does not say at which step"
    for name, patterns in NEEDED.items():
        if not any(path for pattern in patterns for path in folder.glob(pattern)):
            return f"it has no {name}" + ", as after --save_only_model" * (name == "optimizer.pt")
    try:
        for file in sorted(path for ending in ("pt", "pth", "bin") for path in folder.glob(f"*.{ending}")):
            with zipfile.ZipFile(file) as archive:
                if archive.testzip() is not None:
                    return f"{file.name} is damaged"
    except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile):
        return f"{file.name} is damaged"
    return _fault_of_weights(folder)


def _fault_of_weights(folder: Path) -> str | None:
    # Not at the top: whether a folder may be written to is asked before torch is imported.
    from safetensors import safe_open

    from prm.models.folders import check_finite, opening, read_json

    try:
        for index in folder.glob("*.safetensors.index.json"):
            if lost := sorted(
                name for name in set(read_json(index)["weight_map"].values()) if not (folder / name).is_file()
            ):
                return f"it has no {lost[0]}"
        for file in sorted(folder.glob("*.safetensors")):
            with opening(file), safe_open(file, "pt") as tensors:
                check_finite(file, ((name, tensors.get_tensor(name)) for name in tensors.keys()))  # noqa: SIM118
        if (folder / FILE).is_file():
            check_files(folder)
    except (ValueError, KeyError) as error:
        return str(error)
    return None
