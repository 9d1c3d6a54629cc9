"""Many examples in a few arrays: 4 bytes a token, where tuples of Python's integers take up to 36.

    columns = Columns(EncodedTrace, {"input_ids": "i", "step_ends": "i"})
    columns.append(encoded)
    columns[0] == encoded          made anew each time that it is asked for

445,000 traces of 200 tokens are 89 million tokens, which every process of a training run holds. Left out: a file that
processes share.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

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
        self._numbers = {name: array("b" if code == "?" else code) for name, code in numbers.items()}
        self._stops = {name: array("q", [0]) for name in numbers}
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
            its = column[self._stops[name][place] : self._stops[name][place + 1]]
            values[name] = tuple(map(bool, its)) if name in self._bools else tuple(its)
        return self._kind(**values)


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
