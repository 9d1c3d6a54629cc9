"""The numbers of a summary in sentences."""

import pytest

from prm.evaluation.reading import reading


def summary(searches: int) -> dict:
    names = [f"search{i}" for i in range(searches)]
    methods = {name: {"label": name.upper(), "verifier": "prm", "accuracy": 0.5} for name in ("majority", *names)}
    gain = {"mean": 0.2, "low": 0.1, "high": 0.3}
    return {
        "methods": methods,
        "N": 4,
        "n_problems": 40,
        "differences": {f"{name} - majority": gain for name in names},
        "equal_cost": [{"method": name, "rival": "majority"} for name in names],
    }


@pytest.mark.parametrize("searches", [1, 2])
def test_a_search_or_two_have_sentences(searches):
    text = reading(summary(searches))
    assert text.count("beats MAJORITY by +20.0 points [+10.0, +30.0].") == searches


def test_many_searches_have_a_table():
    assert reading(summary(3)) == "The 3 searches are compared with independent samples of equal cost below."
