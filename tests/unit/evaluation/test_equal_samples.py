"""Methods against majority voting at the same number of samples, and against one sample of a larger model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from prm.evaluation.equal_samples import (
    against_larger,
    equal_samples,
    exchange_table,
    gains,
    method_table,
    on_common_problems,
    problems_needed,
)
from prm.evaluation.search_metrics import Estimate, best_of_n
from prm.evaluation.search_runs import Run
from prm.storage.search_rows import ProblemResults
from prm.types import Cost, Problem, Scores, SearchResult, Trace

SCORES = (0.9, 0.8, 0.3, 0.1)
RIGHT = [(True, False, False, False), (False, True, False, False)]
"""Of every other problem. All wrong answers are equal."""


def run(n: int = 4, verifier: str | None = "prm", flops: float = 4000.0, problems: int = 12) -> Run:
    """A pool of n samples, 10 tokens each, and the choice among them by majority and by a verifier."""
    rows = []
    for i in range(problems):
        problem = Problem(f"p{i}", "?", "1", "made up")
        traces = tuple(
            Trace(problem.id, (f"a{k}",), "1" if right else "2", right, finished=True, num_tokens=10, index=k)
            for k, right in enumerate(RIGHT[i % 2][:n])
        )
        cost = Cost(generated_tokens=10 * n, prompt_tokens=0, flops=flops, seconds=8.0)
        scores = tuple(Scores((score,), score) for score in SCORES[:n])
        results = [SearchResult(problem.id, "majority", "majority", None, traces, (None,) * n, 0, True, cost)]
        if verifier:
            dear = replace(cost, verifier_tokens=20 * n, flops=2 * flops)
            name = f"{verifier}_best_of_n"
            results.append(SearchResult(problem.id, name, "best_of_n", verifier, traces, scores, 0, True, dear))
        classes = tuple(0 if trace.correct else 1 for trace in traces)
        rows.append(ProblemResults(problem, traces, classes, tuple(results)))
    meta = {"problems": "made up", "split": "test", "n": n, "seconds": 1.0, "unfinished_problems": 0}
    meta |= {"generator": {"num_parameters": 50}, "verifiers": {verifier: {}} if verifier else {}}
    return Run(meta | {"methods": {result.method: n for result in rows[0].results}}, tuple(rows))


def test_every_method_at_every_number_of_samples_against_the_vote():
    mine = run()
    rows = {(row["method"], row["n"]): row for row in equal_samples(mine, mine)}
    assert list(rows) == [
        ("single sample", 1),
        ("majority vote", 2),
        ("majority vote", 4),
        ("PRM best-of-N", 2),
        ("PRM best-of-N", 4),
    ]
    expected = sum(best_of_n(SCORES, right, 2) for right in RIGHT) / 2
    row = rows["PRM best-of-N", 2]
    assert row["accuracy"].mean == pytest.approx(expected)
    assert row["difference"].mean == pytest.approx(expected - rows["majority vote", 2]["accuracy"].mean)
    assert [row[key] for key in ("generated_tokens", "verifier_tokens", "flops", "seconds")] == [20, 40, 4000, 4]
    assert rows["majority vote", 4]["difference"] is None


def test_another_prompt_is_compared_with_the_vote_of_the_main_one():
    main, other = run(), run(n=2, verifier=None)
    rows = equal_samples(other, main, "direct: ")
    assert [(row["method"], row["n"]) for row in rows] == [
        ("direct: single sample", 1),
        ("direct: majority vote", 2),
    ]
    # Its two samples hold the right one always, those of the main pool in half of the pairs; alone, each is a tie.
    assert rows[1]["difference"].mean == pytest.approx(0.5 - 0.25)


def test_runs_are_cut_to_the_problems_that_all_have():
    some = run(problems=11)
    some = replace(some, rows=some.rows[::-1])
    cut = on_common_problems({"a": run(), "b": some})
    assert [row.problem.id for row in cut["a"].rows] == [row.problem.id for row in cut["b"].rows]
    assert len(cut["a"].rows) == 11
    with pytest.raises(ValueError, match="the runs a, b have no problem in common"):
        on_common_problems({"a": run(), "b": replace(some, rows=())})


def test_a_larger_model_that_answers_once():
    """One sample of it takes 2 x 50 x 10 = 1,000 FLOPs, and is right on every other problem. Two samples take 2,000 of the
    4,000 of the vote's pool of four, one sample with its score 2,000."""
    vote, choice = against_larger(run(), run(n=1, verifier=None))
    assert (vote["method"], vote["n"]) == ("majority vote", pytest.approx(1.0))
    assert vote["accuracy"].mean == pytest.approx(0.25)
    assert vote["difference"].mean == pytest.approx(0.25 - 0.5)
    assert choice == {"method": "PRM best-of-N", "n": pytest.approx(0.5), "accuracy": None, "difference": None}
    _, *rows = exchange_table([vote, choice])
    assert rows[1] == ["PRM best-of-N", "0.5", "–", ""]


