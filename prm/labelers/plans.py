"""Plans: Monte Carlo labelers as Python generators that yield requests for the rollouts that they need next.

    yield [Request(problem, steps[:1], 8)]             # sampled together with the requests of other plans
    successes, n = evidence.counts(problem, steps[:1])
    ...
    return labeled                                     # a plan ends with labeled traces

Left out: requests that do not wait for the others of their round. Waiting keeps batches large.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar

from prm.sampling.rollouts import Request
from prm.types import LabeledTrace, Trace

Result = TypeVar("Result")
Planning = Generator[list[Request], None, Result]
"""A plan, or a part of one, that returns a `Result`."""
Plan = Planning[list[LabeledTrace]]


def together(plans: Iterable[Planning[Result]]) -> Planning[list[Result]]:
    """Several plans as one: in each round it yields the requests of all plans that are still running."""
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
    """The prefixes that need rollouts: all except a whole finished trace, whose outcome is known."""
    last = len(trace.steps) - 1 if trace.finished else len(trace.steps)
    return [trace.steps[: i + 1] for i in range(last)]


def from_counts(
    trace: Trace, counts_S: Sequence[tuple[int, int]], method: str, values_S: Sequence[float | None] | None = None
) -> LabeledTrace:
    """A labeled trace from (successes, decided rollouts) after each of its open prefixes.

    A hard label is good if some rollout succeeded (Math-Shepherd). Values are `values_S`, or else the shares of successes.
    A step without decided rollouts has no label and no share.
    """
    counts, values = list(counts_S), list(values_S or map(_share, counts_S))
    if trace.finished:
        counts.append((0, 0) if trace.correct is None else (int(trace.correct), 1))
        values.append(_share(counts[-1]))
    return LabeledTrace(
        trace=trace,
        labels=tuple(good > 0 if n else None for good, n in counts),
        values=tuple(values),
        counts=tuple(counts),
        method=method,
        semantics="value",
    )


def _share(counts: tuple[int, int]) -> float | None:
    good, n = counts
    return good / n if n else None
