"""Objectives at step ends against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from prm.models.step_classifier import spread
from prm.training.losses import (
    OBJECTIVES,
    beta_binomial,
    bradley_terry,
    cross_entropy,
    ranking,
    squared_error,
    weigh_bad,
)

# P(good) = 1/2, 3/4, 1/5
LOGITS = torch.tensor([[2.0, 2.0], [0.0, math.log(3)], [math.log(4), 0.0]])
ONE_TRACE = torch.zeros(3, dtype=torch.long)
ONES = torch.ones(3, dtype=torch.long)


def test_hard_targets_cost_the_negative_log_of_the_chance_given_to_them():
    losses = cross_entropy(LOGITS, torch.tensor([1.0, 1.0, 0.0]), ONE_TRACE, ONES)
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(5 / 4)])


def test_soft_targets_cost_the_cross_entropy_of_two_coins():
    losses = cross_entropy(LOGITS, torch.tensor([0.25, 0.75, 0.5]), ONE_TRACE, ONES)
    assert losses.tolist() == pytest.approx(
        [math.log(2), 0.75 * math.log(4 / 3) + 0.25 * math.log(4), 0.5 * math.log(5) + 0.5 * math.log(5 / 4)]
    )


def test_squared_error_of_the_score():
    losses = squared_error(LOGITS, torch.tensor([0.25, 0.75, 1.0]), ONE_TRACE, ONES)
    assert losses.tolist() == pytest.approx([0.0625, 0.0, 0.64])


def test_very_sure_logits_give_no_infinity():
    sure = torch.tensor([[500.0, -500.0], [-500.0, 500.0]])
    assert cross_entropy(sure, torch.tensor([1.0, 1.0]), ONE_TRACE[:2], ONES[:2]).tolist() == [1000.0, 0.0]
    assert ranking(sure, torch.tensor([1.0, 0.0]), ONE_TRACE[:2], ONES[:2]).isfinite().all()


COUNTS = [(0, 8), (8, 8), (3, 8), (1, 1), (0, 1), (5, 16)]


def beta(counts, log_a, log_b):
    """The losses of one step with these counts."""
    logits = torch.tensor([[log_b, log_a]] * len(counts), requires_grad=True)
    n = torch.tensor([n for _, n in counts])
    k = torch.tensor([float(k) for k, _ in counts])
    return logits, beta_binomial(logits, k / n, torch.zeros(len(counts), dtype=torch.long), n)


def log_beta(a, b):
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def test_counts_cost_the_negative_log_of_their_beta_binomial_chance():
    """Two of three with Beta(2, 1): 3 B(4, 2) / B(2, 1) = 3/10, and 3 orders; so one order has the chance 1/10."""
    assert beta([(2, 3)], math.log(2), 0.0)[1].tolist() == pytest.approx([math.log(10)])
    for log_a, log_b in ((0.3, -1.2), (-4.0, -5.0), (2.0, 6.0)):
        a, b = math.exp(log_a), math.exp(log_b)
        expected = [log_beta(k + a, n - k + b) - log_beta(a, b) for k, n in COUNTS]
        assert beta(COUNTS, log_a, log_b)[1].tolist() == pytest.approx([-its for its in expected], rel=1e-5)


def test_one_rollout_costs_the_cross_entropy():
    ones = [(1, 1), (0, 1)]
    logits, losses = beta(ones, 0.7, 2.0)
    assert losses.tolist() == pytest.approx(cross_entropy(logits, torch.tensor([1.0, 0.0]), ONE_TRACE, ONES).tolist())


def test_counts_have_finite_losses_and_gradients_however_sure_the_logits():
    for log_a, log_b in ((60.0, 60.0), (-60.0, -60.0), (60.0, -60.0), (-60.0, 60.0), (0.0, 0.0)):
        logits, losses = beta(COUNTS, log_a, log_b)
        losses.sum().backward()
        assert losses.isfinite().all()
        assert logits.grad.isfinite().all()
    # A million times more certain than the counts: the binomial, whose digits log-gammas in fp32 would have lost.
    _, losses = beta([(3, 8)], 20.0, 20.0)
    assert losses.item() == pytest.approx(8 * math.log(2), rel=1e-5)


def test_logits_in_bf16_lose_nothing_more_than_their_own_digits():
    logits = torch.tensor([[0.5, 1.25]], dtype=torch.bfloat16)
    targets, one, eight = torch.tensor([0.25]), torch.zeros(1, dtype=torch.long), torch.tensor([8])
    losses = beta_binomial(logits, targets, one, eight)
    assert losses.dtype == torch.float32
    assert losses.item() == beta_binomial(logits.float(), targets, one, eight).item()


def test_the_counts_of_steps_that_look_alike_give_back_their_beta():
    """Chances drawn from Beta(6, 2), eight rollouts each: the likelihood is highest near its mean and spread."""
    rng = np.random.default_rng(0)
    k = torch.tensor(rng.binomial(8, rng.beta(6, 2, 20_000)))
    n = torch.full_like(k, 8)
    logits = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = beta_binomial(logits.expand(len(k), 2), k / n, torch.zeros_like(k), n).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert torch.softmax(logits, -1)[0, 1].item() == pytest.approx(0.75, abs=0.01)
    assert spread(logits.detach()).item() == pytest.approx(math.sqrt(0.75 * 0.25 / 9), abs=0.005)


def logits_of(*log_odds):
    return torch.tensor([[0.0, z] for z in log_odds])


def test_ranking_orders_good_steps_and_puts_them_above_bad_ones_by_the_margin():
    z1, z2, z3 = 0.5, 1.5, -1.0  # good, good, bad
    losses = ranking(logits_of(z1, z2, z3), torch.tensor([1.0, 1.0, 0.0]), ONE_TRACE, ONES)
    bad = math.exp(z3 + 4)
    anchor = -math.log(1 / (1 + bad))  # the question, at 0, against the bad step
    first = -math.log(math.exp(z1) / (math.exp(z1) + 1 + bad))
    second = -math.log(math.exp(z2) / (math.exp(z2) + math.exp(z1) + 1 + bad))
    assert losses.tolist() == pytest.approx([first + anchor, second, 0.0], rel=1e-5)


def test_ranking_compares_within_a_trace_only():
    z, targets = logits_of(0.5, -1.0, 2.0, 0.3), torch.tensor([1.0, 0.0, 1.0, 0.0])
    together = ranking(z, targets, torch.tensor([0, 0, 1, 1]), torch.ones(4))
    separate = torch.cat([ranking(z[k : k + 2], targets[k : k + 2], ONE_TRACE[:2], ONES[:2]) for k in (0, 2)])
    assert together.tolist() == pytest.approx(separate.tolist())
    assert together.tolist() != pytest.approx(
        ranking(z, targets, torch.zeros(4, dtype=torch.long), torch.ones(4)).tolist()
    )


def test_ranking_of_a_trace_without_a_good_step_pushes_it_below_the_question():
    losses = ranking(logits_of(1.0, 2.0), torch.tensor([0.0, 0.0]), ONE_TRACE[:2], ONES[:2])
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(5) + math.exp(6)), 0.0])


def test_pairs_cost_the_negative_log_of_the_chance_that_the_right_one_wins():
    losses = bradley_terry(logits_of(1.0, -1.0, 0.0, 3.0), torch.ones(2), torch.arange(4), torch.ones(2))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-2)), math.log(1 + math.exp(3))])


def test_bad_steps_weigh_more_if_asked():
    targets = torch.tensor([1.0, 0.0, 0.25])
    plain, weighted = (f(LOGITS, targets, ONE_TRACE, ONES) for f in (cross_entropy, weigh_bad(cross_entropy, 3.0)))
    assert (weighted / plain).tolist() == pytest.approx([1.0, 3.0, 2.5])


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"bradley_terry"}))
def test_micro_batches_of_uneven_size_add_up_in_loss_and_gradient(name):
    torch.manual_seed(0)
    traces = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    logits, targets = torch.randn(7, 2, requires_grad=True), torch.randint(0, 2, (7,)).float()
    rollouts = torch.tensor([8, 8, 1, 8, 1, 3, 1])
    (OBJECTIVES[name](logits, targets, traces, rollouts).sum() / 7).backward()
    whole, logits.grad = logits.grad, None
    for part in (slice(0, 3), slice(3, 7)):
        (OBJECTIVES[name](logits[part], targets[part], traces[part], rollouts[part]).sum() / 7).backward()
    assert torch.allclose(logits.grad, whole, atol=1e-7)
