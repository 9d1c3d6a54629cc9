"""Relative progress: labels from the ratio of a step's value to that of the step before it (GenPRM, arXiv:2504.00891).

A value says how likely the trace still ends right. A hard label asks whether it can at all (Math-Shepherd), so a step that
loses most of the chance is good as long as some is left, and one after it that loses nothing is, too. The ratio asks what
this step did:

    values            1.0   0.75  0.25  0.25  0.0   0.0
    ratio                   0.75  0.33  1.0   0.0   -
    label (0.7)       good  good  bad   good  bad   bad

After a value of 0 every step is bad. What the problem is worth before the first step is not among the labels, so the first
step is good if its value is above 0. Values of few rollouts are coarse: of 8, one failure more than before is a ratio of
0.86 after 7 successes and of 0.67 after 3.
"""

from __future__ import annotations

from collections.abc import Sequence


def progress_labels(values: Sequence[float | None], threshold: float = 0.8) -> tuple[bool | None, ...]:
    """One label per step; None where its value is not known, or that of the step before it.

    Args:
        threshold: least ratio of a good step. 0.8 is GenPRM's.

    >>> progress_labels((1.0, 0.75, 0.25, 0.25, 0.0, 0.0), threshold=0.7)
    (True, True, False, True, False, False)
    >>> progress_labels((0.5, None, 0.5))
    (True, None, None)
    """
    labels: list[bool | None] = []
    for i, value in enumerate(values):
        before = values[i - 1] if i else value
        if value is None or before is None:
            labels.append(None)
        else:
            labels.append(value > 0 and before > 0 and value >= threshold * before)
    return tuple(labels)
