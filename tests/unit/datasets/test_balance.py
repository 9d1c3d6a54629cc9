"""Equal numbers per kind, by leaving out, whatever the order of the rows."""

from prm.datasets.balance import balanced

TRACES = [
    (0, b"5", "p", "good"),
    (1, b"1", "p", "good"),
    (2, b"3", "p", "good"),
    (3, b"2", "p", "bad"),
    (4, b"4", "p", "bad"),
    (5, b"6", "q", "good"),
]


def test_within_each_group():
    assert balanced(TRACES, kinds=2) == {1, 2, 3, 4}  # the good ones with the smallest keys; q has one kind only


def test_over_all():
    assert balanced([(number, key, "", kind) for number, key, _, kind in TRACES], kinds=2) == {1, 2, 3, 4}


def test_any_number_of_kinds():
    levels = [(0, b"a", "", 1), (1, b"b", "", 2), (2, b"c", "", 2), (3, b"d", "", 3)]
    assert balanced(levels) == {0, 1, 3}


def test_the_order_of_rows_does_not_matter():
    assert balanced(reversed(TRACES), kinds=2) == balanced(TRACES, kinds=2)
