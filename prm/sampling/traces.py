"""Traces from what a generator sampled: split into steps, answer extracted and checked. The one place where a trace is made.

A continuation grows a trace that has some steps already, or none. A trace that has ended is checked; one that has not
(a search asked for its next step only) has the status `open`.

    open_trace(problem)                                       no steps yet
    grow([trace], [continuation], [problem], generator)       the same with what was sampled after it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prm import answers
from prm.encoding.steps import separator_of, split_steps
from prm.generators import Generator, derive_seed
from prm.types import UNDECIDED, Continuation, Problem, Rollout, StepRule, Trace


def open_trace(problem: Problem) -> Trace:
    """A trace of this problem without any step."""
    return Trace(problem.id, (), None, None, finished=False, num_tokens=0, status="open")


def trace_seed(run_seed: int, problem_id: str, index: int) -> int:
    """The seed of a whole trace: trace `index` of a problem is the same however many are sampled."""
    return derive_seed(run_seed, problem_id, "trace", index)


def grow(
    parents: Sequence[Trace],
    continuations: Sequence[Continuation],
    problems: Sequence[Problem],
    generator: Generator,
    one_step: bool = False,
) -> list[Trace]:
    """Each parent with what was sampled after it.

    Nothing is dropped: a trace without steps, cut at the token limit, without an answer, without room in the model's
    context, or whose answer could not be checked in time has a `status` that says so.

    Args:
        one_step: a continuation is the next step, and the trace goes on unless that step ended it. Else it is the rest.
    """
    grown = []
    for parent, continuation in zip(parents, continuations, strict=True):
        new = split_steps(continuation.text, generator.step_rule)
        # Blank text instead of a next step would be sampled again and again: it ends the trace.
        goes_on = one_step and continuation.stop == "step" and bool(new)
        finished = not goes_on and continuation.stop != "length"
        # A step that ends the trace may have the answer that was asked for after it.
        steps = parent.steps + (new[:1] if goes_on else new)
        trace = replace(
            parent,
            steps=steps,
            answer=find_answer(steps, generator.step_rule) if finished else None,
            generator=generator.name,
            step_rule=generator.step_rule,
            finished=finished,
            num_tokens=tokens_after(parent, continuation),
            status="open" if goes_on else "ok",
        )
        grown.append(trace)
    ended = [i for i, trace in enumerate(grown) if trace.status != "open"]
    outcomes = answers.check_many(golds=[problems[i].answer for i in ended], preds=[grown[i].answer for i in ended])
    for i, outcome in zip(ended, outcomes, strict=True):
        grown[i] = _with_outcome(grown[i], outcome)
    return grown


def check_again(traces: Sequence[Trace], golds: Sequence[str]) -> list[Trace]:
    """The traces, those whose answer check was not decided with what it says now."""
    stale = [i for i, trace in enumerate(traces) if trace.status in UNDECIDED]
    outcomes = answers.check_many(golds=[golds[i] for i in stale], preds=[traces[i].answer for i in stale])
    found = list(traces)
    for i, outcome in zip(stale, outcomes, strict=True):
        found[i] = _with_outcome(traces[i], outcome)
    return found


def tokens_after(parent: Trace, continuation: Continuation) -> int | None:
    """Tokens of a trace that goes on like this; unknown if those of its beginning are."""
    return None if parent.num_tokens is None else parent.num_tokens + len(continuation.token_ids)


def find_answer(steps: Sequence[str], rule: StepRule) -> str | None:
    """The final answer that a finished trace states, None if it states none. The one place that looks for it."""
    return answers.extract(separator_of(rule).join(steps)).answer if steps else None


def cut(trace: Trace) -> Trace:
    """An open trace whose search has ended before it did."""
    return replace(trace, status="truncated" if trace.steps else "no_steps", correct=False)


def trace_from_rollout(
    rollout: Rollout, prefix: tuple[str, ...], generator: Generator, index: int | None = None
) -> Trace:
    """The whole trace that a rollout after `prefix` makes; its answer is checked already.

    Args:
        index: number of the trace among those of its problem; that of the rollout where None.
    """
    steps = (*prefix, *split_steps(rollout.text, generator.step_rule))
    finished = rollout.stop != "length"
    trace = Trace(
        problem_id=rollout.problem_id,
        steps=steps,
        answer=find_answer(steps, generator.step_rule) if finished else None,
        correct=None,
        generator=generator.name,
        step_rule=generator.step_rule,
        finished=finished,
        num_tokens=rollout.num_tokens,
        seed=rollout.seed,
        index=rollout.index if index is None else index,
    )
    return _with_outcome(trace, rollout.outcome)


def _with_outcome(trace: Trace, outcome: str) -> Trace:
    """With the outcome of the answer check filled in."""
    status = "no_steps" if not trace.steps else "truncated" if not trace.finished else outcome
    if not trace.finished and trace.num_tokens == 0:  # nothing was cut off: there was no room for any
        status = "too_long"
    return replace(
        trace,
        correct=None if status in UNDECIDED else outcome == "correct",
        status="ok" if status in ("correct", "wrong") else status,
    )
