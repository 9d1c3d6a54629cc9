"""What a stored run shows, on 4 problems x 4 candidates (`tests/search_run.py`); its pages are in tests/scripts."""

import json
import re
from dataclasses import replace

import pytest
from scripted_run import result as scripted_result
from scripted_run import trace as scripted_trace
from search_run import META, rows, twelve_problems, write_run

from prm.evaluation.diagnostics import diagnose, shares, warnings
from prm.evaluation.labels import leading
from prm.evaluation.reading import reading
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.sections import LEVELS, sections
from prm.evaluation.summary import summarize
from prm.evaluation.tables import (
    as_html,
    as_markdown,
    as_text,
    control_table,
    cost_table,
    difficulty_table,
    equal_cost_table,
    flops_table,
    group_table,
    level_table,
    method_table,
    over_majority_table,
    samples_table,
    verifier_table,
)
from prm.search import STRATEGIES
from prm.storage.search_rows import ProblemResults
from prm.types import Cost, Problem


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    """As JSON: what a report draws."""
    run = read_runs([write_run(tmp_path_factory.mktemp("search"), rows())])
    return json.loads(json.dumps(summarize(run), allow_nan=False))


def test_accuracies_are_those_worked_out_by_hand(summary):
    assert {name: numbers["accuracy"] for name, numbers in summary["methods"].items()} == {
        "single": 0.375,
        "majority": 0.375,
        "orm_best_of_n": 0.25,
        "prm_best_of_n": 0.5,
        "prm_weighted_vote": 0.5,
        "prm_beam_search": 0.5,
        "pass_at_n": 0.75,
    }
    assert (summary["n_problems"], summary["N"], summary["seconds"]) == (4, 4, 12.5)


def test_costs_count_prompts_once_and_only_the_models_that_took_part(summary):
    cost = {
        name: (numbers["generated_tokens"], numbers["verifier_tokens"], numbers["flops"])
        for name, numbers in summary["methods"].items()
    }
    assert cost["single"] == (10, 0, 2 * 100 * (5 + 10))
    assert cost["majority"] == cost["pass_at_n"] == (40, 0, 2 * 100 * (5 + 40))
    assert cost["prm_best_of_n"] == cost["prm_weighted_vote"] == (40, 60, 2 * 100 * (5 + 40) + 2 * 50 * 60)
    assert cost["orm_best_of_n"] == (40, 60, 2 * 100 * (5 + 40) + 2 * 20 * 60)
    assert cost["prm_beam_search"] == (80, 120, 7e4)
    duplicates = {name: numbers.get("duplicates") for name, numbers in summary["methods"].items()}
    assert (duplicates["prm_beam_search"], duplicates["majority"], duplicates["single"]) == (2, 1, None)


def test_curves_average_over_all_subsets(summary):
    at_two = {name: points[1] for name, points in summary["curves"].items()}
    assert {point["n"] for point in at_two.values()} == {2}
    assert {point["generated_tokens"] for point in at_two.values()} == {20}
    # Of the 6 pairs of each problem: problem 0 has one without a right candidate, problem 1 three, and so on.
    assert at_two["pass_at_n"]["accuracy"] == pytest.approx((5 / 6 + 3 / 6 + 0 + 1) / 4)
    assert at_two["prm_best_of_n"]["accuracy"] == pytest.approx((5 / 6 + 3 / 6 + 0 + 3 / 6) / 4)
    assert at_two["majority"]["accuracy"] == pytest.approx((3 / 6 + 1.5 / 6 + 0 + 4.5 / 6) / 4)
    assert [point["n"] for point in summary["curves"]["majority"]] == [1, 2, 4]
    assert "prm_beam_search" not in summary["curves"]


