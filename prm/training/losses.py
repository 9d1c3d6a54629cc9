"""Objectives on the two logits at step ends. The loss is their sum divided by the *global* number of targets.

An objective returns one loss per target and does not add them up; `VerifierTrainer` divides the sum by the number of
targets in the whole optimizer step, over all micro-batches and processes. Loss and gradient are then the same for every
way of splitting a batch. The stock `Trainer` + token-classification loss divides by the steps of each micro-batch and is
too large by the number of accumulation steps (transformers#47688; TRL's PRM trainer inherited this).

`z` below is the log-odds of a step, logit(good) - logit(bad); its sigmoid is the score. All in fp32.

`rollouts` says how many rollouts a target is the share of; only `beta_binomial` reads it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits (steps, 2), targets (targets,), trace of each step (steps,), rollouts (targets,)) -> losses (targets,)."""

RANKING_MARGIN = 4.0
"""zeta of PQM, the value of its released configuration."""


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, traces: torch.Tensor, rollouts: torch.Tensor
) -> torch.Tensor:
    """On targets in [0, 1]: hard labels, or Monte Carlo values (Snell et al. 2024 sec. 5.1)."""
    log_bad, log_good = torch.log_softmax(logits, -1).unbind(-1)
    return -(targets * log_good + (1 - targets) * log_bad)


def squared_error(
    logits: torch.Tensor, targets: torch.Tensor, traces: torch.Tensor, rollouts: torch.Tensor
) -> torch.Tensor:
    """(score - target)^2, the regression of a value (Cobbe et al. 2021; the Brier score on hard labels)."""
    return (torch.softmax(logits, -1)[:, 1] - targets) ** 2


def beta_binomial(
    logits: torch.Tensor, targets: torch.Tensor, traces: torch.Tensor, rollouts: torch.Tensor
) -> torch.Tensor:
    """Minus the log-likelihood of the counts where the chance of a step is not one number but Beta(a, b), as in
    arXiv:2605.15529: k of n rollouts succeed with probability C(n, k) B(k + a, n - k + b) / B(a, b). The constant C(n, k) is
    left out; of one rollout this is the cross-entropy, and with n equal outcomes it stays finite for any logits.

    a = e^logit(good), b = e^logit(bad). The mean a / (a + b) is the softmax probability of good, which is the score of every
    other objective: whoever reads a checkpoint's two logits (vLLM, a token classifier) reads the mean and need not know of
    Betas. Only the level of the two logits is new, a + b, of which the spread follows (`prm.models.step_classifier.spread`).

    Args:
        targets: k / n.
        rollouts: n.
    """
    n = rollouts
    k = (targets * n).round()
    log_b, log_a = logits.float().unbind(-1)
    log_both = torch.logsumexp(logits.float(), -1)
    # log Gamma(a + k) - log Gamma(a) = log a + log(a + 1) + ... up to a + k - 1. Written so, with log(a + i) from log a, it
    # has the digits that the difference of two log-gammas loses for large a, and no e^logit that overflows.
    i = torch.arange(int(n.max()), device=n.device)

    def rising(log_x: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
        terms = torch.logaddexp(log_x[:, None], i.log())
        return terms.masked_fill(i >= count[:, None], 0).sum(-1)

    return rising(log_both, n) - rising(log_a, k) - rising(log_b, n - k)


def ranking(logits: torch.Tensor, targets: torch.Tensor, traces: torch.Tensor, rollouts: torch.Tensor) -> torch.Tensor:
    """Comparative loss of PQM (Li & Li 2024, arXiv:2410.11287): within a trace, later good steps rank above earlier good
    ones, these above the question itself (z = 0), and all of them above every bad step by a margin.

    For a good step t: -log(e^z_t / (e^z_t + sum over earlier good e^z + sum over bad e^(z + margin))). The question counts
    as the first good step; its own loss (bad steps against z = 0) is added to that of the first step of the trace. Bad
    steps have no loss of their own. Only the scale differs from the paper: a sum over steps divided by the global number
    of steps, not a mean over the good steps of each trace. Computed with log-sum-exp, where the released code takes `exp`
    of raw values.

    Args:
        targets: 0 or 1.
    """
    z = (logits[:, 1] - logits[:, 0]).float()
    # (steps, steps) tables: row t is a step, column k a step that it may be compared with, of the same trace only.
    good = targets > 0.5
    same = traces[:, None] == traces[None, :]
    position = torch.arange(len(z), device=z.device)
    earlier_good = same & good[None, :] & (position[None, :] < position[:, None])
    bad = same & ~good[None, :]
    # Bad steps count with the margin on top. What is no rival gets -inf, so that logsumexp leaves it out.
    rival = torch.where(bad, z[None, :] + RANKING_MARGIN, z[None, :])
    rivals = rival.masked_fill(~(earlier_good | bad), -torch.inf)
    question = torch.zeros_like(z)[:, None]
    # Of every step, as if it were good: itself and the question against its rivals.
    losses = torch.logsumexp(torch.cat([z[:, None], rivals, question], -1), -1) - z
    # The question's own loss: z = 0 against the bad steps of the trace; 0 if there are none.
    anchor = torch.logsumexp(torch.cat([question, rival.masked_fill(~bad, -torch.inf)], -1), -1)
    # It occurs once per trace, at its first step (the steps of a trace are neighbors).
    first = torch.ones_like(good)
    first[1:] = traces[1:] != traces[:-1]
    return torch.where(good, losses, 0) + torch.where(first, anchor, 0)


def bradley_terry(
    logits: torch.Tensor, targets: torch.Tensor, traces: torch.Tensor, rollouts: torch.Tensor
) -> torch.Tensor:
    """-log sigmoid(z_right - z_wrong) of pairs of traces of one problem (Bradley & Terry 1952; as TRL's `RewardTrainer`).

    Args:
        logits: (2 x pairs, 2), the right trace of each pair before the wrong one.
        targets: (pairs,), all 1.
    """
    z = logits[:, 1] - logits[:, 0]
    return -logsigmoid(z[0::2] - z[1::2]) * targets


def weigh_bad(objective: Objective, weight: float) -> Objective:
    """The objective with the losses of bad steps multiplied by `weight`; a soft target t counts t + (1 - t) x weight."""

    def weighted(
        logits: torch.Tensor, targets: torch.Tensor, traces: torch.Tensor, rollouts: torch.Tensor
    ) -> torch.Tensor:
        return objective(logits, targets, traces, rollouts) * (targets + (1 - targets) * weight)

    return weighted


OBJECTIVES: dict[str, Objective] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "beta_binomial": beta_binomial,
    "ranking": ranking,
    "bradley_terry": bradley_terry,
}
