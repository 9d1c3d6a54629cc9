"""`eval/write_report.py` on a run of 4 problems x 4 candidates whose every figure can be worked out by hand.

What the methods say of the four problems with all 4 candidates (right = 1, tie of two answers = 1/2):

    problem  level  single  majority  ORM  PRM  PRM-weighted  any
    0        1      2/4     1/2       0    1    1             1
    1        1      1/4     0         0    1    1             1
    2        2      0       0         0    0    0             0
    3        2      3/4     1         1    0    0             1
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prm.evaluation.search_runs import read_runs
from prm.evaluation.summary import reading, summarize, traces_to_show

REPO = Path(__file__).parents[2]
META = {
    "problems": "arithmetic",
    "split": "test",
    "n": 4,
    "seed": 0,
    "generator": {"name": "student", "num_parameters": 100, "temperature": 1.0},
    "verifiers": {
        "prm": {"path": "prm", "num_parameters": 50, "kind": "prm", "aggregation": "last"},
        "orm": {"path": "orm", "num_parameters": 20, "kind": "orm", "aggregation": "last"},
    },
    "seconds": 12.5,
}
# Per candidate: class, PRM score, ORM score. Class 0 is right except in problem 2, where nothing is.
CANDIDATES = (
    ((0, 0.95, 0.1), (0, 0.85, 0.2), (1, 0.35, 0.8), (1, 0.25, 0.9)),
    ((0, 0.95, 0.05), (1, 0.15, 0.9), (1, 0.15, 0.1), (1, 0.15, 0.1)),
    ((0, 0.45, 0.5), (1, 0.35, 0.5), (None, 0.99, 0.99), (None, 0.99, 0.99)),
    ((0, 0.25, 0.9), (0, 0.35, 0.8), (0, 0.15, 0.7), (1, 0.95, 0.1)),
)


def pool_rows() -> list[dict]:
    rows = []
    for i, candidates in enumerate(CANDIDATES):
        row = {
            "problem_id": f"arithmetic/test/{i}",
            "prompt": f"Problem {i}",
            "gold": "10",
            "level": 1 + i // 2,
            "gold_class": None if i == 2 else 0,
            "candidates": [candidate(*values, right=i != 2 and values[0] == 0) for values in candidates],
            "cost": {"generated_tokens": 40, "prompt_tokens": 5, "generator_calls": 4, "seconds": 0.1},
            "verifier_tokens": {"prm": 60, "orm": 60},
        }
        rows.append(row)
    rows[2]["candidates"][3].update(finished=False, status="truncated")
    longest = rows[3]["candidates"][3]
    longest["completions"] = ["a", "b", "c", "#### 11"]
    longest["scores"] = {"prm": [0.5, 0.5, 0.5, 0.95], "orm": [0.5, 0.5, 0.5, 0.1]}
    rows[0]["candidates"][0]["completions"][0] = "</script><b>1 < 2</b>"
    return rows


def candidate(answer_class: int | None, prm: float, orm: float, right: bool) -> dict:
    return {
        "completions": ["1 + 1 = 2", f"#### {answer_class}"],
        "answer": None if answer_class is None else str(10 + answer_class),
        "class": answer_class,
        "correct": right,
        "status": "no_answer" if answer_class is None else "ok",
        "num_tokens": 10,
        "finished": True,
        "scores": {"prm": [0.5, prm], "orm": [0.5, orm]},
    }


def beam_rows() -> list[dict]:
    return [
        {
            "problem_id": row["problem_id"],
            "strategy": "beam_search",
            "prompt": row["prompt"],
            "gold": row["gold"],
            "level": row["level"],
            "candidates": [
                {"completions": ["#### 10"], "answer": "10", "finished": True, "scores": {"prm": [0.7]}},
            ],
            "chosen": 0,
            "answer": "10",
            "correct": i in (0, 2),
            "cost": {"generated_tokens": 80, "verifier_tokens": 120, "flops": 7e4},
        }
        for i, row in enumerate(pool_rows())
    ]


def write_run(folder: Path, pool: list[dict], beam: list[dict] | None = None, meta: dict = META) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pool))
    if beam is not None:
        (folder / "beam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in beam))
    return folder


def write_report(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPO / "eval/write_report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(output folder, stdout) of the script on the run above."""
    root = tmp_path_factory.mktemp("report")
    run = write_run(root / "search", pool_rows(), beam_rows())
    done = write_report("--run", run, "--output_dir", root / "out", "--seconds", 99)
    assert done.returncode == 0, done.stderr
    return root / "out", done.stdout


@pytest.fixture(scope="module")
def summary(report):
    return json.loads((report[0] / "summary.json").read_text())


def test_accuracies_are_those_worked_out_by_hand(summary):
    assert {name: numbers["accuracy"] for name, numbers in summary["methods"].items()} == {
        "single": 0.375,
        "majority": 0.375,
        "orm_best_of_n": 0.25,
        "prm_best_of_n": 0.5,
        "prm_weighted": 0.5,
        "prm_beam": 0.5,
        "pass_at_n": 0.75,
    }
    assert (summary["n_problems"], summary["N"], summary["seconds"]) == (4, 4, 99)


