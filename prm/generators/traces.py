"""sample_traces: problems -> traces, n of each, with answers extracted and checked."""

from __future__ import annotations

from collections.abc import Sequence

from prm import answers
from prm.generators import Generator, derive_seed
from prm.steps import split_steps
from prm.types import Problem, Trace


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
    traces = []
    for i, (problem, steps, answer, outcome) in enumerate(zip(problems, steps_N, answers_N, outcomes, strict=True)):
        status = "no_steps" if not steps else "truncated" if not finished[i] else outcome
        traces.append(
            Trace(
                problem_id=problem.id,
                steps=steps,
                answer=answer,
                correct=None if status in ("timeout", "error") else outcome == "correct",
                generator=generator,
                finished=finished[i],
                num_tokens=num_tokens[i],
                seed=seeds[i],
                index=indices[i],
                status="ok" if status in ("correct", "wrong") else status,
            )
        )
    return traces