def test_differences_are_paired(summary):
    # 1/2, 1, 0, -1 per problem; four are too few for an interval.
    assert summary["differences"]["prm_best_of_n - majority"] == {"mean": 0.125, "low": None, "high": None}
    assert {name: numbers["mean"] for name, numbers in summary["differences"].items()} == {
        "orm_best_of_n - majority": -0.125,
        "orm_best_of_n - single": -0.125,
        "prm_best_of_n - majority": 0.125,
        "prm_best_of_n - single": 0.125,
        "prm_best_of_n - orm_best_of_n": 0.25,
        "prm_weighted_vote - majority": 0.125,
        "prm_weighted_vote - single": 0.125,
        "prm_beam_search - majority": 0.125,
        "prm_beam_search - single": 0.125,
        "prm_beam_search - prm_best_of_n": 0.0,
    }


def test_each_budget_names_the_best_method_and_the_next(summary):
    assert [(b["n"], b["best"], b["second"]) for b in summary["budgets"]] == [
        (2, "prm_weighted_vote", "prm_best_of_n"),
        (4, "prm_best_of_n", "prm_weighted_vote"),
    ]
    assert summary["budgets"][1]["difference"] == {"mean": 0.0, "low": None, "high": None}


def test_every_method_with_a_curve_has_its_growth(summary):
    assert list(summary["growth"]) == [name for name in summary["curves"] if name != "pass_at_n"]


def test_a_search_may_look_at_more_candidates_of_one_problem_than_of_another(tmp_path):
    some = rows()
    beam = some[1]["results"][4]
    beam |= {"candidates": [4, 0], "scores": [[0.7], [0.5, 0.95]], "trace_scores": [0.7, 0.95]}
    assert len(read_runs([write_run(tmp_path, some)]).rows) == 4


def test_two_samples_make_a_curve(tmp_path):
    two = rows(["majority"])
    for row in two:
        row["candidates"] = row["candidates"][:2]
        row["results"][0] |= {"candidates": [0, 1], "scores": [None] * 2, "trace_scores": [None] * 2, "chosen": 0}
    meta = META | {"n": 2, "methods": {"majority": 2}, "verifiers": {}}
    summary = summarize(read_runs([write_run(tmp_path, two, meta)]))
    assert [point["n"] for point in summary["curves"]["majority"]] == [1, 2]
    assert list(summary["growth"]) == ["majority"]


def test_where_more_samples_hurt_is_warned_of(tmp_path):
    """Problem 3: the one wrong sample of four has the highest score."""
    some = [rows()[3] | {"problem_id": str(i)} for i in range(12)]
    warnings = summarize(read_runs([write_run(tmp_path, some)]))["warnings"]
    hurt = "More samples hurt PRM best-of-N: -75.0 points [-75.0, -75.0] from N = 1 to N = 4."
    assert f"{hurt} Choose among 1, or in another way." in warnings
    assert not any("hurt majority" in warning for warning in warnings)


def test_a_method_that_finds_nothing_to_choose_is_warned_of(tmp_path):
    some = rows()
    some[1]["results"][4]["chosen"] = None
    warnings = summarize(read_runs([write_run(tmp_path, some)]))["warnings"]
    assert "PRM beam search found no answer to choose in 25.0% of the problems, whatever it spent." in warnings


def test_levels(summary):
    assert summary["problems_by_level"] == {"1": 2, "2": 2}
    assert summary["by_level"]["1"]["prm_best_of_n"] == 1.0
    assert summary["by_level"]["1"]["majority"] == 0.25
    assert summary["by_level"]["2"] == {
        "single": 0.375,
        "majority": 0.5,
        "orm_best_of_n": 0.5,
        "prm_best_of_n": 0.0,
        "prm_weighted_vote": 0.0,
        "prm_beam_search": 0.5,
        "pass_at_n": 0.5,
    }


def test_verifier_diagnostics_use_candidates_with_an_answer(summary):
    # 14 candidates: the two of problem 2 that score 0.99 have no answer and would change each of these.
    assert summary["verifiers"]["prm"] == pytest.approx(
        {
            "trace_auc": 32 / 48,
            "trace_auc_within_problem": (4 + 3 + 0) / (4 + 3 + 3),
            "length_correlation_within_problem": 1.05 / (1.2425 * 3) ** 0.5,
            "calibration_error": 2.4 / 14,
            "too_long_share": 0.0,
        }
    )
    assert summary["verifiers"]["orm"]["trace_auc_within_problem"] == pytest.approx((0 + 0 + 3) / 10)


