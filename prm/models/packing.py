"""Token sequences -> one flat row in which every shared prefix is stored once. Shared by training and scoring.

The traces of one problem share its prompt, often their first steps, and with a chat template every problem shares the
header. Sorted, the sequences are the leaves of a prefix tree in depth-first order; written one after the other without
what they share with their left neighbor, they make a row in which each shared token appears, and costs, once. Three
columns say all about it. For the sequences `a b c`, `a b d e` and `f`:

    input_ids     a  b  c  d  e  f
    position_ids  0  1  2  2  3  0     depth in the tree = position in the separate sequence
    subtree_end   5  5  3  5  5  6     behind the last token that continues this one

Token j is an ancestor of token i (or i itself) exactly if `j <= i < subtree_end[j]`: that is the attention mask
(`prm.models.tree_attention`). Since a causal model computes a token from its ancestors alone, logits and gradients
equal those of separate sequences up to rounding; sequences that share nothing make a plain variable-length row without
padding.

Why token by token and not step by step: two steps that begin alike share their first tokens too, and nothing needs to
know what a step is. Left out: the attention itself, and the choice of what shares a row (callers group by problem).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PackedRow:
    """Sequences packed into one row of T tokens."""

    input_ids: torch.Tensor
    """(T,)"""
    position_ids: torch.Tensor
    """(T,) depth of each token."""
    subtree_end: torch.Tensor
    """(T,) index behind the last descendant of each token."""
    places_N: tuple[torch.Tensor, ...]
    """For every sequence, in the order given, the index in the row of each of its tokens."""

    def model_inputs(self) -> dict[str, torch.Tensor]:
        """Keyword arguments of `StepClassifier.forward`, as a batch of one row."""
        return {
            "input_ids": self.input_ids[None],
            "position_ids": self.position_ids[None],
            "subtree_end": self.subtree_end[None],
        }


def pack(sequences_NT: Sequence[Sequence[int]]) -> PackedRow:
    """The prefix tree of the sequences as one row. Equal sequences share all their places.

    >>> row = pack([[7, 8, 1], [7, 8, 2, 3], [5]])
    >>> row.input_ids.tolist(), row.position_ids.tolist(), row.subtree_end.tolist()
    ([5, 7, 8, 1, 2, 3], [0, 0, 1, 2, 2, 3], [1, 6, 6, 4, 6, 6])
    >>> [places.tolist() for places in row.places_N]
    [[1, 2, 3], [1, 2, 4, 5], [0]]
    """
    if not all(map(len, sequences_NT)) or not sequences_NT:
        raise ValueError(f"cannot pack {len(sequences_NT)} sequences of {[len(s) for s in sequences_NT]} tokens")
    ids: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    places_N: list[list[int]] = [[]] * len(sequences_NT)
    path: list[int] = []  # places of the sequence before
    before: Sequence[int] = ()
    for i in sorted(range(len(sequences_NT)), key=lambda i: tuple(sequences_NT[i])):
        sequence = sequences_NT[i]
        shared = shared_length(before, sequence)
        for place in path[shared:]:
            ends[place] = len(ids)
        path = [*path[:shared], *range(len(ids), len(ids) + len(sequence) - shared)]
        ids += sequence[shared:]
        depths += range(shared, len(sequence))
        ends += [0] * (len(sequence) - shared)
        places_N[i], before = path, sequence
    for place in path:
        ends[place] = len(ids)
    return PackedRow(
        torch.tensor(ids), torch.tensor(depths), torch.tensor(ends), tuple(torch.tensor(places) for places in places_N)
    )


def plan_rows(sequences_NT: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Indices of the sequences that share a row, so that each row has at most `max_tokens` tokens after sharing.

    Rows are filled in sorted order, where neighbors share most. A sequence longer than `max_tokens` has a row of its own.
    """
    rows: list[list[int]] = []
    tokens = 0
    before: Sequence[int] = ()
    for i in sorted(range(len(sequences_NT)), key=lambda i: tuple(sequences_NT[i])):
        sequence = sequences_NT[i]
        new = len(sequence) - shared_length(before, sequence)
        if rows and tokens + new <= max_tokens:
            rows[-1].append(i)
            tokens += new
        else:
            rows.append([i])
            tokens = len(sequence)
        before = sequence
    return rows


def shared_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common.

    >>> shared_length([1, 2, 3], [1, 2, 4, 5])
    2
    """
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def segments(subtree_end: torch.Tensor) -> list[tuple[int, int, int]]:
    """The nodes of the tree as (start, end, subtree end): runs of tokens that are each followed by the next one alone.

    >>> segments(torch.tensor([1, 6, 6, 4, 6, 6]))
    [(0, 1, 1), (1, 3, 6), (3, 4, 4), (4, 6, 6)]
    """
    ends, lengths = torch.unique_consecutive(subtree_end.flatten(), return_counts=True)
    stops = lengths.cumsum(0)
    return list(zip((stops - lengths).tolist(), stops.tolist(), ends.tolist(), strict=True))
