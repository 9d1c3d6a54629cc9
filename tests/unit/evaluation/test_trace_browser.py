"""What the page shows of traces and trees, by hand; tests/scripts/test_report_page.py clicks through it."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from scripted_tree import World
from scripted_tree import run as search_world
from search_run import META, rows, twelve_problems, write_run

from prm.datasets import arithmetic
from prm.datasets.step_truth import step_truth
from prm.evaluation.page import page
from prm.evaluation.search_runs import read_runs
from prm.evaluation.trace_browser import BYTES, apart, as_json, judged_to_show, traces_to_show, tree_to_show
from prm.storage.step_scores import JudgedTrace, Prediction
from prm.types import Cost, Problem, SampledStep, Scores, SearchResult, Trace


def texts(problem, its):
    return [problem["texts"][i] for i in its["steps"]]


def test_every_problem_is_there_with_each_text_once(tmp_path):
    some = [row | {"kept": {"topic": name}} for row, name in zip(rows(), "abcd", strict=True)]
    problems = traces_to_show(read_runs([write_run(tmp_path, some)]))
    assert [problem["kept"] for problem in problems] == [row["kept"] for row in some]
    for problem, row in zip(problems, some, strict=True):
        assert [texts(problem, its) for its in problem["candidates"]] == [c["completions"] for c in row["candidates"]]
        assert len(set(problem["texts"])) == len(problem["texts"])
        assert "truth" not in problem["candidates"][0]
    # Two of problem 2 state no answer and have no vote.
    assert [candidate["votes"] for candidate in problems[2]["candidates"][:4]] == [1, 1, 0, 0]


def test_the_rare_kind_stays_where_there_is_no_room_for_all(tmp_path, monkeypatch):
    many = [rows()[3 if i == 50 else 1] | {"problem_id": str(i)} for i in range(60)]
    run = read_runs([write_run(tmp_path, many)])
    monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", 20_000)
    shown = [problem["id"] for problem in traces_to_show(run)]
    assert 5 < len(shown) < 40
    assert "50" in shown
    assert shown == sorted(shown, key=int)


def test_the_rarest_kind_comes_first(tmp_path, monkeypatch):
    """Of twelve problems that the vote does not solve, the one with a right candidate."""
    many = [rows(["majority"])[1 if i == 5 else 2] | {"problem_id": str(i)} for i in range(12)]
    for row in many:
        row["candidates"] = row["candidates"][:4]
    run = read_runs([write_run(tmp_path, many, META | {"methods": {"majority": 4}})])
    size = max(len(as_json(problem).encode()) for problem in traces_to_show(run))
    monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", size)
    assert [problem["id"] for problem in traces_to_show(run)] == ["5"]


def test_what_is_left_of_the_bytes_holds_a_part_of_the_next_problem(tmp_path, monkeypatch):
    run = read_runs([write_run(tmp_path, twelve_problems())])
    sizes = [len(as_json(problem).encode()) for problem in traces_to_show(run)]
    monkeypatch.setattr("prm.evaluation.trace_browser.SHARE", 1)
    cut = 0
    for most in range(max(sizes), 2 * max(sizes), max(sizes) // 10):
        monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", most)
        shown = traces_to_show(run)
        assert sum(len(as_json(problem).encode()) for problem in shown) <= most
        cut += any("left_out" in problem for problem in shown[1:])
    assert cut >= 1
    monkeypatch.setattr("prm.evaluation.trace_browser.SHARE", 2)
    monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", most := min(sizes) - 1)
    assert all(len(as_json(problem).encode()) <= most // 2 for problem in traces_to_show(run))


def test_so_many_bytes_are_held(tmp_path, monkeypatch):
    run = read_runs([write_run(tmp_path, twelve_problems())])
    sizes = [len(as_json(problem).encode()) for problem in traces_to_show(run)]
    assert len(sizes) == 12
    for most in (2, 5):
        monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", most * max(sizes))
        assert most <= len(traces_to_show(run)) < 12


def test_the_bytes_are_filled_to_the_last(tmp_path, monkeypatch):
    run = read_runs([write_run(tmp_path, twelve_problems())])
    whole = traces_to_show(run)
    size = sum(len(as_json(problem).encode()) for problem in whole)
    monkeypatch.setattr("prm.evaluation.trace_browser.SHARE", 1)
    monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", size)
    assert traces_to_show(run) == whole
    monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", size - 1)
    assert traces_to_show(run) != whole


def test_a_problem_without_room_keeps_what_was_chosen_and_the_best_of_the_rest(tmp_path, monkeypatch):
    run = read_runs([write_run(tmp_path, rows()[:1])])
    (whole,) = traces_to_show(run)
    assert (list(whole["trees"]), whole["trees"]["prm_beam_search"]["cost"]["generated_tokens"]) == (
        ["prm_beam_search"],
        80,
    )
    monkeypatch.setattr("prm.evaluation.trace_browser.SHARE", 1)
    found = {}
    for most in range(0, len(as_json(whole).encode()), 10):
        monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", most)
        for shown in traces_to_show(run):
            assert len(as_json(shown).encode()) <= most
            assert shown["left_out"] == len(whole["candidates"]) - len(shown["candidates"])
            for method, pick in whole["picks"].items():
                its = shown["candidates"][shown["picks"][method]]
                assert texts(shown, its) == texts(whole, whole["candidates"][pick])
            found[len(shown["candidates"])] = [max(its["scores"].values()) for its in shown["candidates"]]
    # Candidates 0, 3 and 4 were chosen; 1 has a higher score than 2.
    assert found == {3: [0.95, 0.9, 0.7], 4: [0.95, 0.85, 0.9, 0.7], 5: [0.95, 0.85, 0.8, 0.9, 0.7]}


def test_long_texts_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("prm.evaluation.trace_browser.LONGEST", 6)
    first, *_ = traces_to_show(read_runs([write_run(tmp_path, rows())]))
    assert texts(first, first["candidates"][0]) == ["</scri… and 15 more characters", "#### 0"]


def test_what_each_method_chose(tmp_path):
    some = rows()
    some[1]["results"][4]["chosen"] = None
    run = read_runs([write_run(tmp_path, some)])
    for row, shown in zip(run.rows, traces_to_show(run), strict=True):
        chosen = {its.method: None if its.chosen is None else its.candidates[its.chosen] for its in row.results}
        expected = {name: None if trace is None else row.candidates.index(trace) for name, trace in chosen.items()}
        assert shown["picks"] == expected


def test_scores_have_few_digits(tmp_path):
    some = rows()
    for result in some[0]["results"][2:4]:  # the two that score by the PRM
        result["scores"][0], result["trace_scores"][0] = [0.123456, 0.654321], 0.654321
    first = traces_to_show(read_runs([write_run(tmp_path, some)]))[0]["candidates"][0]
    assert (first["scores"]["prm"], first["step_scores"]["prm"]) == (0.6543, [0.123, 0.654])


def test_steps_of_an_embedded_set_come_with_their_truth(tmp_path):
    (problem,) = arithmetic.load("test", 1)
    right = list(arithmetic.solution(problem.prompt))
    row = rows(["prm_best_of_n"])[0]
    row |= {"problem_id": problem.id, "prompt": problem.prompt, "gold": problem.answer}
    for candidate in row["candidates"]:
        candidate["completions"] = [*right[:-1], "#### 0"]
    row["results"][0]["scores"] = [[0.5] * len(right)] * 4
    run = read_runs([write_run(tmp_path, [row], META | {"methods": {"prm_best_of_n": 4}})])
    (shown,) = traces_to_show(run, step_truth)
    assert shown["candidates"][0]["truth"] == [True] * (len(right) - 1) + [False]


def result(candidates, tree=(), chosen=0):
    traces = tuple(Trace("p", steps, steps[-1], False, num_tokens=9, index=i) for i, steps in enumerate(candidates))
    scores = tuple(Scores((0.25,) * len(steps), 0.25) for steps in candidates)
    return SearchResult("p", "m", "m", "v", traces, scores, chosen, False, Cost(), tree=tuple(tree))


def test_what_became_of_each_step():
    tree = [
        SampledStep(None, "a", 0.91234, 4),
        SampledStep(None, "b", 0.2, 4),
        SampledStep(0, "x", 0.9, 3),  # chosen
        SampledStep(0, "y", 0.8, 3),  # a candidate
        SampledStep(1, "x", None, 2),
        SampledStep(None, "c", 0.1, 4),
        SampledStep(5, "ahead of c", 0.3, 5, ahead=True),
    ]
    shown = tree_to_show(result([("a", "x"), ("a", "y")], tree))
    assert shown["states"] == ["chosen", "expanded", "chosen", "candidate", "pruned", "pruned", "ahead"]
    assert shown["scores"] == [0.912, 0.2, 0.9, 0.8, None, 0.1, 0.3]
    assert (shown["parents"], shown["tokens"]) == ([None, None, 0, 0, 1, None, 5], [4, 4, 3, 3, 2, 4, 5])
    nothing = tree_to_show(result([("a", "x"), ("a", "y")], tree, chosen=None))
    assert nothing["states"][:4] == ["candidate", "expanded", "candidate", "candidate"]


def test_whole_traces_that_are_candidates_are_in_the_tree():
    """A method that drops a whole trace has a tree, of that trace alone."""
    shown = tree_to_show(
        result([("a", "x"), ("a", "y")], [SampledStep(None, "a", None, 0), SampledStep(0, "z", 0.1, 9)])
    )
    assert shown["steps"] == ["a", "z", "x", "y"]
    assert (shown["parents"], shown["tokens"]) == ([None, 0, 0, 0], [0, 9, 9, 9])
    assert shown["states"] == ["chosen", "pruned", "chosen", "candidate"]
    assert shown["scores"] == [None, 0.1, 0.25, 0.25]


def test_a_trace_of_which_the_tree_has_nothing_is_there_step_by_step():
    traces = tuple(Trace("p", steps, None, False, num_tokens=n) for steps, n in ((("b", "x"), 9), (("c", "y"), None)))
    its = SearchResult("p", "m", "m", "v", traces, (Scores((0.1, 0.2), 0.2), None), None, False, Cost())
    assert tree_to_show(its) == {
        "parents": [None, 0, None, 2],
        "steps": ["b", "x", "c", "y"],
        "scores": [None, 0.2, None, None],
        "tokens": [0, 9, 0, 0],
        "states": ["candidate"] * 4,
    }


def test_steps_that_nobody_has_judged_leave_the_trace_to_be_compared():
    candidate = {"correct": True, "scores": {"v": 0.75}, "step_scores": {"v": [0.25]}, "truth": [None]}
    assert apart(candidate, "v") == 0.25
    assert apart(candidate | {"scores": {}}, "v") is None
    assert apart(candidate | {"scores": {"v": 0.1234}}, "v") == 0.877


@pytest.mark.parametrize("name", ["beam_search", "dvts", "rebase", "mcts", "lookahead_search", "particle_filtering"])
def test_a_tree_of_every_strategy_adds_up(name):
    world = World(3)
    (found,) = search_world(name, world.generator(), world, 8)
    shown = tree_to_show(found)
    assert sum(shown["tokens"]) == found.cost.generated_tokens
    states = Counter(shown["states"])
    assert states["chosen"] == len(found.candidates[found.chosen].steps)
    steps = {trace.steps[:end] for trace in found.candidates for end in range(1, len(trace.steps) + 1)}
    assert states["chosen"] + states["candidate"] == len(steps)
    assert (states["ahead"] > 0) == (name == "lookahead_search")
    parents = {parent for parent in shown["parents"] if parent is not None}
    assert all(shown["states"][i] != "pruned" or i not in parents for i in range(len(shown["steps"]))) or (
        name == "lookahead_search"
    )


def test_judged_traces_are_shown_by_problem():
    steps = ("a", "b", "c")
    traces = [
        JudgedTrace("t0", "math", "p", "?", steps, (True, False, None), correct=False),
        JudgedTrace("t1", "math", "p", "?", steps, (True, True, True), correct=True),
        JudgedTrace("t2", "gsm8k", "q", "??", ("a",), (None,)),
    ]
    predictions = [
        Prediction("t0", (0.9, 0.2), trace=0.2),  # stopped at the first step that it calls wrong
        Prediction("t1", None, status="too_long"),
        Prediction("t2", (0.9,)),
    ]
    p, q = judged_to_show(traces, predictions, "v")
    assert (p["id"], p["kept"], p["texts"], q["prompt"]) == ("p", {"subset": "math"}, ["a", "b", "c"], "??")
    first, second = p["candidates"]
    assert (first["truth"], first["step_scores"], first["apart"]) == (
        [True, False, None],
        {"v": [0.9, 0.2]},
        {"v": 0.2},
    )
    assert (second["status"], second["scores"], second["apart"]) == ("too_long", {}, {})
    assert q["candidates"][0]["apart"] == {}  # nobody has judged anything of it


def test_judged_traces_fill_the_bytes_to_the_last(monkeypatch):
    traces = [JudgedTrace(str(i), "math", str(i), "?", ("a",), (True,)) for i in range(3)]
    predictions = [Prediction(str(i), (0.12345,), trace=0.12345) for i in range(3)]
    whole = judged_to_show(traces, predictions, "v")
    (candidate,) = whole[0]["candidates"]
    assert (candidate["votes"], candidate["scores"], candidate["step_scores"], candidate["apart"]) == (
        0,
        {"v": 0.1235},
        {"v": [0.123]},
        {"v": 0.877},
    )
    size = sum(len(as_json(problem).encode()) for problem in whole)
    for most, shown in ((size, 3), (size - 1, 2)):
        monkeypatch.setattr("prm.evaluation.trace_browser.BYTES", most)
        assert judged_to_show(traces, predictions, "v") == whole[:shown]


def test_what_a_page_is_made_of(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    sections = [("First", [["head"]], ""), ("Second", [["head"], ["cell"]], "a *note*")]
    pictures = {"Second": [(tmp_path / "a.png", "what it shows")]}
    whole = page(
        "A < B", ["lead"], sections, pictures, [("Last", ["one", "two"])], warnings=["care"], links={"b/": "b"}
    )
    for part in (
        '<p class=warning>Warning: care</p>\n<p>lead</p>\n<p><a href="b/">b</a></p>',
        "A &lt; B",
        '<h2>First</h2>\n<h2>Second</h2>\n<div class="scroll"',
        'aria-label="Second"',
        '<img class="picture" alt="what it shows" src="data:image/png;base64,cGljdHVyZQ==">',
        "<h2>Last</h2>\n<ul><li>one</li><li>two</li></ul>",
    ):
        assert whole.count(part) >= 1, part
    assert (whole.count("<p class=note>"), "{{" in whole) == (1, False)
    assert as_json([float("nan"), float("inf"), 0.5, "é</script>"]) == '[null,null,0.5,"é\\u003c/script>"]'


def ten_thousand_traces():
    """A run of 500 problems with 20 traces each, 5 steps of 500 characters, some of which look like markup."""
    found = []
    for p in range(500):
        traces = tuple(
            Trace(f"p/{p}", tuple(f"{p} {i} {s} <b> " + "so x is y, " * 44 for s in range(5)), str(i), i == 0, index=i)
            for i in range(20)
        )
        scores = tuple(Scores((0.5,) * 5, 0.5) for _ in traces)
        its = SearchResult(f"p/{p}", "best_of_n prm", "best_of_n", "prm", traces, scores, 0, True, Cost())
        problem = Problem(f"p/{p}", "How many?", "0", "x")
        found.append(SimpleNamespace(results=[its], candidates=traces, classes=[*range(20)], problem=problem))
    return SimpleNamespace(rows=found)


@pytest.mark.slow
def test_ten_thousand_traces_stay_below_20_mb():
    problems = traces_to_show(ten_thousand_traces())
    names = {"methods": {}, "verifiers": {}, "leading": None, "total": 500}
    text = page("t", [], [], {}, [], {"problems": problems, "names": names})
    assert 0.9 * BYTES < len(text.encode()) < 20e6
    assert 250 < len(problems) < 500  # 27 MB of text in all
    assert len(json.loads(as_json(problems))) == len(problems)