def test_shares_and_warnings(summary):
    assert summary["truncated_share"] == summary["no_answer_share"] == 1 / 20  # beams are candidates, too
    assert (summary["undecided_share"], summary["vote_tie_rate"]) == (0, 2 / 4)
    patterns = (
        r"orm ranks .*0\.300",
        r"PRM beam search generated 2\.00 times",
    )
    assert len(summary["warnings"]) == len(patterns)
    for pattern, warning in zip(patterns, summary["warnings"], strict=True):
        assert re.search(pattern, warning)


@pytest.mark.parametrize(
    ("classes", "rate"),
    [((0, 0, 1, 1, 2), 1.0), ((0, 1, 2, None), 1.0), ((0, 0, 1, 2), 0.0), ((0,), 0.0), ((None, None), 0.0)],
)
def test_a_tie_is_one_of_the_two_most_frequent_answers(classes, rate):
    problem = Problem("p", "?", "1", "made up")
    traces = [scripted_trace(problem, c == 0, str(c), i) for i, c in enumerate(classes)]
    traces = [replace(t, answer=None) if c is None else t for t, c in zip(traces, classes, strict=True)]
    voted = scripted_result(problem, "majority", None, len(traces), traces, (None,) * len(traces), Cost(), True)
    run = Run({}, (ProblemResults(problem, tuple(traces), classes, (voted,)),))
    assert shares(run)["vote_tie_rate"] == rate


def test_the_sections_of_a_report_are_those_that_have_something_to_say(summary, tmp_path):
    always = [title for title, _, _ in sections(summary)]
    assert LEVELS in always
    flat = [row | {"level": None, "kept": {"topic": "sums"}} for row in rows()]
    without = [title for title, _, _ in sections(summarize(read_runs([write_run(tmp_path, flat)]), "topic"))]
    assert [title for title in always if title != LEVELS] == [
        title for title in without if title != "Accuracy by topic"
    ]
    assert "Accuracy by topic" in without


def test_accuracy_by_a_column_of_the_problems(tmp_path):
    topics = ("sums", "a|b", "sums", None)
    some = [row | {"kept": {"topic": topic}} for row, topic in zip(rows(), topics, strict=True)]
    some += [some[2] | {"problem_id": str(i)} for i in range(8)]
    run = read_runs([write_run(tmp_path, some)])
    summary = summarize(run, "topic")
    assert {value: group["problems"] for value, group in summary["groups"].items()} == {
        "sums": 10,
        "a|b": 1,
        "(none)": 1,
    }
    # One right in ten: the mean of a resample is k/10 with k of a binomial(10, 1/10).
    assert summary["groups"]["sums"]["methods"]["prm_best_of_n"] == {"accuracy": 0.1, "low": 0.0, "high": 0.3}
    table = group_table(summary)
    assert table[0][:3] == ["topic", "problems", "single sample"]
    assert [row[:3] for row in table[1:]] == [
        ["sums", "10", "5.0% [0.0, 15.0]"],
        ["a|b", "1", "25.0% –"],
        ["(none)", "1", "75.0% –"],
    ]
    assert r"| a\|b | 1 |" in as_markdown(table)
    assert "groups" not in summarize(run)
    with pytest.raises(ValueError, match="--group_by 'subject': the problems have no such column; they have topic"):
        summarize(run, "subject")


