"""The prefix tree of sequences: every token once, the right ancestors, and rows filled up to their budget."""

import random

import pytest
import torch

from prm.models.packing import pack, plan_rows, segments
from prm.models.token_tree import shared_length


def random_traces(seed, problems=3, traces=5, alphabet=3):
    rng = random.Random(seed)
    sequences = []
    for problem in range(problems):
        prompt = [problem] * rng.randint(3, 40)
        for _ in range(traces):
            sequences.append(prompt + [rng.randrange(alphabet) for _ in range(rng.randint(1, 60))])
    rng.shuffle(sequences)
    return sequences


def test_the_example_of_the_docstring_by_hand():
    a, b, c, d, e, f = range(6)
    row = pack([[a, b, c], [a, b, d, e], [f]])
    assert row.input_ids.tolist() == [a, b, c, d, e, f]
    assert row.position_ids.tolist() == [0, 1, 2, 2, 3, 0]
    assert row.subtree_end.tolist() == [5, 5, 3, 5, 5, 6]
    assert [positions.tolist() for positions in row.positions_N] == [[0, 1, 2], [0, 1, 3, 4], [5]]
    assert segments(row.subtree_end) == [(0, 2, 5), (2, 3, 3), (3, 5, 5), (5, 6, 6)]


@pytest.mark.parametrize("seed", range(5))
def test_every_token_sees_exactly_the_tokens_in_front_of_it_in_its_sequence(seed):
    sequences = random_traces(seed)
    row = pack(sequences)
    prefixes = {tuple(s[: i + 1]) for s in sequences for i in range(len(s))}
    assert len(row.input_ids) == len(prefixes) < sum(map(len, sequences))  # each distinct prefix is one token
    i = torch.arange(len(row.input_ids))
    seen = (i[None, :] <= i[:, None]) & (i[:, None] < row.subtree_end[None, :])
    for sequence, positions in zip(sequences, row.positions_N, strict=True):
        assert row.input_ids[positions].tolist() == sequence
        assert row.position_ids[positions].tolist() == list(range(len(sequence)))
        for depth, position in enumerate(positions.tolist()):
            assert seen[position].nonzero().flatten().tolist() == positions[: depth + 1].tolist()


def test_equal_sequences_and_prefixes_of_others_need_no_tokens_of_their_own():
    row = pack([[1, 2, 3], [1, 2], [1, 2, 3], [1]])
    assert row.input_ids.tolist() == [1, 2, 3]
    assert [positions.tolist() for positions in row.positions_N] == [[0, 1, 2], [0, 1], [0, 1, 2], [0]]


@pytest.mark.parametrize("sequences", [[], [[1], []]])
def test_nothing_to_pack_is_an_error(sequences):
    with pytest.raises(ValueError, match="cannot pack"):
        pack(sequences)


@pytest.mark.parametrize("budget", [1, 50, 120, 10_000])
def test_rows_hold_every_sequence_once_and_keep_to_their_budget(budget):
    sequences = random_traces(0)
    rows = plan_rows(sequences, budget)
    assert sorted(i for row in rows for i in row) == list(range(len(sequences)))
    for row in rows:
        assert len(pack([sequences[i] for i in row]).input_ids) <= budget or len(row) == 1
    assert len(rows) == {1: 15, 10_000: 1}.get(budget, len(rows))


def test_a_row_may_be_full_to_the_last_token():
    assert plan_rows([[1, 2, 3], [1, 2, 4, 5], [9]], 5) == [[0, 1], [2]]
    assert plan_rows([[1, 2, 3], [1, 2, 4, 5], [9]], 6) == [[0, 1, 2]]


def test_shared_length():
    assert [shared_length([1, 2, 3], other) for other in ([], [2], [1, 2], [1, 2, 3, 4], [1, 9, 3])] == [0, 0, 2, 3, 1]
