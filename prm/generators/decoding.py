r"""The loop of the `hf` engine: samples take rows of a batch, are written some tokens at a time, and leave it.

A GPU computes a token of a small model in less time than Python takes to look at the last one. So the engine looks after
every `block` tokens only: their random numbers are known before (`prm.generators.draws`), they are drawn where the logits
are, and then all are looked at together. What a sample has written after the token that ends it is taken back. Two samples
in blocks of 4, up to the end of a step:

    47 + 38 =    85 \n 85 -      `47 + 38 = 85 \n` is the step; 85 - is taken back
    9 * 5 =      45 \n 12 +      12 + is taken back

Tokens, counts, stop reasons and what is kept for a search are those of blocks of 1. A CPU writes these: there a row that has
ended and is still computed costs as much as one that goes on.

Left out: looking at one block while the next is computed. What has ended would stay for a second block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from prm.generators import Ended
from prm.generators.draws import draw, uniform
from prm.generators.token_text import OpenStep, TokenText, Until
from prm.models.growing_rows import GrowingRows, read_prefixes
from prm.models.kept_tokens import KeptTokens
from prm.models.slots import Slots
from prm.types import StopReason

REFILL = 8
"""Others take places of a batch when one in so many is free. On a GPU, reading new prefixes takes about as long as a token
of the whole batch: with fewer places at a time it would be paid more often, with more of them more stand empty."""


@dataclass
class Sample:
    """One continuation, while it is written."""

    prefix: tuple[int, ...]
    seed: int
    limit: int
    """Most tokens."""
    ids: list[int] = field(default_factory=list)
    odds: list[float] = field(default_factory=list)
    """Of each token, if two ids are watched."""
    step: OpenStep = field(default_factory=OpenStep)
    stop: StopReason | None = None
    """None while it goes on."""


@dataclass(frozen=True)
class Way:
    """How samples are written."""

    text: TokenText
    until: Until
    temperature: float
    top_p: float
    batch_size: int
    """Most rows at once."""
    block: int
    """Tokens that are written before the engine looks at them."""
    watched: tuple[int, int] | None
    """Two ids whose log-odds are told."""


@torch.inference_mode()
def write(
    samples: Sequence[Sample],
    rows: GrowingRows | Slots,
    way: Way,
    ended: Ended,
    kept: KeptTokens | None,
    keep_bytes: int,
) -> None:
    """Write all samples to their ends, in the order given."""
    rows.keep([])  # a call that failed may have left some
    present: list[Sample] = []  # that of each row; one that has ended may stay for a while
    asked = 0  # samples that have, or had, a row
    last = torch.empty(0)  # token of each row
    while True:
        running = [row for row, sample in enumerate(present) if sample.stop is None]
        new = admitted(samples, asked, len(running), way.batch_size, rows.refills)
        # Removing rows copies keys and values, so they leave in groups of at least 5%.
        if new or len(running) < 0.95 * len(present):
            if kept is not None:
                keep_steps(kept, present, rows)
                kept.make_room(keep_bytes)
            rows.keep(running)
            present, last = [present[row] for row in running], last[running]
        if not new and not running:
            break
        logits = [rows.read(last)] if running else []
        if new:
            fresh = samples[asked : asked + new]
            logits.append(begin(fresh, rows, kept))
            present, asked = [*present, *fresh], asked + new
        tokens, odds = write_block(present, rows, torch.cat(logits) if len(logits) > 1 else logits[0], way)
        last = tokens[:, -1]

        newly = 0
        for sample, ids, its_odds in zip(present, tokens.tolist(), odds, strict=True):
            if sample.stop is None:
                ids, reason = way.text.stop_among(ids[: sample.limit - len(sample.ids)], way.until, sample.step)
                sample.ids += ids
                sample.odds += its_odds[: len(ids)]
                full: StopReason | None = "length" if len(sample.ids) == sample.limit else None
                sample.stop = reason or full
                newly += sample.stop is not None
        ended(newly)
    rows.release(keep_bytes)


def begin(fresh: Sequence[Sample], rows: GrowingRows | Slots, kept: KeptTokens | None) -> torch.Tensor:
    """Give each of them a row; (samples, vocabulary) logits after their prefixes."""
    # Prefill every distinct prefix once. Fork: then a row per sample, with a copy of its prefix's cache.
    distinct = {prefix: i for i, prefix in enumerate(dict.fromkeys(sample.prefix for sample in fresh))}
    read = read_prefixes(rows.model, list(distinct), kept)
    return rows.add(read, [distinct[sample.prefix] for sample in fresh])


def write_block(
    present: Sequence[Sample], rows: GrowingRows | Slots, logits: torch.Tensor, way: Way
) -> tuple[torch.Tensor, list[list[float]]]:
    """(rows, tokens) what every row writes next, the first of it by these logits, and the odds of each token, if watched."""
    length = min(way.block, max(sample.limit - len(sample.ids) for sample in present if sample.stop is None))
    # All of them before the first token: it does not wait for Python, nor does any after it.
    positions = np.array([len(sample.ids) for sample in present])[:, None] + np.arange(length)
    seeds = np.array([sample.seed for sample in present], dtype=np.uint64)[:, None]
    numbers = torch.from_numpy(uniform(seeds, positions)).to(logits.device)
    tokens: list[torch.Tensor] = []
    odds: list[torch.Tensor] = []
    for turn in range(length):
        if turn:
            logits = rows.read(tokens[-1])
        tokens.append(draw(logits, numbers[:, turn], way.temperature, way.top_p))
        if way.watched is not None:
            odds.append(logits[:, way.watched[0]] - logits[:, way.watched[1]])
    return torch.stack(tokens, 1), torch.stack(odds, 1).tolist() if odds else [[]] * len(present)


def admitted(samples: Sequence[Sample], asked: int, running: int, batch_size: int, refills: bool) -> int:
    """How many of the samples from `asked` on get a row now: a whole batch where none runs, else what is free."""
    left = len(samples) - asked
    most = min(left, batch_size - running)
    if not running or not most:
        return most
    if not refills or most < min(left, math.ceil(batch_size / REFILL)):
        return 0
    # Samples of one prefix come together where they fit, so that it is read once.
    whole = most
    while whole and asked + whole < len(samples) and samples[asked + whole - 1].prefix == samples[asked + whole].prefix:
        whole -= 1
    return whole or most


def keep_steps(kept: KeptTokens, present: Sequence[Sample], rows: GrowingRows | Slots) -> None:
    """Keep of the rows that have ended what a search may go on from: all but the last token, which need not be read yet."""
    going = {row: (*sample.prefix, *sample.ids[:-1]) for row, sample in enumerate(present) if sample.stop == "step"}
    places = [(row, rows.columns(row, len(ids))) for row, ids in going.items()]
    kept.add(list(going.values()), places, rows.layers)
