"""What is to be read of a prompt, by hand. Scores of models: `tests/unit/verifiers/test_kept_prefixes.py`."""

import torch

from prm.models.prefix_tree import PromptTree

A, B, C, D, E, F, G = range(10, 17)


def read(tree, traces):
    """As `PrefixCache.read`: each score is the number of its token."""
    tree.begin_call()
    reading = tree.plan([tuple(ids) for ids, _ in traces], [tuple(ends) for _, ends in traces])
    ends = {number for its in reading.traces for number in its.read[its.new_ends].tolist()}
    states = torch.arange(len(reading.input_ids)).reshape(1, 1, -1, 1) + float(reading.kept)
    new = {number: (float(number), 0.0) for number in ends if number >= reading.kept}
    tree.add(new, [(states, states)] if len(reading.input_ids) else [])
    return reading, tree.remember(reading.traces)


def columns(reading):
    return [
        its.tolist()
        for its in (reading.input_ids, reading.position_ids, reading.subtree_end, reading.continued, reading.kept_below)
    ]


def test_what_is_new_lies_in_tree_order_after_what_it_continues():
    tree = PromptTree()
    reading, scores = read(tree, [([A, B, C], [1, 2]), ([A, B, D], [1, 2])])
    assert columns(reading) == [[A, B, C, D], [0, 1, 2, 2], [4, 4, 3, 4], [], []]
    assert scores == [[(1.0, 0.0), (2.0, 0.0)], [(1.0, 0.0), (3.0, 0.0)]]
    # The first two go on from traces of the last call, the third from the middle of both.
    reading, scores = read(tree, [([A, B, C, E], [1, 2, 3]), ([A, B, D, F], [1, 2, 3]), ([A, B, G], [1, 2])])
    assert columns(reading) == [[G, E, F], [2, 3, 3], [1, 2, 3], [0, 1, 2, 3], [[0, 3], [0, 3], [1, 2], [2, 3]]]
    assert [its[-1][0] for its in scores] == [5, 6, 4]
    assert scores[0] == [(1.0, 0.0), (2.0, 0.0), (5.0, 0.0)]
    assert tree.layers[0].keys.flatten().tolist() == [*range(7)]
    # All is known: nothing is read, the scores are the same.
    again, known = read(tree, [([A, B, C, E], [1, 2, 3])])
    assert (len(again.input_ids), known) == (0, scores[:1])


def test_from_a_step_that_ends_where_none_ended_all_is_read_again():
    tree = PromptTree()
    read(tree, [([A, B, C], [2])])
    reading, scores = read(tree, [([A, B, C, D], [1, 3])])
    assert columns(reading)[:4] == [[B, C, D], [1, 2, 3], [3, 3, 3], [0]]
    assert scores == [[(3.0, 0.0), (5.0, 0.0)]]
    reading, scores = read(tree, [([A, B, C, D, E], [1, 2, 3, 4])])
    assert (reading.input_ids.tolist(), scores) == ([E], [[(3.0, 0.0), (2.0, 0.0), (5.0, 0.0), (6.0, 0.0)]])


def test_what_is_pruned_leaves_traces_that_go_on():
    tree = PromptTree()
    read(tree, [([A, B], [1]), ([A, C], [1]), ([A, D], [1])])
    reading, _ = read(tree, [([A, D, E], [1, 2])])
    assert tree.prune(reading.traces) == 2 * 2 * 4  # keys and values of B and C
    assert tree.layers[0].keys.flatten().tolist() == [0, 3, 4]
    reading, scores = read(tree, [([A, D, E, F], [1, 2, 3]), ([A, B], [1])])
    assert columns(reading) == [[B, F], [1, 3], [1, 2], [0, 1, 2], [[0, 2], [1, 2], [1, 2]]]
    assert [[number for number, _ in its] for its in scores] == [[3.0, 4.0, 4.0], [3.0]]
