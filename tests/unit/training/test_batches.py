"""Examples -> one packed row with literal positions; the order in which examples come."""

from dataclasses import replace

import torch

from prm.training.batches import ProblemSampler, RowCollator, StepCollator
from prm.training.examples import PairExample, TraceExample


def example(input_ids, step_ends, targets):
    hard = tuple(target > 0.5 for target in targets)
    return TraceExample(input_ids, step_ends, targets, hard, tuple(range(len(targets))), "p", False)


def test_batch_is_one_row_without_padding_that_points_at_its_steps():
    batch = StepCollator()([example((5, 6, 10, 11, 12), (1, 4), (1.0, 0.0)), example((5, 6, 7), (2,), (0.5,))])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 10, 11, 12]]  # 5 and 6 are shared
    assert batch["position_ids"].tolist() == [[0, 1, 2, 2, 3, 4]]
    assert batch["subtree_end"].tolist() == [[6, 6, 3, 6, 6, 6]]
    assert batch["step_index"].tolist() == [1, 5, 2]
    assert batch["step_trace"].tolist() == [0, 0, 1]
    assert (batch["labels"].tolist(), str(batch["labels"].dtype)) == ([1.0, 0.0, 0.5], "torch.float32")
    assert batch["sequence_tokens"].item() == 8


def test_a_step_that_two_traces_share_has_the_targets_of_both():
    batch = StepCollator()([example((5, 6, 7), (1, 2), (1.0, 0.25)), example((5, 6, 8), (1, 2), (0.5, 0.0))])
    assert batch["step_index"].tolist() == [1, 2, 1, 3]
    assert batch["step_trace"].tolist() == [0, 0, 1, 1]
    assert batch["labels"].tolist() == [1.0, 0.25, 0.5, 0.0]


def test_a_pair_has_one_target_and_its_right_trace_first():
    right, wrong, worse = example((1, 2), (1,), (1.0,)), example((1, 3), (1,), (0.0,)), example((1, 4), (1,), (0.0,))
    batch = StepCollator()([PairExample(right, wrong), PairExample(right, worse)])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4]]  # the right trace is in both pairs and in the row once
    assert batch["step_index"].tolist() == [1, 2, 1, 3]
    assert batch["step_trace"].tolist() == [0, 1, 2, 3]
    assert batch["labels"].tolist() == [1.0, 1.0]
    assert batch["rollouts"].tolist() == [1, 1]


def test_steps_without_rollouts_count_as_one_each():
    counted = replace(example((1, 2, 3), (1, 2), (1.0, 0.5)), rollouts=(4, 8))
    batch = StepCollator()([counted, example((1, 4), (1,), (0.0,))])
    assert batch["rollouts"].tolist() == [4, 8, 1]
    hard = replace(example((1, 4), (1,), (0.0,)), targets=(1,))
    assert StepCollator()([hard])["labels"].dtype == torch.float32


def test_the_traces_of_a_step_are_cut_into_rows_by_their_tokens():
    """7 tokens hold the three traces that begin with 5, since they share it; the fourth trace is longer than a row."""
    examples = [
        example((9,) * 8, (7,), (1.0,)),
        example((5, 6, 7), (2,), (0.25,)),
        example((5, 1, 2), (2,), (0.5,)),
        example((5, 3, 4), (1, 2), (0.0, 0.75)),
    ]
    batch = RowCollator(7)(examples)
    assert [row["input_ids"].tolist() for row in batch["rows"]] == [[[5, 1, 2, 3, 4, 6, 7]], [[9] * 8]]
    assert [row["labels"].tolist() for row in batch["rows"]] == [[0.5, 0.0, 0.75, 0.25], [1.0]]
    assert batch["labels"].tolist() == [0.5, 0.0, 0.75, 0.25, 1.0]
    assert batch["input_ids"].shape == (1, 15)
    assert [row["input_ids"].numel() for row in RowCollator(6)(examples)["rows"]] == [5, 3, 8]
    assert [row["input_ids"].numel() for row in RowCollator(15)(examples)["rows"]] == [15]
    pair = PairExample(examples[1], examples[2])
    assert [row["labels"].tolist() for row in RowCollator(6)([pair, pair])["rows"]] == [[1.0, 1.0]]


PROBLEMS = [f"p{i % 7}" for i in range(21)]


def test_sampler_keeps_problems_together_and_repeats_its_order():
    sampler = ProblemSampler(PROBLEMS, seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(21))
    assert all(len({PROBLEMS[i] for i in first[k : k + 3]}) == 1 for k in range(0, 21, 3))
    assert list(sampler) == first == list(ProblemSampler(PROBLEMS, seed=3))
    assert list(ProblemSampler(PROBLEMS, seed=4)) != first
    sampler.set_epoch(0)  # what training begins with
    assert list(sampler) == first


def test_sampler_draws_problems_and_the_traces_of_each_in_another_order_every_epoch():
    sampler = ProblemSampler(PROBLEMS, seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    problems_of = [[PROBLEMS[i] for i in order[::3]] for order in orders]
    assert problems_of[0] != problems_of[1] != problems_of[2]
    traces_of = [[i for i in order if PROBLEMS[i] == "p0"] for order in orders]
    assert [sorted(traces) for traces in traces_of] == [[0, 7, 14]] * 3
    assert len(set(map(tuple, traces_of))) > 1
    # Within one epoch as well, not the same order for every problem.
    ranks = [tuple(i // 7 for i in orders[0][k : k + 3]) for k in range(0, 21, 3)]
    assert len(set(ranks)) > 1
