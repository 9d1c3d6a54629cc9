"""Consensus: where Monte Carlo labels put the first error, and what is kept."""

import pytest

from prm.labelers.consensus import agreed, place_of, relation
from prm.types import LabeledTrace, Trace

NAMES = {"g": True, "b": False, "-": None}


def monte_carlo(labels: str) -> LabeledTrace:
    """ "ggb": good, good, bad; "-" has no label."""
    trace = Trace("p/0", tuple(f"step {i}" for i in range(len(labels))), "3", labels[-1] == "g")
    counts = tuple((int(label == "g"), 8 if label != "-" else 0) for label in labels)
    values = tuple(good / 8 for good, _ in counts)
    return LabeledTrace(trace, tuple(NAMES[c] for c in labels), values, counts, "monte_carlo@8", "value")


@pytest.mark.parametrize(
    ("labels", "place"),
    [
        ("ggg", -1),
        ("bbb", 0),
        ("gbb", 1),
        ("ggb", 2),
        ("bgg", 0),  # a later success does not make step 0 right
        ("gbg", 1),
        ("-gb", 2),  # what reached the answer after step 1 could reach it after step 0
        ("g-b", None),
        ("-bb", None),
        ("g-g", None),
        ("gg-", None),
        ("---", None),
        ("gb-", 1),
    ],
)
def test_place_of_the_first_error(labels, place):
    assert place_of(monte_carlo(labels)) == place


def test_same_place_is_kept_as_correctness_without_values():
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


def test_relations():
    assert [relation(1, 1), relation(-1, -1), relation(2, 1), relation(1, 2), relation(-1, 0), relation(0, -1)] == [
        "same place",
        "no error",
        "judge earlier",
        "judge later",
        "error only for the judge",
        "error only for Monte Carlo",
    ]
