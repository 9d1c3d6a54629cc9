"""Chains by hand: accuracy by attempt, spoiled and mended, and the interval of a share."""

import numpy as np
import pytest

from prm.evaluation.revisions import accuracy_by_attempt, spoiled_and_mended
from prm.evaluation.search_metrics import bootstrap_ratio
from prm.types import Cost, SearchResult, Trace


def result(right, chains=1):
    """`right` says of each candidate, in the order of the search, whether it is."""
    traces = tuple(Trace("p", ("x",), None if r is None else "1", r, index=i) for i, r in enumerate(right))
    return SearchResult("p", "revisions", "revisions", None, traces, (None,) * len(traces), None, False, Cost())


def test_by_attempt():
    ones = [result([True, False, True, True]), result([False, True, False, None])]
    assert [estimate.mean for estimate in accuracy_by_attempt(ones, 1)] == [0.5, 0.5, 0.5, 0.5]


def test_by_attempt_of_two_chains():
    two = [result([True, False, True, True]), result([False, False, False, True])]
    assert [estimate.mean for estimate in accuracy_by_attempt(two, 2)] == [0.25, 0.75]


def test_by_attempt_as_far_as_every_chain_goes():
    some = [result([True, False, True]), result([False, True])]
    assert [estimate.mean for estimate in accuracy_by_attempt(some, 1)] == [0.5, 0.5]


def test_pairs_are_those_of_a_chain():
    chains = [result([True, False, False, True, True, None], 2)]  # chains: right, wrong, right / wrong, right, none
    spoiled, mended = spoiled_and_mended(chains, 2)
    assert (spoiled.mean, mended.mean) == (2 / 2, 2 / 2)
    spoiled, mended = spoiled_and_mended(chains, 1)  # right, wrong, wrong, right, right, none
    assert (spoiled.mean, mended.mean) == (2 / 3, 1 / 2)
    with pytest.raises(ValueError, match="no share of nothing"):
        spoiled_and_mended([result([False, False])], 1)


def test_an_interval_of_a_share_counts_problems_by_what_they_have():
    rng = np.random.default_rng(0)
    wholes = rng.integers(0, 20, 300)
    parts = rng.binomial(wholes, 0.3)
    estimate = bootstrap_ratio(parts.tolist(), wholes.tolist())
    assert estimate.mean == parts.sum() / wholes.sum()
    assert estimate.low < 0.3 < estimate.high
    # Nearly that of independent draws, since nothing sets problems apart.
    width = 2 * 1.96 * (0.3 * 0.7 / wholes.sum()) ** 0.5
    assert estimate.high - estimate.low == pytest.approx(width, rel=0.15)
    assert bootstrap_ratio([1] * 12 + [0] * 9, [1] * 12 + [0] * 9).high == 1
    assert bootstrap_ratio([1] * 9 + [0] * 12, [1] * 9 + [0] * 12).low is None  # of nine problems
