"""Rollouts on demand: the first n after a prefix, read from a store if it has them, sampled if it has not.

A labeler, or `data/sample_traces.py`, asks for prefixes and numbers of rollouts; only this module knows how many of them
are new. The missing ones are sampled in slices of fixed size, and each slice is committed as soon as it is sampled. A run
that was killed asks for the same slices again, so the batches and the sampled tokens are equal to the last bit.

    Request(problem, ("47 + 38 = 75",), 8)    the first 8 rollouts after that step of that problem
    Request(problem, (), 4)                   four whole traces
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tqdm import tqdm

from prm import answers
from prm.encoding.steps import split_steps
from prm.generators import Ended, Generator, derive_seed, generate_what_fits, ignore
from prm.sampling.limits import LimitReached, Limits
from prm.sampling.traces import find_answer, trace_seed
from prm.storage.rollout_store import RolloutStore, prefix_hash
from prm.types import UNDECIDED, Continuation, Problem, Rollout

COMMIT = 4096
"""Rollouts sampled between two commits: at most this many are lost by a kill."""

PrefixKey = tuple[str, str]
"""(problem id, hash of the token ids of the prefix): what rollouts are stored by."""


@dataclass(frozen=True)
class Request:
    """The first `rollouts` rollouts that continue `steps`."""

    problem: Problem
    steps: tuple[str, ...]
    rollouts: int


class RolloutSource:
    """Rollouts of a few problems at a time."""

    def __init__(
        self,
        generator: Generator,
        seed: int,
        known: Iterable[Rollout] = (),
        commit: Callable[[Sequence[Rollout]], None] = lambda rollouts: None,
        limits: Limits | None = None,
        ended: Ended = ignore,
    ) -> None:
        """
        Args:
            seed: of the run; every rollout has its own, derived from it and from its key and number.
            known: what was sampled before (`RolloutStore.read`).
            commit: keeps what is sampled now (`RolloutStore.append`).
            limits: of the run; None = it may sample as much as it likes.
            ended: told how many continuations have ended, while they are sampled.
        """
        self.generator = generator
        self.seed = seed
        self.taken: dict[PrefixKey, int] = {}
        """How many rollouts were taken after each prefix: what labeling costs with an empty store."""
        self.sampled_tokens = 0
        """Tokens that had to be sampled; the others were in the store."""
        self._commit = commit
        self._limits = limits or Limits()
        self._ended = ended
        self._ids: dict[tuple[str, tuple[str, ...]], tuple[PrefixKey, list[int]]] = {}
        self._rollouts: dict[PrefixKey, dict[int, Rollout]] = {}
        for rollout in known:
            self._rollouts.setdefault((rollout.problem_id, rollout.prefix), {})[rollout.index] = rollout

    def locate(self, problem: Problem, steps: tuple[str, ...]) -> tuple[PrefixKey, list[int]]:
        """The key of a prefix, and its token ids."""
        named = problem.id, steps
        if named not in self._ids:
            ids = self.generator.encode(problem.prompt, steps)
            self._ids[named] = (problem.id, prefix_hash(ids)), ids
        return self._ids[named]

    def take(self, requests: Sequence[Request]) -> list[list[Rollout]]:
        """The rollouts of each request, in the order of their indices. A prefix that is asked for twice is sampled once.

        Raises:
            LimitReached: some would have to be sampled, and the run may not. All that were sampled before are kept.
        """
        wanted: dict[PrefixKey, Request] = {}
        for request in requests:
            key, _ = self.locate(request.problem, request.steps)
            if key not in wanted or wanted[key].rollouts < request.rollouts:
                wanted[key] = request
        missing = [
            (key, request, i)
            for key, request in wanted.items()
            for i in range(request.rollouts)
            if i not in self._rollouts.get(key, ())
        ]
        for start in range(0, len(missing), COMMIT):
            self._sample(missing[start : start + COMMIT])
        self._check_again(wanted)
        for key, request in wanted.items():
            self.taken[key] = max(request.rollouts, self.taken.get(key, 0))
        return [
            [self._rollouts[self.locate(request.problem, request.steps)[0]][i] for i in range(request.rollouts)]
            for request in requests
        ]

    def all_taken(self) -> list[Rollout]:
        return [self._rollouts[key][i] for key, n in self.taken.items() for i in range(n)]

    def _sample(self, missing: Sequence[tuple[PrefixKey, Request, int]]) -> None:
        if self._limits.reached:
            raise LimitReached
        prefixes = [self.locate(request.problem, request.steps)[1] for _, request, _ in missing]
        seeds = [rollout_seed(self.seed, key, request.steps, i) for key, request, i in missing]
        continuations = generate_what_fits(self.generator, prefixes, seeds, ended=self._ended)
        outcomes = self._outcomes([(request, c) for (_, request, _), c in zip(missing, continuations, strict=True)])
        rollouts = [
            Rollout(*key, i, seed, c.token_ids, c.text, c.stop, gold=request.problem.answer, outcome=outcome)
            for (key, request, i), seed, c, outcome in zip(missing, seeds, continuations, outcomes, strict=True)
        ]
        self._commit(rollouts)
        tokens = sum(rollout.num_tokens for rollout in rollouts)
        self._limits.add(tokens)
        self.sampled_tokens += tokens
        for rollout in rollouts:
            self._rollouts.setdefault((rollout.problem_id, rollout.prefix), {})[rollout.index] = rollout

    def _check_again(self, wanted: dict[PrefixKey, Request]) -> None:
        """Rollouts from a time when the problem had another gold answer count by the one it has now. What could not be
        decided then, perhaps because of the machine, is tried again."""
        stale = [
            (request, rollout)
            for key, request in wanted.items()
            for rollout in self._rollouts[key].values()
            if rollout.gold != request.problem.answer or rollout.outcome in UNDECIDED
        ]
        outcomes = self._outcomes(stale)
        for (request, rollout), outcome in zip(stale, outcomes, strict=True):
            checked = replace(rollout, gold=request.problem.answer, outcome=outcome)
            self._rollouts[rollout.problem_id, rollout.prefix][rollout.index] = checked

    def _outcomes(self, sampled: Sequence[tuple[Request, Continuation | Rollout]]) -> list[str]:
        """What the answer check says of the traces that rollouts make. One that was cut at the limit states no answer; one
        that had no room to begin says nothing of its prefix."""
        rule = self.generator.step_rule
        preds = [
            find_answer((*request.steps, *split_steps(its.text, rule)), rule) if its.stop != "length" else None
            for request, its in sampled
        ]
        outcomes = answers.check_many(golds=[request.problem.answer for request, _ in sampled], preds=preds)
        return [
            outcome if its.token_ids or its.stop != "length" else "too_long"
            for outcome, (_, its) in zip(outcomes, sampled, strict=True)
        ]


def watch(progress: tqdm) -> Ended:
    """An `ended` that shows on a progress bar, once a second, how many continuations have ended: between two chunks of
    problems a large model samples for minutes."""
    count, shown = 0, time.monotonic()

    def ended(continuations: int) -> None:
        nonlocal count, shown
        count += continuations
        if time.monotonic() > shown + 1:
            shown = time.monotonic()
            progress.set_postfix_str(f"{count:,} samples")

    return ended


def commit_to(store: RolloutStore, progress: tqdm) -> Callable[[Sequence[Rollout]], None]:
    """A `commit` that appends to a store, and shows the rate of all that it was given on a progress bar."""
    sampled, started = 0, time.monotonic()  # a bar that is switched off has no clock

    def commit(rollouts: Sequence[Rollout]) -> None:
        nonlocal sampled
        store.append(rollouts)
        sampled += sum(rollout.num_tokens for rollout in rollouts)
        progress.set_postfix_str(f"{sampled / (time.monotonic() - started):,.0f} tokens/s")

    return commit


def rollout_seed(run_seed: int, key: PrefixKey, steps: tuple[str, ...], index: int) -> int:
    """A rollout from the bare prompt is a whole trace, and has the seed of that trace."""
    return derive_seed(run_seed, *key, index) if steps else trace_seed(run_seed, key[0], index)
