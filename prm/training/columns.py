"""Many examples in a few arrays: 4 bytes a token, where tuples of Python's integers take up to 36.

    columns = Columns(EncodedTrace, {"input_ids": "i", "step_ends": "i"})
    columns.append(encoded)
    columns[0] == encoded          made anew each time that it is asked for
    columns.save(folder)           a file for every column of numbers
    Columns.mapped(folder, ...)    the same rows, whose numbers stay in these files: processes share them

445,000 traces of 200 tokens are 89 million tokens.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from prm.encoding.codec import EncodedTrace, StepCodec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = TypeVar("Row")
TOGETHER = 1024
"""Traces whose texts are tokenized in one call."""


class Columns(Sequence[Row], Generic[Row]):
    """A list of dataclass objects, which is only appended to."""

    def __init__(self, kind: type[Row], numbers: Mapping[str, str]) -> None:
        """
        Args:
            numbers: fields that are tuples of numbers -> their type as `array` names it, `?` for bools. The others are kept
                as they are.
        """
        self._kind = kind
        self._bools = {name for name, code in numbers.items() if code == "?"}
        self._numbers: dict[str, Any] = {name: array("b" if code == "?" else code) for name, code in numbers.items()}
        self._stops: dict[str, Any] = {name: array("q", [0]) for name in numbers}
        """Where the numbers of each row end."""
        self._others: dict[str, list[Any]] = {}
        self._length = 0

    def append(self, row: Row) -> None:
        for name, value in vars(row).items():
            if name in self._numbers:
                self._numbers[name].extend(value)
                self._stops[name].append(len(self._numbers[name]))
            else:
                self._others.setdefault(name, []).append(value)
        self._length += 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, i: int) -> Row: ...
    @overload
    def __getitem__(self, i: slice) -> list[Row]: ...
    def __getitem__(self, i: int | slice) -> Row | list[Row]:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(self._length))]
        place = range(self._length)[i]
        values: dict[str, Any] = {name: column[place] for name, column in self._others.items()}
        for name, column in self._numbers.items():
            its = column[self._stops[name][place] : self._stops[name][place + 1]].tolist()
            values[name] = tuple(map(bool, its)) if name in self._bools else tuple(its)
        return self._kind(**values)

    def save(self, folder: Path) -> None:
        """Write a new folder. What are no numbers goes into one JSON file."""
        folder.mkdir()
        for kind, columns in (("numbers", self._numbers), ("stops", self._stops)):
            for name, column in columns.items():
                np.save(folder / f"{name}.{kind}.npy", np.asarray(column))
        others = json.dumps({"length": self._length, "others": self._others}, ensure_ascii=False)
        (folder / "others.json").write_text(others, encoding="utf-8")

    @classmethod
    def mapped(cls, folder: Path, kind: type[Row], numbers: Mapping[str, str]) -> Columns[Row]:
        """What `save` wrote of columns of these arguments. Nothing can be appended to it."""
        columns = cls(kind, numbers)
        for name in numbers:
            columns._numbers[name], columns._stops[name] = (
                np.load(folder / f"{name}.{part}.npy", mmap_mode="r") for part in ("numbers", "stops")
            )
        saved = json.loads((folder / "others.json").read_text(encoding="utf-8"))
        columns._length = saved["length"]
        # Names of problems repeat: one object for all that are equal.
        columns._others = {
            name: [sys.intern(value) if isinstance(value, str) else value for value in column]
            for name, column in saved["others"].items()
        }
        return columns


def encode_together(
    codec: StepCodec, tokenizer: PreTrainedTokenizerBase, traces: Sequence[tuple[str, Sequence[str]]]
) -> Columns[EncodedTrace]:
    """Each (prompt, steps) as `codec.encode` encodes it, `TOGETHER` of them in one call of the tokenizer.

    Raises:
        ValueError: as `codec.encode`.
    """
    encoded_N = Columns(EncodedTrace, {"input_ids": "i", "step_ends": "i"})
    for start in range(0, len(traces), TOGETHER):
        for encoded in codec.encode_many(tokenizer, traces[start : start + TOGETHER]):
            encoded_N.append(encoded)
    return encoded_N
