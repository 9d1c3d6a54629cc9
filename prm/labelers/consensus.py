"""Consensus: traces whose first error is at the same place for Monte Carlo labels and for a judge (Qwen, 2501.07301).

Monte Carlo labels say from where nobody got to the answer any more, a judge says what it cannot follow; both err, and
seldom alike. Qwen kept about 40% of 860,000 traces and found first errors as well with them as with the judge's labels of
all (ProcessBench F1 46), better than with Monte Carlo labels of all (40); 1.5 million such traces reached 66. "No error at
all" is a place, too.

The judge is asked only where its answer decides whether a trace stays:

    Monte Carlo labels                     place        the judge
    good good good                         no error     is asked
    good bad  bad                          1            is asked
    bad  good good    (luck, or a slip     0            is asked: whether step 0 is wrong is what it can tell
                       that was mended)
    good none bad     (rollouts that could unknown      is not asked: nothing to agree with; status `undecided`
    none none none     not be checked)
    no labels         (status not ok)      -            is not asked: the row stays as it is

Where the two differ, the row has the status `disagreement`. The judge sees the whole trace, also what is behind the place:
so its answers are those of the judge alone, and both runs can share them.

Labels mean correctness from here on, and steps behind the first error have none, as for a judge (`prm.labelers.judge`).
Values and counts are left behind: they measure the chance to end right, and a trainer must not take them for
the chance that a step is right.
"""

from __future__ import annotations

from prm.labelers.judge import label_first_error
from prm.types import LabeledTrace


def place_of(labeled: LabeledTrace) -> int | None:
    """Index of the first bad step of Monte Carlo labels, -1 if all are good; None if a missing label leaves it open."""
    first = labeled.first_error
    before = labeled.labels if first < 0 else labeled.labels[max(0, first - 1) : first]
    return None if None in before else first


def agreed(labeled: LabeledTrace, verdict: int | str, judge: str) -> LabeledTrace | str:
    """The trace with labels, or the status that says why it has none.

    Args:
        labeled: Monte Carlo labels.
        verdict: the judge's (`Judge.verdict`).
        judge: its method.
    """
    place = place_of(labeled)
    if place is None:
        return "undecided"
    if isinstance(verdict, str):
        return verdict
    if verdict != place:
        return "disagreement"
    return label_first_error(labeled.trace, place, f"consensus({labeled.method}, {judge})")


def relation(place: int, verdict: int) -> str:
    """How a judge's place lies to that of Monte Carlo, for the report."""
    if place == verdict:
        return "same place" if place >= 0 else "no error"
    if place < 0 or verdict < 0:
        return "error only for the judge" if place < 0 else "error only for Monte Carlo"
    return "judge earlier" if verdict < place else "judge later"
