"""What labels cost and how well methods agree: the figures that `data/label_steps.py` and `data/compare_labels.py` print.

label_report(...) -> {"traces": 160, "labeled_steps": 940, "good": 0.54, "non_monotone": 0.01, "rollouts": 699,
                      "tokens": 14918, "tokens_per_labeled_step": 15.9, "rollouts_per_labeled_step": 0.74,
                      "duplicate_rate": 0.31, "outcomes": {"correct": 210, "wrong": 489}}
agreement(a, b)   -> {"traces": 160, "steps": 940, "labels": 0.97, "first_error": 0.95, "value_rmse": 0.07}
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from prm.types import LabeledTrace, Rollout


class Spent:
    """The cost of a method's rollouts, added up problem by problem."""

    def __init__(self) -> None:
        self.rollouts = self.tokens = self.duplicates = 0
        self.outcomes: Counter[str] = Counter()

    def add(self, rollouts: Sequence[Rollout]) -> None:
        """Add all rollouts of some problems, whether they were sampled in this run or earlier."""
        self.add_counts(
            len(rollouts),
            sum(rollout.num_tokens for rollout in rollouts),
            len(rollouts) - len({(r.problem_id, r.prefix, r.token_ids) for r in rollouts}),
            Counter(rollout.outcome for rollout in rollouts),
        )

    def add_counts(self, rollouts: int, tokens: int, duplicates: int, outcomes: Mapping[str, int]) -> None:
        """Add what was counted before."""
        self.rollouts += rollouts
        self.tokens += tokens
        self.duplicates += duplicates
        self.outcomes.update(outcomes)


def label_report(labeled: Sequence[LabeledTrace], spent: Spent) -> dict[str, Any]:
    """The figures of one method."""
    labels = [label for trace in labeled for label in trace.labels if label is not None]
    return {
        "traces": len(labeled),
        "labeled_steps": len(labels),
        "good": sum(labels) / max(1, len(labels)),
        "non_monotone": sum(map(is_non_monotone, labeled)) / max(1, len(labeled)),
        "rollouts": spent.rollouts,
        "generated_tokens": spent.tokens,
        "rollouts_per_labeled_step": spent.rollouts / max(1, len(labels)),
        "tokens_per_labeled_step": spent.tokens / max(1, len(labels)),
        "duplicate_rate": spent.duplicates / max(1, spent.rollouts),
        "outcomes": dict(spent.outcomes),
    }


def is_non_monotone(labeled: LabeledTrace) -> bool:
    """Whether a good step follows a bad one: a recovery, or an error of the labels.

    If a good label means "some continuation reaches the answer", it is an error: a success after a step is also a success
    after all earlier steps.
    """
    labels = [label for label in labeled.labels if label is not None]
    return any(later and not earlier for earlier, later in itertools.pairwise(labels))


def agreement(a: Sequence[LabeledTrace], b: Sequence[LabeledTrace]) -> dict[str, Any]:
    """How well two methods agree on the traces that both have labeled.

    Raises:
        ValueError: they have no trace in common, a trace has other steps in the other file, or two traces share an id.
    """
    ours, others = _by_id(a), _by_id(b)
    pairs = [(trace, others[name]) for name, trace in ours.items() if name in others]
    if not pairs:
        raise ValueError("the two have no trace in common; label the same traces file with both methods")
    for x, y in pairs:
        if x.trace.steps != y.trace.steps:
            raise ValueError(f"{x.trace.id} has other steps in the other file; label the same traces file with both")
    steps = [
        (p, q) for x, y in pairs for p, q in zip(x.labels, y.labels, strict=True) if p is not None and q is not None
    ]
    # Files of earlier versions have a value, which nothing estimated, at steps without a label.
    values = [
        (p, q)
        for x, y in pairs
        if x.values is not None and y.values is not None
        for p, q, known in zip(x.values, y.values, _both_labeled(x, y), strict=True)
        if known and p is not None and q is not None
    ]
    return {
        "traces": len(pairs),
        "steps": len(steps),
        "labels": sum(p == q for p, q in steps) / max(1, len(steps)),
        "first_error": sum(x.first_error == y.first_error for x, y in pairs) / len(pairs),
        "value_rmse": math.sqrt(sum((p - q) ** 2 for p, q in values) / len(values)) if values else None,
    }


def _by_id(traces: Sequence[LabeledTrace]) -> dict[str, LabeledTrace]:
    named = {trace.trace.id: trace for trace in traces}
    if len(named) < len(traces):
        name, count = Counter(trace.trace.id for trace in traces).most_common(1)[0]
        raise ValueError(
            f"{count} traces are {name}, so they cannot be found again in another file; number the traces of a problem in a"
            " column `index` (data/convert_dataset.py does it)"
        )
    return named


def _both_labeled(x: LabeledTrace, y: LabeledTrace) -> list[bool]:
    return [p is not None and q is not None for p, q in zip(x.labels, y.labels, strict=True)]
