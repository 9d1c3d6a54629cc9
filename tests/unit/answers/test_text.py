"""Texts of answers as they are rewritten before anything reads them."""

import pytest

from prm.answers.text import normalize, undelimited


@pytest.mark.parametrize(
    ("rows", "written"),
    [
        (r"x &= 1 \\ y &= 2", "x = 1, y = 2"),
        (r"x = 1 \\ \\ y = 2 \\", "x = 1, y = 2"),  # an empty row is none
        (r" x = 1 \\ y \ne 2", None),
        (r"x = 1 \\ y \le 2", None),
        (r"x <= 1 \\ y = 2", None),
        (r"x = 1, 2 \\ y = 2", None),  # a row with a comma would fall apart
        (r"1 & 2 \\ 3 & 4", None),
    ],
)
def test_a_system_is_the_list_of_its_equations_and_other_tables_stay(rows, written):
    text = rf"\begin{{cases}}{rows}\end{{cases}}"
    found = normalize(text)
    if written is None:
        assert r"\begin{cases}" in found
    else:
        assert found.replace(" ", "") == written.replace(" ", "")


@pytest.mark.parametrize("span", ["$ x $", "$$ x $$", r"\( x \)", r"\[ x \]", " x "])
def test_a_formula_has_no_blanks_at_its_ends(span):
    assert undelimited(span) == "x"
