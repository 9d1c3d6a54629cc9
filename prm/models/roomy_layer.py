"""RoomyLayer: keys and values of one layer of a model that generates, and what a batch of rows of them can do."""

from __future__ import annotations

import torch
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer with room to grow, which can be forked to several rows. The stock layer copies all of
    them for every new token, a third of the time of a small model."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 32
        """Tokens for which there is place after the next that needs more of it."""
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Append (rows, heads, new tokens, head size); returns all keys and all values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        total = used + key_states.shape[-2]
        if self._buffers is None or self._buffers[0].shape[-2] < total:
            shape = (*key_states.shape[:2], total + self.room, key_states.shape[-1])
            keys, values = key_states.new_empty(shape), value_states.new_empty(shape)
            if used:
                keys[..., :used, :] = self.keys  # type: ignore[assignment]
                values[..., :used, :] = self.values  # type: ignore[assignment]
            self._buffers = keys, values
        keys, values = self._buffers
        keys[..., used:total, :], values[..., used:total, :] = key_states, value_states
        self.keys, self.values = keys[..., :total, :], values[..., :total, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        used = self.get_seq_length()
        keys, values = self._buffers  # type: ignore[misc]  # a layer that has read nothing has no rows to select
        self._buffers = keys, values = keys.index_select(0, indices), values.index_select(0, indices)
        self.keys, self.values = keys[..., :used, :], values[..., :used, :]

    def join(self, rows: torch.Tensor, first: int, other: RoomyLayer) -> None:
        """Keep these rows, without the columns before `first`, and add all rows of `other` after them. Both end in the same
        column; the shorter ones are filled up with zeros on the left, where the caller's mask hides them."""
        keys = self._stack(self.keys[rows, :, first:], other.keys)  # type: ignore[index, arg-type]
        values = self._stack(self.values[rows, :, first:], other.values)  # type: ignore[index, arg-type]
        self._buffers, length = (keys, values), keys.shape[-2] - self.room
        self.keys, self.values = keys[..., :length, :], values[..., :length, :]

    def _stack(self, *parts: torch.Tensor) -> torch.Tensor:
        """(rows, heads, columns, head size) each -> all rows, ending in the same column, with room after it."""
        length, (_, heads, _, size) = max(part.shape[-2] for part in parts), parts[0].shape
        stacked = parts[0].new_zeros(sum(map(len, parts)), heads, length + self.room, size)
        for part, its in zip(parts, stacked.split([len(part) for part in parts]), strict=True):
            its[:, :, length - part.shape[-2] : length] = part
        return stacked

    def select_tokens(self, indices: torch.Tensor) -> None:
        """Forget all tokens but these."""
        self.keys, self.values = self.keys.index_select(-2, indices), self.values.index_select(-2, indices)  # type: ignore
        self._buffers = self.keys, self.values


def join(
    cache: DynamicCache, mask: torch.Tensor, rows: torch.Tensor, other: DynamicCache, other_mask: torch.Tensor
) -> torch.Tensor:
    """Put all rows of the other cache after these rows of the first; the mask of the joined rows.

    Args:
        mask: (rows, columns), of the rows that stay. Columns that none of them uses are left out.
    """
    first = int(mask.any(0).long().argmax())
    for layer, added in zip(cache.layers, other.layers, strict=True):
        layer.join(rows, first, added)  # type: ignore[union-attr]
    parts = (mask[:, first:], other_mask)
    length = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (length - part.shape[1], 0)) for part in parts])


def forgetful(config: PreTrainedConfig) -> str | None:
    """Why what this model has read is not the same in a later call; None if it is."""
    kinds = {type(layer) for layer in DynamicCache(config=config).layers} - {DynamicLayer}
    if kinds:
        return f"has layers that keep other than all keys and values ({', '.join(sorted(kind.__name__ for kind in kinds))})"
    scaling = (config.get_text_config().to_dict().get("rope_parameters") or {}).get("rope_type")
    return (
        f"rotates keys by the length of the text (rope_type {scaling})" if scaling in ("dynamic", "longrope") else None
    )
