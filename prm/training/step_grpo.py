r"""GRPO with an advantage for each step instead of one for the whole completion: credit goes where a step earned it.

TRL's trainer gives every token of a completion the advantage of its total. Here a token gets that of what is earned from its
step on: the sum of the rewards of this and all later steps, minus the mean of that at the same step in its group, over the
standard deviation that TRL divides by. What other reward functions give, such as the answer check, stays one number for the
whole.

    credit     rewards of three steps    from each step on
    aggregate  0.0  0.0  0.2             0.2  0.2  0.2        GRPO itself, in groups of equally many steps
    min_form   0.0  0.2  0.0             0.2  0.2  0.0        after the worst step nothing more is earned
    progress   0.9 -0.8  0.1             0.2 -0.7  0.1        the second step lost it

TRL provides for such subclasses: it takes advantages of shape (completions, tokens) as they are. The two methods that are
overridden are private, those of TRL 1.16. Left out: groups that are spread over processes, and scales other than that of the
group.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from trl import GRPOTrainer

from prm.encoding.steps import complete_steps
from prm.types import StepRule
from prm.verifiers.rewards import StepRewards


class StepGRPOTrainer(GRPOTrainer):
    """TRL's `GRPOTrainer`, the first of whose reward functions is `verifier_reward(..., seen=seen)`."""

    def __init__(self, *args: Any, seen: list[StepRewards], step_rule: StepRule, **kwargs: Any) -> None:
        """
        Args:
            seen: the list that the reward function fills with what each completion earned.

        Raises:
            ValueError: a group would be spread over processes, or is not scaled as a group.
        """
        super().__init__(*args, **kwargs)
        self.seen, self.step_rule = seen, step_rule
        config: Any = self.args
        group = self.num_generations
        if (local := config.per_device_train_batch_size * config.steps_per_generation) % group:
            raise ValueError(
                f"each process samples {local} completions at a time, which is no multiple of num_generations {group}: those"
                " of one problem are compared within a process; change per_device_train_batch_size"
            )
        if (self.scale_rewards, self.multi_objective_aggregation) != ("group", "sum_then_normalize"):
            raise ValueError(
                "advantages of steps are scaled by group; leave scale_rewards and multi_objective_aggregation as they are"
            )

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards_F = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        model: Any = self.model
        group: Any = self.num_generations if model.training else self.num_generations_eval
        start = self.accelerator.process_index * len(prompts)
        totals = (rewards_F * self.reward_weights.to(rewards_F.device)).nansum(dim=1)[start : start + len(prompts)]
        spreads = totals.view(-1, group).std(dim=1).repeat_interleave(group).tolist()
        corrections_N = step_corrections([one.rewards for one in self.seen], group)
        weight = self.reward_weights[0].item()
        self._corrections = [
            [weight * value / (spread + 1e-4) for value in by_token(values, self._step_ends(ids), len(ids))]
            for values, ids, spread in zip(corrections_N, completion_ids_list, spreads, strict=True)
        ]
        return rewards_F

    def _step_ends(self, ids: Sequence[int]) -> list[int]:
        return step_ends(self._tokenizer, ids, self.step_rule)

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        more = torch.zeros(output["completion_ids"].shape, device=output["advantages"].device)
        for row, values in zip(more, self._corrections, strict=True):
            row[: len(values)] = torch.tensor(values)
        output["advantages"] = output["advantages"][:, None] + more
        return output


def step_corrections(rewards_N: Sequence[Sequence[float]], group: int) -> list[list[float]]:
    """What each step's advantage differs by from that of the total, before scaling.

    Args:
        rewards_N: of each step of each completion; `group` neighbors are attempts at one problem.

    >>> step_corrections([(0.0, 1.0), (0.5, 0.0)], 2)
    [[0.0, 0.25], [0.0, -0.25]]
    """
    corrections_N = []
    for start in range(0, len(rewards_N), group):
        returns_G = [[sum(rewards[t:]) for t in range(len(rewards))] for rewards in rewards_N[start : start + group]]
        mean = sum(returns[0] for returns in returns_G if returns) / group  # a completion without a step earns 0
        for returns in returns_G:
            corrections = []
            for t, value in enumerate(returns):
                at_step = [other[t] for other in returns_G if len(other) > t]
                baseline = sum(at_step) / len(at_step) if t else mean
                corrections.append((value - baseline) - (returns[0] - mean))
            corrections_N.append(corrections)
    return corrections_N


def step_ends(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], rule: StepRule) -> list[int]:
    """Of each complete step of a completion, the number of tokens up to its end, the separator included."""

    def complete(tokens: int) -> int:
        return len(complete_steps(str(tokenizer.decode(list(ids[:tokens]), skip_special_tokens=True)), rule))

    return [bisect_left(range(len(ids) + 1), step, key=complete) for step in range(1, complete(len(ids)) + 1)]


def by_token(values_S: Sequence[float], ends: Sequence[int], tokens: int) -> list[float]:
    """The value of the step that each token is in. What comes after the last step counts as part of it.

    >>> by_token([1.0, 2.0], [3, 5, 7], 8)
    [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    if not values_S:
        return [0.0] * tokens
    starts = [0, *ends[: len(values_S) - 1]]
    return [values_S[sum(start <= token for start in starts) - 1] for token in range(tokens)]
