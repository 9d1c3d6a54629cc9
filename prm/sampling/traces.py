"""Traces of whole problems, with answers extracted and checked: sampled, made of step texts, or made of rollouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prm import answers
from prm.encoding.steps import split_steps
from prm.generators import Generator, derive_seed
from prm.types import Problem, Rollout, Trace


def sample_traces(
    problems: Sequence[Problem], generator: Generator, n: int, seed: int, first: int = 0
) -> list[list[Trace]]:
    """`n` traces for each problem, numbered from `first`; trace `i` depends on (seed, problem, i) only, not on `n`."""
    places = [(problem, first + i) for problem in problems for i in range(n)]
    prefixes = {problem.id: generator.encode(problem.prompt) for problem in problems}
    seeds = [derive_seed(seed, problem.id, "trace", i) for problem, i in places]
    continuations = generator.generate([prefixes[problem.id] for problem, _ in places], seeds)
    traces = build_traces(
        [problem for problem, _ in places],
        [split_steps(c.text, generator.separator) for c in continuations],
        generator=generator.name,
        finished=[c.stop != "length" for c in continuations],
        num_tokens=[len(c.token_ids) for c in continuations],
        seeds=seeds,
        indices=[i for _, i in places],
    )
    return [traces[i * n : (i + 1) * n] for i in range(len(problems))]


def build_traces(
    problems: Sequence[Problem],
    steps_N: Sequence[tuple[str, ...]],
    *,
    generator: str,
    finished: Sequence[bool],
    num_tokens: Sequence[int],
    seeds: Sequence[int],
    indices: Sequence[int],
) -> list[Trace]:
    """Traces from step texts: extracts the answer and checks it against the gold answer of the problem.

    Nothing is dropped: a trace without steps, cut at the token limit, without an answer, or whose answer could not be
    checked in time has a `status` that says so.
    """
    answers_N = [
        answers.extract("\n".join(steps)).answer if done and steps else None
        for steps, done in zip(steps_N, finished, strict=True)
    ]
    outcomes = answers.check_many(golds=[problem.answer for problem in problems], preds=answers_N)
    return [
        _make_trace(
            Trace(problem.id, steps, answer, None, generator, finished[i], num_tokens[i], seeds[i], indices[i]), outcome
        )
        for i, (problem, steps, answer, outcome) in enumerate(zip(problems, steps_N, answers_N, outcomes, strict=True))
    ]


def trace_from_rollout(
    rollout: Rollout, prefix: tuple[str, ...], generator: Generator, index: int | None = None
) -> Trace:
    """The whole trace that a rollout from behind `prefix` makes; its answer is checked already.

    Args:
        index: number of the trace among those of its problem; that of the rollout where None.
    """
    steps = (*prefix, *split_steps(rollout.text, generator.separator))
    finished = rollout.stop != "length"
    return _make_trace(
        Trace(
            problem_id=rollout.problem_id,
            steps=steps,
            answer=answers.extract("\n".join(steps)).answer if finished and steps else None,
            correct=None,
            generator=generator.name,
            finished=finished,
            num_tokens=rollout.num_tokens,
            seed=rollout.seed,
            index=rollout.index if index is None else index,
        ),
        rollout.outcome,
    )


def _make_trace(trace: Trace, outcome: str) -> Trace:
    """With the outcome of the answer check filled in."""
    status = "no_steps" if not trace.steps else "truncated" if not trace.finished else outcome
    return replace(
        trace,
        correct=None if status in ("timeout", "error") else outcome == "correct",
        status="ok" if status in ("correct", "wrong") else status,
    )
