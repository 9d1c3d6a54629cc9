"""Evidence: how often the continuations of a prefix reached the gold answer, counting all rollouts that contain it.

If a rollout happens to write the next step of a trace exactly as the trace has it, it is also a rollout from the prefix
that ends with this step: given the tokens up to there, the rest is a sample of the same distribution. So it counts there,
too, at no cost. In the same way a whole trace of the same generator counts at each of its steps (for itself, and for
other traces with these steps). This is exact: the token ids are equal, and nothing is selected by outcome.

    prefix                                   own (4 rollouts)    passing through    counts
    "47 + 38 = 85"                           3 of 4              -                  (3, 4)
    "47 + 38 = 85", "85 - 12 = 73"           -                   3 of 3             (3, 3)

Left out: traces that were cut at the token limit. They are not labeled, so they never get here; counting them as failures
would lower the values by their share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prm.labelers.plans import Planning, Result, open_prefixes
from prm.sampling.rollouts import PrefixKey, Request, RolloutSource
from prm.types import Problem, Rollout, Trace


@dataclass
class _Watched:
    """A node of the tree of the watched prefixes of a problem, token by token."""

    key: PrefixKey | None = None
    """Of the prefix that ends here."""
    after: dict[int, _Watched] = field(default_factory=dict)


class Evidence:
    """Counts of successes and decided rollouts per prefix, filled round by round."""

    def __init__(self, source: RolloutSource) -> None:
        self.source = source
        self._own: dict[PrefixKey, list[Rollout]] = {}
        self._counts: dict[PrefixKey, tuple[int, int]] = {}
        self._watched: dict[str, _Watched] = {}  # by problem

    def watch(self, problem: Problem, traces: Sequence[Trace]) -> None:
        """Count rollouts that pass through the prefixes of these traces, and the traces themselves if this generator wrote
        them."""
        for trace in traces:
            for steps in open_prefixes(trace):
                self._watch(problem, steps)
        for trace in traces:
            if trace.generator == self.source.generator.name and trace.correct is not None:
                _, ids = self.source.locate(problem, trace.steps)
                self._pass_through(problem, ids, 0, trace.correct)

    def gather(self, plan: Planning[Result]) -> Result:
        """Carry out a plan: sample its requests and resume it, until it returns."""
        while True:
            try:
                requests = next(plan)
            except StopIteration as finished:
                return finished.value
            self._add(requests)

    def own(self, problem: Problem, steps: tuple[str, ...]) -> list[Rollout]:
        """The rollouts that were requested from this prefix."""
        return self._own.get(self.source.locate(problem, steps)[0], [])

    def own_counts(self, problem: Problem, steps: tuple[str, ...]) -> tuple[int, int]:
        """(successes, decided rollouts) among the rollouts requested from this prefix."""
        decided = [rollout for rollout in self.own(problem, steps) if rollout.decided]
        return sum(rollout.outcome == "correct" for rollout in decided), len(decided)

    def counts(self, problem: Problem, steps: tuple[str, ...]) -> tuple[int, int]:
        """(successes, decided rollouts) of all rollouts from this prefix or through it."""
        return self._counts.get(self.source.locate(problem, steps)[0], (0, 0))

    def _watch(self, problem: Problem, steps: tuple[str, ...]) -> None:
        prefix_key, ids = self.source.locate(problem, steps)
        node = self._watched.setdefault(problem.id, _Watched())
        for token in ids:
            node = node.after.setdefault(token, _Watched())
        node.key = prefix_key

    def _add(self, requests: Sequence[Request]) -> None:
        for request, rollouts in zip(requests, self.source.take(requests), strict=True):
            prefix_key, ids = self.source.locate(request.problem, request.steps)
            own = self._own.setdefault(prefix_key, [])
            # A request repeats the rollouts of earlier ones from the same prefix; only the others are new.
            for rollout in rollouts[len(own) :]:
                own.append(rollout)
                if rollout.decided:
                    success = rollout.outcome == "correct"
                    self._count(prefix_key, success)
                    self._pass_through(request.problem, [*ids, *rollout.token_ids], len(ids), success)

    def _pass_through(self, problem: Problem, ids: Sequence[int], start: int, success: bool) -> None:
        """Count an outcome at every watched prefix of `ids` longer than `start`, up to which they were not sampled."""
        node = self._watched.get(problem.id)
        for length, token in enumerate(ids):
            if node is None:
                return
            if length > start and node.key is not None:
                self._count(node.key, success)
            node = node.after.get(token)

    def _count(self, prefix_key: PrefixKey, success: bool) -> None:
        successes, decided = self._counts.get(prefix_key, (0, 0))
        self._counts[prefix_key] = successes + success, decided + 1
