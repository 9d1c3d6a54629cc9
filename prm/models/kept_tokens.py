"""KeptTokens: what a generator has read and written in one search, so that a new step costs its own tokens.

A search goes on from the same beginnings again and again, each time with one step more. Keys and values of all their tokens
stay here, and the next call gathers those of its prefixes and computes what is missing: of a step that was sampled
before, the last token, which was drawn and never read. The prompt `a b` and two steps after it, `c d` and `c e`:

    call                            computed     kept afterwards (`prm.models.token_tree`)
    a b       -> c d, c e           a b c c      a b c
    a b c d   -> f g                d f          a b c d f
    a b c d   -> f i                d f          the same: what is sampled again is stored once

Tokens are found by their ids. Where a step is tokenized otherwise than it was sampled ("4", "7" and then "47"), it is read
again from there. Not kept are traces that have ended, since no call continues them.

The search makes one (`prm.search.driver`) and hands it to its generator with every call; it goes with the search. The
generator limits its size (`make_room`): those tokens go first that were asked for least recently, and of one call those
that came last. What is gone is read again, which costs time and is not charged (`prm.search.task`).

Memory: as that of `prm.models.prefix_cache` per token, and up to a quarter more for what comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prm.models.token_tree import TokenTree

if TYPE_CHECKING:  # a search need not load torch; its generator does
    import torch

    from prm.models.roomy_layer import RoomyLayer


class KeptTokens:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._tree = TokenTree()
        self._layers: list[RoomyLayer] = []
        """One row, with the tokens in the order of their numbers."""
        self._asked: list[int] = []
        """Of every token the last call that asked for it."""
        self._calls = 0

    def __len__(self) -> int:
        return len(self._tree)

    @property
    def bytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._layers)  # type: ignore[union-attr, misc]

    def ask(self, prefixes: Iterable[Sequence[int]]) -> None:
        """Note that a call continues these."""
        self._calls += 1
        for prefix in prefixes:
            for number in self._tree.find(prefix):
                self._asked[number] = self._calls

    def find(self, prefix: Sequence[int]) -> list[int]:
        """The numbers of its first tokens that are kept; not the last one, which is read for what it says of the next."""
        return self._tree.find(prefix)[: len(prefix) - 1]

    def gather(self, numbers_N: Sequence[Sequence[int]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer, (N, heads, tokens of the longest, head size), padded on the left."""
        import torch

        length = max(map(len, numbers_N))
        padded = torch.tensor([[0] * (length - len(numbers)) + list(numbers) for numbers in numbers_N])

        def pick(part: torch.Tensor) -> torch.Tensor:
            found = part[0].index_select(1, padded.flatten().to(part.device))
            return found.unflatten(1, padded.shape).transpose(0, 1)

        return [(pick(layer.keys), pick(layer.values)) for layer in self._layers]  # type: ignore[arg-type]

    def add(
        self, ids_N: Sequence[Sequence[int]], places_N: Sequence[tuple[int, Sequence[int]]], layers: Sequence
    ) -> None:
        """Keep what is new of these sequences.

        Args:
            places_N: of each sequence its row in the layers, and the columns of its tokens.
            layers: keys and values (rows, heads, columns, head size) of each layer.
        """
        import torch

        from prm.models.roomy_layer import RoomyLayer

        rows: list[int] = []
        columns: list[int] = []
        for ids, (row, places) in zip(ids_N, places_N, strict=True):
            known = len(self._tree)
            self._tree.add(ids)
            # What is new of a sequence is its end.
            added = len(self._tree) - known
            rows += [row] * added
            columns += places[len(places) - added :]
        self._asked += [self._calls] * len(rows)
        if not rows:
            return
        if not self._layers:
            self._layers = [RoomyLayer() for _ in layers]
        picked = torch.tensor(rows), torch.tensor(columns)
        for mine, layer in zip(self._layers, layers, strict=True):
            mine.room = len(self) // 4
            new = (part.transpose(1, 2)[picked].transpose(0, 1)[None] for part in (layer.keys, layer.values))
            mine.update(*new)

    def make_room(self, max_bytes: int) -> None:
        """Forget what exceeds the limit."""
        import torch

        if self.bytes <= max_bytes:
            return
        # Least recently asked for goes first, then what came last. A token was asked for whenever one after it was, and came
        # before it, so what is left are whole beginnings.
        room = max_bytes * len(self) // self.bytes
        kept = sorted(sorted(range(len(self)), key=lambda number: (-self._asked[number], number))[:room])
        self._tree.keep(kept)
        self._asked = [self._asked[number] for number in kept]
        for layer in self._layers:
            layer.select_tokens(torch.tensor(kept, dtype=torch.long, device=layer.keys.device))  # type: ignore[union-attr]
