"""Costs by hand and against brute force over tokens."""

import pytest

from prm.costs import ModelShape, forward_flops, generation_cost, inference_multiple, scoring_cost
from prm.types import Continuation, Scores


def test_flops_by_hand():
    """An 8B model that reads 1000 tokens: 16 TFLOPs."""
    assert forward_flops(8_000_000_000, 1000) == 1.6e13
    assert forward_flops(0, 1000) == forward_flops(8, 0) == 0.0


def by_token(shape, first, last):
    """Token by token: twice the weights, and twice the width of the keys and of the values for every token it sees."""
    return sum(2 * shape.weights + (2 + 2) * shape.attention * (position + 1) for position in range(first, last))


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 1), (0, 7), (5, 6), (3, 50)])
def test_flops_of_a_shape_add_up_over_the_tokens(first, last):
    shape = ModelShape(1000, 48)
    assert shape.flops(first, last) == by_token(shape, first, last)


def test_what_is_generated_is_charged_at_its_place():
    """Two continuations share a prefix of which two tokens were known before; a third has another one."""
    shape = ModelShape(1000, 48)
    prefixes = [(1, 2, 3, 4, 5), (1, 2, 3, 4, 5), (1, 2)]
    continuations = [
        Continuation((6, 7), "ab", "step", prefill=5, keeps=True),
        Continuation((8,), "c", "eos", prefill=5, keeps=True),
        Continuation((9, 9, 9), "ddd", "length", prefill=2),
    ]
    cost = generation_cost(prefixes, continuations, 1100, shape, kept_N=[2, 2, 0])
    assert (cost.prompt_tokens, cost.generated_tokens, cost.cached_tokens) == (3 + 2, 2 + 1 + 3, 2 + 3 + 2)
    assert cost.cached_verifier_tokens == 0
    read = by_token(shape, 2, 5) + by_token(shape, 0, 2)
    written = by_token(shape, 5, 7) + by_token(shape, 5, 6) + by_token(shape, 2, 5)
    assert cost.flops_by_shape == read + written
    assert cost.flops == 2 * 1100 * (5 + 6)
    unknown = generation_cost(prefixes, continuations, 1100, kept_N=[2, 2, 0])
    assert unknown.flops_by_shape == cost.flops  # nothing is known of the shape
    nothing_kept = generation_cost(prefixes, continuations, 1100, shape)
    assert (nothing_kept.prompt_tokens, nothing_kept.cached_tokens) == (5 + 2, 5)
    assert nothing_kept.flops_by_shape - cost.flops_by_shape == by_token(shape, 0, 2)


def test_what_is_read_is_charged_after_what_it_shares():
    shape = ModelShape(1000, 48)
    scores = [Scores((0.5,), 0.5, read=7), None, Scores((0.5, 0.5), 0.5, read=3, cached=4)]
    steps = [("a",), ("b",), ("a", "c")]
    cost = scoring_cost(steps, scores, 1100, shape=shape)
    assert (cost.verifier_tokens, cost.cached_tokens, cost.cached_verifier_tokens, cost.verifier_calls) == (10, 4, 4, 2)
    assert cost.flops_by_shape == by_token(shape, 0, 7) + by_token(shape, 4, 7)
    assert cost.flops == scoring_cost(steps, scores, 1100).flops_by_shape == 2 * 1100 * 10


@pytest.mark.parametrize("ratio", [0.16, 0.79, 22])
def test_both_models_cost_the_same_in_all(ratio):
    parameters, pretraining = 3e9, 1e12
    inference = ratio * pretraining

    def total(size, times=1.0):
        return 6 * size * pretraining + times * 2 * size * inference

    assert total(parameters, inference_multiple(14, ratio)) == pytest.approx(total(14 * parameters))


def test_the_figures_of_the_paper():
    assert [round(inference_multiple(14, ratio)) for ratio in (0.16, 0.79, 22)] == [258, 63, 16]
    assert inference_multiple(1, 5) == 1


@pytest.mark.parametrize(("larger", "ratio"), [(0.5, 1), (14, 0)])
def test_what_cannot_be_exchanged_is_refused(larger, ratio):
    with pytest.raises(ValueError, match=f"a model {larger} times as large at a ratio of {ratio}"):
        inference_multiple(larger, ratio)
