"""Attention over a packed prefix tree: every token attends to its ancestors and itself, and nothing else is computed.

Registered with transformers under the name `prefix_tree` (`AttentionInterface`), so the models themselves stay stock. On
the CPU each node of the tree attends to itself (causal), and *all* tokens below a node attend to it in one call. Both are
contiguous slices of the row, so nothing is gathered or copied. The partial results are merged by their log-sum-exp, as in
FlashAttention. The backward pass of the fused kernel is exact for a slice of keys if it is given the merged output and
log-sum-exp (the identity on which ring attention is based, Liu et al. 2310.01889). A small subtree is one call with a
mask, because there the calls cost more than the masked part. A dense mask over the whole row would cost its square.

Where keys and values of earlier rows are kept (`prm.models.prefix_cache`, no gradients), they come before those of the row,
and each of them is seen by the tokens of the row that continue it: a range again, because the row is in tree order.

On GPUs the same mask is a FlexAttention block mask. Left out: attention dropout, soft-capped scores, sliding windows
shorter than a trace (refused).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, PreTrainedConfig
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from prm.models.packing import segments

NAME = "prefix_tree"
SMALL = 128
"""Largest subtree, in tokens, that is one call with a mask. Measured: at 128 the masked part costs a 0.9M-parameter model
as much as the calls that it saves."""

Call = tuple[slice, slice, bool, torch.Tensor | None]
"""Queries, keys, whether the two are the same node (causal), and a mask for a small subtree."""

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def attention_calls(subtree_end: torch.Tensor, kept_below: torch.Tensor | None = None) -> list[Call] | BlockMask:
    """The kernel calls that make up the attention over a packed row (CPU), or its block mask (GPU); one for all layers.

    Args:
        subtree_end: (1, T) or (T,), of a `PackedRow`.
        kept_below: (K, 2), for each kept token the first token of the row that continues it and the index after the last.
            Keys and values of the K kept tokens come before those of the row. None = nothing is kept.
    """
    ends = subtree_end.flatten()
    kept = 0 if kept_below is None else len(kept_below)
    if ends.device.type != "cpu":
        mask = flex_mask(ends, kept_below)
        return create_block_mask(mask, None, None, len(ends), kept + len(ends), device=str(ends.device), _compile=True)
    own: list[Call] = []
    below: list[Call] = []
    done = 0
    if kept_below is not None:
        for first, end, start, stop, mixed in _kept_groups(kept_below):
            seen = _range_mask(kept_below[start:stop], first, end) if mixed else None
            below.append((slice(first, end), slice(start, stop), False, seen))
    # In row order a node comes before everything below it.
    for start, stop, end in segments(ends):
        if start < done:  # the node is part of a small subtree that has its call already
            continue
        # A small subtree with branches is one call for all its nodes.
        if stop < end <= start + SMALL:
            keys = slice(kept + start, kept + end)
            own.append((slice(start, end), keys, False, _additive_mask(ends[start:end] - start)))
            done = end
            continue
        # Any other node attends to itself, and everything below it attends to all of it, which needs no mask.
        keys = slice(kept + start, kept + stop)
        own.append((slice(start, stop), keys, True, None))
        if stop < end:
            below.append((slice(stop, end), keys, False, None))
    # `own` covers every query exactly once, from the first to the last: its results are written, those of `below` merged.
    return own + below


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    tree: list[Call] | BlockMask | None = None,
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The attention function that transformers calls. (1, heads, T, size) -> (1, T, heads, size); keys and values may be
    more than queries: the kept ones come first.

    Args:
        tree: what `attention_calls` returned; None = the rows are plain causal sequences.
    """
    if tree is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if options.get("dropout") or options.get("softcap"):
        raise ValueError(
            f"{type(module).__name__} asks for attention dropout or soft-capped scores, which packed rows do not have; set"
            " attention_dropout to 0 in the model's config.json, or take a base model without soft-capping"
        )
    if isinstance(tree, BlockMask):
        return flex_attention_forward(module, query, key, value, tree, **options)
    # Under autocast, rotary embeddings leave queries and keys in fp32 while values are bf16.
    query, key = query.to(value.dtype), key.to(value.dtype)
    return _TreeAttention.apply(query, key, value, tree, options.get("scaling")), None


