"""Keys and values that a generator keeps: found again by their tokens, stored once, the least recently used go first."""

from types import SimpleNamespace

import pytest
import torch

from prm.models.kept_tokens import KeptTokens

LAYERS, HEADS, SIZE = 2, 3, 4
BYTES = 2 * LAYERS * HEADS * SIZE * 4
"""Of a token."""


def layers(sequences, offset):
    """The key of a token is the sum of the tokens up to it, in layer i times i + 1; its value is the negative of this.
    Sequence i stands in row i, from column `offset` on; the other columns hold 99."""
    columns = offset + max(map(len, sequences))
    keys = torch.full((len(sequences), columns), 99.0)
    for row, ids in zip(keys, sequences, strict=True):
        row[offset : offset + len(ids)] = torch.tensor(ids, dtype=torch.float).cumsum(0)
    keys = keys[:, None, :, None].expand(-1, HEADS, -1, SIZE)
    return [SimpleNamespace(keys=keys * (i + 1), values=-keys * (i + 1)) for i in range(LAYERS)]


def add(kept, *sequences, offset=2):
    places = [(row, range(offset, offset + len(ids))) for row, ids in enumerate(sequences)]
    kept.add(sequences, places, layers(sequences, offset))


def gathered(kept, *prefixes):
    """The keys of each prefix, which all heads and layers and the values must agree on."""
    numbers_N = [kept.find(prefix) for prefix in prefixes]
    found = kept.gather(numbers_N)
    first = found[0][0][:, 0, :, 0]
    assert len(found) == LAYERS
    for i, (keys, values) in enumerate(found):
        assert keys.shape == (len(prefixes), HEADS, max(map(len, numbers_N)), SIZE)
        assert torch.equal(keys, -values)
        assert torch.equal(keys, (i + 1) * first[:, None, :, None].expand_as(keys))
    return [row[len(row) - len(numbers) :].tolist() for row, numbers in zip(first, numbers_N, strict=True)]


def test_what_was_added_is_gathered():
    kept = KeptTokens()
    add(kept, [1, 2, 3], [5, 6])
    add(kept, [1, 2, 4, 8], [1, 2, 4], [7], offset=0)
    assert len(kept) == 3 + 2 + 2 + 1  # each token once
    assert kept.bytes == len(kept) * BYTES
    # Ragged; without the last token of a prefix, which has to be read; up to the first that is not known.
    assert gathered(kept, [1, 2, 4, 8, 9], [5, 6], [7], [1, 2, 3], [1, 9, 9, 9]) == [
        [1, 3, 7, 15],
        [5],
        [],
        [1, 3],
        [1],
    ]


def test_the_least_recently_used_goes_first_and_then_what_came_last():
    kept = KeptTokens()
    kept.ask([])
    add(kept, [1, 2, 3])
    add(kept, [5, 6])
    kept.make_room(5 * BYTES)
    assert len(kept) == 5
    kept.ask([[5, 6, 7]])
    add(kept, [5, 6, 7])
    kept.make_room(5 * BYTES)
    assert kept.bytes == 5 * BYTES
    assert gathered(kept, [5, 6, 7, 0], [1, 2, 3, 0]) == [
        [5, 11, 18],
        [1, 3],
    ]  # 3 is of the first call, and came last in it
    kept.make_room(3 * BYTES + 1)
    assert gathered(kept, [5, 6, 7, 0], [1, 2, 3, 0]) == [[5, 11, 18], []]
    kept.make_room(2 * BYTES)
    assert kept.find([5, 6, 7, 0]) == [0, 1]
    add(kept, [5, 6, 8])
    assert gathered(kept, [5, 6, 8, 0]) == [[5, 11, 19]]
    kept.make_room(0)
    assert len(kept) == kept.bytes == 0
    add(kept, [4, 4])
    assert gathered(kept, [4, 4, 4]) == [[4, 8]]


@pytest.mark.parametrize("room", range(1, 40, 3))
def test_whole_beginnings_are_left(room):
    kept, numbers = KeptTokens(), torch.Generator().manual_seed(room)
    for _ in range(6):
        sequences = torch.randint(3, (4, 5), generator=numbers).tolist()
        kept.ask(sequences)
        add(kept, *sequences)
        kept.make_room(room * BYTES)
        assert len(kept) <= room
        for ids in sequences:
            found = kept.find([*ids, 0])
            if found:
                sums = torch.tensor(ids[: len(found)]).cumsum(0).tolist()
                assert gathered(kept, [*ids, 0]) == [sums]


def test_what_fits_to_the_byte_stays_and_nothing_fits_into_nothing():
    kept = KeptTokens()
    kept.make_room(0)
    add(kept, [1, 2, 3])
    kept.make_room(3 * BYTES)
    assert len(kept) == 3
    kept.make_room(3 * BYTES - 1)
    assert gathered(kept, [1, 2, 3]) == [[1, 3]]
    kept.make_room(0)
    assert (len(kept), kept.bytes) == (0, 0)
