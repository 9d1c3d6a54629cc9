"""What a strategy may ask for, and what it returns. Everything that costs goes through these requests.

A strategy is a generator function of one problem. It yields requests and gets the answers back, so it reads like its
paper's pseudo-code; the driver (`prm.search.driver`) puts the requests of all problems into batches, charges each problem
what its own cost, and keeps the budget.

    def best_of_n(problem, budget, seed):
        traces = yield Sample(budget.samples)
        scores = yield from score_readable(traces)
        return Found(traces, scores, chosen=best(traces, scores))

A budget in tokens may end before a request is served in full: then fewer traces come back, in the order asked for, and
the last one may be cut. An empty answer says that nothing is left.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NewType

from prm.types import Scores, Trace


@dataclass(frozen=True)
class Sample:
    """`n` independent whole traces, numbered from `first`. Answer: the traces.

    Trace `i` of a problem is the same for every method that asks for it: methods share one pool, and nothing is sampled
    twice.
    """

    n: int
    first: int = 0


@dataclass(frozen=True)
class Expand:
    """One more step after each of these open traces. Answer: each parent with its step, `open` or ended.

    Repeat a parent to sample several steps after it.
    """

    parents: Sequence[Trace]
    key: tuple[str | int, ...]
    """Names this request within the search, such as ("beam", depth): seeds follow from it and the place in `parents`."""
    greedy: bool = False
    """The most likely step instead of a sampled one (temperature 0)."""


VerifierName = NewType("VerifierName", str)
"""The type of a strategy's parameter that names a verifier of the run beside the method's own."""


@dataclass(frozen=True)
class Revise:
    """One more whole trace for each of these lists of earlier attempts, which its prompt shows. Answer: the traces."""

    attempts: Sequence[Sequence[Trace]]
    """Oldest first (`prm.encoding.revisions`); an empty list asks for a first attempt."""
    key: tuple[str | int, ...]
    """As that of `Expand`."""


@dataclass(frozen=True)
class Score:
    """The verifier's opinion of traces, whole or open. Answer: one `Scores` per trace, None where it is too long to read."""

    traces: Sequence[Trace]
    by: VerifierName | None = None
    """Another verifier of the run; None = the method's own."""
    attempts: Sequence[Sequence[Trace]] | None = None
    """Earlier attempts that the verifier is shown with each trace; None: it reads the problem and the trace."""


Request = Sample | Expand | Revise | Score


@dataclass(frozen=True)
class Found:
    """How a strategy ends: what it looked at, and its choice."""

    candidates: Sequence[Trace]
    """Those that are still open count as cut off."""
    scores: Sequence[Scores | None]
    """Of each candidate; None where it was not scored."""
    chosen: int | None
    """Index of a usable candidate; None if there is none."""
    votes: Sequence[float] | None = None
    """What each candidate counts in the vote of a tree, 0 without an answer; None where the highest score decides, or the
    strategy has no use for saying it."""


Search = Generator[Request, Any, Found]
"""A strategy at work on one problem."""


def score_readable(
    traces: Sequence[Trace],
    by: VerifierName | None = None,
    attempts: Sequence[Sequence[Trace]] | None = None,
) -> Generator[Score, Any, list[Scores | None]]:
    """Scores of the traces that may still be chosen, open ones included; None for the others, which cost nothing.

    A trace without an answer is never chosen, and neither is one that is longer than the verifier reads.

    Args:
        by, attempts: as those of `Score`.
    """
    readable = [i for i, trace in enumerate(traces) if trace.usable or trace.status == "open"]
    before = None if attempts is None else [attempts[i] for i in readable]
    # Another verifier is asked even about nothing: a method that asks two chooses from no pool, on whatever problem.
    asking = bool(readable) or by is not None
    scores = (yield Score([traces[i] for i in readable], by, before)) if asking else []
    by_index = dict(zip(readable, scores, strict=True))
    return [by_index.get(i) for i in range(len(traces))]


def best(traces: Sequence[Trace], scores: Sequence[Scores | None]) -> int | None:
    """Index of the usable trace with the highest score, the first one where they tie; None if none was scored."""
    usable = {i: its.trace for i, its in enumerate(scores) if its is not None and traces[i].usable}
    return max(usable, key=lambda i: usable[i], default=None)
