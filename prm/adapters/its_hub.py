r"""its_hub and reward-hub: their reward models, so that their searches use one of our verifiers.

    prm = process_reward_model("outputs/quickstart/prm")
    search = BeamSearch(StepGeneration(max_steps=12, step_token="\n"), prm, beam_width=4)
    search = BestOfN(outcome_reward_model("outputs/quickstart/prm"))
    search.infer(language_model, "Start with 47, subtract 12, add 28.", budget=16)

Give the problem itself as prompt, as a string: of a conversation, its_hub makes one text ("user: Start with ...") for its
tree searches, which a verifier has never seen. Their searches score a beam again from its beginning; a checkpoint here
keeps what it has read. Responses are divided by the verifier's step rule, whatever `step_token` is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from prm.adapters.texts import load_text_verifier
from prm.types import StepRule


def process_reward_model(verifier: str, step_rule: StepRule | None = None) -> Any:
    """its_hub's process reward model: one score per (partial) response, as its searches ask for it.

    Args:
        verifier, step_rule: as in `load_text_verifier`.
    """
    from its_hub.api import AbstractProcessRewardModel, ChatMessages

    judge = load_text_verifier(verifier, step_rule)

    class ProcessRewardModel(AbstractProcessRewardModel):
        def score(self, prompt_or_messages: Any, responses: str | list[str]) -> Any:
            messages = ChatMessages.from_prompt_or_messages(prompt_or_messages).to_chat_messages()
            texts = [responses] if isinstance(responses, str) else responses
            scores = judge.trace_scores([last_user(messages)] * len(texts), texts)
            return scores[0] if isinstance(responses, str) else scores

        async def ascore(self, prompt_or_messages: Any, responses: str | list[str]) -> Any:
            return await asyncio.to_thread(self.score, prompt_or_messages, responses)

    return ProcessRewardModel()


def outcome_reward_model(verifier: str, step_rule: StepRule | None = None) -> Any:
    """its_hub's outcome reward model, for its best-of-N: one score per conversation, whose last message is the response.

    Args:
        verifier, step_rule: as in `load_text_verifier`.
    """
    from its_hub.api import AbstractOutcomeRewardModel

    judge = load_text_verifier(verifier, step_rule)

    class OutcomeRewardModel(AbstractOutcomeRewardModel):
        def score(self, messages: Any, **kwargs: Any) -> Any:
            one = not isinstance(messages[0], list)
            conversations = [messages] if one else messages
            prompts = [last_user(conversation) for conversation in conversations]
            texts = [conversation[-1].extract_text_content() for conversation in conversations]
            scores = judge.trace_scores(prompts, texts)
            return scores[0] if one else scores

        async def ascore(self, messages: Any, orchestrator: Any = None, **kwargs: Any) -> Any:
            return await asyncio.to_thread(self.score, messages)

    return OutcomeRewardModel()


def reward_hub_model(verifier: str, step_rule: StepRule | None = None) -> Any:
    """reward-hub's process reward model: conversations of role and content to scores, aggregated as the caller says.

    Args:
        verifier, step_rule: as in `load_text_verifier`.
    """
    from reward_hub.base import AbstractProcessRewardModel, AggregationMethod, PRMResult

    judge = load_text_verifier(verifier, step_rule)

    class ProcessRewardModel(AbstractProcessRewardModel):
        def score(
            self,
            messages: list[Any],
            aggregation_method: Any = AggregationMethod.LAST,
            return_full_prm_result: bool = False,
        ) -> list[Any]:
            conversations = [messages] if isinstance(messages[0], dict) else messages
            prompts = [conversation[-2]["content"] for conversation in conversations]
            texts = [conversation[-1]["content"] for conversation in conversations]
            results = [PRMResult(steps, aggregation_method) for steps in judge.step_scores(prompts, texts)]
            return results if return_full_prm_result else [result.score for result in results]

    return ProcessRewardModel()


def last_user(messages: Sequence[Any]) -> str:
    """The problem: the last message of the user.

    Raises:
        ValueError: there is none.
    """
    for message in reversed(messages):
        if message.role == "user":
            return message.extract_text_content()
    raise ValueError(f"no message of a user among {len(messages)}; it must hold the problem")
