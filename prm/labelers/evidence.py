"""Evidence: how often the continuations of a prefix reached the gold answer, whoever asked for them.

A rollout from a prefix that happens to write the next step of a trace exactly as the trace has it is also a rollout
from behind that step: given the tokens up to there, what follows is a sample of the same distribution. So it counts
there too, for nothing, as does a whole trace of the same generator at each of its steps (its own, and those that other
traces share). This is exact: equal token ids, nothing selected by outcome.

    prefix                                   own (4 rollouts)    passing through    counts
    "47 + 38 = 85"                           3 of 4              -                  (3, 4)
    "47 + 38 = 85", "85 - 12 = 73"           -                   3 of 3             (3, 3)

Left out: traces that were cut at the token limit (they are not labeled, so they are not here); counting them as
failures would lower values by their share.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.labelers.plans import Result, Steps, open_prefixes
from prm.sampling.rollouts import Place, Request, RolloutSource
from prm.types import Problem, Rollout, Trace


class Evidence:
    """Counts of successes and decided rollouts per prefix, filled round by round."""

    def __init__(self, source: RolloutSource) -> None:
        self.source = source
        self._own: dict[Place, list[Rollout]] = {}
        self._counts: dict[Place, tuple[int, int]] = {}
        self._watched: dict[str, dict[int, dict[tuple[int, ...], Place]]] = {}  # problem -> length -> prefix -> place

    def watch(self, problem: Problem, traces: Sequence[Trace]) -> None:
        """Count what passes through the prefixes of these traces, and the traces themselves if they are this generator's."""
        for trace in traces:
            for steps in open_prefixes(trace):
                self._watch(problem, steps)
        for trace in traces:
            if trace.generator == self.source.generator.name and trace.correct is not None:
                _, ids = self.source.locate(problem, trace.steps)
                self._pass_through(problem, ids, 0, trace.correct)

    def gather(self, plan: Steps[Result]) -> Result:
        """Carry out a plan: sample what it asks for, show it the outcomes, until it returns."""
        while True:
            try:
                requests = next(plan)
            except StopIteration as finished:
                return finished.value
            self._add(requests)

    def own(self, problem: Problem, steps: tuple[str, ...]) -> list[Rollout]:
        """The rollouts that were asked for from this prefix."""
        return self._own.get(self.source.locate(problem, steps)[0], [])

    def own_counts(self, problem: Problem, steps: tuple[str, ...]) -> tuple[int, int]:
        """(successes, decided rollouts) among those."""
        decided = [rollout for rollout in self.own(problem, steps) if rollout.decided]
        return sum(rollout.outcome == "correct" for rollout in decided), len(decided)

    def counts(self, problem: Problem, steps: tuple[str, ...]) -> tuple[int, int]:
        """(successes, decided rollouts) from this prefix and through it."""
        return self._counts.get(self.source.locate(problem, steps)[0], (0, 0))

    def _watch(self, problem: Problem, steps: tuple[str, ...]) -> None:
        place, ids = self.source.locate(problem, steps)
        self._watched.setdefault(problem.id, {}).setdefault(len(ids), {})[tuple(ids)] = place

    def _add(self, requests: Sequence[Request]) -> None:
        for request, rollouts in zip(requests, self.source.take(requests), strict=True):
            place, ids = self.source.locate(request.problem, request.steps)
            own = self._own.setdefault(place, [])
            for rollout in rollouts[len(own) :]:
                own.append(rollout)
                if rollout.decided:
                    success = rollout.outcome == "correct"
                    self._count(place, success)
                    self._pass_through(request.problem, [*ids, *rollout.token_ids], len(ids), success)

    def _pass_through(self, problem: Problem, ids: Sequence[int], start: int, success: bool) -> None:
        for length, prefixes in self._watched.get(problem.id, {}).items():
            if start < length < len(ids):
                place = prefixes.get(tuple(ids[:length]))
                if place is not None:
                    self._count(place, success)

    def _count(self, place: Place, success: bool) -> None:
        successes, decided = self._counts.get(place, (0, 0))
        self._counts[place] = successes + success, decided + 1
