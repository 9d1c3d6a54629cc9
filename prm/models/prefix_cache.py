"""PrefixCache: what a verifier keeps of what it has read, between calls.

Search scores the same beginnings again and again, each time with one step more. A `PrefixCache` keeps the keys and values
of what was read, as a tree of tokens per prompt, and the next call computes the tokens that are not in it and nothing else:
they are packed as ever (`prm.models.packing`), and each sees those before it, kept or new (`prm.models.tree_attention`).
The tree of the prompt `a b`, after a call with the traces `a b c d` and `a b c e` and another one with `a b c e f`:

    number      0  1  2  3  4  5      in the order of reading, in which keys and values are stored, call by call
    token       a  b  c  d  e  f
    parent     -1  0  1  2  2  4      only f was computed in the second call; it sees 0, 1, 2, 4 and itself

A branch forks where it is continued twice; nothing is copied for that.

Memory: a token takes 2 x layers x key-value heads x head size numbers, 46 KB in fp32 at the shape of SmolLM2-135M. The open
beams of a problem take up to 45 MB in a beam search at the lengths of GSM8K (16 beams, width 4, 8 steps, as in
`eval/bench_search.py`), and 125 MB with all the branches that were left. Where `max_bytes` does not hold everything, there
go first the prompts that were asked for least recently, then the branches that the present call does not ask for, then what
was read last: of more open problems than there is room for, some are kept and the others are read again in every call.

Left out: sharing between prompts (the header of a chat template), which nobody would own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import Cache

from prm.models.packing import pack
from prm.models.token_tree import TokenTree

_NEW = -1
"""The number of a token that is not kept."""

Layers = list[list[tuple[torch.Tensor, torch.Tensor]]]
"""Of each layer, keys and values of one run of tokens after another; each (1, heads, tokens, size)."""

StepScore = tuple[float, float]
"""A score and its spread (`prm.models.step_classifier.spread`)."""


class PrefixCache:
    """What may be asked for again: a tree per prompt, least recently used first."""

    most_prompts = 10_000
    """Whose names are known. Those that were asked for once have no tree."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._trees: dict[str, _Tree] = {}

    @property
    def bytes(self) -> int:
        return sum(tree.bytes for tree in self._trees.values())

    def ask(self, prompt: str) -> bool:
        """Note that this prompt is asked for. Returns whether it was before."""
        known = self._trees.pop(prompt, None)
        self._trees[prompt] = known or _Tree()
        if len(self._trees) > self.most_prompts:
            del self._trees[next(iter(self._trees))]
        return known is not None

    def read(
        self,
        prompts: Sequence[str],
        ids_N: Sequence[Sequence[int]],
        ends_N: Sequence[Sequence[int]],
        score: Callable[[dict[str, Any]], list[StepScore]],
        busy: set[str],
    ) -> list[list[StepScore]]:
        """The scores of traces at the ends of their steps. Tokens that are kept are not computed.

        Args:
            prompts: of each trace, all of them asked for.
            ids_N, ends_N: the token ids of each trace, and where its steps end; the last token is such an end.
            score: from the arguments of `StepClassifier.forward` to one score per `step_index`.
            busy: all prompts of the call that these traces are a part of: they make room for each other last.
        """
        # What is new of each prompt.
        groups: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(prompt, []).append(i)
        readings = [
            self._trees[prompt].plan([ids_N[i] for i in group], [ends_N[i] for i in group])
            for prompt, group in groups.items()
        ]
        # One row of all that is new, prompt after prompt, and where each of them starts in it.
        starts = [0]
        for reading in readings:
            starts.append(starts[-1] + len(reading.input_ids))
        # Ends of steps among the new tokens; the scores of the others are kept.
        ends = [
            sorted({n - reading.kept for numbers in reading.end_numbers for n in numbers if n >= reading.kept})
            for reading in readings
        ]
        if starts[-1]:
            kept = _RowCache([(reading.tree.layers, reading.continued) for reading in readings if reading.kept])
            parts = list(zip(readings, starts, strict=False))
            batch = {
                "input_ids": torch.cat([reading.input_ids for reading in readings])[None],
                "position_ids": torch.cat([reading.position_ids for reading in readings])[None],
                "subtree_end": torch.cat([reading.subtree_end + start for reading, start in parts])[None],
                "kept_below": torch.cat([reading.kept_below + start for reading, start in parts]),
                "step_index": torch.tensor(
                    [start + end for start, mine in zip(starts, ends, strict=False) for end in mine]
                ),
                "kept": kept,
            }
            scores = iter(score(batch))
            for (reading, start), mine, stop in zip(parts, ends, starts[1:], strict=True):
                new = {reading.kept + end: next(scores) for end in mine}
                reading.tree.add(reading, new, kept.new(slice(start, stop)))
        # Now the trees know everything: the scores of all traces, read now or before.
        steps_N: list[list[StepScore]] = [[]] * len(prompts)
        for group, reading in zip(groups.values(), readings, strict=True):
            for i, numbers in zip(group, reading.end_numbers, strict=True):
                steps_N[i] = [reading.tree.scores[number] for number in numbers]
        self._make_room(dict(zip(groups, readings, strict=True)), busy)
        return steps_N

    def _make_room(self, readings: dict[str, _Reading], busy: set[str]) -> None:
        over = self.bytes - self.max_bytes
        # Least recently asked for first.
        for prompt in [prompt for prompt in self._trees if prompt not in busy]:
            if over > 0:
                over -= self._trees[prompt].bytes
                self._trees[prompt] = _Tree()
        # Branches that this call did not ask for.
        for reading in readings.values():
            if over > 0:
                over -= reading.tree.prune(reading.numbers)
        # What was read last, so that the same prompts are kept in every call.
        for prompt in reversed(readings):
            if over > 0:
                over -= self._trees[prompt].bytes
                self._trees[prompt] = _Tree()


