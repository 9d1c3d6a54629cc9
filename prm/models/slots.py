"""Slots: the batch of a generator as fixed places for keys and values, so that reading a token can be one CUDA graph.

A small model on a GPU waits for Python: a token takes hundreds of kernels, each started from here, and the time is the same
for one row as for hundreds. A CUDA graph starts all of them at once, but with the shapes and addresses of the first time.
So every sample has a slot, with its tokens from the first column on, and is read together with some columns after its last
token, which the mask hides. `a b` and two samples of `c d e`, after a token each, in a graph of 3 rows and 8 columns:

    a b f . . . . .      length 3
    c d e g . . . .      length 4
    c d e h . . . .      length 4

Rows and columns of a graph are of few sizes (`enough`), so that few are captured: 768 samples that end one by one take 19
shapes of rows. Slots of samples that have ended are given to others (`refills`); what they held before, the mask hides, too.
They grow with their longest row, by zeros, since what is hidden must be a number. On the CPU, steps run without a graph; so
the tests compare samples, and record a step to see that it can be replayed.

Samples are those of `prm.models.growing_rows`, up to the rounding of other shapes. Why not what Transformers has: its
`StaticCache` has one length for all rows, so that no sample could begin while others run, and compiling takes half a minute;
its continuous batching draws the tokens of a batch from one random generator, stops at ids only, and keeps keys and values
in pages, which a search could not go on from.

Left out: drawing within the graph (a dozen kernels a token, of which the sort for top-p may not be captured); paging, so one
long row makes all slots long.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from prm.models.growing_rows import ReadPrefixes
from prm.models.roomy_layer import forgetful

COLUMNS = 64
"""Columns come in multiples of so many: kernels of attention want multiples of 8, and shapes should be few."""

Launch = Callable[[], object]


def can_have_slots(config: PreTrainedConfig) -> bool:
    """Whether a model takes a mask of our own making and needs nothing else of a row than its tokens and positions."""
    settings = config.get_text_config().to_dict()
    # Others add something to the scores by the distance of two tokens, which they count in a mask of columns.
    rotates = (settings.get("rope_parameters") or {}).get("rope_type") is not None and not settings.get("alibi")
    return rotates and forgetful(config) is None and config._attn_implementation == "sdpa"


def columns_for(tokens: int) -> int:
    """Those that a row of so many tokens is read with."""
    return COLUMNS * enough(-(-tokens // COLUMNS))


def enough(needed: int) -> int:
    """The first of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is not less."""
    power = 1 << (needed - 1).bit_length()
    return power * 3 // 4 if needed <= power * 3 // 4 else power


def capture(forward: Launch, device: torch.device, pool: Any) -> Launch:
    """A CUDA graph of what `forward` does. It runs once before, because kernels are loaded when they are first used.

    Args:
        pool: of memory (`torch.cuda.graph_pool_handle`), for graphs that never run at the same time.

    Raises:
        RuntimeError: it does what a graph cannot hold, such as waiting for a number of the device.
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            forward()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            forward()
    return graph.replay


def larger(part: torch.Tensor, *shape: int) -> torch.Tensor:
    """The part as the first corner of a tensor of zeros: what a mask hides must be a number all the same."""
    grown = part.new_zeros(shape)
    grown[tuple(map(slice, part.shape))] = part
    return grown


class SlotLayer(DynamicLayer):
    """Keys and values of one layer, (slots, heads, columns, size); a token goes into the column of its row's length."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True
        self.place = torch.empty(0)
        """(rows, 1) column of the next token of the first rows."""
        self.length = 0
        """Columns that are read."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Write (rows, heads, 1, size); returns keys and values of these rows, as far as they are read."""
        rows, place = len(key_states), self.place[:, :, None, None]
        keys, values = self.keys[:rows, :, : self.length], self.values[:rows, :, : self.length]
        keys.scatter_(2, place.expand_as(key_states), key_states)
        values.scatter_(2, place.expand_as(value_states), value_states)
        return keys, values


