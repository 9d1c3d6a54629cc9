"""Consensus: where Monte Carlo labels put the first error, and what is kept."""

import pytest

from prm.labelers.consensus import agreed, first_error_of, relation
from prm.types import LabeledTrace, Trace

NAMES = {"g": True, "b": False, "-": None}


def monte_carlo(labels: str) -> LabeledTrace:
    """ "ggb": good, good, bad; "-" has no label."""
    trace = Trace("p/0", tuple(f"step {i}" for i in range(len(labels))), "3", labels[-1] == "g")
    counts = tuple((int(label == "g"), 8 if label != "-" else 0) for label in labels)
    values = tuple(good / 8 for good, _ in counts)
    return LabeledTrace(trace, tuple(NAMES[c] for c in labels), values, counts, "monte_carlo@8", "value")


@pytest.mark.parametrize(
    ("labels", "first_error"),
    [
        ("ggg", -1),
        ("bbb", 0),
        ("gbb", 1),
        ("ggb", 2),
        ("b-g", 0),
        ("bgg", 0),  # a later success does not make step 0 right
        ("gbg", 1),
        ("-gb", 2),  # a success after step 1 is a success after step 0, too
        ("g-b", None),
        ("-bb", None),
        ("g-g", None),
        ("gg-", None),
        ("---", None),
        ("gb-", 1),
    ],
)
def test_first_error_of_monte_carlo_labels(labels, first_error):
    assert first_error_of(monte_carlo(labels)) == first_error


def test_same_first_error_is_kept_as_correctness_without_values():
    kept = agreed(monte_carlo("gbb"), 1, "judge@3")
    assert kept.labels == (True, False, None)
    assert (kept.method, kept.semantics) == ("consensus(monte_carlo@8, judge@3)", "correctness")
    assert kept.values is kept.counts is None
    assert agreed(monte_carlo("ggg"), -1, "judge@1").labels == (True, True, True)


@pytest.mark.parametrize(
    ("labels", "verdict", "status"),
    [
        ("gbb", 0, "disagreement"),
        ("gbb", 2, "disagreement"),
        ("gbb", -1, "disagreement"),
        ("ggg", 1, "disagreement"),
        ("gbb", "unparsed", "unparsed"),
        ("ggg", "tie", "tie"),
        ("g-b", 2, "undecided"),
    ],
)
def test_what_is_not_kept(labels, verdict, status):
    assert agreed(monte_carlo(labels), verdict, "judge@1") == status


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        ([(0, 0), (1, 1)], "same place"),
        ([(-1, -1)], "no error"),
        ([(1, 0), (2, 1)], "judge earlier"),
        ([(0, 1), (1, 2)], "judge later"),
        ([(-1, 0), (-1, 1)], "error only for the judge"),
        ([(0, -1), (1, -1)], "error only for Monte Carlo"),
    ],
)
def test_relations(pairs, name):
    assert {relation(first_error, verdict) for first_error, verdict in pairs} == {name}
