"""Rows of a file or a hub data set, one at a time, so that a large set need not fit into memory.

    for where, row in read_rows("outputs/labeled.jsonl"): ...          # where = "outputs/labeled.jsonl:1"
    for where, row in read_rows("peiyi9979/Math-Shepherd", "train"): ...    # where = "peiyi9979/Math-Shepherd/train:0"

JSON Lines are read here, Parquet files and hub data sets by `datasets` in its streaming mode.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prm.storage.jsonl import read_jsonl


def read_rows(source: str, split: str = "train") -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, row) for every row; `where` is for error messages.

    Args:
        source: a `.jsonl` or `.parquet` file, or a hub name.
        split: split of a hub data set; ignored for a file.

    Raises:
        ValueError: a line is broken, or the name is neither a file nor a data set on the hub.
    """
    if source.endswith((".jsonl", ".json")) or (Path(source).is_file() and not source.endswith(".parquet")):
        yield from read_jsonl(source)
        return
    import datasets

    try:
        if source.endswith(".parquet"):
            rows = datasets.load_dataset("parquet", data_files=source, split="train", streaming=True)
            name = source
        else:
            path, config = HUB_NAMES.get(source, (source, None))
            rows = datasets.load_dataset(path, config, split=split, streaming=True)
            name = f"{path}/{split}"
    except Exception as error:
        raise ValueError(f"{source!r} is not a file and its split {split!r} could not be loaded: {error}") from error
    for i, row in enumerate(rows):
        yield f"{name}:{i}", row


HUB_NAMES = {"gsm8k": ("openai/gsm8k", "main"), "openai/gsm8k": ("openai/gsm8k", "main")}
"""Name -> hub name and configuration, for data sets with several configurations."""
