r"""verl: a custom reward function, and a reward manager that rewards every step.

    reward.custom_reward_function.path=pkg://prm.adapters.verl
    reward.custom_reward_function.name=compute_score
    +reward.custom_reward_function.reward_kwargs.verifier=outputs/quickstart/prm

verl calls it with one solution, from several threads of several workers, each of which loads the verifier:

    compute_score("arithmetic", "47 - 12 = 35\n...", "63", {"question": "Start with 47, ..."}, verifier=...)
    -> {"score": 0.93, "acc": 1.0, "faulty": 0.0, "fault": "",
        "step_scores": "0.97 0.94 0.93", "step_rewards": "0.0 0.0 0.93"}

Everything but the score goes into verl's log (`acc` is what it reports of validation); scores of steps are one string,
because verl makes an array of each entry, and lists of several lengths are none.

Rewards per step reach the trainer in its colocated mode only (`reward_model.enable`, no resource pool of its own), through
`assemble_rm_scores`; what is computed while it samples, which is the usual way, has one number per solution.

    reward.reward_manager.source=importlib
    reward.reward_manager.module.path=pkg://prm.adapters.verl
    reward.reward_manager.name=StepRewardManager
    +reward.custom_reward_function.reward_kwargs.credit=progress
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from prm import answers
from prm.adapters.texts import load_text_verifier
from prm.types import StepRule


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any],
    *,
    verifier: str,
    step_rule: StepRule | None = None,
    problem: str = "question",
    reward_router_address: str | None = None,
    reward_model_tokenizer: Any = None,
    **rule: Any,
) -> dict[str, float | str]:
    """The reward of one solution.

    Args:
        extra_info: its entry `problem` is the text of the problem, as verl's own preparation of GSM8K writes it.
        verifier, step_rule: as in `load_text_verifier`.
        reward_router_address, reward_model_tokenizer: of a reward model that verl serves; not used.
        rule: settings of `prm.verifiers.rewards.RewardRule`.

    Raises:
        ValueError: there is no such entry.
    """
    if problem not in extra_info:
        raise ValueError(
            f"extra_info has {', '.join(extra_info)} and no {problem!r}; `problem` names the entry with its text"
        )
    judge = load_text_verifier(verifier, step_rule)
    (earned,) = judge.rewards([extra_info[problem]], [solution_str], rule=rule)
    return {
        "score": earned.total,
        "acc": float(answers.check(gold=ground_truth, pred=judge.candidate(solution_str).answer) == "correct"),
        "faulty": float(earned.fault is not None),
        "fault": earned.fault or "",
        "step_scores": " ".join(map(repr, earned.scores)),
        "step_rewards": " ".join(map(repr, earned.rewards)),
    }


def places_of_ends(steps: Sequence[str], decode: Callable[[int], str], num_tokens: int) -> list[int]:
    r"""Place of the last token of every step. Blanks are left out of the count, as a division into steps drops them.

    Args:
        decode: number of tokens -> the text of the first so many tokens of the solution.

    >>> ids = ["1 + 1", " =", " 2\n", "####", " 2", "\n"]
    >>> places_of_ends(["1 + 1 = 2", "#### 2"], lambda n: "".join(ids[:n]), len(ids))
    [2, 4]
    """
    ends = accumulate(_letters(step) for step in steps)
    # The first token with which everything up to the end of the step is written.
    return [bisect_left(range(num_tokens), end, key=lambda n: _letters(decode(n))) - 1 for end in ends]


def _letters(text: str) -> int:
    return len("".join(text.split()))


def __getattr__(name: str) -> Any:
    """verl looks its managers up by name; a class of its own needs verl, and the function above does not."""
    if name == "StepRewardManager":
        return _step_reward_manager()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _step_reward_manager() -> Any:
    import torch
    from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

    class StepRewardManager(NaiveRewardManager):
        """The reward of each step at its last token; their sum is the score."""

        def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
            model = config.reward.reward_model
            if not model.enable or model.enable_resource_pool:
                raise ValueError(
                    "rewards per step need reward.reward_model.enable=True and enable_resource_pool=False: in verl's other"
                    " modes a solution has one reward; leave StepRewardManager out there"
                )
            super().__init__(config, *args, **kwargs)
            self.its = config.reward.custom_reward_function.reward_kwargs

        async def run_single(self, data: Any) -> dict[str, Any]:
            result = await super().run_single(data)
            rewards = [float(its) for its in result["reward_extra_info"]["step_rewards"].split()]
            item = data[-1]
            ids = item.batch["responses"]
            ids = ids[: item.batch["attention_mask"][-len(ids) :].sum()]

            def decode(n: int) -> str:
                return self.tokenizer.decode(ids[:n], skip_special_tokens=True)

            # What is written after the answer earns nothing, so there may be more steps than rewards.
            steps = load_text_verifier(self.its.verifier, self.its.get("step_rule")).split(decode(len(ids)))
            ends = places_of_ends(steps[: len(rewards)], decode, len(ids))
            return {**result, "reward_score": list(zip(ends, rewards, strict=True))}

        @classmethod
        def assemble_rm_scores(cls, data: Any, scores: Sequence[Sequence[tuple[int, float]]]) -> Any:
            """Rewards of tokens, [solutions, response tokens]."""
            rewards = torch.zeros_like(data.batch["responses"], dtype=torch.float32)
            for row, placed in enumerate(scores):
                for place, its in placed:
                    rewards[row, place] = its
            return rewards

    return StepRewardManager
