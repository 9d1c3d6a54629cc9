"""Rows of a file or a hub data set, one at a time, so that a large set need not fit into memory.

    for where, row in read_rows("outputs/labeled.jsonl"): ...          # where = "outputs/labeled.jsonl:1"
    for where, row in read_rows("labels.csv"): ...                     # where = "labels.csv:2", as the header is line 1
    for where, row in read_rows("array.json"): ...                     # where = "array.json[0]"
    for where, row in read_rows("peiyi9979/Math-Shepherd", "train"): ...    # where = "peiyi9979/Math-Shepherd/train:0"

JSON Lines, JSON arrays and CSV are read here, Parquet files and hub data sets by `datasets` in its streaming mode. Cells of
a CSV file are texts. Texts are UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prm.files import read_text
from prm.storage.jsonl import check_row, read_jsonl
from prm.storage.paths import TEXT_FILES, check_name, need_file

_BLOCK = 1 << 20
_BETWEEN_ROWS = re.compile(r"[\s,]*")

Rows = Iterator[tuple[str, dict[str, Any]]]


def read_rows(source: str, split: str = "train") -> Rows:
    """(where, row) for every row, of which there is at least one; `where` is for error messages.

    Args:
        source: a `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet` file, or a hub name.
        split: split of a hub data set; ignored for a file.

    Raises:
        FileNotFoundError: there is no such file. IsADirectoryError: it is a folder, of which `datasets` would read anything.
        ValueError: a row is broken, there is none, the file is a Git LFS pointer or not UTF-8, or the name is neither a file
            nor a data set on the hub.
    """
    empty = True
    for row in _rows(source, split):
        empty = False
        yield row
    if empty:
        raise ValueError(f"{source} holds no row; check that it is the right file")


def _rows(source: str, split: str) -> Rows:
    path = Path(source)
    if path.is_dir() or source.endswith(TEXT_FILES):
        need_file(path)
    if path.is_file():
        _refuse_pointer(path)
    if path.is_file() and not source.endswith(".parquet"):
        try:
            yield from _text_rows(path)
        except UnicodeDecodeError:
            read_text(path)  # names the line
            raise
        return
    check_name(source, HUB_NAMES)
    import datasets

    try:
        if source.endswith(".parquet"):
            rows = datasets.load_dataset("parquet", data_files=source, split="train", streaming=True)
            name = source
        else:
            hub_name, config = HUB_NAMES.get(source, (source, None))
            rows = datasets.load_dataset(hub_name, config, split=split, streaming=True)
            name = f"{hub_name}/{split}"
    except Exception as error:
        raise ValueError(f"{source!r} is not a file and its split {split!r} could not be loaded: {error}") from error
    for i, row in enumerate(rows):
        yield f"{name}:{i}", row


def cell_text(value: Any) -> str:
    """A value of any type as text; nothing for null. A whole number has no decimals, as pandas adds them."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


HUB_NAMES = {"gsm8k": ("openai/gsm8k", "main"), "openai/gsm8k": ("openai/gsm8k", "main")}
"""Name -> hub name and configuration, for data sets with several configurations."""


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(100).startswith(b"version https://git-lfs.github.com/spec/"):
            raise ValueError(f"{path} is a Git LFS pointer and not the data; run `git lfs pull` in its repository")


def _text_rows(path: Path) -> Rows:
    if path.suffix in (".csv", ".tsv"):
        return _csv_rows(path)
    with path.open(encoding="utf-8-sig") as file:
        return _array_rows(path) if file.read(_BLOCK).lstrip().startswith("[") else read_jsonl(path)


def _csv_rows(path: Path) -> Rows:
    """Rows of a CSV file. Of comma, semicolon and tab, the one that is most frequent in the header divides the cells."""
    csv.field_size_limit(2**31 - 1)  # the default refuses long traces
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = max(",;\t", key=file.readline().count)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        line = 1  # at which a row begins; a cell in quotes may have several lines
        try:
            names = [name.strip() for name in next(reader, [])]
            if not any(names) or len(set(names)) < len(names):
                raise ValueError(f"{path}:1: the first line must name every column once, it is {names}")
            line = reader.line_num + 1
            for cells in reader:
                where, line = f"{path}:{line}", reader.line_num + 1
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise ValueError(
                        f"{where}: {len(cells)} cells, but the first line names {len(names)} columns; a cell that holds"
                        f" {delimiter!r} must be in quotes"
                    )
                yield where, dict(zip(names, cells, strict=True))
        except csv.Error as error:
            raise ValueError(f"{path}:{line}: {error}; check the quotes of this row") from error


def _array_rows(path: Path) -> Rows:
    """Rows of a JSON array, of which only a part is in memory."""
    decode, number = json.JSONDecoder().raw_decode, 0
    with path.open(encoding="utf-8-sig") as file:
        text = file.read(_BLOCK)
        position = text.index("[") + 1
        while True:
            position = _BETWEEN_ROWS.match(text, position).end()  # type: ignore[union-attr]  # it always matches
            if text.startswith("]", position):
                return
            start = position
            try:
                row, position = decode(text, position)
            except json.JSONDecodeError as error:
                # The row may go on in the next block. Blocks grow, so that a broken file is not copied for each of them.
                more = file.read(max(_BLOCK, len(text)))
                if not more:
                    raise ValueError(f"{path}[{number}]: not an object of a JSON array ({error.msg})") from error
                text, position = text[position:] + more, 0
                continue
            except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and brackets as deep
                raise ValueError(f"{path}[{number}]: not an object of a JSON array ({error})") from error
            check_row(f"{path}[{number}]", row, text[start:position])
            yield f"{path}[{number}]", row
            number += 1
