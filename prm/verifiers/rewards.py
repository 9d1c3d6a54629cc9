r"""Rewards for reinforcement learning: any verifier as a reward function, the exact answer check as another one.

`score_texts` is the core: what a completion earns, step by step and in all. Every library for reinforcement learning needs a
few lines around it; `verifier_reward` and `answer_reward` are those lines for TRL's GRPO (`reward_funcs=[...]`), which adds
up several rewards itself (`reward_weights`).

    score_texts(verifier, ["Start with 47, add 38, subtract 12."], ["47 + 38 = 75\n75 - 12 = 63\n#### 63"])
    -> [StepRewards(steps=("47 + 38 = 75", "75 - 12 = 63", "#### 63"), scores=(0.083, 0.166, 0.114),
                    rewards=(0.0, 0.0, 0.114), total=0.114, fault=None)]

A policy finds whatever a reward leaves open (recipes/reward_hacking.md measures it). So a completion with a *fault* earns 0,
the least there is, whatever the verifier says of its steps:

    empty           no step. Without a reward instead of 0 it would be left out of the comparison, and be a way to escape
    unfinished      cut at the token limit. A verifier has only seen that what is there is good so far
    no_answer       ended without stating an answer (the last number of a text is none): good steps that lead nowhere
    repeated        one step more often than `most_repeats`: a step that scores well would be said again
    too_few_steps   fewer than `least_steps`: an answer that is guessed, of which a verifier may know nothing
    too_many_steps  more than `most_steps`, where that is given
    unreadable      longer than the verifier reads, so that nobody can say how good it is

A completion ends with the first step that states the answer, as everywhere in this project: what is written after it earns
nothing, and a second answer is not looked at. Left out: the sum of step scores. Each further step would add to it, which is
the best known way to be hacked (Gao et al. 2410.15115; Cheng et al. 2504.15275).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from prm import answers
from prm.aggregation import aggregate
from prm.encoding.steps import separator_of, split_steps
from prm.types import UNDECIDED, Aggregation, Scores, StepRule
from prm.verifiers import Verifier, score_written

Credit = Literal["aggregate", "min_form", "progress"]
Fault = Literal["empty", "unfinished", "no_answer", "repeated", "too_few_steps", "too_many_steps", "unreadable"]
FAULTS: tuple[Fault, ...] = get_args(Fault)

Completion = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation, as TRL hands over what was sampled."""


@dataclass(frozen=True)
class RewardRule:
    """How step scores become rewards, and what earns none."""

    credit: Credit = "aggregate"
    """`aggregate`: one score of the whole, at the last step. `min_form`: the worst step decides (Cheng et al. 2504.15275).
    `progress`: what each step adds to the value (Setlur et al. 2410.08146)."""
    aggregation: Aggregation | None = None
    """Of `aggregate`; None: the verifier's own."""
    temperature: float = 0.1
    """Of `min_form`, above 0; the smaller, the closer to the minimum."""
    step_rule: StepRule = "line"
    most_repeats: int = 2
    """How often the same step may be in one completion, at least 1."""
    least_steps: int = 1
    """The one that states the answer included; 1 = any number."""
    most_steps: int | None = None

    def __post_init__(self) -> None:
        if self.credit not in get_args(Credit):
            raise ValueError(f"credit {self.credit!r} is not one of {', '.join(get_args(Credit))}")
        if self.aggregation is not None and self.credit != "aggregate":
            raise ValueError(
                f"credit {self.credit} has an aggregation of its own; leave aggregation {self.aggregation!r} out"
            )
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature} of min_form must be above 0, such as 0.1")
        most = math.inf if self.most_steps is None else self.most_steps
        if self.most_repeats < 1 or not 1 <= self.least_steps <= most:
            raise ValueError(
                f"most_repeats {self.most_repeats} and least_steps {self.least_steps} must be at least 1, and most_steps"
                f" {self.most_steps} at least least_steps, or no completion could earn anything"
            )


