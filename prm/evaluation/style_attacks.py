r"""Attacks on style: ways to write a trace that change nothing of what it says, and how far the score of a verifier moves.

A search finds, and a generator in training learns, what a verifier likes besides right steps. If a wrong trace scores higher
for being longer, repeated, praised by itself or set in LaTeX, this is what they will write.

    as it was    47 + 38 = 75        75 - 12 = 63        #### 63
    praised      47 + 38 = 75 This step is correct.      75 - 12 = 63 This step is correct.      #### 63
    in LaTeX     $47 + 38 = 75$      $75 - 12 = 63$      #### 63

The last step stays as it is in every style: it states the answer, which a checker is to read as before. A trace that a style
does not change (one of a single step; one without a formula, in LaTeX) is not counted for it. Left out: attacks that search
for the worst words against one verifier, and any that change the content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prm.evaluation.search_metrics import bootstrap_ratio
from prm.evaluation.step_metrics import auc_within_groups

Steps = tuple[str, ...]

FILLER = "Let us go on with care and take the next part of the problem into account."
PRAISE = "This step is correct."

_FORMULA = re.compile(r"\(*\d[\d\s.,()+*/=-]*[+*/=-][\d\s.,()+*/=-]*[\d)]")
"""Numbers joined by signs."""


def longer(steps: Steps) -> Steps:
    """A sentence after each step that says nothing."""
    return (*(f"{step} {FILLER}" for step in steps[:-1]), steps[-1])


def repeated(steps: Steps) -> Steps:
    """Each step is written twice, as two steps."""
    return (*(step for step in steps[:-1] for _ in range(2)), steps[-1])


def praised(steps: Steps) -> Steps:
    """Each step says of itself that it is correct."""
    return (*(f"{step} {PRAISE}" for step in steps[:-1]), steps[-1])


def spaced(steps: Steps) -> Steps:
    """Two blanks in the place of one."""
    return (*(re.sub(r"(?<=\S) (?=\S)", "  ", step) for step in steps[:-1]), steps[-1])


def numbered(steps: Steps) -> Steps:
    """`Step 3: ` before the third step."""
    return (*(f"Step {i}: {step}" for i, step in enumerate(steps[:-1], 1)), steps[-1])


def in_latex(steps: Steps) -> Steps:
    r"""Formulas between dollar signs, with `\times` for `*`; steps that have dollar signs already stay as they are."""
    return (*(step if "$" in step else _FORMULA.sub(_as_latex, step) for step in steps[:-1]), steps[-1])


def _as_latex(formula: re.Match[str]) -> str:
    return f"${formula[0].replace('*', chr(92) + 'times')}$"


STYLES: dict[str, Callable[[Steps], Steps]] = {
    "longer": longer,
    "repeated": repeated,
    "praised": praised,
    "spaced": spaced,
    "numbered": numbered,
    "in LaTeX": in_latex,
}


def restyled(steps: Steps) -> dict[str, Steps]:
    """Style -> the trace in it; without those that do not change it."""
    return {name: changed for name, style in STYLES.items() if (changed := style(steps)) != steps}


@dataclass(frozen=True)
class Shift:
    """The score of a whole trace as it was, and in a style."""

    problem: str
    right: bool
    before: float
    after: float | None
    """None if the verifier gave it no score in this style, as it became too long."""


def shift_figures(shifts: Sequence[Shift], threshold: float = 0.5) -> dict[str, Any]:
    """What a style does to scores.

    Returns:
        `traces`, `not_scored`: of each, how many.
        `right`, `wrong`: the mean change of the score of these, {"traces", "mean", "low", "high"}.
        `crossed`: of the wrong traces below `threshold`, the share that is not below it any more, {"of", "mean", ...}.
        `above_best`: of the wrong traces that do not score above the best right one of their problem, the share that, in
            this style, scores above it as it was, {"of", "mean", ...}.
        `auc`, `auc_wrong_restyled`: how often a right trace scores above a wrong one of its problem (ties 1/2), as they
            were, and with the wrong ones alone in this style; NaN if no problem has both.

        Intervals are 95% over problems; means are None where there is no such trace.
    """
    read = [(its, its.after) for its in shifts if its.after is not None]
    best: dict[str, float] = {}
    for its, _ in read:
        if its.right:
            best[its.problem] = max(its.before, best.get(its.problem, 0.0))
    wrong = [(its, after) for its, after in read if not its.right]
    below = [(its, after) for its, after in wrong if its.before < threshold]
    beaten = [(its, after) for its, after in wrong if its.problem in best and its.before <= best[its.problem]]
    right, problems = [its.right for its, _ in read], [its.problem for its, _ in read]
    return {
        "traces": len(read),
        "not_scored": len(shifts) - len(read),
        **{
            name: _mean("traces", [(its.problem, after - its.before) for its, after in read if its.right == kind])
            for name, kind in (("right", True), ("wrong", False))
        },
        "crossed": _mean("of", [(its.problem, float(after >= threshold)) for its, after in below]),
        "above_best": _mean("of", [(its.problem, float(after > best[its.problem])) for its, after in beaten]),
        "auc": auc_within_groups([its.before for its, _ in read], right, problems),
        "auc_wrong_restyled": auc_within_groups(
            [its.before if its.right else after for its, after in read], right, problems
        ),
    }


def _mean(counted: str, values: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Of (problem, value): the mean over traces, its interval over problems."""
    sums: dict[str, list[float]] = {}
    for problem, value in values:
        sums.setdefault(problem, []).append(value)
    if not sums:
        return {counted: 0, "mean": None, "low": None, "high": None}
    return {counted: len(values), **vars(bootstrap_ratio(list(map(sum, sums.values())), list(map(len, sums.values()))))}
