"""What `--data` and `--eval_data` name: a folder of data/build_dataset.py, a file, or a data set on the hub.

    outputs/math_shepherd          train.jsonl to train on, validation.jsonl to validate on
    outputs/labeled.jsonl          all of it to train on, unless a part is held out
    someone/math-shepherd          the splits train and validation

Left out: folders of another layout, such as a Parquet file per split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prm.storage.jsonl import file_hash
from prm.storage.paths import DATA_FILES
from prm.storage.rows import LabeledRow
from prm.storage.sources import HUB_NAMES


def training_source(data: str) -> str:
    """The file or hub name whose train split is trained on.

    Raises:
        ValueError: a folder without train.jsonl.
    """
    return _in_folder(data, "train") if Path(data).is_dir() else data


def validation_source(data: str, eval_data: str | None) -> str | None:
    """The file or hub name whose validation split is validated on; None if a part of the training rows must be held out.

    Raises:
        ValueError: `eval_data` is a folder without validation.jsonl.
    """
    if eval_data is not None:
        return _in_folder(eval_data, "validation") if Path(eval_data).is_dir() else eval_data
    if Path(data).is_dir():
        file = Path(data) / "validation.jsonl"
        return str(file) if file.is_file() else None
    if Path(data).is_file() or data.endswith(DATA_FILES):
        return None
    import datasets

    name, config = HUB_NAMES.get(data, (data, None))
    try:
        return data if "validation" in datasets.get_dataset_split_names(name, config) else None
    except Exception as error:
        raise ValueError(
            f"--data {data!r} is no file, no folder, and could not be read from the hub: {error}"
        ) from error


def data_hash(source: str, rows: Sequence[LabeledRow]) -> str:
    """Sixteen hex digits of the training data: of the file, or of what is learned of the rows if they are from the hub."""
    if Path(source).is_file():
        return file_hash(source)
    digest = hashlib.sha256()
    for row in rows:
        labeled = row.labeled
        digest.update(repr((row.problem.prompt, labeled.trace.steps, labeled.labels, labeled.values)).encode())
    return digest.hexdigest()[:16]


def _in_folder(folder: str, split: Literal["train", "validation"]) -> str:
    file = Path(folder) / f"{split}.jsonl"
    if not file.is_file():
        raise ValueError(
            f"{folder} holds no {file.name}; give a folder that data/build_dataset.py wrote, a file, or a hub name"
        )
    return str(file)
