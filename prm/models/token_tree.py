"""TokenTree: which token sequences are known. It numbers tokens; what is kept for a number is the owner's.

    add([7, 8, 1])       -> [0, 1, 2]
    add([7, 8, 2, 3])    -> [0, 1, 3, 4]       a beginning that is known keeps its numbers
    find([7, 8, 2, 9])   -> [0, 1, 3]

A parent has a smaller number than what continues it. Three owners: a verifier's and a generator's keys and values have these
numbers in memory (`prm.models.prefix_cache`, `prm.models.kept_tokens`), and a search knows by them what it has paid for
(`prm.search.task`). No tensors, so that a search need not load torch.

A node is a run of tokens, most often a step, and runs are compared as wholes: a trace that is looked up again with one step
more takes as long as its number of steps, not of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, count
from operator import ne


@dataclass(slots=True)
class _Run:
    """Tokens of which each is continued by the next one only, and their numbers."""

    ids: list[int]
    numbers: list[int]
    after: dict[int, _Run] = field(default_factory=dict)
    """The runs that continue the last token, by their first one."""


class TokenTree:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._root = _Run([], [])
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def find(self, ids: Sequence[int]) -> list[int]:
        """The numbers of the longest known beginning."""
        return _numbers(self._path(list(ids)))

    def add(self, ids: Sequence[int]) -> list[int]:
        """The numbers of all tokens; new ones get the next."""
        path = self._path(ids := list(ids))
        known = _numbers(path)
        numbers = [*known, *range(self._size, self._size + len(ids) - len(known))]
        self._continue(path, ids[len(known) :], numbers[len(known) :])
        return numbers

    def put(self, ids: Sequence[int], numbers: Sequence[int]) -> None:
        """Give tokens the numbers that the owner has chosen, instead of those of `add`."""
        path, place = self._path(ids := list(ids)), 0
        for run, length in path:
            run.numbers[:length] = numbers[place : place + length]
            place += length
        self._continue(path, ids[place:], list(numbers[place:]))

    def keep(self, numbers: Sequence[int]) -> dict[int, int]:
        """Forget all tokens but these (sorted, and with each token those before it). Returns old number -> new number."""
        renamed = {number: i for i, number in enumerate(numbers)}
        self._size, runs = 0, [self._root]
        while runs:
            run = runs.pop()
            kept = [renamed[number] for number in run.numbers if number in renamed]
            if len(kept) < len(run.ids):  # nothing after a token that is forgotten is kept
                run.ids, run.after = run.ids[: len(kept)], {}
            run.numbers = kept
            run.after = {token: its for token, its in run.after.items() if its.numbers[0] in renamed}
            runs += run.after.values()
            self._size += len(kept)
        return renamed

    def _continue(self, path: list[tuple[_Run, int]], ids: list[int], numbers: list[int]) -> None:
        """Put tokens after the end of a path."""
        if not ids:
            return
        self._size += len(ids)
        last, length = path[-1] if path else (self._root, 0)
        if path and length == len(last.ids) and not last.after:  # nothing else continues it: the run grows
            last.ids += ids
            last.numbers += numbers
            return
        if length < len(last.ids):  # the new tokens leave a run in its midst: it forks there
            rest = _Run(last.ids[length:], last.numbers[length:], last.after)
            last.ids, last.numbers, last.after = last.ids[:length], last.numbers[:length], {rest.ids[0]: rest}
        last.after[ids[0]] = _Run(ids, numbers)

    def _path(self, ids: list[int]) -> list[tuple[_Run, int]]:
        """The runs of the longest known beginning, and how many tokens of each belong to it."""
        path: list[tuple[_Run, int]] = []
        run, place, total = self._root, 0, len(ids)
        while place < total and (following := run.after.get(ids[place])):
            run, part = following, ids[place : place + len(following.ids)]
            if part != run.ids:
                path.append((run, shared_length(part, run.ids)))
                break
            path.append((run, len(part)))
            place += len(part)
        return path


def _numbers(path: list[tuple[_Run, int]]) -> list[int]:
    numbers: list[int] = []
    for run, length in path:
        numbers += run.numbers[:length]
    return numbers


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    return next(compress(count(), map(ne, a, b)), min(len(a), len(b)))
