"""Rows of a file or a hub data set, one at a time, so that a large set need not fit into memory.

    for where, row in read_rows("outputs/labeled.jsonl"): ...          # where = "outputs/labeled.jsonl:1"
    for where, row in read_rows("labels.csv"): ...                     # where = "labels.csv:2", as the header is line 1
    for where, row in read_rows("array.json"): ...                     # where = "array.json[0]"
    for where, row in read_rows("lists.json"): ...                     # where = "lists.json['key'][0]"
    for where, row in read_rows("peiyi9979/Math-Shepherd", "train"): ...    # where = "peiyi9979/Math-Shepherd/train:0"

JSON Lines, JSON arrays, one JSON object of lists of rows (its keys are not read), and CSV are read here, all of them also
packed (`.gz`); Parquet files and hub data sets by `datasets` in its streaming mode. Cells of a CSV file are texts. Texts are
UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from prm.files import open_bytes, read_text
from prm.storage.jsonl import check_row, read_jsonl
from prm.storage.paths import TEXT_FILES, check_name, need_file

_BLOCK = 1 << 20
_BLANKS = re.compile(r"\s*")
_BETWEEN_ROWS = re.compile(r"[\s,]*")
_LISTS = re.compile(r'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[\s*\{')
"""How an object of lists of rows begins, and some rows of JSON Lines."""

Rows = Iterator[tuple[str, dict[str, Any]]]


def read_rows(source: str, split: str = "train", config: str | None = None) -> Rows:
    """(where, row) for every row, of which there is at least one; `where` is for error messages.

    Args:
        source: a `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet` file, also with `.gz` after it, or a hub name.
        split: split of a hub data set; ignored for a file.
        config: configuration of a hub data set that has several.

    Raises:
        FileNotFoundError: there is no such file. IsADirectoryError: it is a folder, of which `datasets` would read anything.
        ValueError: a row is broken, there is none, the file is a Git LFS pointer or not UTF-8, or the name is neither a file
            nor a data set on the hub.
    """
    empty = True
    for row in _rows(source, split, config):
        empty = False
        yield row
    if empty:
        raise ValueError(f"{source} holds no row; check that it is the right file")


def read_file(path: str | Path) -> Rows:
    """(where, row) for every row of a text file, of which there may be none; raises as `read_rows`."""
    path = need_file(path)
    _refuse_pointer(path)
    try:
        yield from _text_rows(path)
    except UnicodeDecodeError:
        read_text(path)  # names the line
        raise


def _rows(source: str, split: str, config: str | None) -> Rows:
    path = Path(source)
    if path.is_dir() or source.endswith(TEXT_FILES):
        need_file(path)
    if path.is_file():
        _refuse_pointer(path)  # of a Parquet file, too
    if path.is_file() and not source.endswith(".parquet"):
        yield from read_file(path)
        return
    check_name(source, HUB_NAMES)
    import datasets

    try:
        if source.endswith(".parquet"):
            rows = datasets.load_dataset("parquet", data_files=source, split="train", streaming=True)
            name = source
        else:
            hub_name, usual = HUB_NAMES.get(source, (source, None))
            rows = datasets.load_dataset(hub_name, config or usual, split=split, streaming=True)
            name = "/".join(filter(None, (hub_name, config, split)))
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
    kind = next((ending for ending in path.suffixes[::-1] if ending != ".gz"), "")
    if kind in (".csv", ".tsv"):
        return _csv_rows(path)
    with _open_text(path) as file:
        head = file.read(_BLOCK)
    if head.lstrip().startswith("["):
        return _array_rows(path)
    return _lists_rows(path) if kind == ".json" and _is_one_object(head) else read_jsonl(path)


def _open_text(path: Path, newline: str | None = None) -> TextIOWrapper:
    return TextIOWrapper(open_bytes(path), "utf-8-sig", newline=newline)


def _is_one_object(head: str) -> bool:
    """Whether a file that begins so is one object of lists of rows, and not a row per line."""
    line, _, rest = head.lstrip().partition("\n")
    if not _LISTS.match(head):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True  # the first line is only a part of it
    return not rest.strip()


def _csv_rows(path: Path) -> Rows:
    """Rows of a CSV file. Of comma, semicolon and tab, the one that is most frequent in the header divides the cells."""
    csv.field_size_limit(2**31 - 1)  # the default refuses long traces
    with _open_text(path, newline="") as file:
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
    """Rows of a JSON array."""
    with _open_text(path) as file:
        text = _JsonText(path, file)
        text.take("[", str(path))
        yield from _list_rows(str(path), text)
        text.end()


def _lists_rows(path: Path) -> Rows:
    """Rows of a JSON object of lists of rows."""
    with _open_text(path) as file:
        text = _JsonText(path, file)
        text.take("{", str(path))
        while not text.follows("}", _BETWEEN_ROWS):
            key, _ = text.value(str(path), "a name")
            where = f"{path}[{key!r}]"
            text.take(":", where)
            text.take("[", where)
            yield from _list_rows(where, text)
        text.end()


def _list_rows(where: str, text: _JsonText) -> Rows:
    number = 0
    while not text.follows("]", _BETWEEN_ROWS):
        row, source = text.value(f"{where}[{number}]", "an object of a JSON array")
        check_row(f"{where}[{number}]", row, source)
        yield f"{where}[{number}]", row
        number += 1


class _JsonText:
    """A JSON text of which only a part is in memory."""

    def __init__(self, path: Path, file: TextIOWrapper) -> None:
        self.path, self.file = path, file
        self.text, self.position = file.read(_BLOCK), 0

    def follows(self, mark: str, between: re.Pattern[str] = _BLANKS) -> bool:
        """Go on to the next character that counts, and over it if it is `mark`."""
        while True:
            self.position = between.match(self.text, self.position).end()  # type: ignore[union-attr]  # it always matches
            if self.position < len(self.text) or not self._read_on():
                break
        found = self.text.startswith(mark, self.position)
        self.position += len(mark) if found else 0
        return found

    def take(self, mark: str, where: str) -> None:
        """Raises ValueError if something else follows."""
        if not self.follows(mark):
            raise ValueError(
                f"{where}: {mark!r} must follow, it is {self.text[self.position : self.position + 20]!r}; rows are JSON"
                " Lines, one array, or one object of lists of rows"
            )

    def end(self) -> None:
        """Raises ValueError if anything follows."""
        self.follows("")
        if self.position < len(self.text):
            raise ValueError(
                f"{self.path}: {self.text[self.position : self.position + 20]!r} follows after the end; rows are JSON Lines,"
                " one array, or one object of lists of rows"
            )

    def value(self, where: str, what: str) -> tuple[Any, str]:
        """The value that begins here, and its text."""
        while True:
            start = self.position
            try:
                value, self.position = json.JSONDecoder().raw_decode(self.text, start)
            except json.JSONDecodeError as error:
                if not self._read_on():  # it may go on in the next block
                    raise ValueError(f"{where}: not {what} ({error.msg})") from error
            except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and brackets as deep
                raise ValueError(f"{where}: not {what} ({error})") from error
            else:
                return value, self.text[start : self.position]

    def _read_on(self) -> bool:
        # Blocks grow, so that a broken file is not copied for each of them.
        more = self.file.read(max(_BLOCK, len(self.text)))
        self.text, self.position = self.text[self.position :] + more, 0
        return bool(more)
