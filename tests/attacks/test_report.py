"""Rows that emptied the report's browser of traces: texts of megabytes, numbers that JSON does not have, half characters."""

import json

import pytest
from search_run import rows, write_run

from prm.evaluation.search_runs import read_runs
from prm.evaluation.trace_browser import LONGEST, as_json, traces_to_show

HALF = "a\ud800"
BYTES = 2_000_000


@pytest.fixture(autouse=True)
def small_page(monkeypatch):
    monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", BYTES)


def not_json(name):
    raise ValueError(f"{name} is no JSON")


def shown(folder, some):
    """What the browser reads, as strictly as it does."""
    text = as_json(traces_to_show(read_runs([write_run(folder, some)])))
    assert len(text.encode()) < BYTES + 1000
    return json.loads(text, parse_constant=not_json)


def steps(problem, candidate):
    return [problem["texts"][i] for i in problem["candidates"][candidate]["steps"]]


@pytest.mark.parametrize("place", ["prompt", "gold", "kept", "step", "answer"])
def test_a_text_of_3_mb_is_cut_and_the_other_problems_stay(place, tmp_path):
    some, long = rows(), "long " * 600_000
    if place == "step":
        some[0]["candidates"][0]["completions"][0] = long
    elif place == "answer":
        some[0]["candidates"][0]["answer"] = long
    else:
        some[0][place] = {"topic": long} if place == "kept" else long
    problems = shown(tmp_path, some)
    assert [problem["id"] for problem in problems] == [row["problem_id"] for row in some]
    assert f"… and {3_000_000 - LONGEST:,} more characters" in json.dumps(problems[0], ensure_ascii=False)


def test_a_problem_that_is_too_large_leaves_room_for_the_others(tmp_path):
    some = rows()
    for k, candidate in enumerate(some[1]["candidates"]):
        candidate["completions"] = [f"{k}, {i:02}".ljust(LONGEST, "x") for i in range(50)]
    for result in some[1]["results"]:
        result["scores"] = [
            its and [0.5] * len(some[1]["candidates"][i]["completions"])
            for i, its in zip(result["candidates"], result["scores"], strict=True)
        ]
    assert [problem["id"] for problem in shown(tmp_path, some)] == [some[i]["problem_id"] for i in (0, 2, 3)]


def test_problems_of_a_thousand_candidates_show_some_of_them(tmp_path):
    """Beside their own few candidates there are 900 wrong ones with a long step: each problem alone exceeds the page."""
    some = rows()
    for row in some:
        own = len(row["candidates"])
        row["candidates"] += [
            row["candidates"][0]
            | {"completions": [f"{i:03}" + "x" * 2_500], "answer": "no", "correct": False, "index": own + i}
            for i in range(900)
        ]
    problems = shown(tmp_path, some)
    whole = shown(tmp_path / "small", rows())
    assert [problem["id"] for problem in problems] == [row["problem_id"] for row in some]
    for problem, small in zip(problems, whole, strict=True):
        assert 50 < len(problem["candidates"]) < 120
        assert problem["left_out"] == 900 + len(small["candidates"]) - len(problem["candidates"])
        for method, choice in small["picks"].items():
            mine = problem["picks"][method]
            assert steps(problem, mine) == steps(small, choice)
        assert any(its["correct"] for its in problem["candidates"]) == any(
            its["correct"] for its in small["candidates"]
        )
    assert all("left_out" not in problem for problem in whole)


@pytest.mark.parametrize("level", [float("nan"), float("inf"), "2", 2.5, True, [2]])
def test_a_level_that_is_no_whole_number_is_refused_by_row(level, tmp_path):
    some = rows()
    some[2]["level"] = level
    with pytest.raises(
        ValueError, match=r"results\.jsonl:3: level .* is neither a whole number nor null; correct the row"
    ):
        read_runs([write_run(tmp_path, some)])


def test_numbers_that_json_does_not_have_are_null():
    numbers = {"a": [float("nan"), float("inf"), -float("inf"), 1.5]}
    assert json.loads(as_json(numbers), parse_constant=not_json) == {"a": [None, None, None, 1.5]}


def test_half_a_character_is_refused_by_row(tmp_path):
    some = rows()
    some[1]["prompt"] = HALF
    with pytest.raises(ValueError, match=r"results\.jsonl:2: .* is half of a character"):
        read_runs([write_run(tmp_path, some)])
