"""TokenTree: which token sequences are known. It numbers tokens; what is kept for a number is the owner's.

    add([7, 8, 1])                             numbers 0, 1, 2
    add([7, 8, 2, 3])                          numbers 0, 1, 3, 4: a beginning that is known keeps its own
    find([7, 8, 2, 9])   -> [0, 1, 3]

A parent has a smaller number than what continues it. Three owners: a verifier's and a generator's keys and values have these
numbers in memory (`prm.models.prefix_cache`, `prm.models.kept_tokens`), and a search knows by them what it has paid for
(`prm.search.task`). No tensors, so that a search need not load torch.

A node is a run of tokens, most often a step, and runs are compared as wholes: a trace that is looked up again with one step
more takes as long as its number of steps, not of tokens. Whoever remembers in which run its beginning ended goes on from
there, which takes as long as the new step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Run:
    """Tokens of which each is continued by the next one only, and their numbers."""

    start: int
    """How many tokens come before them."""
    ids: list[int]
    numbers: list[int]
    after: dict[int, Run] = field(default_factory=dict)
    """The runs that continue the last token, by their first one."""


class TokenTree:
    """See the module's docstring.

    `at` is the run in which the beginning of a sequence ended before (`add`, `put`), to go on from there. The tree may grow
    and fork meanwhile; a run whose first token was forgotten is none any more.
    """

    def __init__(self) -> None:
        self._root = Run(0, [], [])
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def find(self, ids: Sequence[int], at: Run | None = None) -> list[int]:
        """The numbers of the longest known beginning; with `at`, of its part from the start of that run on."""
        return _numbers(self._path(ids, at))

    def add(self, ids: Sequence[int], at: Run | None = None) -> Run:
        """Give what is new of a sequence the next numbers. Returns the run in which it ends."""
        path = self._path(ids, at)
        rest = ids[_end(path) :]
        return self._continue(path, rest, range(self._size, self._size + len(rest)))

    def put(self, ids: Sequence[int], numbers: Sequence[int], at: Run | None = None) -> Run:
        """As `add`, with the numbers that the owner has chosen; with `at`, of the tokens from the start of that run on."""
        path, skipped = self._path(ids, at), at.start if at else 0
        for run, length in path:
            start = run.start - skipped
            run.numbers[:length] = numbers[start : start + length]
        return self._continue(path, ids[_end(path) :], numbers[_end(path) - skipped :])

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

    def _continue(self, path: list[tuple[Run, int]], ids: Sequence[int], numbers: Sequence[int]) -> Run:
        """Put tokens after the end of a path. Returns the run in which they end."""
        last, length = path[-1]
        if not ids:
            return last
        self._size += len(ids)
        if length == len(last.ids) and not last.after:  # nothing else continues it: the run grows
            last.ids += ids
            last.numbers += numbers
            return last
        if length < len(last.ids):  # the new tokens leave a run in its midst: it forks there
            rest = Run(last.start + length, last.ids[length:], last.numbers[length:], last.after)
            last.ids, last.numbers, last.after = last.ids[:length], last.numbers[:length], {rest.ids[0]: rest}
        new = last.after[ids[0]] = Run(last.start + length, list(ids), list(numbers))
        return new

    def _path(self, ids: Sequence[int], at: Run | None) -> list[tuple[Run, int]]:
        """The runs of the longest known beginning, and how many tokens of each belong to it."""
        run = at or self._root
        place, tokens = run.start, list(ids[run.start :])
        path: list[tuple[Run, int]] = []
        while True:
            done = run.start - place
            part = tokens[done : done + len(run.ids)]
            if part != run.ids:
                return [*path, (run, shared_length(part, run.ids))]
            path.append((run, len(part)))
            done += len(part)
            following = run.after.get(tokens[done]) if done < len(tokens) else None
            if following is None:
                return path
            run = following


def _end(path: list[tuple[Run, int]]) -> int:
    last, length = path[-1]
    return last.start + length


def _numbers(path: list[tuple[Run, int]]) -> list[int]:
    numbers: list[int] = []
    for run, length in path:
        numbers += run.numbers[:length]
    return numbers


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    a, b = tuple(a), tuple(b)
    # By halves: slices are compared faster than tokens.
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
