"""TokenTree: which token sequences are known. It numbers tokens; what is kept for a number is the owner's.

    add([7, 8, 1])       -> [0, 1, 2]
    add([7, 8, 2, 3])    -> [0, 1, 3, 4]       a beginning that is known keeps its numbers
    find([7, 8, 2, 9])   -> [0, 1, 3]

A parent has a smaller number than what continues it. Three owners: a verifier's and a generator's keys and values have these
numbers in memory (`prm.models.prefix_cache`, `prm.models.kept_tokens`), and a search knows by them what it has paid for
(`prm.search.task`). No tensors, so that a search need not load torch.
"""

from __future__ import annotations

from collections.abc import Sequence

_ROOT = -1
"""The parent of a first token."""


class TokenTree:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, int], int] = {}  # of a token, by the number of its parent and its id

    def __len__(self) -> int:
        return len(self._numbers)

    def find(self, ids: Sequence[int]) -> list[int]:
        """The numbers of the longest known beginning."""
        numbers: list[int] = []
        number: int | None = _ROOT
        for token in ids:
            number = self._numbers.get((number, token))  # type: ignore[arg-type]
            if number is None:
                break
            numbers.append(number)
        return numbers

    def add(self, ids: Sequence[int]) -> list[int]:
        """The numbers of all tokens; new ones get the next."""
        number, numbers = _ROOT, []
        for token in ids:
            number = self._numbers.setdefault((number, token), len(self._numbers))
            numbers.append(number)
        return numbers

    def put(self, ids: Sequence[int], numbers: Sequence[int]) -> None:
        """Give tokens the numbers that the owner has chosen, instead of those of `add`."""
        self._numbers |= zip(zip([_ROOT, *numbers], ids, strict=False), numbers, strict=True)

    def keep(self, numbers: Sequence[int]) -> dict[int, int]:
        """Forget all tokens but these (sorted, and with each token those before it). Returns old number -> new number."""
        renamed = {number: i for i, number in enumerate(numbers)}
        parents = renamed | {_ROOT: _ROOT}
        self._numbers = {
            (parents[parent], token): renamed[number]
            for (parent, token), number in self._numbers.items()
            if parent in parents and number in renamed
        }
        return renamed