class Slots:
    """See the module's docstring. Methods as those of `prm.models.growing_rows.GrowingRows`."""

    refills = True

    def __init__(self, model: PreTrainedModel, context: int) -> None:
        """
        Args:
            model: one that `can_have_slots`.
            context: number of its positions.
        """
        self.model = model
        self.captures = model.device.type == "cuda"
        self._context = context
        self._empty()

    def _empty(self) -> None:
        self._lengths: list[int] = []
        """Tokens of each row."""
        # What a step reads and writes: of every slot its length, the token to be read, and the logits after it.
        self._length = self._token = torch.zeros(0, dtype=torch.long, device=self.model.device)
        self._logits = torch.zeros(0)
        self._cache = DynamicCache()
        self._steps: dict[tuple[int, int], Launch] = {}
        self._pool: Any = None

    @property
    def layers(self) -> list[SlotLayer]:
        return self._cache.layers  # type: ignore[return-value]

    def columns(self, row: int, tokens: int) -> list[int]:
        return list(range(tokens))

    def add(self, read: ReadPrefixes, forks: Sequence[int]) -> torch.Tensor:
        first, device = len(self._lengths), read.mask.device
        lengths = [len(columns) for columns in read.columns]
        longest = max(lengths)
        parts = [(layer.keys, layer.values) for layer in read.cache.layers]  # type: ignore[union-attr]
        if not self.layers:
            self._cache.layers = [SlotLayer(keys[:0, :, :0], values[:0, :, :0]) for keys, values in parts]  # type: ignore
            self._logits = read.logits[:0]
        self._make_room(enough(first + len(forks)), columns_for(longest))
        # After the last token of a shorter prefix stands its first one again: a number that was read, whatever it is.
        padded = [[*columns, *columns[:1] * (longest - len(columns))] for columns in read.columns]
        column = torch.tensor(padded, device=device)[:, None, :, None]
        fork, rows = torch.tensor(forks, device=device), slice(first, first + len(forks))
        for layer, its in zip(self.layers, parts, strict=True):
            for slots, part in zip((layer.keys, layer.values), its, strict=True):
                index = column.expand(-1, slots.shape[1], -1, slots.shape[3])
                slots[rows, :, :longest] = part.gather(2, index)[fork]  # type: ignore[union-attr]
        self._lengths += [lengths[i] for i in forks]
        self._length[rows] = torch.tensor(self._lengths[rows], device=device)
        return read.logits[fork]

    def keep(self, rows: Sequence[int]) -> None:
        keep, left = torch.tensor(rows, dtype=torch.long, device=self._length.device), len(rows)
        self._lengths = [self._lengths[row] for row in rows]
        # Picked before they are written; layer by layer, so that no more than one is there twice.
        self._length[:left] = self._length[keep]
        for layer in self.layers:
            layer.keys[:left], layer.values[:left] = layer.keys[keep], layer.values[keep]

    def read(self, tokens: torch.Tensor) -> torch.Tensor:
        """One token per row -> (rows, vocabulary) logits of what comes next, until the next token is read."""
        used = len(tokens)
        shape = rows, columns = enough(used), columns_for(max(self._lengths) + 1)
        self._make_room(rows, columns)
        self._token[:used] = tokens
        if shape not in self._steps:
            self._steps[shape] = self._prepared(rows, columns)
        self._steps[shape]()
        self._length[:used] += 1
        self._lengths = [length + 1 for length in self._lengths]
        return self._logits[:used]

    def release(self, max_bytes: int) -> None:
        """A call is over: of what is in use, slots that fit stay for the next."""
        if sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers) > max_bytes:
            self._empty()
        self._lengths = []

    def _prepared(self, rows: int, columns: int) -> Launch:
        step = partial(self._step, rows, columns)
        if not self.captures:
            return step
        try:
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            return capture(step, self.model.device, self._pool)
        except RuntimeError as error:
            self.captures = False
            reason = str(error).strip().splitlines()[0]
            warnings.warn(
                f"every token waits for its kernels, because they are in no CUDA graph: {reason}", stacklevel=2
            )
            return step

    def _step(self, rows: int, columns: int) -> None:
        """Read a token of each of the first rows. Whatever differs from token to token is on the device, at one address, and
        to run it twice is to run it once."""
        # A row that has ended, or has none, may be longer than what is read.
        place = self._length[:rows, None].clamp(max=columns - 1)
        for layer in self.layers:
            layer.place, layer.length = place, columns
        mask = torch.arange(columns, device=place.device) <= place
        self._logits[:rows] = self.model(
            input_ids=self._token[:rows, None],
            attention_mask=mask[:, None, None],
            position_ids=place.clamp(max=self._context - 1),
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]

    def _make_room(self, rows: int, columns: int) -> None:
        """At least so many slots of so many columns. Steps know the places of the old ones, so they go with them."""
        have = len(self._length), self.layers[0].keys.shape[2]
        if rows <= have[0] and columns <= have[1]:
            return
        if self.captures:
            torch.cuda.synchronize(self.model.device)  # a graph that goes may be running
        self._steps, self._pool = {}, None
        rows, columns = max(rows, have[0]), max(columns, have[1])
        self._length, self._token = larger(self._length, rows), larger(self._token, rows)
        self._logits = larger(self._logits, rows, self._logits.shape[1])
        for layer in self.layers:
            layer.keys = larger(layer.keys, rows, layer.keys.shape[1], columns, layer.keys.shape[3])
            layer.values = larger(layer.values, rows, layer.values.shape[1], columns, layer.values.shape[3])
