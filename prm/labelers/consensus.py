"""Consensus: keeps the traces where Monte Carlo labels and a judge have the same first error (Qwen, 2501.07301).

Monte Carlo labels show from which step on no rollout reached the answer; a judge names the step that it finds wrong. Both
make mistakes, but seldom the same ones. Qwen kept about 40% of 860,000 traces and found first errors as well with them as
with the judge's labels of all traces (ProcessBench F1 46), and better than with Monte Carlo labels of all (40); 1.5
million such traces reached 66. Agreement that there is no error counts, too.

The judge is asked only if its answer decides whether a trace stays:

    Monte Carlo labels                     first error  the judge
    good good good                         none         is asked
    good bad  bad                          1            is asked
    bad  good good    (luck, or a slip     0            is asked: it can tell whether step 0 is wrong
                       that was corrected)
    good none bad     (rollouts that could unknown      is not asked: nothing to agree with; status `undecided`
    none none none     not be checked)
    no labels         (status not ok)      -            is not asked: the row stays unchanged

If the two differ, the row has the status `disagreement`. The judge always sees the whole trace, including the steps after
the first error, so its answers are the same as in a run without consensus, and both can share them.

The labels that result mean correctness, and steps after the first error have none, as for a judge alone
(`prm.labelers.judge`). Values and counts are dropped: they measure the chance to end right, and a trainer must not take
them for the chance that a step is right.
"""

from __future__ import annotations

from prm.labelers.judge import label_first_error
from prm.types import LabeledTrace


def first_error_of(labeled: LabeledTrace) -> int | None:
    """Index of the first bad step of Monte Carlo labels, -1 if all are good; None if a missing label leaves it open."""
    first = labeled.first_error
    # A success after one step is also a success after all earlier ones, so only the label just before can be in doubt.
    before = labeled.labels if first < 0 else labeled.labels[max(0, first - 1) : first]
    return None if None in before else first


def agreed(labeled: LabeledTrace, verdict: int | str, judge: str) -> LabeledTrace | str:
    """The trace with labels, or the status that says why it has none.

    Args:
        labeled: Monte Carlo labels.
        verdict: the judge's (`Judge.verdict`).
        judge: the judge's method.
    """
    first_error = first_error_of(labeled)
    if first_error is None:
        return "undecided"
    if isinstance(verdict, str):
        return verdict
    if verdict != first_error:
        return "disagreement"
    return label_first_error(labeled.trace, first_error, f"consensus({labeled.method}, {judge})")


def relation(first_error: int, verdict: int) -> str:
    """How a judge's verdict relates to the first error of Monte Carlo labels, for the report."""
    if first_error == verdict:
        return "same place" if first_error >= 0 else "no error"
    if first_error < 0 or verdict < 0:
        return "error only for the judge" if first_error < 0 else "error only for Monte Carlo"
    return "judge earlier" if verdict < first_error else "judge later"