def test_accuracy_in_bins_by_the_share_of_right_samples(summary):
    """2, 1, 0 and 3 of 4 samples are right: a bin for each problem, the easiest first."""
    bins = summary["by_difficulty"]
    assert [(its["problems"], its["right"]) for its in bins] == [(1, [share] * 2) for share in (0.75, 0.5, 0.25, 0)]
    accuracies = [
        [its["methods"][name]["accuracy"] for its in bins] for name in ("single", "majority", "prm_best_of_n")
    ]
    assert accuracies == [[0.75, 0.5, 0.25, 0], [1, 0.5, 0, 0], [0, 1, 1, 0]]
    assert bins[0]["methods"]["majority"]["low"] is None
    table = difficulty_table(summary)
    assert table[1:3] == [["problems", *"1111"], ["right samples", "75.0%", "50.0%", "25.0%", "0.0%"]]
    assert table[4] == ["majority vote", "100.0% –", "50.0% –", "0.0% –", "0.0% –"]


def test_the_flops_are_those_of_reading_writing_and_judging(summary):
    """The generator has 100 parameters, the PRM 50: 5 tokens of prompts, 40 written, 60 read by the PRM."""
    parts = ("prefill_flops", "decode_flops", "verifier_flops")
    assert [summary["methods"]["prm_best_of_n"][key] for key in parts] == [1000, 8000, 6000]
    assert [summary["methods"]["majority"][key] for key in parts] == [1000, 8000, 0]
    table = flops_table(summary)
    assert [row[0] for row in table[1:]] == [
        "majority vote", "ORM best-of-N", "PRM best-of-N", "PRM weighted vote", "PRM beam search"
    ]  # fmt: skip
    assert table[3][1:] == ["1.00e+03\n6.7%", "8.00e+03\n53.3%", "6.00e+03\n40.0%", "1.50e+04"]


def test_scored_benchmarks_are_sections_of_the_report(summary):
    its = {"traces": 4, "wrong": 3, "mcc": 0.5, "step_accuracy": 0.5, "mr_score_without_reasons": 0.25, "not_scored": 0}
    its |= {"low": None, "high": None}
    scored = {"benchmark": "mr_gsm8k", "official": {"types": {}, "all": its}, "verifier": "prm", "steps": None}
    before = [heading for heading, *_ in sections(summary)]
    found = [heading for heading, *_ in sections(summary | {"step_runs": [scored, scored | {"verifier": "orm"}]})]
    assert found.index("MR-GSM8K (prm)") == before.index("Accuracy by difficulty level")
    assert [heading for heading in found if heading not in before] == ["MR-GSM8K (prm)", "MR-GSM8K (orm)"]


def test_a_run_that_a_limit_stopped_is_said_to_be_a_part(tmp_path):
    meta = META | {"unfinished_problems": 3}
    assert summarize(read_runs([write_run(tmp_path, rows(), meta)]))["warnings"][0] == (
        "A limit stopped the run: 3 of its 7 problems were not searched."
    )


def test_ten_problems_are_enough_to_compare_methods(tmp_path):
    nine, ten = (reading(summarize(read_runs([write_run(tmp_path / str(n), twelve_problems()[:n])]))) for n in (9, 10))
    assert "9 problems are too few to compare methods" in nine
    assert "The difference between" not in nine
    assert "too few" not in ten
    assert "The difference between PRM best-of-N and majority vote may be chance" in ten


def test_a_gain_is_claimed_only_without_zero_in_its_interval(tmp_path):
    summary = summarize(read_runs([write_run(tmp_path, twelve_problems())]))
    assert (
        "The difference between PRM best-of-N and majority vote may be chance: +12.5 points [-29.2, +54.2] includes 0."
    ) in reading(summary)
    numbers = summary["differences"]["prm_best_of_n - majority"]
    numbers.update(mean=0.1, low=0.02, high=0.2)
    assert "PRM best-of-N beats majority vote by +10.0 points [+2.0, +20.0]." in reading(summary)
    numbers.update(low=0.0)
    assert "beats majority" not in reading(summary)
    numbers.update(mean=-0.1, low=-0.2, high=-0.02)
    assert "PRM best-of-N loses to majority vote: -10.0 points" in reading(summary)


