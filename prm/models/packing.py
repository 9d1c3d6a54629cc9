"""Token sequences -> one flat row in which every shared prefix is stored once. Shared by training and scoring.

The traces of one problem share its prompt and often their first steps; with a chat template, all problems share the
header. Sorted, the sequences are the leaves of a prefix tree in depth-first order. Written one after another, each
without what it shares with the sequence before it, they make a row in which every shared token is stored and computed
once. Three columns describe the row. For the sequences `a b c`, `a b d e` and `f`:

    input_ids     a  b  c  d  e  f
    position_ids  0  1  2  2  3  0     depth in the tree = position in the separate sequence
    subtree_end   5  5  3  5  5  6     index after the last token that continues this one

Token j is an ancestor of token i (or i itself) exactly if `j <= i < subtree_end[j]`: that is the attention mask
(`prm.models.tree_attention`). Since a causal model computes a token from its ancestors alone, logits and gradients
equal those of separate sequences up to rounding; sequences that share nothing make a plain variable-length row without
padding.

Sharing is by token and not by step: two steps that begin alike share their first tokens too, and this module need not
know what a step is. Left out: the attention itself, and the choice of the sequences of a row (callers group by problem).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prm.models.token_tree import shared_length


@dataclass(frozen=True)
class PackedRow:
    """Sequences packed into one row of T tokens."""

    input_ids: torch.Tensor
    """(T,)"""
    position_ids: torch.Tensor
    """(T,) depth of each token."""
    subtree_end: torch.Tensor
    """(T,) index after the last descendant of each token."""
    positions_N: tuple[torch.Tensor, ...]
    """For every sequence, in the order given, the index in the row of each of its tokens."""

    def model_inputs(self) -> dict[str, torch.Tensor]:
        """Keyword arguments of `StepClassifier.forward`, as a batch of one row."""
        return {
            "input_ids": self.input_ids[None],
            "position_ids": self.position_ids[None],
            "subtree_end": self.subtree_end[None],
        }


def pack(sequences_NT: Sequence[Sequence[int]]) -> PackedRow:
    """The prefix tree of the sequences as one row. Equal sequences share all their positions.

    >>> row = pack([[7, 8, 1], [7, 8, 2, 3], [5]])
    >>> row.input_ids.tolist(), row.position_ids.tolist(), row.subtree_end.tolist()
    ([5, 7, 8, 1, 2, 3], [0, 0, 1, 2, 2, 3], [1, 6, 6, 4, 6, 6])
    >>> [positions.tolist() for positions in row.positions_N]
    [[1, 2, 3], [1, 2, 4, 5], [0]]

    Raises:
        ValueError: no sequences, or an empty one.
    """
    if not all(map(len, sequences_NT)) or not sequences_NT:
        raise ValueError(f"cannot pack {len(sequences_NT)} sequences of {[len(s) for s in sequences_NT]} tokens")
    order = sorted(range(len(sequences_NT)), key=lambda i: tuple(sequences_NT[i]))
    ids: list[int] = []
    depths: list[np.ndarray] = []
    ends = np.empty(sum(map(len, sequences_NT)), dtype=np.int64)  # of the tokens that are left already
    positions_N: list[np.ndarray] = [np.empty(0)] * len(sequences_NT)
    path = np.empty(0, dtype=np.int64)  # positions of the tokens of the sequence before
    before: Sequence[int] = ()
    # Sorted, so that sequences with a common prefix are neighbors and comparing neighbors finds all sharing.
    for i in order:
        sequence = sequences_NT[i]
        shared = shared_length(before, sequence)
        # Nothing later continues the tokens that this sequence leaves: their subtrees end here.
        ends[path[shared:]] = len(ids)
        # The sequence keeps the positions of what it shares and gets new ones, at the end of the row, for the rest.
        path = np.concatenate([path[:shared], np.arange(len(ids), len(ids) + len(sequence) - shared)])
        ids += sequence[shared:]
        depths.append(np.arange(shared, len(sequence)))
        positions_N[i], before = path, sequence
    # The tokens of the last sequence are left at the end of the row.
    ends[path] = len(ids)
    return PackedRow(
        input_ids=torch.from_numpy(np.array(ids)),
        position_ids=torch.from_numpy(np.concatenate(depths)),
        subtree_end=torch.from_numpy(ends[: len(ids)]),
        positions_N=tuple(map(torch.from_numpy, positions_N)),
    )


def plan_rows(sequences_NT: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Indices of the sequences of each row, such that a row has at most `max_tokens` tokens after sharing.

    Rows are filled in sorted order, where neighbors share most. A sequence longer than `max_tokens` has its own row.
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


def segments(subtree_end: torch.Tensor) -> list[tuple[int, int, int]]:
    """The nodes of the tree as (start, end, subtree end): runs of tokens, each continued by the next one only.

    >>> segments(torch.tensor([1, 6, 6, 4, 6, 6]))
    [(0, 1, 1), (1, 3, 6), (3, 4, 4), (4, 6, 6)]
    """
    ends, lengths = torch.unique_consecutive(subtree_end.flatten(), return_counts=True)
    stops = lengths.cumsum(0)
    return list(zip((stops - lengths).tolist(), stops.tolist(), ends.tolist(), strict=True))
