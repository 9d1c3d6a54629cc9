"""What W&B is told of the run of tests/search_run.py; that it arrives: tests/scripts/test_tracking.py."""

import pytest
from search_run import META, rows, write_run

from prm.evaluation.search_runs import read_runs
from prm.evaluation.summary import summarize
from prm.evaluation.trace_browser import traces_to_show
from prm.evaluation.tracked import curves_over_samples, numbers_to_sort_by, trace_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_runs([write_run(tmp_path_factory.mktemp("search"), rows())])


@pytest.fixture(scope="module")
def summary(run):
    return summarize(run)


def test_runs_can_be_sorted_by_the_same_names(summary):
    numbers = numbers_to_sort_by(summary)
    assert all(type(value) in (int, float) for value in numbers.values())
    assert (numbers["prm_best_of_n/accuracy"], numbers["leading/accuracy"]) == (0.5, 0.5)
    assert numbers["leading/minus_majority"] == pytest.approx(0.5 - 0.375)
    assert numbers["leading/verifier_flops"] == 6000
    assert numbers["verifiers/orm/trace_auc"] == summary["verifiers"]["orm"]["trace_auc"]
    assert not any(name.endswith(("/label", "/low")) for name in numbers)  # four problems have no interval


def test_without_verifiers_nothing_leads(tmp_path):
    meta = META | {"methods": {"majority": 4}, "verifiers": {}}
    numbers = numbers_to_sort_by(summarize(read_runs([write_run(tmp_path, rows(["majority"]), meta)])))
    assert numbers["majority/accuracy"] == 0.375
    assert not any(name.startswith("leading") for name in numbers)


def test_curves_have_every_number_of_samples(summary):
    curves = curves_over_samples(summary)
    assert list(curves) == [1, 2, 4]
    assert curves[1]["accuracy/single"] == 0.375
    assert [curves[n]["accuracy/prm_best_of_n"] for n in curves] == pytest.approx([0.375, 0.375 + 1 / 12, 0.5])
    assert [n for n in curves if "accuracy/prm_beam_search" in curves[n]] == [4]


def test_the_table_has_a_row_for_every_trace(run):
    names = {"methods": {name: name.upper() for name in META["methods"]}, "verifiers": {"prm": "PRM", "orm": "ORM"}}
    problems = traces_to_show(run, lambda problem, steps: (True, *[False] * (len(steps) - 1)), ["orm"])
    columns, table = trace_table(problems, names)
    assert len(table) == 4 * 5
    found = [dict(zip(columns, row, strict=True)) for row in table]
    picked = [row["chosen by"] != "" for row in found]
    assert picked == sorted(picked, reverse=True)  # what was chosen comes first
    row = next(row for row in found if row["problem"] == "arithmetic/test/1" and "PRM_BEST_OF_N" in row["chosen by"])
    assert (row["gold answer"], row["answer"], row["right"], row["votes"]) == ("10", "10", True, 1)
    assert row["steps"] == "✓ 1 + 1 = 2\n✗ #### 0"
    assert (row["PRM"], row["PRM steps"], row["PRM and truth apart"]) == (0.95, "0.50 0.95", 0.95)
    assert (row["ORM"], row["ORM and truth apart"]) == (0.05, 0.95)  # of an ORM, from the outcome


def test_only_so_many_traces_are_in_the_table(run, monkeypatch):
    names = {"methods": {name: name for name in META["methods"]}, "verifiers": {}}
    monkeypatch.setattr("prm.evaluation.tracked.TRACES", 7)
    _, table = trace_table(traces_to_show(run), names)
    assert len(table) == 7
    assert all(row[6] for row in table)


def test_the_leading_method_is_set_against_the_vote():
    own = {"strategy": "best_of_n", "verifier": "prm", "accuracy": 0.75}
    methods = {"single": {"strategy": None, "verifier": None, "accuracy": 0.25}, "a": own}
    methods["votes"] = {"strategy": "majority", "verifier": None, "accuracy": 0.5}
    methods = {name: method | {"words": name, "samples": 4} for name, method in methods.items()}
    differences = {"a - single": {"mean": 0.5}, "a - votes": {"mean": 0.25}}
    its = {"methods": methods, "verifiers": {"prm": {}}, "differences": differences}
    assert numbers_to_sort_by(its)["leading/minus_majority"] == 0.25