def test_runs_on_different_problems_are_joined(tmp_path):
    whole = summarize(read_runs([write_run(tmp_path / "whole", rows())]))
    halves = [
        write_run(tmp_path / name, rows()[part]) for name, part in (("first", slice(0, 2)), ("second", slice(2, 4)))
    ]
    assert summarize(read_runs(halves)) == whole | {"seconds": 25.0}


def test_a_strategy_without_an_estimator_is_a_point(tmp_path):
    assert "first_wins" not in STRATEGIES
    some = rows()
    for row in some:
        row["results"].append(row["results"][2] | {"method": "prm_first_wins[start=2]", "strategy": "first_wins"})
    run = write_run(tmp_path, some, META | {"methods": META["methods"] | {"prm_first_wins[start=2]": 4}})
    summary = summarize(read_runs([run]))
    mine = summary["methods"]["prm_first_wins[start=2]"]
    assert (mine["label"], mine["accuracy"], mine["verifier_tokens"]) == ("PRM first wins", 0.5, 60)
    assert "prm_first_wins[start=2]" not in summary["curves"]


def test_at_the_full_budget_the_estimators_agree_with_what_was_chosen():
    """Where nothing ties: the report's numbers and the strategies' choices are one thing."""
    from prm.evaluation.estimates import ESTIMATORS, Pool

    pool_ = Pool(0, (True, False, False), (0, 1, 1), 0, (0.9, 0.4, 0.3))
    assert ESTIMATORS["best_of_n"](pool_, 3) == 1.0
    assert ESTIMATORS["majority"](pool_, 3) == 0.0
    assert ESTIMATORS["weighted_vote"](pool_, 3) == 1.0


def drop_score(rows):
    rows[1]["results"][2]["scores"][2].pop()


def drop_key(rows):
    del rows[2]["candidates"][1]["class"]


def drop_candidate(rows):
    for column in ("candidates", "scores", "trace_scores"):
        rows[3]["results"][2][column].pop(0)
    rows[3]["results"][2]["chosen"] = 0


def repeat_problem(rows):
    rows[3]["problem_id"] = rows[0]["problem_id"]


def use_logit(rows):
    rows[0]["results"][1]["scores"][0][1] = 3.5


def drop_method(rows):
    rows[3]["results"].pop()


def point_nowhere(rows):
    rows[0]["results"][4]["candidates"] = [7]


def rename_verifier(rows):
    rows[0]["results"][1]["verifier"] = "other"


def drop_scores(rows):
    rows[0]["results"][1]["scores"].pop()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename_verifier, r"results\.jsonl:1: verifier 'other' of orm_best_of_n is not in meta\.json"),
        (drop_scores, r"results\.jsonl:1: orm_best_of_n: 4 candidates but scores of 3; score the run again"),
        (list.clear, r"results\.jsonl: no problem in it; run eval/run_search\.py to its end"),
        (drop_score, r"results\.jsonl:2: prm_best_of_n: candidate 2 has 2 steps but 1 scores"),
        (drop_key, r"results\.jsonl:3: candidate 1: needs the keys .*class"),
        (drop_candidate, r"results\.jsonl:4: prm_best_of_n has 3 candidates, but 4 in .*results\.jsonl:1"),
        (repeat_problem, r"results\.jsonl:4: problem 'arithmetic/test/0' is there twice"),
        (use_logit, r"results\.jsonl:1: orm_best_of_n: a score of candidate 0 is 3\.5"),
        (drop_method, r"results\.jsonl:4: has the methods .*meta\.json says .*prm_beam_search"),
        (point_nowhere, r"results\.jsonl:1: prm_beam_search: candidates \[7\] and choice 0 do not fit 5 candidates"),
    ],
)
def test_damaged_rows_are_named(tmp_path, damage, message):
    some = rows()
    damage(some)
    with pytest.raises(ValueError, match=message):
        read_runs([write_run(tmp_path, some)])