@dataclass(frozen=True)
class _Reading:
    """What is to be read of one prompt: a packed row, and what is left of it without the tokens that are kept (T)."""

    tree: _Tree
    kept: int
    """Tokens of the tree before."""
    paths: list[tuple[Sequence[int], list[int]]]
    """Of every trace its token ids and their numbers in the tree; new tokens have the next ones, in the order of the row."""
    end_numbers: list[list[int]]
    """Of every trace the numbers of the tokens at which a step ends."""
    numbers: torch.Tensor
    """Of all tokens of the row."""
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


class _Tree:
    """What is kept of one prompt."""

    def __init__(self) -> None:
        self.layers: Layers = []
        self.scores: dict[int, StepScore] = {}
        """Of the tokens at which a step ends."""
        self.size = 0
        self._tokens = TokenTree()

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for runs in self.layers for pair in runs for tensor in pair)

    def plan(self, ids_N: Sequence[Sequence[int]], ends_N: Sequence[Sequence[int]]) -> _Reading:
        row = pack(ids_N)
        places_N = [positions.numpy() for positions in row.positions_N]
        numbers = np.full(len(row.input_ids), _NEW)
        # Each trace down the tree, as far as it is known.
        known_N = [self._tokens.find(ids) for ids in ids_N]
        for known, places in zip(known_N, places_N, strict=True):
            numbers[places[: len(known)]] = known
        # A step that ends where none ended before has no score: this token is read again.
        for known, ends, places in zip(known_N, ends_N, places_N, strict=True):
            unread = [end for end in ends if end < len(known) and known[end] not in self.scores]
            numbers[places[unread]] = _NEW
        # New tokens have the next numbers, in the order of the row.
        new = torch.from_numpy(numbers == _NEW)
        numbered = torch.from_numpy(numbers)
        numbered[new] = self.size + torch.arange(int(new.sum()))
        # Ranges of the row, without its kept tokens.
        before = torch.cat([torch.zeros(1, dtype=torch.long), new.cumsum(0)])  # new tokens before each place
        ranges = torch.stack([before[:-1], before[row.subtree_end]], 1)
        kept_below = torch.zeros(self.size, 2, dtype=torch.long)
        kept_below[numbered[~new]] = ranges[~new]
        continued = (kept_below[:, 0] < kept_below[:, 1]).nonzero()[:, 0]
        numbers_N = [numbers[places].tolist() for places in places_N]
        return _Reading(
            tree=self,
            kept=self.size,
            paths=list(zip(ids_N, numbers_N, strict=True)),
            end_numbers=[[its[end] for end in ends] for its, ends in zip(numbers_N, ends_N, strict=True)],
            numbers=numbered,
            input_ids=row.input_ids[new],
            position_ids=row.position_ids[new],
            subtree_end=ranges[new, 1],
            continued=continued,
            kept_below=kept_below[continued],
        )

    def add(
        self, reading: _Reading, scores: dict[int, StepScore], layers: Iterable[tuple[torch.Tensor, torch.Tensor]]
    ) -> None:
        """Keep what was read: scores by number, keys and values by layer."""
        for i, (keys, values) in enumerate(layers):
            if i == len(self.layers):
                self.layers.append([])
            self.layers[i].append((keys.clone(), values.clone()))  # not a view of the whole row
        self.scores |= scores
        self.size += len(reading.input_ids)
        for ids, numbers in reading.paths:
            self._tokens.put(ids, numbers)

    def prune(self, numbers: torch.Tensor) -> int:
        """Forget all tokens but these, which are whole branches. Returns the bytes that are free now."""
        before, kept = self.bytes, numbers.sort().values
        renamed = self._tokens.keep(kept.tolist())
        self.scores = {renamed[number]: score for number, score in self.scores.items() if number in renamed}
        for i, runs in enumerate(self.layers):
            keys, values = (torch.cat(parts, -2) for parts in zip(*runs, strict=True))
            index = kept.to(keys.device)
            self.layers[i] = [(keys.index_select(-2, index), values.index_select(-2, index))]
        self.size = len(kept)
        return before - self.bytes


class _RowCache(Cache):
    """Gives every layer the keys and values of the kept tokens that the row continues before those of the row, and
    remembers the latter."""

    def __init__(self, trees: Sequence[tuple[Layers, torch.Tensor]]) -> None:
        super().__init__(layers=[])
        self._trees = trees
        self._row: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args, **kwargs):
        self._row.append((key_states, value_states))
        kept = [
            [
                torch.cat(part, -2).index_select(-2, numbers.to(key_states.device))
                for part in zip(*layers[layer_idx], strict=True)
            ]
            for layers, numbers in self._trees
        ]
        keys, values = zip(*kept, (key_states, value_states), strict=True)
        return torch.cat(keys, -2), torch.cat(values, -2)

    def new(self, part: slice) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values, by layer, of a part of the row."""
        return [(keys[:, :, part], values[:, :, part]) for keys, values in self._row]
