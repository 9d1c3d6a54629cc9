"""RoomyLayer: keys and values of one layer of a model that generates, on which rows and tokens can be picked."""

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

    def select_tokens(self, indices: torch.Tensor) -> None:
        """Forget all tokens but these."""
        self.keys, self.values = self.keys.index_select(-2, indices), self.values.index_select(-2, indices)  # type: ignore
        self._buffers = self.keys, self.values


def forgetful(config: PreTrainedConfig) -> str | None:
    """Why what this model has read is not the same in a later call; None if it is."""
    kinds = {type(layer) for layer in DynamicCache(config=config).layers} - {DynamicLayer}
    if kinds:
        return f"has layers that keep other than all keys and values ({', '.join(sorted(kind.__name__ for kind in kinds))})"
    scaling = (config.get_text_config().to_dict().get("rope_parameters") or {}).get("rope_type")
    return (
        f"rotates keys by the length of the text (rope_type {scaling})" if scaling in ("dynamic", "longrope") else None
    )