def test_costs_count_prompts_once_and_only_the_models_that_took_part(summary):
    cost = {
        name: (numbers["generated_tokens"], numbers["verifier_tokens"], numbers["flops"])
        for name, numbers in summary["methods"].items()
    }
    assert cost["single"] == (10, 0, 2 * 100 * (5 + 10))
    assert cost["majority"] == cost["pass_at_n"] == (40, 0, 2 * 100 * (5 + 40))
    assert cost["prm_best_of_n"] == cost["prm_weighted"] == (40, 60, 2 * 100 * (5 + 40) + 2 * 50 * 60)
    assert cost["orm_best_of_n"] == (40, 60, 2 * 100 * (5 + 40) + 2 * 20 * 60)
    assert cost["prm_beam"] == (80, 120, 7e4)


def test_curves_average_over_all_subsets(summary):
    at_two = {name: points[1] for name, points in summary["curves"].items()}
    assert {point["n"] for point in at_two.values()} == {2}
    assert {point["generated_tokens"] for point in at_two.values()} == {20}
    # Of the 6 pairs of each problem: problem 0 has one without a right candidate, problem 1 three, and so on.
    assert at_two["pass_at_n"]["accuracy"] == pytest.approx((5 / 6 + 3 / 6 + 0 + 1) / 4)
    assert at_two["prm_best_of_n"]["accuracy"] == pytest.approx((5 / 6 + 3 / 6 + 0 + 3 / 6) / 4)
    assert at_two["majority"]["accuracy"] == pytest.approx((3 / 6 + 1.5 / 6 + 0 + 4.5 / 6) / 4)
    assert [point["n"] for point in summary["curves"]["majority"]] == [1, 2, 4]
    assert "prm_beam" not in summary["curves"]


def test_differences_are_paired(summary):
    # 1/2, 1, 0, -1 per problem; -0.625 and 0.75 are the 2.5% and 97.5% points over its 256 equally likely resamples.
    assert summary["differences"]["prm_best_of_n-majority"] == {"mean": 0.125, "low": -0.625, "high": 0.75}
    assert {name: numbers["mean"] for name, numbers in summary["differences"].items()} == {
        "prm_best_of_n-majority": 0.125,
        "prm_best_of_n-single": 0.125,
        "prm_best_of_n-orm_best_of_n": 0.25,
        "prm_beam-prm_best_of_n": 0.0,
    }


def test_levels(summary):
    assert summary["problems_by_level"] == {"1": 2, "2": 2}
    assert summary["by_level"]["1"]["prm_best_of_n"] == 1.0
    assert summary["by_level"]["1"]["majority"] == 0.25
    assert summary["by_level"]["2"] == {
        "single": 0.375,
        "majority": 0.5,
        "orm_best_of_n": 0.5,
        "prm_best_of_n": 0.0,
        "prm_weighted": 0.0,
        "prm_beam": 0.5,
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
        }
    )
    assert summary["verifiers"]["orm"]["trace_auc_within_problem"] == pytest.approx((0 + 0 + 3) / 10)


def test_shares_and_warnings(summary):
    assert summary["truncated_share"] == summary["no_answer_share"] == 1 / 16
    assert (summary["undecided_share"], summary["vote_tie_rate"]) == (0, 2 / 4)
    patterns = (
        "6.2% .* token limit",
        "6.2% .* final answer",
        r"orm ranks .*0\.300",
        r"Beam search generated 2\.00 times",
    )
    assert len(summary["warnings"]) == len(patterns)
    for pattern, warning in zip(patterns, summary["warnings"], strict=True):
        assert re.search(pattern, warning)


def test_pages_show_the_numbers(report):
    folder, stdout = report
    last = stdout.rstrip().splitlines()[-1]
    assert re.fullmatch(r"pass@N \(ceiling\) +75\.0% +\[25\.0, 100\.0\] +40 +0 +9\.00e\+03", last)
    markdown = (folder / "report.md").read_text()
    assert "| PRM best-of-N | 50.0% | [0.0, 100.0] | 40 | 60 | 1.50e+04 |" in markdown
    assert "PRM best-of-N and majority vote cannot be told apart: +12.5 points [-62.5, +75.0] includes 0." in markdown
    assert "beats" not in markdown
    for picture in ("gains.png", "by_level.png"):
        assert f"({picture})" in markdown
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_html_is_self_contained_and_safe(report):
    page = (report[0] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"""(src|href)=(?!["']?data:)|https?://|@import|url\(""", page)
    assert "{{" not in page
    embedded = re.search(r'<script type="application/json" id="traces">(.*?)</script>', page, re.DOTALL)[1]
    problems = json.loads(embedded)
    assert problems[0]["candidates"][0]["steps"][0] == "</script><b>1 < 2</b>"
    assert [problem["picks"] for problem in problems] == [
        {"prm": 0, "orm": 3, "majority": 0},
        {"prm": 0, "orm": 1, "majority": 1},
        {"prm": 0, "orm": 0, "majority": 0},
        {"prm": 3, "orm": 0, "majority": 0},
    ]
    assert problems[2]["candidates"][2]["scores"] == {"prm": None, "orm": None}


