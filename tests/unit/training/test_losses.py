"""Objectives at step ends against numbers worked out by hand."""

import math

import pytest
import torch

from prm.training.losses import OBJECTIVES, bradley_terry, cross_entropy, ranking, squared_error, weigh_bad

# P(good) = 1/2, 3/4, 1/5
LOGITS = torch.tensor([[2.0, 2.0], [0.0, math.log(3)], [math.log(4), 0.0]])
ONE_TRACE = torch.zeros(3, dtype=torch.long)


def test_hard_targets_cost_the_negative_log_of_the_chance_given_to_them():
    losses = cross_entropy(LOGITS, torch.tensor([1.0, 1.0, 0.0]), ONE_TRACE)
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(5 / 4)])


def test_soft_targets_cost_the_cross_entropy_of_two_coins():
    losses = cross_entropy(LOGITS, torch.tensor([0.25, 0.75, 0.5]), ONE_TRACE)
    assert losses.tolist() == pytest.approx(
        [math.log(2), 0.75 * math.log(4 / 3) + 0.25 * math.log(4), 0.5 * math.log(5) + 0.5 * math.log(5 / 4)]
    )


def test_squared_error_of_the_score():
    losses = squared_error(LOGITS, torch.tensor([0.25, 0.75, 1.0]), ONE_TRACE)
    assert losses.tolist() == pytest.approx([0.0625, 0.0, 0.64])


def test_very_sure_logits_give_no_infinity():
    sure = torch.tensor([[500.0, -500.0], [-500.0, 500.0]])
    assert cross_entropy(sure, torch.tensor([1.0, 1.0]), ONE_TRACE[:2]).tolist() == [1000.0, 0.0]
    assert ranking(sure, torch.tensor([1.0, 0.0]), ONE_TRACE[:2]).isfinite().all()


def logits_of(*log_odds):
    return torch.tensor([[0.0, z] for z in log_odds])


def test_ranking_orders_good_steps_and_puts_them_above_bad_ones_by_the_margin():
    z1, z2, z3 = 0.5, 1.5, -1.0  # good, good, bad
    losses = ranking(logits_of(z1, z2, z3), torch.tensor([1.0, 1.0, 0.0]), ONE_TRACE)
    bad = math.exp(z3 + 4)
    anchor = -math.log(1 / (1 + bad))  # the question, at 0, against the bad step
    first = -math.log(math.exp(z1) / (math.exp(z1) + 1 + bad))
    second = -math.log(math.exp(z2) / (math.exp(z2) + math.exp(z1) + 1 + bad))
    assert losses.tolist() == pytest.approx([first + anchor, second, 0.0], rel=1e-5)


def test_ranking_compares_within_a_trace_only():
    z, targets = logits_of(0.5, -1.0, 2.0, 0.3), torch.tensor([1.0, 0.0, 1.0, 0.0])
    together = ranking(z, targets, torch.tensor([0, 0, 1, 1]))
    separate = torch.cat([ranking(z[k : k + 2], targets[k : k + 2], ONE_TRACE[:2]) for k in (0, 2)])
    assert together.tolist() == pytest.approx(separate.tolist())
    assert together.tolist() != pytest.approx(ranking(z, targets, torch.zeros(4, dtype=torch.long)).tolist())


def test_ranking_of_a_trace_without_a_good_step_pushes_it_below_the_question():
    losses = ranking(logits_of(1.0, 2.0), torch.tensor([0.0, 0.0]), ONE_TRACE[:2])
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(5) + math.exp(6)), 0.0])


def test_pairs_cost_the_negative_log_of_the_chance_that_the_right_one_wins():
    losses = bradley_terry(logits_of(1.0, -1.0, 0.0, 3.0), torch.ones(2), torch.arange(4))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-2)), math.log(1 + math.exp(3))])


def test_bad_steps_weigh_more_if_asked():
    targets = torch.tensor([1.0, 0.0, 0.25])
    plain, weighted = (f(LOGITS, targets, ONE_TRACE) for f in (cross_entropy, weigh_bad(cross_entropy, 3.0)))
    assert (weighted / plain).tolist() == pytest.approx([1.0, 3.0, 2.5])


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"bradley_terry"}))
def test_micro_batches_of_uneven_size_add_up_in_loss_and_gradient(name):
    torch.manual_seed(0)
    traces = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    logits, targets = torch.randn(7, 2, requires_grad=True), torch.randint(0, 2, (7,)).float()
    (OBJECTIVES[name](logits, targets, traces).sum() / 7).backward()
    whole, logits.grad = logits.grad, None
    for part in (slice(0, 3), slice(3, 7)):
        (OBJECTIVES[name](logits[part], targets[part], traces[part]).sum() / 7).backward()
    assert torch.allclose(logits.grad, whole, atol=1e-7)
