"""GrowingRows: the batch of a generator as one table of keys and values that gets a column with every token.

Prefixes are read first, each once (`read_prefixes`), and copied to the rows of their samples (a fork). They are padded on
the left, so that all rows end in the same column. The prompts `a b` and `c d e`, two samples of the second:

    read         forked                 after a token
    . a b        . a b    row 0         . a b f
    c d e        c d e    row 1         c d e g
                 c d e    row 2         c d e h

This is the batch of a CPU, where rows that have ended are best removed at once, and of models that do not keep all keys and
values (sliding windows, recurrent states), whose layers are the stock ones. On a GPU the shape of the table would change
with every token, so that no graph of its kernels could be kept: there it is `prm.models.slots`.

Left out: rows that come while others run. Those need prefixes of other lengths beside tokens that were written, which is
padding that a CPU computes: filled up, the embedded generators took 1.3 to 1.8 times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from prm.models.kept_tokens import KeptTokens
from prm.models.roomy_layer import RoomyLayer


@dataclass
class ReadPrefixes:
    """What a model has read, a row per prefix."""

    cache: DynamicCache
    logits: torch.Tensor
    """(prefixes, vocabulary), of what comes next."""
    mask: torch.Tensor
    """(prefixes, columns of the cache), 1 at real tokens."""
    columns: list[list[int]]
    """Of each prefix those of its tokens."""


def read_prefixes(
    model: PreTrainedModel, prefixes: Sequence[tuple[int, ...]], kept: KeptTokens | None = None
) -> ReadPrefixes:
    """Read the prefixes, without what is kept of them."""
    device = model.device
    known = [kept.find(prefix) if kept is not None else [] for prefix in prefixes]
    old = [len(numbers) for numbers in known]
    new = [len(prefix) - n for prefix, n in zip(prefixes, old, strict=True)]
    # First kept tokens and then new ones, both padded on the left, so that all prefixes end in the same column.
    before, length = max(old), max(old) + max(new)
    columns = [[*range(before - k, before), *range(length - n, length)] for k, n in zip(old, new, strict=True)]
    mask = torch.zeros(len(prefixes), length, dtype=torch.long)
    for row, mine in zip(mask, columns, strict=True):
        row[mine] = 1
    mask = mask.to(device)
    ids = [[0] * (max(new) - n) + list(prefix[-n:]) for prefix, n in zip(prefixes, new, strict=True)]

    # Layers that reserve room to grow; the usual ones copy the whole cache at every token.
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if kept is not None and before:
        for layer, (keys, values) in zip(cache.layers, kept.gather(known), strict=True):
            layer.update(keys, values)  # type: ignore[union-attr]
    output = model(
        input_ids=torch.tensor(ids, device=device),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0)[:, before:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    if kept is not None:
        kept.add(prefixes, list(enumerate(columns)), cache.layers)
    return ReadPrefixes(cache, output.logits[:, -1], mask, columns)


class GrowingRows:
    """See the module's docstring. `prm.models.slots.Slots` has the same methods."""

    refills = False
    """Whether rows may be added while others run."""

    def __init__(self, model: PreTrainedModel, context: int) -> None:
        """
        Args:
            context: number of positions of the model.
        """
        self.model = model
        self._context = context
        self._cache = DynamicCache()
        self._mask = torch.empty(0)
        self._prefixes: list[list[int]] = []
        """Of each row the columns of its prefix."""
        self._written = 0
        """The first column after the prefixes."""

    @property
    def layers(self) -> list:
        return self._cache.layers

    def columns(self, row: int, tokens: int) -> list[int]:
        """Where its first so many tokens, those of its prefix and more, stand in the layers."""
        prefix = self._prefixes[row]
        return [*prefix, *range(self._written, self._written + tokens - len(prefix))]

    def add(self, read: ReadPrefixes, forks: Sequence[int]) -> torch.Tensor:
        """A row per entry of `forks`, which names its prefix; there must be none. (rows, vocabulary) logits after it."""
        fork = torch.tensor(forks, device=read.mask.device)
        read.cache.batch_select_indices(fork)
        self._cache, self._mask = read.cache, read.mask[fork]
        self._prefixes, self._written = [read.columns[i] for i in forks], read.mask.shape[1]
        return read.logits[fork]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these stay, in this order."""
        if rows:
            keep = torch.tensor(rows, device=self._mask.device)
            self._cache.batch_select_indices(keep)
            self._mask, self._prefixes = self._mask[keep], [self._prefixes[row] for row in rows]
        else:
            self._cache, self._mask, self._prefixes = DynamicCache(), torch.empty(0), []

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """One token per row -> (rows, vocabulary) logits of what comes next."""
        # Positions count the real tokens; a row that ended but stayed could run beyond the last position.
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], 1)
        return self.model(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=(self._mask.sum(-1, keepdim=True) - 1).clamp(max=self._context - 1),
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]

    def release(self, max_bytes: int) -> None:
        """A call is over: no row is left, and of the memory no more than this. Here it is none."""
        self.keep([])
