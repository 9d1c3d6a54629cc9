"""PrefixCache: what a verifier keeps of what it has read, between calls.

Search scores the same beginnings again and again, each time with one step more. A `PrefixCache` keeps the keys and values
of what was read, as a tree of tokens per prompt, and the next call computes the tokens that are not in it and nothing else:
they are packed as ever (`prm.models.packing`), and each sees those before it, kept or new (`prm.models.tree_attention`).
The tree of the prompt `a b`, after a call with the traces `a b c d` and `a b c e` and another one with `a b c e f`:

    number      0  1  2  3  4  5      in the order of reading, in which keys and values are stored, call by call
    token       a  b  c  d  e  f
    parent     -1  0  1  2  2  4      only f was computed in the second call; it sees 0, 1, 2, 4 and itself

A branch forks where it is continued twice; nothing is copied for that. A trace that goes on from one of the last call is
known up to there and not looked up again, so that in a search the work beside the model's does not grow with the depth.

Memory: a token takes 2 x layers x key-value heads x head size numbers, 46 KB in fp32 at the shape of SmolLM2-135M. The open
beams of a problem take up to 45 MB in a beam search at the lengths of GSM8K (16 beams, width 4, 8 steps, as in
`eval/bench_search.py`), and 125 MB with all the branches that were left. Where `max_bytes` does not hold everything, there
go first the prompts that were asked for least recently, then the branches that the present call does not ask for, then what
was read last: of more open problems than there is room for, some are kept and the others are read again in every call. What
comes next has up to a quarter more.

Left out: sharing between prompts (the header of a chat template), which nobody would own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import Cache

from prm.models.packing import pack
from prm.models.roomy_layer import RoomyLayer
from prm.models.token_tree import Run, TokenTree

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
        self._trees[prompt].begin_call()
        if len(self._trees) > self.most_prompts:
            del self._trees[next(iter(self._trees))]
        return known is not None

    def read(
        self,
        prompts: Sequence[str],
        ids_N: Sequence[tuple[int, ...]],
        ends_N: Sequence[tuple[int, ...]],
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
            sorted(
                {
                    n - reading.kept
                    for its in reading.traces
                    for n in its.read[its.new_ends].tolist()
                    if n >= reading.kept
                }
            )
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
                reading.tree.add(new, kept.new(slice(start, stop)))
        # Now the trees know everything: the scores of all traces, read now or before.
        steps_N: list[list[StepScore]] = [[]] * len(prompts)
        for group, reading in zip(groups.values(), readings, strict=True):
            for i, steps in zip(group, reading.tree.remember(reading.traces), strict=True):
                steps_N[i] = steps
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
                over -= reading.tree.prune(reading.traces)
        # What was read last, so that the same prompts are kept in every call.
        for prompt in reversed(readings):
            if over > 0:
                over -= self._trees[prompt].bytes
                self._trees[prompt] = _Tree()


@dataclass(frozen=True)
class _Known:
    """A trace that was read: from there its next step goes on."""

    run: Run | None
    """In which it ends; None = nothing was read."""
    numbers: np.ndarray
    """Of its tokens in the tree."""
    ends: tuple[int, ...]
    """Where its steps end."""
    scores: list[StepScore]
    """Of each step."""


_NOTHING = _Known(None, np.empty(0, dtype=np.int64), (), [])


@dataclass(frozen=True)
class _Trace:
    """A trace that is to be read."""

    ids: tuple[int, ...]
    ends: tuple[int, ...]
    before: _Known
    numbers: np.ndarray
    """Of its tokens in the tree; new tokens have the next ones, in the order of the row."""
    read: np.ndarray
    """The same, with the numbers of this row where known tokens are read again for a score."""

    @property
    def new_ends(self) -> list[int]:
        """Where steps end that were not read in the last call."""
        return list(self.ends[len(self.before.ends) :])


@dataclass(frozen=True)
class _Reading:
    """What is to be read of one prompt: a packed row of the tokens that are not kept (T)."""

    tree: _Tree
    kept: int
    """Tokens of the tree before."""
    traces: list[_Trace]
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
        self.layers: list[RoomyLayer] = []
        """Keys and values, (1, heads, tokens, size) in the order of their numbers."""
        self.scores: dict[int, StepScore] = {}
        """Of the tokens at which a step ends."""
        self.size = 0
        self._tokens = TokenTree()
        self._last_call: dict[tuple[int, ...], _Known] = {}
        """The traces of the call before this one, by their token ids."""
        self._this_call: dict[tuple[int, ...], _Known] = {}

    @property
    def bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)  # type: ignore[union-attr, misc]

    def begin_call(self) -> None:
        self._last_call, self._this_call = self._this_call, {}

    def plan(self, ids_N: Sequence[tuple[int, ...]], ends_N: Sequence[tuple[int, ...]]) -> _Reading:
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
        return _Reading(
            tree=self,
            kept=self.size,
            traces=[
                _Trace(ids, ends, before, np.concatenate([found, read[len(found) :]]), read)
                for ids, ends, before, found, read in zip(ids_N, ends_N, before_N, found_N, read_N, strict=True)
            ],
            input_ids=row.input_ids[new],
            position_ids=depths[new],
            subtree_end=ranges[new, 1],
            continued=continued,
            kept_below=kept_below[continued],
        )

    def _before(self, ids: tuple[int, ...], ends: tuple[int, ...]) -> _Known:
        """This trace without its last step, if that was read in the last call, and in the same steps."""
        before = self._last_call.get(ids[: ends[-2] + 1]) if len(ends) > 1 else None
        return before if before and before.ends == ends[:-1] else _NOTHING

    def _find(self, ids: tuple[int, ...], before: _Known) -> np.ndarray:
        """The numbers of the tokens that are known."""
        found = self._tokens.find(ids, before.run)
        start = before.run.start if before.run else 0
        return np.concatenate([before.numbers[:start], np.array(found, dtype=np.int64)])

    def _scored(self, found: np.ndarray, ends: tuple[int, ...], before: _Known) -> np.ndarray:
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

    def remember(self, traces: Sequence[_Trace]) -> list[list[StepScore]]:
        """Note that these are kept. Returns the scores of their steps."""
        steps_N = []
        for its in traces:
            skipped = its.before.run.start if its.before.run else 0
            run = self._tokens.put(its.ids, its.numbers[skipped:].tolist(), its.before.run)
            numbers, read = its.numbers[its.new_ends].tolist(), its.read[its.new_ends].tolist()
            self.scores |= {number: self.scores[again] for number, again in zip(numbers, read, strict=True)}
            steps_N.append(its.before.scores + [self.scores[number] for number in numbers])
            self._this_call[its.ids] = _Known(run, its.numbers, its.ends, steps_N[-1])
        return steps_N

    def prune(self, traces: Sequence[_Trace]) -> int:
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


class _RowCache(Cache):
    """Gives every layer the keys and values of the kept tokens that the row continues before those of the row, and
    remembers the latter."""

    def __init__(self, trees: Sequence[tuple[list[RoomyLayer], torch.Tensor]]) -> None:
        super().__init__(layers=[])
        self._trees = trees
        self._row: list[tuple[torch.Tensor, torch.Tensor]] = []

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args, **kwargs):
        self._row.append((key_states, value_states))
        parts = [(layers[layer_idx], numbers.to(key_states.device)) for layers, numbers in self._trees]
        keys = [layer.keys.index_select(-2, numbers) for layer, numbers in parts]  # type: ignore[union-attr]
        values = [layer.values.index_select(-2, numbers) for layer, numbers in parts]  # type: ignore[union-attr]
        return torch.cat([*keys, key_states], -2), torch.cat([*values, value_states], -2)

    def new(self, part: slice) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values, by layer, of a part of the row."""
        return [(keys[:, :, part], values[:, :, part]) for keys, values in self._row]
