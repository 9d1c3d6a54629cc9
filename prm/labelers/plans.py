"""Plans: labeling methods as Python generators that yield the rollouts they want next.

    yield [Request(problem, steps[:1], 8)]             # sampled together with what other plans asked for
    successes, n = evidence.counts(problem, steps[:1])
    ...
    return labeled                                     # how a plan ends

Left out: requests that do not wait for all others of the round; batches stay large as they are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar

from prm.sampling.rollouts import Request
from prm.types import LabeledTrace, Trace

Result = TypeVar("Result")
Steps = Generator[list[Request], None, Result]
"""A plan that returns a `Result`."""
Plan = Steps[list[LabeledTrace]]


def together(plans: Iterable[Steps[Result]]) -> Steps[list[Result]]:
    """Plans in lockstep, as one plan: the requests of a round are those of all that still run."""
    running = dict(enumerate(plans))
    results: dict[int, Result] = {}
    count = len(running)
    while running:
        requests: list[Request] = []
        for i, plan in list(running.items()):
            try:
                requests += next(plan)
            except StopIteration as finished:
                results[i] = finished.value
                del running[i]
        if requests:
            yield requests
    return [results[i] for i in range(count)]


def open_prefixes(trace: Trace) -> list[tuple[str, ...]]:
    """The prefixes that need rollouts: all but the whole of a finished trace, whose outcome is known."""
    last = len(trace.steps) - 1 if trace.finished else len(trace.steps)
    return [trace.steps[: i + 1] for i in range(last)]


def from_counts(
    trace: Trace, counts_S: Sequence[tuple[int, int]], method: str, values_S: Sequence[float] | None = None
) -> LabeledTrace:
    """A labeled trace from (successes, decided rollouts) behind each of its open prefixes.

    Hard label: some rollout succeeded (Math-Shepherd). Value: their share, unless `values_S` says better. A step whose
    rollouts were all undecided has no label.
    """
    counts, values = list(counts_S), list(values_S or [good / n if n else 0.0 for good, n in counts_S])
    if trace.finished:
        counts.append((0, 0) if trace.correct is None else (int(trace.correct), 1))
        values.append(float(bool(trace.correct)))
    return LabeledTrace(
        trace=trace,
        labels=tuple(good > 0 if n else None for good, n in counts),
        values=tuple(values),
        counts=tuple(counts),
        method=method,
        semantics="value",
    )
