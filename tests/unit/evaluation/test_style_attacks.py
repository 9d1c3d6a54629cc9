"""Each style on traces written out by hand, and what a style does to scores that are chosen by hand."""

import math

import pytest

from prm.evaluation.style_attacks import (
    STYLES,
    Shift,
    in_latex,
    longer,
    numbered,
    praised,
    repeated,
    restyled,
    shift_figures,
    spaced,
)

STEPS = ("He has 3 boxes.", "2 * 3 = 6, so (6 + 1) / 7 = 1", "#### 1")


def test_styles_change_the_form_of_all_steps_but_the_last():
    filler = "Let us go on with care and take the next part of the problem into account."
    assert longer(STEPS) == (f"He has 3 boxes. {filler}", f"2 * 3 = 6, so (6 + 1) / 7 = 1 {filler}", "#### 1")
    assert repeated(STEPS) == (STEPS[0], STEPS[0], STEPS[1], STEPS[1], "#### 1")
    assert praised(STEPS) == (
        "He has 3 boxes. This step is correct.",
        "2 * 3 = 6, so (6 + 1) / 7 = 1 This step is correct.",
        "#### 1",
    )
    assert spaced(STEPS) == ("He  has  3  boxes.", "2  *  3  =  6,  so  (6  +  1)  /  7  =  1", "#### 1")
    assert numbered(STEPS) == ("Step 1: He has 3 boxes.", "Step 2: 2 * 3 = 6, so (6 + 1) / 7 = 1", "#### 1")
    assert in_latex(STEPS) == ("He has 3 boxes.", r"$2 \times 3 = 6$, so $(6 + 1) / 7 = 1$", "#### 1")


@pytest.mark.parametrize(
    ("step", "written"),
    [
        ("47 + 38, carry 1 = 85", "$47 + 38$, carry $1 = 85$"),
        ("so $x = 2 + 3$ and 2 + 3 = 5", "so $x = 2 + 3$ and 2 + 3 = 5"),
        ("in 1999 a well-known 3-digit number", "in 1999 a well-known 3-digit number"),
        ("1.5 * 2 = 3.", r"$1.5 \times 2 = 3$."),
    ],
)
def test_formulas_in_latex(step, written):
    assert in_latex((step, "#### 1")) == (written, "#### 1")


def test_a_style_that_changes_nothing_is_left_out():
    assert restyled(("#### 1",)) == {}
    assert restyled(("Nothing", "#### 1")).keys() == STYLES.keys() - {"spaced", "in LaTeX"}


def test_shifts_by_hand():
    """Problem p: right 0.8, wrong 0.4 and 0.2; q: wrong 0.6 alone; r: one that became too long."""
    shifts = [
        Shift("p", True, 0.8, 0.7),
        Shift("p", False, 0.4, 0.9),
        Shift("p", False, 0.2, 0.3),
        Shift("q", False, 0.6, 0.5),
        Shift("r", False, 0.1, None),
    ]
    found = shift_figures(shifts, threshold=0.5)
    assert (found["traces"], found["not_scored"]) == (4, 1)
    assert found["right"] == {"traces": 1, "mean": pytest.approx(-0.1), "low": None, "high": None}
    assert found["wrong"] == {"traces": 3, "mean": pytest.approx((0.5 + 0.1 - 0.1) / 3), "low": None, "high": None}
    assert (found["crossed"]["of"], found["crossed"]["mean"]) == (2, 0.5)
    assert (found["above_best"]["of"], found["above_best"]["mean"]) == (2, 0.5)
    assert (found["auc"], found["auc_wrong_restyled"]) == (1.0, 0.5)


def test_of_nothing_there_is_no_mean():
    found = shift_figures([Shift("p", True, 0.9, 0.9)])
    assert found["crossed"] == {"of": 0, "mean": None, "low": None, "high": None}
    assert math.isnan(found["auc"])


def test_an_interval_is_over_problems():
    """Ten problems with the same two shifts: their mean never varies."""
    shifts = [Shift(f"p{i}", False, 0.2, after) for i in range(10) for after in (0.2, 0.4)]
    found = shift_figures(shifts)["wrong"]
    assert [found[key] for key in ("mean", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])