def test_a_run_of_an_older_version_is_refused_in_words(tmp_path):
    meta = {key: value for key, value in META.items() if key != "format"}
    with pytest.raises(ValueError, match=r"meta\.json: the run was written by another version of this project"):
        read_runs([write_run(tmp_path, rows(), meta)])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("meta.json", '{"format": 6,\n', r"meta\.json is not JSON \(.* line 2 .*; run eval/run_search\.py again"),
        ("meta.json", "[]", r"meta\.json holds '\[\]' and no JSON object; run eval/run_search\.py again"),
        ("meta.json", '{"format": 6, "n": 4}', r"meta\.json: needs the keys generator, methods, .*; run"),
        ("results.jsonl", '{"problem_id":\n', r"results\.jsonl:1: not a JSON object on one line .*\"problem_id\""),
        ("results.jsonl", None, r"results\.jsonl is missing; give a folder that eval/run_search\.py wrote"),
    ],
)
def test_a_damaged_run_is_refused_in_words(tmp_path, name, text, message):
    run = write_run(tmp_path, rows())
    (run / name).unlink() if text is None else (run / name).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_runs([run])


def test_runs_of_different_setups_are_refused(tmp_path):
    first = write_run(tmp_path / "first", rows())
    second = write_run(tmp_path / "second", rows(), META | {"n": 8})
    with pytest.raises(ValueError, match=r"second/meta\.json: n is 8, but 4 in .*first"):
        read_runs([first, second])


def test_what_is_no_finished_search_is_told_from_what_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"meta\.json is missing; give a folder that eval/run_search\.py wrote"):
        read_runs([tmp_path])
    (tmp_path / "results.journal").touch()  # a search writes its answers here, and meta.json when it ends
    with pytest.raises(FileNotFoundError, match=r"the search is unfinished; start it again, and it goes on"):
        read_runs([tmp_path])


def test_tables_by_hand(summary):
    table = method_table(summary)
    assert table[0] == ["method", "accuracy", "95% interval", "generated tokens", "verifier tokens", "FLOPs"]
    assert table[1] == ["single sample", "37.5%", "–", "10", "0", "3.00e+03"]
    assert table[4] == ["PRM best-of-N", "50.0%", "–", "40", "60", "1.50e+04"]
    assert table[-1] == ["pass@N (ceiling)", "75.0%", "–", "40", "0", "9.00e+03"]
    assert len(table) == 1 + len(summary["methods"])

    table = cost_table(summary)
    assert [row[0] for row in table[1:]] == [
        "majority vote", "ORM best-of-N", "PRM best-of-N", "PRM weighted vote", "PRM beam search"
    ]  # fmt: skip
    spent = ["0", "80", "120", "15", "5", "8", "7", "7.00e+04", "8.00e+04", "0.100", "23.3"]  # one sample: 3000 FLOPs
    assert table[-1][1:] == spent
    without = summary | {"methods": {name: m for name, m in summary["methods"].items() if name != "single"}}
    assert cost_table(without)[-1][1:] == [*spent[:-1], "–"]

    table = samples_table(summary)
    costs = ["generated tokens", "verifier tokens", "FLOPs"]
    assert table[0] == ["method", "N = 1", "2", "4", "95% interval", *costs]
    # A star for the best of a number, and for the next one: four problems tell nothing apart.
    assert table[4] == ["PRM best-of-N", "37.5%", "45.8% *", "50.0% *", "–", "40", "60", "1.50e+04"]
    assert table[6][:5] == ["PRM beam search", "", "", "50.0%", "–"]
    told_apart = [its | {"difference": {"mean": 0.1, "low": 0.05, "high": 0.2}} for its in summary["budgets"]]
    assert sum("*" in row[3] for row in samples_table(summary | {"budgets": told_apart})) == 1
    assert level_table(summary)[:2] == [["level", "1", "2"], ["problems", "2", "2"]]
    assert verifier_table(summary)[0][0] == "verifier"
    assert verifier_table(summary)[1][:3] == ["PRM", "0.700", "0.667"]
    nothing = dict.fromkeys(summary["verifiers"]["prm"])
    assert verifier_table({"verifiers": {"mine": nothing}})[1] == ["mine", "–", "–", "–", "–"]


