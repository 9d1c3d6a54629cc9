"""Which traces to keep so that a verifier cannot learn a shortcut. It only leaves out, and always the same ones.

Short and easy problems are solved more often, so "short" and "easy" predict the label; a verifier that learns it has a
falling loss and chooses worse than chance within a problem. Three ways against it, each an equal number of traces per
kind:

- `problem`: within each problem as many traces with a bad step as without. Nothing that is common to the traces of a
  problem (its difficulty, its length) predicts the label any more. Problems with one kind only go. The strongest, and
  the most costly.
- `label`: the same over the whole set. For sets where one label dominates.
- `level`: as many traces of every difficulty level. For sets that state one.

Left out: weights instead of leaving out (`--bad_weight` of recipes/train_prm.py), and lengths themselves.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Literal

Balance = Literal["problem", "label", "level"]


def balanced(traces: Iterable[tuple[int, bytes, Hashable, Hashable]], kinds: int | None = None) -> set[int]:
    """The numbers of the traces to keep: in every group equally many of each kind.

    Args:
        traces: (number, key, group, kind). Of the traces of one kind, those with the smallest keys are kept: with
        hashes for keys,
            a random choice that does not depend on the order of the rows.
        kinds: how many kinds a group must have; groups with fewer keep nothing. None = those it has.

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