@pytest.mark.parametrize(
    ("flops", "n", "has_one"), [(1000.0, 4.0, True), (999.0, 4.004, False), (0.0, math.inf, False)]
)
def test_a_budget_is_within_the_pool_or_there_is_none(flops, n, has_one):
    """Where the pool takes none, nobody knows what a sample takes."""
    vote, _ = against_larger(run(flops=flops), run(n=1, verifier=None))
    assert vote["n"] == pytest.approx(n, rel=1e-4)
    assert (vote["accuracy"] is not None) == (vote["difference"] is not None) == has_one


def test_a_search_has_no_number_of_samples_to_compare_with_a_larger_model():
    mine = run()
    searched = [
        replace(
            row,
            results=(*row.results, replace(row.results[1], method="prm_rebase", strategy="rebase", independent=False)),
        )
        for row in mine.rows
    ]
    methods = {result.method: 4 for result in searched[0].results}
    rows = against_larger(Run(mine.meta | {"methods": methods}, tuple(searched)), run(n=1, verifier=None, flops=1000.0))
    assert [row["method"] for row in rows] == ["majority vote", "PRM best-of-N"]


def test_how_many_problems_a_gain_needs():
    assert problems_needed(Estimate(0.05, -0.05, 0.15), 40) == 160  # half as wide an interval
    assert problems_needed(Estimate(0.05, 0.01, 0.09), 40) == 26
    assert problems_needed(Estimate(-0.05, -0.1, 0.0), 40) is None
    assert problems_needed(Estimate(0.05, None, None), 5) is None
    assert problems_needed(Estimate(0.0, -0.1, 0.1), 40) is None
    assert problems_needed(Estimate(0.001, -0.1, 0.1), 40) == 408_040


def test_a_run_of_one_sample_shows_what_was_chosen_from_it():
    assert [(row["method"], row["n"]) for row in equal_samples(run(1), run(1))] == [
        ("single sample", 1),
        ("PRM best-of-N", 1),
    ]


def test_what_is_said_of_gains():
    row = {"method": "PRM best-of-N", "verifier": "prm", "n": 2}
    better = row | {"difference": Estimate(0.05, 0.01, 0.09)}
    perhaps = row | {"n": 4, "difference": Estimate(0.05, -0.05, 0.15)}
    worse = row | {"n": 8, "difference": Estimate(-0.05, -0.1, -0.01)}
    assert gains([worse, perhaps, better], 40) == [
        "Better than majority voting with as many samples, the interval above 0: PRM best-of-N with 2: +5.0 [+1.0, +9.0]."
    ]
    assert (
        "The nearest is PRM best-of-N with 4, +5.0 [-5.0, +15.0]: for such a gain, about 160" in gains([perhaps], 40)[0]
    )
    nothing = ["No choice by a verifier is better than majority voting with as many samples."]
    vote = better | {"verifier": None}
    for row in (vote, better | {"difference": None}, better | {"difference": Estimate(0.05, None, None)}):
        assert gains([row], 40) == nothing
    barely = better | {"difference": Estimate(0.05, 0.0, 0.1)}
    assert (
        "The nearest is PRM best-of-N with 2, +5.0 [+0.0, +10.0]: for such a gain, about 40" in gains([barely], 40)[0]
    )
    assert "about 40" in gains([perhaps, barely], 40)[0]  # the one that needs the fewest
    twice = [perhaps, perhaps | {"n": 16}]  # of two that need as many, the first
    assert "The nearest is PRM best-of-N with 4" in gains(twice, 40)[0]
    assert gains([worse], 40) == ["No choice by a verifier is better than majority voting with as many samples."]


def test_an_accuracy_has_its_interval_where_there_is_one():
    rows = [row | {"accuracy": Estimate(0.5, 0.4, 0.6)} for row in equal_samples(run(), run())]
    assert {cells[2] for cells in method_table(rows)[1:]} == {"50.0% [40.0, 60.0]"}
    rows = [row | {"accuracy": Estimate(0.5, None, None)} for row in rows]
    assert {cells[2] for cells in method_table(rows)[1:]} == {"50.0%"}


def test_the_table():
    header, *rows = method_table(equal_samples(run(), run()))
    assert header[:4] == ["method", "N", "accuracy", "minus majority at N"]
    assert rows[-1][:2] == ["PRM best-of-N", "4"]
    assert rows[-1][4:] == ["40", "80", "8.00e+03", "8.0"]