def test_the_controls_by_hand():
    change = {"mean": -0.1, "low": -0.2, "high": -0.05}
    methods = {
        "single": {"label": "single sample", "accuracy": 0.4, "samples": 1},
        "a": {"label": "A", "accuracy": 0.5, "samples": 4},
        "b": {"label": "B", "accuracy": 0.25, "samples": 4},
        "c": {"label": "C", "accuracy": 0.75, "samples": 4},
        "nothing to say": {"label": "D", "accuracy": 0.0, "samples": 4},
    }
    points = [
        {"accuracy": 0.1, "difference": change},
        {"accuracy": 0.3, "difference": {"mean": 0.2, "low": 0.1, "high": 0.3}},
    ]
    judged = {
        "single": {"right": 0, "share": None, "low": None, "high": None},
        "a": {"right": 1200, "share": 0.25, "low": 0.2, "high": 0.3},
        "c": {"right": 3, "share": 1.0, "low": None, "high": None},
    }
    growth = {"a": {"best_n": 2, "change": change}, "b": {"best_n": 4, "change": change}}
    summary = {"methods": methods, "blind": {"a": points}, "growth": growth, "false_positives": judged}
    head = ["method", "accuracy", "scores shuffled", "the verifier adds", "best N", "from there to the last N"]
    assert control_table(summary) == [
        [*head, "right answer, wrong step"],
        ["single sample", "40.0%", "", "", "", "", "– of 0"],
        ["A", "50.0%", "30.0%", "+20.0 [+10.0, +30.0]", "2", "-10.0 [-20.0, -5.0]", "25.0% [20.0, 30.0] of 1,200"],
        ["B", "25.0%", "", "", "4", "", ""],  # the last number is the best: nothing falls from there
        ["C", "75.0%", "", "", "", "", "100.0% of 3"],
    ]
    without = control_table(summary | {"false_positives": {}})
    assert without == [head, [*control_table(summary)[2][:-1]], [*control_table(summary)[3][:-1]]]


def test_lifts_over_votes_by_hand():
    gain = {"mean": 0.2, "low": 0.1, "high": 0.3}
    lifts = {
        "a": [{"n": n, "votes": 1.26 * n, "difference": gain} for n in (1, 2, 4)],
        "b": [{"n": 4, "votes": 40.4, "difference": None}],
        "a search": [{"n": 4, "votes": 4, "difference": gain}],
    }
    methods = {name: {"label": name.upper()} for name in lifts}
    table = over_majority_table({"over_majority": lifts, "methods": methods, "curves": {"a": [], "b": []}})
    assert table == [
        ["minus majority vote", "N = 2", "4"],
        ["A", "+20.0 [+10.0, +30.0]\n2.5 votes", "+20.0 [+10.0, +30.0]\n5.0 votes"],
        ["B", "", "– needs\n40 votes"],
    ]


def test_of_a_verifier_that_judged_nothing_nothing_is_known(tmp_path):
    """Of no candidate there is a score: they are all too long for it, and of one problem none is right."""
    some = rows()
    for row in some:
        for its in row["results"]:
            if its["verifier"] == "orm":
                its["scores"], its["trace_scores"], its["chosen"] = [None] * 4, [None] * 4, None
    run = read_runs([write_run(tmp_path, some)])
    nothing = dict.fromkeys(diagnose(run, "prm"))
    assert diagnose(run, "orm") == nothing | {"too_long_share": 1.0}
    warned = " ".join(warnings(run, summarize(run)))
    assert (
        "100.0% of the finished candidates are longer than orm reads: they have no score and are never chosen" in warned
    )
    assert "No problem has both right and wrong candidates: orm had nothing to choose." in warned
    assert "longer than prm" not in warned


