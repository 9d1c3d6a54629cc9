"""Pools, as those see them that choose from them."""

import math

import pytest
from search_run import rows, write_run

from prm.evaluation.estimates import pools_of, votes_of
from prm.evaluation.search_runs import read_runs


@pytest.fixture
def run(tmp_path):
    """The PRM could not read the second candidate of the first problem."""
    some = rows()
    for result in some[0]["results"]:
        if result["method"] == "prm_best_of_n":
            result["scores"][1], result["trace_scores"][1], result["chosen"] = None, None, 0
    return read_runs([write_run(tmp_path, some)])


def test_what_a_verifier_could_not_read_has_no_part_in_its_choice_but_a_vote(run):
    number = next(i for i, result in enumerate(run.rows[0].results) if result.method == "prm_best_of_n")
    pool, votes = pools_of(run, number)[0], votes_of(run, number)[0]
    classes = [run.rows[0].class_of[trace] for trace in run.rows[0].results[number].candidates]
    assert pool.classes == (classes[0], None, *classes[2:])
    assert votes.classes == tuple(classes)
    assert pool.scores[1] == votes.scores[1] == -math.inf
    assert (pool.correct[1], votes.correct[1]) == (False, run.rows[0].results[number].candidates[1].correct)
    for its, row in zip(votes_of(run, number), run.rows, strict=True):
        assert its.correct == tuple(trace.correct is True for trace in row.results[number].candidates)


def test_a_trace_that_is_not_finished_has_no_part_in_any_choice(tmp_path):
    """Not even in the vote, though it states the right answer."""
    some = rows()
    some[0]["candidates"][0] |= {"finished": False, "status": "truncated"}
    run = read_runs([write_run(tmp_path, some)])
    number = next(i for i, result in enumerate(run.rows[0].results) if result.method == "prm_best_of_n")
    for pool in (pools_of(run, number)[0], votes_of(run, number)[0]):
        assert (pool.correct[:2], pool.classes[:2]) == ((False, True), (None, 0))
        assert (pool.scores[0], pool.scores[1] > 0) == (-math.inf, True)
