"""Cross-entropy at step ends against numbers worked out by hand."""

import math

import pytest
import torch
from transformers.modeling_outputs import TokenClassifierOutput

from prm.training.losses import cross_entropy, step_losses

# P(good) = 1/2, 3/4, 1/5
LOGITS = torch.tensor([[2.0, 2.0], [0.0, math.log(3)], [math.log(4), 0.0]])


def test_hard_targets_cost_the_negative_log_of_the_chance_given_to_them():
    losses = step_losses(LOGITS, torch.tensor([1.0, 1.0, 0.0]))
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4 / 3), math.log(5 / 4)])


def test_soft_targets_cost_the_cross_entropy_of_two_coins():
    losses = step_losses(LOGITS, torch.tensor([0.25, 0.75, 0.5]))
    assert losses.tolist() == pytest.approx(
        [math.log(2), 0.75 * math.log(4 / 3) + 0.25 * math.log(4), 0.5 * math.log(5) + 0.5 * math.log(5 / 4)]
    )


def test_sum_is_divided_by_the_global_count_not_by_that_of_the_micro_batch():
    targets = torch.tensor([1.0, 1.0, 0.0])
    total = math.log(2) + math.log(4 / 3) + math.log(5 / 4)
    assert cross_entropy(TokenClassifierOutput(logits=LOGITS), targets, 12).item() == pytest.approx(total / 12)


def test_micro_batches_of_uneven_size_add_up_in_loss_and_gradient():
    torch.manual_seed(0)
    logits, targets = torch.randn(7, 2, requires_grad=True), torch.rand(7)
    cross_entropy(TokenClassifierOutput(logits=logits), targets, 7).backward()
    # d loss / d logits = (softmax - target) / count
    expected = (torch.softmax(logits, -1) - torch.stack([1 - targets, targets], -1)) / 7
    assert torch.allclose(logits.grad, expected, atol=1e-7)

    whole = logits.grad.clone()
    logits.grad = None
    for rows in (slice(0, 1), slice(1, 5), slice(5, 7)):
        cross_entropy(TokenClassifierOutput(logits=logits[rows]), targets[rows], 7).backward()
    assert torch.allclose(logits.grad, whole, atol=1e-7)


def test_very_sure_logits_give_no_infinity():
    losses = step_losses(torch.tensor([[500.0, -500.0], [-500.0, 500.0]]), torch.tensor([1.0, 1.0]))
    assert losses.tolist() == [1000.0, 0.0]