class _TreeAttention(torch.autograd.Function):
    """The CPU path. Keys and values may have fewer heads than queries (grouped-query attention)."""

    @staticmethod
    def forward(ctx, query, key, value, tree: list[Call], scale: float | None) -> torch.Tensor:
        batch, heads, length, size = query.shape
        # Laid out as transformers wants it, so that the last transpose gives a contiguous tensor.
        out = query.new_empty(batch, length, heads, size).transpose(1, 2)
        lse = torch.empty(batch, heads, length, dtype=torch.float32)
        done = 0  # queries in front of this one have a result
        for q, k, causal, mask in tree:
            part, part_lse = _forward(
                query[:, :, q], key[:, :, k], value[:, :, k], 0.0, causal, attn_mask=mask, scale=scale
            )
            if q.stop > done:
                # The own part of these queries comes first: there is nothing to merge it with.
                out[:, :, q], lse[:, :, q] = part, part_lse
                done = q.stop
            else:
                # An ancestor's part: its share of the softmax is e^part_lse / (e^part_lse + e^lse), a sigmoid.
                weight = torch.sigmoid(part_lse - lse[:, :, q])[..., None]
                out[:, :, q].lerp_(part, weight.to(part.dtype))
                lse[:, :, q] = torch.logaddexp(lse[:, :, q], part_lse)
        # Only merged results are kept: the backward pass needs no partial ones.
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.tree, ctx.scale = tree, scale
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):  # type: ignore[override]
        query, key, value, out, lse = ctx.saved_tensors
        gradient = gradient.transpose(1, 2)
        d_query, d_key, d_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        done = 0
        for q, k, causal, mask in ctx.tree:
            # With the merged output and log-sum-exp, the kernel weighs these keys by their share of the whole softmax,
            # so its three results are exact terms of the gradients and only have to be added up.
            parts = _backward(
                gradient[:, :, q],
                query[:, :, q],
                key[:, :, k],
                value[:, :, k],
                out[:, :, q],
                lse[:, :, q],
                0.0,
                causal,
                attn_mask=mask,
                scale=ctx.scale,
            )
            if q.stop > done:
                # The own part comes first for queries, keys and values alike: writing it saves zeroing the three tensors.
                d_query[:, :, q], d_key[:, :, k], d_value[:, :, k] = parts
                done = q.stop
            else:
                d_query[:, :, q] += parts[0]
                d_key[:, :, k] += parts[1]
                d_value[:, :, k] += parts[2]
        return d_query, d_key, d_value, None, None


def check_supported(config: PreTrainedConfig, max_length: int) -> None:
    """Refuse a model whose attention is not the one computed here.

    Raises:
        ValueError: a sliding window shorter than the longest trace; layers other than attention, whose state would leak
            from one trace of a row into the next.
    """
    kinds = set(config.to_dict().get("layer_types") or ())
    if kinds - {"full_attention", "sliding_attention"}:
        raise ValueError(
            f"{config.model_type} models have {', '.join(sorted(kinds))} layers; packed rows need attention in all of them:"
            " use a Llama, Qwen2, Qwen3, Mistral, Gemma ... base model"
        )
    window = config.to_dict().get("sliding_window")
    if window is not None and window < max_length and kinds != {"full_attention"}:
        raise ValueError(
            f"{config.model_type} models attend to the last {window} tokens only, and traces may have {max_length}:"
            f" packed rows would see more; lower --max_length to {window}"
        )


def flex_mask(ends: torch.Tensor, kept_below: torch.Tensor | None = None) -> Callable[..., torch.Tensor]:
    """(T,) subtree ends and (K, 2) ranges of kept tokens, as in `attention_calls` -> FlexAttention's form of the mask: a
    function of the indices of query and key."""
    # For every key the range of the queries that see it.
    first = torch.arange(len(ends), device=ends.device)
    if kept_below is not None:
        first, ends = torch.cat([kept_below[:, 0], first]), torch.cat([kept_below[:, 1], ends])

    def mask(batch, head, q, kv):
        return (first[kv] <= q) & (q < ends[kv])

    return mask


def _kept_groups(kept_below: torch.Tensor) -> list[tuple[int, int, int, int, bool]]:
    """Kept tokens that are seen in one call: the range of the queries and that of the keys, and whether a mask is needed.

    A run of tokens that the same queries continue is one call without a mask. The runs after it join it while their queries
    are among its own, so that no query sees nothing, and while what the mask hides costs less than a call (`SMALL`).
    """
    if not len(kept_below):
        return []
    # Runs of equal rows; `unique_consecutive` with a dimension takes thirty times as long.
    last = torch.cat([(kept_below[1:] != kept_below[:-1]).any(1), torch.tensor([True])])
    ranges, stops = kept_below[last], (last.nonzero()[:, 0] + 1).tolist()
    lengths = [stop - start for start, stop in zip([0, *stops], stops, strict=False)]
    groups: list[tuple[int, int, int, int, bool]] = []
    for (first, end), length, stop in zip(ranges.tolist(), lengths, stops, strict=True):
        if groups:
            its_first, its_end, start, before, _ = groups[-1]
            hidden = (its_end - its_first - (end - first)) * length
            inside = first == end or its_first <= first < end <= its_end
            if before == stop - length and inside and hidden <= SMALL**2:
                groups[-1] = (its_first, its_end, start, stop, True)
                continue
        if first < end:  # else it is a branch that nothing continues
            groups.append((first, end, stop - length, stop, False))
    return groups


def _range_mask(ranges: torch.Tensor, first: int, end: int) -> torch.Tensor:
    """(K, 2) ranges -> (queries, K) mask of the queries from `first` to `end`: 0 in the range of a key, -inf elsewhere."""
    i = torch.arange(first, end)[:, None]
    seen = (ranges[:, 0] <= i) & (i < ranges[:, 1])
    return torch.zeros(seen.shape).masked_fill(~seen, -torch.inf)


def _additive_mask(ends: torch.Tensor) -> torch.Tensor:
    """(T,) subtree ends -> (T, T) mask: 0 where a token (row) attends to another (column), -inf elsewhere."""
    i = torch.arange(len(ends))
    seen = (i[None, :] <= i[:, None]) & (i[:, None] < ends[None, :])
    return torch.zeros(len(ends), len(ends)).masked_fill(~seen, -torch.inf)


AttentionInterface.register(NAME, tree_attention)
