"""Rows of a search: what is written is read back, and what is broken is named."""

import json
from dataclasses import replace

import pytest

from prm.storage.search_rows import results_to_row, row_to_results
from prm.types import Cost, Problem, SampledStep, Scores, SearchResult, Trace

PROBLEM = Problem("p/1", "1 + 1?", "2", "p", 3)
RIGHT = Trace("p/1", ("a", "#### 2"), "2", True, "g", True, 5, 11, 0)
WRONG = Trace("p/1", ("#### 3",), "3", False, "g", True, 4, 12, 1)
SILENT = Trace("p/1", ("hm",), None, False, "g", True, 2, 13, 2, "no_answer")
CUT = Trace("p/1", ("#### 2",), "2", False, "g", False, 9, 14, 3, "truncated")
SCORES = (Scores((0.5, 0.9), 0.9), Scores((0.25,), 0.25), None, None)

TREE = (SampledStep(None, "a", 0.5, 4), SampledStep(None, "#### 3", None, 8), SampledStep(0, "#### 2", 0.9, 6))


def group(answers):
    return [None if answer is None else int(answer) for answer in answers]


def results():
    pool = SearchResult("p/1", "v_x", "x", "v", (RIGHT, WRONG, SILENT, CUT), SCORES, 0, True, Cost(20, 3, flops=7.0), 2)
    return [
        pool,
        replace(
            pool, method="y", strategy="y", verifier=None, candidates=(WRONG,), scores=(None,), chosen=None, tree=TREE
        ),
    ]


def test_a_row_is_read_back_as_it_was_written():
    row = json.loads(json.dumps(results_to_row(PROBLEM, results(), group)))
    back = row_to_results("r.jsonl:7", row)
    assert (back.problem, list(back.results), back.where) == (PROBLEM, results(), "r.jsonl:7")
    assert back.candidates == (RIGHT, WRONG, SILENT, CUT)  # each once
    assert row["results"][1]["candidates"] == [1]
    assert back.classes == (2, 3, None, None)  # an answer that was cut off has no vote
    assert back.class_of[WRONG] == 3
    assert back.gold_class == 2


def test_spreads_are_written_where_a_verifier_gives_any_and_read_back():
    assert "spreads" not in results_to_row(PROBLEM, results(), group)["results"][0]
    sure = (replace(SCORES[0], spreads=(0.2, 0.1)), *SCORES[1:])
    row = json.loads(json.dumps(results_to_row(PROBLEM, [replace(results()[0], scores=sure)], group)))
    assert row["results"][0]["spreads"] == [[0.2, 0.1], None, None, None]
    assert row_to_results("", row).results[0].scores == sure
    row["results"][0]["spreads"][0] = [0.2]
    with pytest.raises(ValueError, match="r:1: v_x: candidate 0 has 2 steps but 1 spreads; score the run again"):
        row_to_results("r:1", row)


def test_without_a_right_candidate_there_is_no_gold_class():
    only = replace(results()[0], candidates=(WRONG, SILENT), scores=SCORES[1:3], chosen=0)
    assert row_to_results("", results_to_row(PROBLEM, [only], group)).gold_class is None


@pytest.mark.parametrize("chosen", [-1, 4])
def test_a_choice_outside_of_the_candidates_is_refused(chosen):
    row = json.loads(json.dumps(results_to_row(PROBLEM, results(), group)))
    row["results"][0]["chosen"] = chosen
    with pytest.raises(ValueError, match=rf"r:1: v_x: candidates \[0, 1, 2, 3\] and choice {chosen} do not fit 4"):
        row_to_results("r:1", row)


def test_a_right_candidate_that_was_cut_has_no_vote_and_hides_none_that_has():
    """An answer may be known of a trace that may not be chosen."""
    cut = replace(RIGHT, finished=False)
    alone = replace(results()[0], candidates=(cut, WRONG), scores=SCORES[:2], chosen=1)
    assert row_to_results("", results_to_row(PROBLEM, [alone], group)).gold_class is None
    beside = replace(results()[0], candidates=(cut, RIGHT), scores=(SCORES[0], SCORES[0]), chosen=1)
    assert row_to_results("", results_to_row(PROBLEM, [beside], group)).gold_class == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("prompt",), r"r:1: needs the keys .*'prompt'"),
        (("candidates", 1, "class"), r"r:1: candidate 1: needs the keys .*'class'"),
        (("results", 0, "chosen"), r"r:1: needs the keys .*'chosen'"),
        (("results", 0, "duplicates"), r"r:1: needs the keys .*'duplicates'"),
        (("results", 0, "cost", "flops"), r"r:1: v_x: cost: needs the keys .*'flops'"),
        (("results", 1, "tree"), r"r:1: needs the keys .*'tree'"),
        (("results", 1, "tree", "scores"), r"r:1: y: tree: needs the keys .*'scores'"),
    ],
)
def test_a_missing_key_is_named(path, message):
    row = json.loads(json.dumps(results_to_row(PROBLEM, results(), group)))
    *way, last = path
    part = row
    for key in way:
        part = part[key]
    del part[last]
    with pytest.raises(ValueError, match=message):
        row_to_results("r:1", row)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("tokens", [4, 8], r"r:1: y: the columns of the tree have \[3, 3, 3, 2\] entries"),
        ("parents", [None, None, 2], "r:1: y: step 2 of the tree comes after step 2; parents come first"),
        ("parents", [None, -1, 0], "r:1: y: step 1 of the tree comes after step -1"),
        ("ahead", [True], r"r:1: y: the columns of the tree have \[3, 3, 3, 3, 1\] entries"),
    ],
)
def test_a_broken_tree_is_refused(column, values, message):
    row = json.loads(json.dumps(results_to_row(PROBLEM, results(), group)))
    row["results"][1]["tree"][column] = values
    with pytest.raises(ValueError, match=message):
        row_to_results("r:1", row)


def test_what_was_only_looked_ahead_to_is_a_column_where_there_is_any():
    """Rows of searches that do not look ahead are as they were before there was such a column."""
    plain = results()
    ahead = [replace(plain[1], tree=(*TREE[:2], replace(TREE[2], ahead=True)))]
    row = json.loads(json.dumps(results_to_row(PROBLEM, ahead, group)))
    assert row["results"][0]["tree"]["ahead"] == [False, False, True]
    assert row_to_results("", row).results[0].tree == ahead[0].tree
    assert "ahead" not in results_to_row(PROBLEM, plain, group)["results"][1]["tree"]


def test_columns_of_the_problem_are_kept():
    topical = replace(PROBLEM, kept={"topic": "sums", "note": None})
    row = json.loads(json.dumps(results_to_row(topical, results(), group)))
    assert row_to_results("", row).problem.kept == {"topic": "sums", "note": None}
    assert "kept" not in results_to_row(PROBLEM, results(), group)
    with pytest.raises(ValueError, match="r:1: `kept` is"):
        row_to_results("r:1", row | {"kept": {"topic": 1}})


def test_what_nobody_counted_is_null():
    foreign = Trace("p/1", ("#### 2",), "2", True)
    only = replace(results()[0], candidates=(foreign,), scores=(None,), chosen=0)
    row = json.loads(json.dumps(results_to_row(PROBLEM, [only], group)))
    assert (row["candidates"][0]["num_tokens"], row["candidates"][0]["seed"]) == (None, None)
    assert row_to_results("", row).candidates == (foreign,)
