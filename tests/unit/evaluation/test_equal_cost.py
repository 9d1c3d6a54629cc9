"""A search is compared with the independent samples that its cost would have bought."""

import re
from dataclasses import replace

import pytest

from prm.evaluation.equal_cost import equal_cost, share_of_tree
from prm.evaluation.search_metrics import best_of_n
from prm.evaluation.search_runs import Run
from prm.evaluation.tables import equal_cost_table
from prm.storage.search_rows import ProblemResults
from prm.types import Cost, Problem, Scores, SearchResult, Trace

PROBLEMS = 12
SCORES = [(0.9, 0.8, 0.3, 0.1), (0.2, 0.6, 0.7, 0.4)]
RIGHT = [(False, True, True, False), (True, False, True, True)]


def run(tokens: float, parameters: int = 500) -> Run:
    """Four samples of 10 tokens each, and a search that spent `tokens` and solves every third problem."""
    rows = []
    for i in range(PROBLEMS):
        problem = Problem(f"p{i}", "?", "1", "made up")
        traces = [trace(problem, right, k) for k, right in enumerate(RIGHT[i % 2])]
        scores = tuple(Scores((score,), score) for score in SCORES[i % 2])
        pool = result(problem, "best_of_n", traces, scores, 40, independent=True)
        found = result(problem, "rebase", [trace(problem, i % 3 == 0, 9)], (Scores((0.5,), 0.5),), tokens, False)
        orm = result(problem, "best_of_n", traces, scores, 40, independent=True, verifier="orm")
        candidates = (*traces, *found.candidates)
        classes = tuple(0 if candidate.correct else 1 for candidate in candidates)
        rows.append(ProblemResults(problem, candidates, classes, (pool, found, orm)))
    methods = {"prm_best_of_n": 4, "prm_rebase": 4, "orm_best_of_n": 4}
    return Run({"n": 4, "methods": methods, "generator": {"num_parameters": parameters}}, tuple(rows))


def trace(problem, right, index):
    answer = "1" if right else "2"
    return Trace(problem.id, (f"a{index}",), answer, right, generator="g", finished=True, num_tokens=10, index=index)


def result(problem, strategy, traces, scores, tokens, independent, verifier="prm"):
    cost = Cost(generated_tokens=tokens, flops=float(1000 * tokens))
    return SearchResult(
        problem.id, f"{verifier}_{strategy}", strategy, verifier, tuple(traces), scores, 0, independent, cost
    )


def entries(tokens):
    costs = {"prm_best_of_n": 40, "prm_rebase": tokens, "orm_best_of_n": 40}
    found = equal_cost(run(tokens), {name: {"generated_tokens": n, "flops": 1000.0 * n} for name, n in costs.items()})
    assert [(e["method"], e["rival"], e["cost"]) for e in found] == [
        ("prm_rebase", "prm_best_of_n", "generated_tokens"),  # not the pool of another verifier
        ("prm_rebase", "prm_best_of_n", "flops"),
    ]
    assert {key: found[0][key] for key in ("n", "accuracy")} == {key: found[1][key] for key in ("n", "accuracy")}
    return found[0]


def expected(n):
    return sum(best_of_n(SCORES[i % 2], RIGHT[i % 2], n) for i in range(PROBLEMS)) / PROBLEMS


def test_whole_numbers_of_samples_are_the_estimator_itself():
    entry = entries(20)
    assert entry["n"] == 2
    assert entry["accuracy"] == pytest.approx(expected(2))
    assert entry["difference"]["mean"] == pytest.approx(1 / 3 - expected(2))
    assert entry["difference"]["low"] < entry["difference"]["mean"] < entry["difference"]["high"]


def test_between_two_numbers_lies_the_mixture_of_the_same_mean_cost():
    entry = entries(33)
    assert entry["n"] == pytest.approx(3.3)
    assert entry["accuracy"] == pytest.approx(0.7 * expected(3) + 0.3 * expected(4))


def test_a_pool_whose_choice_has_no_estimate_is_no_rival():
    rows = [
        replace(row, results=(*row.results, replace(row.results[0], method="prm_first", strategy="first_wins")))
        for row in run(20).rows
    ]
    costs = {
        name: {"generated_tokens": 40.0, "flops": 1.0} for name in ("prm_best_of_n", "prm_rebase", "orm_best_of_n")
    }
    assert {entry["rival"] for entry in equal_cost(Run(run(20).meta, tuple(rows)), costs)} == {"prm_best_of_n"}


@pytest.mark.parametrize("tokens", [9, 45])
def test_less_than_a_sample_or_more_than_the_pool_is_compared_with_nothing(tokens):
    assert [entries(tokens)[key] for key in ("n", "accuracy", "difference")] == [None, None, None]


@pytest.mark.parametrize("tokens", [40, 40.5])
def test_the_whole_pool_is_a_budget_up_to_rounding(tokens):
    entry = entries(tokens)
    assert entry["n"] == 4
    assert entry["accuracy"] == pytest.approx(expected(4))


def test_flops_of_a_generator_of_unknown_size_are_compared_with_nothing():
    """A served model: only the verifier's FLOPs are counted, or none at all."""
    costs = {"prm_best_of_n": 40.0, "orm_best_of_n": 40.0, "prm_rebase": 20.0}
    its = {name: {"generated_tokens": n, "flops": 0.0} for name, n in costs.items()}
    assert [entry["n"] for entry in equal_cost(run(20, parameters=0), its)] == [2, None]


def test_the_table_has_a_row_for_every_search_and_its_strongest_rival():
    costs = {"prm_best_of_n": 40.0, "orm_best_of_n": 40.0, "prm_rebase": 20.0}
    entries = equal_cost(run(20), {name: {"generated_tokens": n, "flops": 3 * n * n} for name, n in costs.items()})
    weak = [entry | {"rival": "weak", "accuracy": 0.01} for entry in entries]
    labels = {"prm_rebase": "REBASE", "prm_best_of_n": "best-of-N", "weak": "a weak rival"}
    summary = {
        "methods": {name: {"label": label, "accuracy": 1 / 3} for name, label in labels.items()},
        "equal_cost": [*weak, *entries],
        "over_majority": {"prm_rebase": [{"difference": None, "votes": 61.2}]},
    }
    header, row = equal_cost_table(summary)
    assert header[:4] == ["search", "accuracy", "minus votes of equal FLOPs", "against samples chosen from by"]
    assert header[4:] == ["minus these, equal tokens", "minus these, equal FLOPs"]
    assert row[:4] == ["REBASE", "33.3%", "– needs\n61 votes", "best-of-N"]
    assert re.fullmatch(r"-\d+\.\d \[-\d+\.\d, [+-]\d+\.\d\]\n2\.0 samples", row[4])
    assert row[5].endswith("\n1.0 samples")


def test_a_tree_without_a_character_costs_nothing():
    assert share_of_tree("", [], most=2, n=1) == 0.0
    assert share_of_tree("", [trace(Problem("p", "", "1", "p"), True, 0)], most=1, n=1) == 1.0