@dataclass(frozen=True)
class StepRewards:
    """What one completion earns."""

    steps: tuple[str, ...]
    """Up to the first one that states the answer."""
    scores: tuple[float, ...]
    """What the verifier says of each, whatever is wrong with the completion; empty if it read nothing."""
    rewards: tuple[float, ...]
    """Of each step; all 0 if the completion has a fault."""
    total: float
    """Their sum, in [0, 1]."""
    fault: Fault | None = None


def score_texts(
    verifier: Verifier,
    problems: Sequence[str],
    texts: Sequence[str],
    rule: RewardRule | None = None,
    finished: Sequence[bool] | None = None,
) -> list[StepRewards]:
    """What each text earns as an attempt at its problem.

    Args:
        problems: one for each text, as the verifier was trained on them: without instructions and chat template. Put the
            attempts at one problem side by side: what they share is read once.
        texts: without the prompt and special tokens.
        finished: whether each text ended by itself, by its end token. None where nobody knows: then a text that was cut is
            known only by the answer that it does not state.

    Raises:
        ValueError: the lists differ in length, or a problem is blank.
    """
    rule = rule or RewardRule()
    finished = [True] * len(texts) if finished is None else finished
    if not len(problems) == len(texts) == len(finished):
        raise ValueError(
            f"{len(problems)} problems, {len(texts)} texts and {len(finished)} times `finished`; give one each per text"
        )
    steps_N = [_until_answer(split_steps(text, rule.step_rule)) for text in texts]
    scores_N = score_written(verifier, problems, steps_N)
    return [_rewarded(*its, rule) for its in zip(steps_N, scores_N, finished, strict=True)]


def verifier_reward(
    verifier: Verifier,
    rule: RewardRule | None = None,
    end_ids: Collection[int] | None = None,
    name: str = "prm",
    seen: list[StepRewards] | None = None,
) -> Callable[..., list[float]]:
    """A reward function for TRL's `GRPOTrainer`. Beside the rewards it logs the share of each fault and the mean number of
    steps: hacking shows there first.

    Args:
        end_ids: token ids that end a completion (`trainer.eos_token_ids`). With them, one that was cut is known for sure;
            without them, by the answer that it does not state.
        name: of the reward in TRL's log.
        seen: at each call filled anew with what each completion earned, for `prm.training.step_grpo`.
    """

    def reward(
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        problem: Sequence[str] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float]:
        problems = _problems(prompts) if problem is None else problem
        texts, ended = [text_of(completion) for completion in completions], _ended(completion_ids, end_ids)
        rewarded = score_texts(verifier, problems, texts, rule, ended)
        if seen is not None:
            seen[:] = rewarded
        if log_metric is not None:
            counts = Counter(one.fault for one in rewarded)
            for fault in FAULTS:
                log_metric(f"{name}/{fault}", counts[fault] / len(rewarded))
            log_metric(f"{name}/steps", sum(len(one.steps) for one in rewarded) / len(rewarded))
        return [one.total for one in rewarded]

    reward.__name__ = name
    return reward


