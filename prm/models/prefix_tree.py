"""PromptTree: what a verifier keeps of the traces of one prompt, and what is to be read of the next ones.

Keys and values lie in the order of their numbers, in which they were read (`prm.models.prefix_cache` has an example). A
trace that goes on from one of the last call is known up to there: neither its beginning is looked up again nor its scores.
Only what is new is packed; until it is, one place stands for all that is known of a trace. After the traces `a b c` and
`a b d` (0 1 2 and 0 1 3), of the traces `a b c e`, `a b d f` and `a b g`:

    known     0 1 | g | 0 1 2 | e | 0 1 3 | f       in tree order: what continues a kept token lies together
    row             g           e           f       0 and 1 are seen by all three, 2 by e, 3 by f
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from prm.models.packing import pack
from prm.models.roomy_layer import RoomyLayer
from prm.models.token_tree import Run, TokenTree

StepScore = tuple[float, float]
"""A score and its spread (`prm.models.step_classifier.spread`)."""


@dataclass(frozen=True)
class Known:
    """A trace that was read: from there its next step goes on."""

    run: Run | None
    """In which it ends; None = nothing was read."""
    numbers: np.ndarray
    """Of its tokens in the tree."""
    ends: tuple[int, ...]
    """Where its steps end."""
    scores: list[StepScore]
    """Of each step."""


_NOTHING = Known(None, np.empty(0, dtype=np.int64), (), [])


@dataclass(frozen=True)
class AskedTrace:
    """A trace that is to be read."""

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    before: Known
    numbers: np.ndarray
    """Of its tokens in the tree; new tokens have the next ones, in the order of the row."""
    read: np.ndarray
    """The same, with the numbers of this row where known tokens are read again for a score."""

    @property
    def new_ends(self) -> list[int]:
        """Where steps end that were not read in the last call."""
        return list(self.ends[len(self.before.ends) :])


@dataclass(frozen=True)
class Reading:
    """What is to be read of one prompt: a packed row of the tokens that are not kept (T)."""

    tree: PromptTree
    kept: int
    """Tokens of the tree before."""
    traces: list[AskedTrace]
    input_ids: torch.Tensor
    """(T,)"""
    position_ids: torch.Tensor
    """(T,)"""
    subtree_end: torch.Tensor
    """(T,)"""
    continued: torch.Tensor
    """Numbers of the tokens of the tree that any of the T tokens continues: branches that nothing continues are left out."""
    kept_below: torch.Tensor
    """(continued, 2) the range of the T tokens that continue each of them."""


class PromptTree:
    """What is kept of one prompt."""

    def __init__(self) -> None:
        self.layers: list[RoomyLayer] = []
        """Keys and values, (1, heads, tokens, size) in the order of their numbers."""
        self.scores: dict[int, StepScore] = {}
        """Of the tokens at which a step ends."""
        self.size = 0
        self._tokens = TokenTree()
        self._last_call: dict[tuple[int, ...], Known] = {}
        """The traces of the call before this one, by their token ids."""
        self._this_call: dict[tuple[int, ...], Known] = {}

    @property
    def bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)  # type: ignore[union-attr, misc]

    def begin_call(self) -> None:
        self._last_call, self._this_call = self._this_call, {}

    def plan(self, ids_N: Sequence[tuple[int, ...]], ends_N: Sequence[tuple[int, ...]]) -> Reading:
        # Each trace down the tree, as far as it is known.
        before_N = [self._before(ids, ends) for ids, ends in zip(ids_N, ends_N, strict=True)]
        found_N = [self._find(ids, before) for ids, before in zip(ids_N, before_N, strict=True)]
        known_N = [self._scored(*its) for its in zip(found_N, ends_N, before_N, strict=True)]
        # A packed row of what is new, with one token in the place of all that is known of a trace. It is the rank of these
        # numbers (big-endian bytes are in their order), so that what continues a kept token lies together.
        paths = [known.astype(">u4").tobytes() for known in known_N]
        known_R = dict(sorted(zip(paths, known_N, strict=True), key=lambda its: its[0]))
        ranks = {path: rank for rank, path in enumerate(known_R)}
        news = [ids[len(known) :] for ids, known in zip(ids_N, known_N, strict=True)]
        row = pack([(ranks[path], *new) for path, new in zip(paths, news, strict=True)])
        new = row.position_ids > 0
        roots = (~new).nonzero()[:, 0]
        # Ranges of the row, without the places of what is known.
        starts = torch.cat([torch.zeros(1, dtype=torch.long), new.cumsum(0)])  # new tokens before each place
        ranges = torch.stack([starts[:-1], starts[row.subtree_end]], 1)
        below = np.zeros((self.size, 2), dtype=np.int64)
        of_ranks = [(known, *its) for known, its in zip(known_R.values(), ranges[roots].tolist(), strict=True)]
        for known, first, end in of_ranks:
            if first < end:
                below[known, 1] = end
        for known, first, end in reversed(of_ranks):
            if first < end:
                below[known, 0] = first
        kept_below = torch.from_numpy(below)
        continued = kept_below[:, 1].nonzero()[:, 0]
        # The depth of a new token is that in the row, without the place before it, after what is known.
        lengths = torch.tensor([len(known) - 1 for known in known_R.values()])
        depths = row.position_ids + lengths.repeat_interleave(row.subtree_end[roots] - roots)
        numbers = (self.size + starts[:-1]).numpy()
        read_N = [
            np.concatenate([known, numbers[places.numpy()[1:]]])
            for known, places in zip(known_N, row.positions_N, strict=True)
        ]
        return Reading(
            tree=self,
            kept=self.size,
            traces=[
                AskedTrace(ids, ends, before, np.concatenate([found, read[len(found) :]]), read)
                for ids, ends, before, found, read in zip(ids_N, ends_N, before_N, found_N, read_N, strict=True)
            ],
            input_ids=row.input_ids[new],
            position_ids=depths[new],
            subtree_end=ranges[new, 1],
            continued=continued,
            kept_below=kept_below[continued],
        )

    def _before(self, ids: tuple[int, ...], ends: tuple[int, ...]) -> Known:
        """This trace without its last step, if that was read in the last call, and in the same steps."""
        before = self._last_call.get(ids[: ends[-2] + 1]) if len(ends) > 1 else None
        return before if before and before.ends == ends[:-1] else _NOTHING

    def _find(self, ids: tuple[int, ...], before: Known) -> np.ndarray:
        """The numbers of the tokens that are known."""
        found = self._tokens.find(ids, before.run)
        start = before.run.start if before.run else 0
        return np.concatenate([before.numbers[:start], np.array(found, dtype=np.int64)])

    def _scored(self, found: np.ndarray, ends: tuple[int, ...], before: Known) -> np.ndarray:
        """Those that need not be read. A step that ends where none ended before has no score: from there on all is read."""
        for end in ends[len(before.ends) :]:
            if end < len(found) and int(found[end]) not in self.scores:
                return found[:end]
        return found

    def add(self, scores: dict[int, StepScore], layers: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Keep what was read: scores by number, keys and values by layer."""
        added = 0
        for i, (keys, values) in enumerate(layers):
            if i == len(self.layers):
                self.layers.append(RoomyLayer())
            added = keys.shape[-2]
            self.layers[i].room = (self.size + added) // 4
            self.layers[i].update(keys, values)
        self.scores |= scores
        self.size += added

    def remember(self, traces: Sequence[AskedTrace]) -> list[list[StepScore]]:
        """Note that these are kept. Returns the scores of their steps."""
        steps_N = []
        for its in traces:
            skipped = its.before.run.start if its.before.run else 0
            run = self._tokens.put(its.ids, its.numbers[skipped:].tolist(), its.before.run)
            numbers, read = its.numbers[its.new_ends].tolist(), its.read[its.new_ends].tolist()
            self.scores |= {number: self.scores[again] for number, again in zip(numbers, read, strict=True)}
            steps_N.append(its.before.scores + [self.scores[number] for number in numbers])
            self._this_call[its.ids] = Known(run, its.numbers, its.ends, steps_N[-1])
        return steps_N

    def prune(self, traces: Sequence[AskedTrace]) -> int:
        """Forget everything but these. Returns the bytes that are free now."""
        before, kept = self.bytes, np.unique(np.concatenate([its.numbers for its in traces]))
        renamed = self._tokens.keep(kept.tolist())
        self.scores = {renamed[number]: score for number, score in self.scores.items() if number in renamed}
        for layer in self.layers:
            layer.select_tokens(torch.from_numpy(kept).to(layer.keys.device))  # type: ignore[union-attr]
        self.size = len(kept)
        asked = {its.ids: self._this_call[its.ids] for its in traces}
        self._last_call = {}
        self._this_call = {
            ids: replace(known, numbers=np.searchsorted(kept, known.numbers)) for ids, known in asked.items()
        }
        return before - self.bytes
