"""The numbers of a summary in sentences."""

import pytest

from prm.evaluation.labels import leading
from prm.evaluation.reading import reading
from prm.evaluation.search_metrics import FEWEST


def summary(searches: int) -> dict:
    names = [f"search{i}" for i in range(searches)]
    methods = {
        name: {"label": name.upper(), "words": name, "strategy": name, "verifier": "prm", "accuracy": 0.5, "samples": 4}
        for name in ("majority", *names)
    }
    gain = {"mean": 0.2, "low": 0.1, "high": 0.3}
    return {
        "methods": methods,
        "N": 4,
        "n_problems": 40,
        "differences": {f"{name} - majority": gain for name in names},
        "equal_cost": [{"method": name, "rival": "majority"} for name in names],
        "over_majority": {},
        "verifiers": {"prm": {}},
    }


@pytest.mark.parametrize("searches", [1, 2])
def test_a_search_or_two_have_sentences(searches):
    text = reading(summary(searches))
    assert text.count("beats MAJORITY by +20.0 points [+10.0, +30.0].") == searches


def test_many_searches_have_a_table():
    table = "The 3 searches are compared with independent samples of equal cost below."
    its = summary(3)
    assert reading(its) == table
    its["methods"]["best"] = its["methods"]["search0"] | {"label": "BEST", "words": "best", "strategy": "best"}
    its["differences"] |= {"best - majority": its["differences"]["search0 - majority"]}
    assert reading(its) == f"BEST beats MAJORITY by +20.0 points [+10.0, +30.0]. {table}"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 0.3, "SEARCH0 beats MAJORITY by +20.0 points [+10.0, +30.0]."),
        (0.0, 0.4, "The difference between SEARCH0 and MAJORITY may be chance: +20.0 points [+0.0, +40.0] includes 0."),
        (
            -0.4,
            0.0,
            "The difference between SEARCH0 and MAJORITY may be chance: -20.0 points [-40.0, +0.0] includes 0.",
        ),
        (-0.3, -0.1, "SEARCH0 loses to MAJORITY: -20.0 points [-30.0, -10.0]."),
    ],
)
def test_a_gain_or_a_loss_is_one_whose_interval_is_on_one_side_of_0(low, high, said):
    gain = {"mean": (low + high) / 2, "low": low, "high": high}
    its = summary(1) | {"differences": {"search0 - majority": gain}, "n_problems": FEWEST}
    assert reading(its) == said
    assert said not in reading(its | {"n_problems": FEWEST - 1})


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        ({"mean": 0.2, "low": 0.1, "high": 0.3}, "against these it wins (+20.0 points [+10.0, +30.0])."),
        ({"mean": -0.2, "low": -0.3, "high": -0.1}, "against these it loses (-20.0 points [-30.0, -10.0])."),
        ({"mean": -0.1, "low": -0.2, "high": 0.0}, "against these it may be the same (-10.0 points [-20.0, +0.0])."),
        ({"mean": 0.1, "low": 0.0, "high": 0.2}, "against these it may be the same (+10.0 points [+0.0, +20.0])."),
    ],
)
def test_the_leading_method_is_set_against_votes_of_equal_flops(gain, verdict):
    """With the largest number of samples for which the pool has enough votes."""
    entries = [{"n": n, "votes": 1.5 * n, "difference": its} for n, its in ((2, None), (8, gain), (16, None))]
    its = summary(1)
    leading = next(iter(its["methods"]))
    text = reading(its | {"over_majority": {leading: entries}})
    assert text.endswith(f"With its verifier charged, MAJORITY with 8 samples costs as much as 12.0 votes: {verdict}")
    assert "With its verifier" not in reading(its)


def test_the_first_sentence_sets_the_leading_method_against_one_sample_and_a_perfect_choice():
    its = summary(1)
    name = leading(its)
    at = {"label": "x", "words": None, "strategy": "x", "verifier": None, "low": None, "high": None, "samples": 4}
    its["methods"]["single"] = at | {"accuracy": 0.25}
    its["methods"]["pass_at_n"] = at | {"label": "PASS@N", "accuracy": 0.75}
    its["methods"][name] |= {"low": 0.4, "high": 0.6}
    its["curves"] = {name: [{"n": 2}], "pass_at_n": [{"n": 2, "accuracy": 0.625}, {"n": 4, "accuracy": 0.75}]}
    text = reading(its)
    assert text.startswith(
        f"One sample solves 25.0% of the 40 problems. With 2 samples, {name.upper()} solves 50.0% [40.0, 60.0], where a"
        " perfect choice would solve 62.5%."
    )
    its["curves"] = {}
    assert "With 4 samples, " in reading(its)
    assert "a perfect choice would solve 75.0%." in reading(its)


def test_without_a_verifier_the_first_sentence_is_about_a_perfect_choice():
    its = summary(0) | {"verifiers": {}, "curves": {}, "n_problems": 9}
    at = {"label": "x", "words": None, "strategy": "x", "verifier": None, "low": None, "high": None, "samples": 4}
    its["methods"] |= {"single": at | {"accuracy": 0.25}, "pass_at_n": at | {"label": "PASS@N", "accuracy": 0.75}}
    assert reading(its) == (
        "One sample solves 25.0% of the 9 problems. With 4 samples, PASS@N solves 75.0%, where a perfect choice would"
        " solve 75.0%. 9 problems are too few to compare methods: a difference may be chance."
    )


def test_of_methods_that_differ_in_their_samples_alone_the_largest_has_sentences():
    its = summary(1)
    for name in list(its["methods"]):
        its["methods"][f"{name}[samples=2]"] = its["methods"][name] | {
            "label": f"SMALL {name}", "words": f"{name} samples=2", "samples": 2
        }  # fmt: skip
    gain = its["differences"]["search0 - majority"]
    its["differences"] = {
        f"{a} - {b}": gain
        for a in ("search0", "search0[samples=2]")
        for b in ("majority", "majority[samples=2]", "search0[samples=2]")
        if a != b
    }
    assert reading(its) == "SEARCH0 beats MAJORITY by +20.0 points [+10.0, +30.0]."


@pytest.mark.parametrize(("strategies", "said"), [(("majority", "x"), False), (("x", "x"), True)])
def test_a_single_sample_is_a_rival_only_where_there_is_no_vote(strategies, said):
    its = summary(1)
    for method, strategy in zip(its["methods"].values(), strategies, strict=True):
        method["strategy"] = strategy
    its["methods"]["single"] = {"label": "SINGLE", "strategy": None, "accuracy": 0.25}
    its["methods"]["pass_at_n"] = {"label": "PASS@N", "strategy": None, "accuracy": 0.75}
    for method in its["methods"].values():
        method |= {"low": None, "high": None, "samples": 4, "words": None}
    its |= {
        "curves": {},
        "differences": {
            "search0 - single": (gain := {"mean": 0.2, "low": 0.1, "high": 0.3}),
            "search0 - majority": gain,
        },
    }
    assert ("SEARCH0 beats SINGLE" in reading(its)) == said
    assert "SEARCH0 beats MAJORITY" in reading(its)