def test_a_gain_is_claimed_only_without_zero_in_its_interval(tmp_path):
    summary = summarize(read_runs([write_run(tmp_path, pool_rows())]))
    numbers = summary["differences"]["prm_best_of_n-majority"]
    numbers.update(mean=0.1, low=0.02, high=0.2)
    assert "PRM best-of-N beats majority vote by +10.0 points [+2.0, +20.0]." in reading(summary)
    numbers.update(low=0.0)
    assert "beats majority" not in reading(summary)
    numbers.update(mean=-0.1, low=-0.2, high=-0.02)
    assert "PRM best-of-N falls behind majority vote: -10.0 points" in reading(summary)


def test_runs_on_different_problems_are_joined(tmp_path):
    whole = summarize(read_runs([write_run(tmp_path / "whole", pool_rows(), beam_rows())]))
    halves = [
        write_run(tmp_path / name, pool_rows()[part], beam_rows()[part])
        for name, part in (("first", slice(0, 2)), ("second", slice(2, 4)))
    ]
    assert summarize(read_runs(halves)) == whole | {"seconds": 25.0}


def test_without_orm_beam_and_levels(tmp_path):
    rows = [row | {"level": None} for row in pool_rows()]
    meta = META | {"verifiers": {"prm": META["verifiers"]["prm"]}}
    done = write_report("--run", write_run(tmp_path / "run", rows, meta=meta), "--output_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(summary["methods"]) == ["single", "majority", "prm_best_of_n", "prm_weighted", "pass_at_n"]
    assert list(summary["differences"]) == ["prm_best_of_n-majority", "prm_best_of_n-single"]
    assert summary["by_level"] == {}
    assert not (tmp_path / "out/by_level.png").exists()
    assert "by_level" not in (tmp_path / "out/report.md").read_text()


def test_the_trace_browser_keeps_the_rare_kind(tmp_path):
    rows = [pool_rows()[3 if i == 150 else 1] | {"problem_id": str(i)} for i in range(200)]
    shown = [problem["id"] for problem in traces_to_show(read_runs([write_run(tmp_path, rows)]))]
    assert len(shown) == 60
    assert "150" in shown
    assert shown == sorted(shown, key=int)


def drop_score(pool, beam):
    pool[1]["candidates"][2]["scores"]["prm"].pop()


def drop_key(pool, beam):
    del pool[2]["gold_class"]


def drop_candidate(pool, beam):
    pool[3]["candidates"].pop()


def repeat_problem(pool, beam):
    pool[3]["problem_id"] = pool[0]["problem_id"]


def use_logit(pool, beam):
    pool[0]["candidates"][0]["scores"]["orm"][1] = 3.5


def drop_beam_score(pool, beam):
    beam[3]["candidates"][0]["scores"]["prm"] = []


def drop_beam_problem(pool, beam):
    beam.pop()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_score, r"pool\.jsonl:2: candidate 2: 2 steps but 1 prm scores"),
        (drop_key, r"pool\.jsonl:3: needs the keys .*gold_class"),
        (drop_candidate, r"pool\.jsonl:4: 3 candidates, but n is 4"),
        (repeat_problem, r"pool\.jsonl:4: problem 'arithmetic/test/0' is there twice"),
        (use_logit, r"pool\.jsonl:1: candidate 0: orm score 1 is 3\.5"),
        (drop_beam_score, r"beam\.jsonl:4: candidate 0: 1 steps but 0 prm scores"),
        (drop_beam_problem, r"beam\.jsonl: problem 'arithmetic/test/3' is in only one"),
    ],
)
def test_damaged_rows_are_named(tmp_path, damage, message):
    pool, beam = pool_rows(), beam_rows()
    damage(pool, beam)
    with pytest.raises(ValueError, match=message):
        read_runs([write_run(tmp_path, pool, beam)])


def test_runs_of_different_setups_are_refused(tmp_path):
    first = write_run(tmp_path / "first", pool_rows())
    second = write_run(tmp_path / "second", pool_rows(), meta=META | {"n": 8})
    with pytest.raises(ValueError, match=r"second/meta\.json: n is 8, but 4 in .*first"):
        read_runs([first, second])


def test_the_script_ends_with_one_line_for_a_broken_or_missing_file(tmp_path):
    run = write_run(tmp_path / "run", pool_rows())
    with (run / "pool.jsonl").open("a") as file:
        file.write('{"problem_id": "arith')
    broken = write_report("--run", run, "--output_dir", tmp_path / "out")
    missing = write_report("--run", tmp_path / "nowhere", "--output_dir", tmp_path / "out")
    assert (broken.returncode, missing.returncode) == (1, 1)
    assert re.fullmatch(r"error: .*pool\.jsonl:5: not a JSON row .*\n", broken.stderr)
    assert re.fullmatch(r"error: .*nowhere/meta\.json is missing; .*\n", missing.stderr)
