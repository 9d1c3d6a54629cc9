r"""NeMo-RL: an environment of one turn that rewards a solution by a verifier.

    register_env("prm", "prm.adapters.nemo_rl.VerifierEnvironment")          # in the script that starts the run
    ACTOR_ENVIRONMENT_REGISTRY["prm.adapters.nemo_rl.VerifierEnvironment"] = PY_EXECUTABLES.SYSTEM

    env: {prm: {verifier: outputs/quickstart/prm}}                           # in its config; step_rule, rule if need be

    step([[{"role": "user", "content": "<template>..."}, {"role": "assistant", "content": "47 - 12 = 35\n..."}]],
         [{"problem": "Start with 47, ...", "ground_truth": "63"}])
    -> EnvironmentReturn(rewards=tensor([0.93]), terminateds=tensor([True]), answers=["63"], ...)

The message of the user has the chat template in it by then, so the data processor must put the text of the problem into
`extra_env_info`, which comes back here as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from prm.adapters.texts import TextVerifier, load_text_verifier


def rewarded(
    judge: TextVerifier,
    logs: Sequence[Sequence[Mapping[str, Any]]],
    metadata: Sequence[Mapping[str, Any]],
    rule: Mapping[str, Any],
) -> tuple[list[float], list[str], list[str | None]]:
    """Reward, what the environment says, and the answer, of every conversation.

    Raises:
        ValueError: a row has no problem in its metadata.
    """
    if without := [row for row in metadata if "problem" not in row]:
        raise ValueError(
            f"metadata has {', '.join(without[0])} and no 'problem'; the data processor must put it into extra_env_info"
        )
    texts = ["".join(str(message["content"]) for message in log if message["role"] == "assistant") for log in logs]
    earned = judge.rewards([row["problem"] for row in metadata], texts, rule=rule)
    said = [f"no reward: {its.fault}" if its.fault else f"reward {its.total:.3f}" for its in earned]
    return [its.total for its in earned], said, [judge.candidate(text).answer for text in texts]


def __getattr__(name: str) -> Any:
    """NeMo-RL looks its environments up by name; the class needs NeMo-RL and Ray, and the function above does not."""
    if name == "VerifierEnvironment":
        return _environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _environment() -> Any:
    import ray
    import torch
    from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn

    class VerifierEnvironment(EnvironmentInterface):
        def __init__(self, cfg: Mapping[str, Any]) -> None:
            self.judge = load_text_verifier(cfg["verifier"], cfg.get("step_rule"))
            self.rule = cfg.get("rule", {})

        def step(self, message_log_batch: Any, metadata: Any, return_extracted_answer: bool = True) -> Any:
            rewards, said, answers = rewarded(self.judge, message_log_batch, metadata, self.rule)
            return EnvironmentReturn(
                observations=[{"role": "environment", "content": f"Environment: {text}"} for text in said],
                metadata=metadata,
                next_stop_strings=[None] * len(said),
                rewards=torch.tensor(rewards),
                terminateds=torch.ones(len(said), dtype=torch.bool),
                answers=answers,
            )

        def global_post_process_and_metrics(self, batch: Any) -> tuple[Any, dict[str, float]]:
            return batch, {"mean_reward": batch["rewards"].mean().item()}

    return ray.remote(VerifierEnvironment)
