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

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import Cache

from prm.models.prefix_tree import PromptTree, Reading, StepScore
from prm.models.roomy_layer import RoomyLayer


class PrefixCache:
    """What may be asked for again: a tree per prompt, least recently used first."""

    most_prompts = 10_000
    """Whose names are known. Those that were asked for once have no tree."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._trees: dict[str, PromptTree] = {}

    @property
    def bytes(self) -> int:
        return sum(tree.bytes for tree in self._trees.values())

    def ask(self, prompt: str) -> bool:
        """Note that this prompt is asked for. Returns whether it was before."""
        known = self._trees.pop(prompt, None)
        self._trees[prompt] = known or PromptTree()
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

    def _make_room(self, readings: dict[str, Reading], busy: set[str]) -> None:
        over = self.bytes - self.max_bytes
        # Least recently asked for first.
        for prompt in [prompt for prompt in self._trees if prompt not in busy]:
            if over > 0:
                over -= self._trees[prompt].bytes
                self._trees[prompt] = PromptTree()
        # Branches that this call did not ask for.
        for reading in readings.values():
            if over > 0:
                over -= reading.tree.prune(reading.traces)
        # What was read last, so that the same prompts are kept in every call.
        for prompt in reversed(readings):
            if over > 0:
                over -= self._trees[prompt].bytes
                self._trees[prompt] = PromptTree()


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