def test_a_search_is_set_against_its_rivals_at_equal_cost():
    methods = {"a": {"label": "A", "accuracy": 0.5}, "b": {"label": "B", "accuracy": 0.25}}
    entry = {
        "method": "a",
        "rival": "b",
        "n": 6.25,
        "accuracy": 0.25,
        "difference": {"mean": 0.25, "low": 0.1, "high": 0.4},
    }
    entries = [entry | {"cost": "generated_tokens"}, entry | {"cost": "flops", "n": None}]
    summary = {"methods": methods, "equal_cost": entries, "over_majority": {}}
    assert equal_cost_table(summary)[1] == ["A", "50.0%", "", "B", "+25.0 [+10.0, +40.0]\n6.2 samples", "–"]


def test_a_search_whose_tokens_buy_more_than_the_pool_has_a_dash():
    methods = {"a": {"label": "A", "accuracy": 0.5}, "b": {"label": "B", "accuracy": 0.25}}
    entry = {"method": "a", "rival": "b", "difference": {"mean": 0.25, "low": 0.1, "high": 0.4}}
    beyond = entry | {"cost": "generated_tokens", "n": None, "accuracy": None}
    within = entry | {"cost": "flops", "n": 3.0, "accuracy": 0.25}
    row = equal_cost_table({"methods": methods, "equal_cost": [beyond, within], "over_majority": {}})[1]
    assert row[-2:] == ["–", "+25.0 [+10.0, +40.0]\n3.0 samples"]


def test_a_table_as_text_markdown_and_html():
    table = [["name", "n"], ["a<b|c", "10"]]
    assert as_text(table) == "name    n\n-----  --\na<b|c  10"
    assert as_markdown(table) == "| name | n |\n|---|---:|\n| a<b\\|c | 10 |"
    assert as_html(table) == (
        "<table><thead><tr><th class=words>name</th><th>n</th></tr></thead>"
        "<tbody><tr><td class=words>a&lt;b|c</td><td>10</td></tr></tbody></table>"
    )


def test_a_column_with_one_number_interval_or_dash_in_it_is_one_of_numbers():
    cells = ["10", "-1.5", "+2", "[1, 2]", "–", "a1", ""]
    table = [["head"] * len(cells), cells, ["not reached"] * len(cells)]
    assert [" class=words" in cell for cell in as_html(table).split("<th")[2:]] == [False] * 5 + [True] * 2


def test_a_run_with_several_numbers_of_samples_has_the_ceiling_and_the_figures_of_its_largest_pool(tmp_path):
    """Four samples of problem 0 are 2 right and 2 wrong, its first two are both right."""
    some = rows()
    for row in some:
        small = [
            result | {key: result[key][:2] for key in ("candidates", "scores", "trace_scores")}
            | {"method": f"{result['method']}[samples=2]", "chosen": 0}
            for result in row["results"][:3]
        ]  # fmt: skip
        row["results"] = small + row["results"]
    methods = {result["method"]: len(result["candidates"]) for result in some[0]["results"]}
    run = read_runs([write_run(tmp_path, some, META | {"methods": methods | {"prm_beam_search": 4}})])
    found, whole = summarize(run), summarize(read_runs([write_run(tmp_path / "whole", rows(), META)]))
    for name in ("single", "pass_at_n"):
        assert found["methods"][name] == whole["methods"][name]
    assert found["methods"]["pass_at_n"]["accuracy"] == 0.75
    assert found["curves"]["pass_at_n"] == whole["curves"]["pass_at_n"]
    assert found["verifiers"] == whole["verifiers"]
    assert leading(found) == leading(whole) == "prm_best_of_n"


def test_a_verifier_is_diagnosed_on_the_pool_and_not_on_a_tree(tmp_path):
    """Whichever method comes first in the run."""
    orders = (("prm_best_of_n", "prm_beam_search"), ("prm_beam_search", "prm_best_of_n"))
    metas = [META | {"methods": dict.fromkeys(names, 4)} for names in orders]
    runs = [
        read_runs([write_run(tmp_path / names[0], rows(names), meta)])
        for names, meta in zip(orders, metas, strict=True)
    ]
    assert [run.rows[0].results[0].independent for run in runs] == [True, False]
    assert diagnose(runs[0], "prm") == diagnose(runs[1], "prm")
