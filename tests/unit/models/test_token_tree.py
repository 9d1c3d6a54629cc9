"""Numbers of known tokens, by hand and against a tree without runs."""

import itertools
import random

import pytest

from prm.models.token_tree import TokenTree


def test_beginnings_are_numbered_once():
    tree = TokenTree()
    assert tree.find([7, 8]) == []
    for ids in ([7, 8, 1], [7, 8, 2, 3], [8], []):
        tree.add(ids)
    assert tree.find([7, 8, 1]) == [0, 1, 2]
    assert tree.find([7, 8, 2, 3]) == [0, 1, 3, 4]
    assert tree.find([8]) == [5]  # the same token elsewhere is another one
    assert tree.find([7, 8, 2, 9, 3]) == [0, 1, 3]
    assert tree.find([9]) == tree.find([]) == []
    assert len(tree) == 6


def test_what_is_forgotten_is_unknown_and_the_rest_is_numbered_anew():
    tree = TokenTree()
    for ids in ([7, 8, 1], [7, 8, 2, 3], [8]):
        tree.add(ids)
    assert tree.keep([0, 1, 3]) == {0: 0, 1: 1, 3: 2}
    assert tree.find([7, 8, 1]) == [0, 1]
    assert tree.find([7, 8, 2, 3]) == [0, 1, 2]
    assert tree.find([8]) == []
    tree.add([7, 8, 1])
    assert tree.find([7, 8, 1]) == [0, 1, 3]


def test_numbers_may_be_given():
    tree = TokenTree()
    tree.put([7, 8, 1], [4, 2, 9])
    assert tree.find([7, 8, 1]) == [4, 2, 9]


class OneByOne:
    """The same, token by token."""

    def __init__(self):
        self.numbers = {}

    def find(self, ids):
        known = itertools.takewhile(lambda end: tuple(ids[:end]) in self.numbers, range(1, len(ids) + 1))
        return [self.numbers[tuple(ids[:end])] for end in known]

    def put(self, ids, numbers):
        self.numbers |= {tuple(ids[: i + 1]): number for i, number in enumerate(numbers)}

    def add(self, ids):
        known, size = self.find(ids), len(self.numbers)
        self.put(ids, [*known, *range(size, size + len(ids) - len(known))])

    def keep(self, kept):
        renamed = {number: i for i, number in enumerate(kept)}
        self.numbers = {ids: renamed[number] for ids, number in self.numbers.items() if number in renamed}
        return renamed


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_known_as_their_tokens_are(seed):
    """Whether a walk begins at the root, or in the run in which a beginning of the sequence ended when it was added."""
    rng, tree, plain = random.Random(seed), TokenTree(), OneByOne()
    ends = {(): None}
    for _ in range(60):
        before = rng.choice(sorted(ends))
        ids, at = [*before, *(rng.randrange(2) for _ in range(rng.randrange(6)))], ends[before]
        start = at.start if at else 0
        assert tree.find(ids, at) == plain.find(ids)[start:]
        assert tree.find(ids) == plain.find(ids)
        ends[tuple(ids)] = tree.add(ids, at)
        plain.add(ids)
        assert tree.find(ids) == plain.find(ids)
        assert len(tree) == len(plain.numbers)
        if rng.random() < 0.2:  # a token is read again, under a new number
            again = plain.find(ids)
            again[start:] = [its if rng.random() < 0.8 else 1000 + rng.randrange(10**9) for its in again[start:]]
            assert tree.put(ids, again[start:], at).start <= len(ids)
            plain.put(ids, again)
        if rng.random() < 0.2:  # whole beginnings
            some = {
                end for ids in rng.sample(sorted(plain.numbers), len(plain.numbers) // 2) for end in plain.find(ids)
            }
            assert tree.keep(sorted(some)) == plain.keep(sorted(some))
            assert len(tree) == len(plain.numbers)
            ends = {ids: run for ids, run in ends.items() if not ids or ids in plain.numbers}