def answer_reward(
    end_ids: Collection[int] | None = None, step_rule: StepRule = "line", name: str = "answer"
) -> Callable[..., list[float | None]]:
    """A reward function for TRL's `GRPOTrainer`: 1 for the right answer, 0 for any other and for none; None, which TRL
    leaves out of the comparison, where the check could not decide. Gold answers are in the column `answer`.

    Args:
        end_ids: as of `verifier_reward`.
    """

    def reward(
        prompts: Sequence[Completion],
        completions: Sequence[Completion],
        completion_ids: Sequence[Sequence[int]] | None = None,
        answer: Sequence[str] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        if answer is None:
            raise ValueError(
                "the data set has no column `answer`, with which completions are compared; rename or add it"
            )
        ended = _ended(completion_ids, end_ids) or [True] * len(completions)
        found = [
            stated_answer(text_of(completion), step_rule) if whole else None
            for completion, whole in zip(completions, ended, strict=True)
        ]
        outcomes = answers.check_many(golds=answer, preds=found)
        return [None if outcome in UNDECIDED else float(outcome == "correct") for outcome in outcomes]

    reward.__name__ = name
    return reward


def stated_answer(text: str, step_rule: StepRule) -> str | None:
    """The answer that a text states, which ends with the first step that surely states one; None if it states none. A last
    number is none, which `prm.sampling.traces.find_answer` takes for one: a policy would learn to write numbers."""
    return _stated(_until_answer(split_steps(text, step_rule)), step_rule)


def text_of(completion: Completion) -> str:
    """What was sampled, of a text or of messages: that of all messages of the assistant.

    >>> text_of("#### 73"), text_of([{"role": "assistant", "content": "#### 73"}])
    ('#### 73', '#### 73')
    """
    if isinstance(completion, str):
        return completion
    return "\n\n".join(_content(message) for message in completion if message["role"] == "assistant")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""  # a call of a tool has none
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _problems(prompts: Sequence[Completion]) -> list[str]:
    """What the user said last, of each conversation."""
    problems = []
    for prompt in prompts:
        said = [] if isinstance(prompt, str) else [message for message in prompt if message["role"] == "user"]
        if not said:  # a text is made by a prompt template already, and the verifier has its own
            raise ValueError(
                f"the prompt {str(prompt)[:60]!r} is no conversation, so the problem in it is unknown; give the data set a"
                " column `problem` with the text of the problem alone"
            )
        problems.append(_content(said[-1]))
    return problems


def _ended(completion_ids: Sequence[Sequence[int]] | None, end_ids: Collection[int] | None) -> list[bool] | None:
    if completion_ids is None or end_ids is None:
        return None
    return [len(ids) > 0 and ids[-1] in end_ids for ids in completion_ids]


def _until_answer(steps: tuple[str, ...]) -> tuple[str, ...]:
    end = next((i for i, step in enumerate(steps, 1) if answers.states_answer(step)), len(steps))
    return steps[:end]


def _stated(steps: tuple[str, ...], step_rule: StepRule) -> str | None:
    found = answers.extract(separator_of(step_rule).join(steps))
    return None if found.rule == "last_number" else found.answer


def _rewarded(steps: tuple[str, ...], scores: Scores | None, finished: bool, rule: RewardRule) -> StepRewards:
    fault = _fault(steps, scores, finished, rule)
    if scores is None or fault:
        return StepRewards(steps, scores.steps if scores else (), (0.0,) * len(steps), 0.0, fault)
    rewards = _rewards(scores, rule)
    return StepRewards(steps, scores.steps, rewards, math.fsum(rewards))


def _fault(steps: tuple[str, ...], scores: Scores | None, finished: bool, rule: RewardRule) -> Fault | None:
    if not steps:
        return "empty"
    if not finished:
        return "unfinished"
    if _stated(steps, rule.step_rule) is None:
        return "no_answer"
    if max(Counter(steps).values()) > rule.most_repeats:
        return "repeated"
    if len(steps) < rule.least_steps:
        return "too_few_steps"
    if rule.most_steps is not None and len(steps) > rule.most_steps:
        return "too_many_steps"
    return "unreadable" if scores is None else None


def _rewards(scores: Scores, rule: RewardRule) -> tuple[float, ...]:
    """One reward per step; they add up to at most 1.

    - min_form: r_t softmax(-r / T)_t, whose sum is close to the smallest score.
    - progress: r_t - r_{t-1}, with 0 before the first step. The sum is the last score, so that one number for the whole
      completion is that of `last`; a library that takes a reward for each step learns which one made the difference.
    """
    its = scores.steps
    if rule.credit == "aggregate":
        total = scores.trace if rule.aggregation is None else aggregate(its, rule.aggregation)
        return (*(0.0 for _ in its[1:]), total)
    if rule.credit == "progress":
        return tuple(after - before for before, after in zip((0.0, *its), its, strict=False))
    lowest = min(its)
    weights = [math.exp((lowest - score) / rule.temperature) for score in its]
    return tuple(weight / math.fsum(weights) * score for weight, score in zip(weights, its, strict=True))
