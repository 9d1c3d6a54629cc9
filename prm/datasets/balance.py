"""Chooses the traces to keep so that a verifier cannot learn a shortcut. Traces are only removed, and always the same ones.

Short and easy problems are solved more often, so "short" and "easy" predict the label; a verifier that learns this has
a falling loss and chooses worse than chance within a problem. There are three remedies, each of which keeps equal numbers
of traces:

- `problem`: within each problem, as many traces with a bad step as without. Then nothing that the traces of a problem
  share (its difficulty, its length) predicts the label. Problems with only one kind of trace are dropped. This is the
  strongest and most costly remedy.
- `label`: the same over the whole set, for sets where one label dominates.
- `level`: as many traces of every difficulty level, for sets that state one.

Left out: weighting instead of removing (`--bad_weight` of recipes/train_prm.py), and balancing lengths.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Literal

Balance = Literal["problem", "label", "level"]


def balanced(traces: Iterable[tuple[int, bytes, Hashable, Hashable]], kinds: int | None = None) -> set[int]:
    """The numbers of the traces to keep: in every group equally many of each kind.

    Args:
        traces: (number, key, group, kind). Of each kind, the traces with the smallest keys are kept. If the keys are
            hashes, this is a random choice that does not depend on the order of the rows.
        kinds: how many kinds a group must have; groups with fewer keep nothing. None = any number.

    >>> traces = [(0, b"c", "p", "good"), (1, b"a", "p", "good"), (2, b"b", "p", "bad"), (3, b"d", "q", "bad")]
    >>> balanced(traces, kinds=2)
    {1, 2}
    """
    groups: dict[Hashable, dict[Hashable, list[tuple[bytes, int]]]] = {}
    for number, key, group, kind in traces:
        groups.setdefault(group, {}).setdefault(kind, []).append((key, number))
    kept: set[int] = set()
    for members in groups.values():
        if kinds is None or len(members) == kinds:
            size = min(map(len, members.values()))
            kept.update(number for kind in members.values() for _, number in sorted(kind)[:size])
    return kept
