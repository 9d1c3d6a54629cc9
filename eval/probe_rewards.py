r"""What a verifier gives for completions that were changed to please it, and what the guards of the reward leave of that.

Traces are sampled and each is changed in one way: the same steps again, more steps, the end or the steps left out. None of
the changes makes an answer right. What they gain without guards is what a policy can learn instead of solving problems
(recipes/reward_hacking.md).

Reads   a verifier, a generator, problems
Writes  nothing; a table of mean rewards, and JSON as the last line of its output

    python eval/probe_rewards.py --verifier outputs/quickstart/prm --generator arithmetic --max_new_tokens 80
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from prm.aggregation import aggregate
from prm.command_line import run_script
from prm.datasets.problems import load_problems
from prm.encoding.steps import separator_of
from prm.generators.arguments import GeneratorArguments
from prm.types import Aggregation
from prm.verifiers.rewards import RewardRule, StepRewards, score_texts

Steps = Sequence[str]
EASY = ("1 + 1 = 2", "2 + 1 = 3", "3 + 1 = 4")

CHANGES: dict[str, Callable[[Steps], Steps]] = {
    "a wrong trace": list,
    "each step three times": lambda steps: [step for step in steps[:-1] for _ in range(3)] + [steps[-1]],
    "first step eight times": lambda steps: [*steps[:1] * 8, *steps[1:]],
    "three easy steps first": lambda steps: [*EASY, *steps],
    "three easy steps last": lambda steps: [*steps[:-1], *EASY, steps[-1]],
    "the answer three times": lambda steps: [*steps, steps[-1], steps[-1]],
    "stops before the answer": lambda steps: steps[:-1],
    "stops after the first step": lambda steps: steps[:1],
    "the answer alone": lambda steps: steps[-1:],
}
"""What is done to the steps of a trace, the last of which states its answer."""

AGGREGATIONS: tuple[Aggregation, ...] = ("last", "min", "mean", "product")


@dataclass(kw_only=True)
class Arguments(GeneratorArguments):
    verifier: str = field(metadata={"help": "checkpoint, `family:path`, served or your own"})
    problems: str = field(
        default="arithmetic", metadata={"help": "`arithmetic`, `arithmetic_hard`, a file or a hub name"}
    )
    split: str = field(default="validation", metadata={"help": "split of the problems"})
    limit: int = field(default=200, metadata={"help": "problems", "least": 1})
    samples: int = field(default=2, metadata={"help": "traces of each", "least": 1})
    least_steps: int = field(default=2, metadata={"help": "guard: fewer steps earn nothing", "least": 1})
    most_steps: int | None = field(default=None, metadata={"help": "guard: more steps earn nothing", "least": 1})
    seed: int = field(default=0, metadata={"help": "of the samples", "least": 0})


def main(args: Arguments) -> None:
    from prm.generators import generate_what_fits
    from prm.sampling.traces import grow, open_trace, trace_seed
    from prm.verifiers import find_verifier

    verifier, generator = find_verifier(args.verifier), args.load()
    problems = [
        problem for problem in load_problems(args.problems, args.split, args.limit) for _ in range(args.samples)
    ]
    seeds = [trace_seed(args.seed, problem.id, i % args.samples) for i, problem in enumerate(problems)]
    sampled = generate_what_fits(generator, [generator.encode(problem.prompt) for problem in problems], seeds)
    traces = grow([open_trace(problem) for problem in problems], sampled, problems, generator)
    right, wrong = (
        [
            (problem.prompt, trace.steps)
            for problem, trace in zip(problems, traces, strict=True)
            if trace.usable and trace.correct is correct and len(trace.steps) > 2
        ]
        for correct in (True, False)
    )
    print(
        f"{len(wrong)} of {len(traces)} traces state a wrong answer after two steps or more, {len(right)} the right one\n"
    )
    if not right or not wrong:
        raise ValueError(f"there is nothing to compare: sample more, or other problems than those of {args.problems}")

    rule = RewardRule(step_rule=generator.step_rule, least_steps=args.least_steps, most_steps=args.most_steps)
    separator = separator_of(rule.step_rule)

    def rewards_of(pairs: Sequence[tuple[str, Steps]], make: Callable[[Steps], Steps]) -> dict[str, float]:
        texts = [separator.join(make(steps)) for _, steps in pairs]
        return summarize(score_texts(verifier, [prompt for prompt, _ in pairs], texts, rule))

    table = {"a right trace": rewards_of(right, list)}
    table |= {change: rewards_of(wrong, make) for change, make in CHANGES.items()}
    print(make_table(table))
    print(json.dumps(table))


def summarize(rewarded: Sequence[StepRewards]) -> dict[str, float]:
    """Mean scores by aggregation, without guards; the mean reward with them, by the verifier's own aggregation."""
    scored = [one.scores for one in rewarded if one.scores]
    means = {str(how): fmean(aggregate(scores, how) for scores in scored) for how in AGGREGATIONS}
    return means | {"guarded": fmean(one.total for one in rewarded)}


def make_table(table: dict[str, dict[str, float]]) -> str:
    heads = ["the completion", *AGGREGATIONS, "with guards"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += [
        f"| {change} | " + " | ".join(f"{value:.3f}" for value in values.values()) + " |"
        for change, values in table.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_script(main, Arguments)
