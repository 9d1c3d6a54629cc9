"""Monte Carlo step labels: k rollouts from every step prefix (Math-Shepherd, Wang et al. 2312.08935 sec. 3.3).

A step's value is the share of rollouts from behind it that reach the gold answer; its hard label is good if any does.
Raw counts are kept, so both can be derived again. The last step of a finished trace needs no rollout: its outcome is known.

Traces of one problem that begin alike share the rollouts of the common prefix: they are addressed by the problem and the
exact token ids of the prefix, and nothing is sampled twice.

    steps    47 + 38 = 75      75 - 12 = 63      #### 63          gold 73
    counts   (1, 8)            (0, 8)            (0, 1)           one rollout slipped back to the right answer
    labels   good              bad               bad

Left out here: planning fewer rollouts (bisection, sequential tests).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prm import answers
from prm.generators import Generator, derive_seed
from prm.steps import join_steps
from prm.types import LabeledTrace, Problem, Rollout, Trace

Counts = dict[tuple[str, str], tuple[int, int]]
"""(problem id, prefix hash) -> (successes, decided rollouts)."""


@dataclass(frozen=True)
class MonteCarlo:
    """See `prm.labelers.Labeler`. `rollouts` of them from every prefix."""

    generator: Generator
    rollouts: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rollouts < 1:
            raise ValueError(f"rollouts is {self.rollouts}; labels need at least one rollout per prefix")

    @property
    def method(self) -> str:
        return f"monte_carlo@{self.rollouts}"

    def label(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[LabeledTrace]:
        """Sample the rollouts and derive the labels. `data/label_steps.py` does the two apart, with a journal between."""
        counts = count(self.sample(problems, traces))
        return [self.derive(problem, trace, counts) for problem, trace in zip(problems, traces, strict=True)]

    def sample(self, problems: Sequence[Problem], traces: Sequence[Trace]) -> list[Rollout]:
        """All rollouts that these traces need, those of a common prefix once."""
        wanted: dict[tuple[str, str], tuple[Problem, tuple[str, ...], list[int]]] = {}
        for problem, trace in zip(problems, traces, strict=True):
            for steps in _open_prefixes(trace):
                ids = self.generator.encode(problem.prompt, steps)
                wanted.setdefault((problem.id, _hash(ids)), (problem, steps, ids))
        places = [(place, i) for place in wanted for i in range(self.rollouts)]
        seeds = [derive_seed(self.seed, *place, i) for place, i in places]
        continuations = self.generator.generate([wanted[place][2] for place, _ in places], seeds)

        # The answer is read off the whole trace: a rollout may hold only the rest of its last line.
        separator = self.generator.separator
        texts = [
            join_steps(wanted[place][1], separator) + separator + c.text
            for (place, _), c in zip(places, continuations, strict=True)
        ]
        preds = [
            answers.extract(text).answer if c.stop != "length" else None
            for text, c in zip(texts, continuations, strict=True)
        ]
        outcomes = answers.check_many(golds=[wanted[place][0].answer for place, _ in places], preds=preds)
        return [
            Rollout(*place, index=i, seed=seed, text=c.text, num_tokens=len(c.token_ids), outcome=outcome)
            for (place, i), seed, c, outcome in zip(places, seeds, continuations, outcomes, strict=True)
        ]

    def derive(self, problem: Problem, trace: Trace, counts: Counts) -> LabeledTrace:
        """Labels of one trace from the counts of all rollouts. A step whose rollouts were all undecided has none."""
        counts_S = [
            counts[problem.id, _hash(self.generator.encode(problem.prompt, steps))] for steps in _open_prefixes(trace)
        ]
        if trace.finished:
            counts_S.append((0, 0) if trace.correct is None else (int(trace.correct), 1))
        return LabeledTrace(
            trace=trace,
            labels=tuple(good > 0 if n else None for good, n in counts_S),
            values=tuple(good / n if n else 0.0 for good, n in counts_S),
            counts=tuple(counts_S),
            method=self.method,
            semantics="value",
        )


def count(rollouts: Iterable[Rollout]) -> Counts:
    """Successes and decided rollouts per prefix. Answers that could not be checked (timeout, error) count as neither."""
    counts: Counts = {}
    for rollout in rollouts:
        place = (rollout.problem_id, rollout.prefix)
        good, n = counts.get(place, (0, 0))
        decided = rollout.outcome not in ("timeout", "error")
        counts[place] = (good + (rollout.outcome == "correct"), n + decided)
    return counts


def _open_prefixes(trace: Trace) -> list[tuple[str, ...]]:
    """The prefixes that need rollouts: all but the whole of a finished trace."""
    last = len(trace.steps) - 1 if trace.finished else len(trace.steps)
    return [trace.steps[: i + 1] for i in range(last)]


def _hash(ids: Sequence[int]) -> str:
    return hashlib.sha256(repr(list(ids)).encode()).hexdigest()[:16]
