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
from collections.abc import Sequence
from pathlib import Path

import pytest

from prm.datasets import arithmetic
from prm.evaluation.reading import reading, traces_to_show
from prm.evaluation.search_runs import read_runs
from prm.evaluation.summary import summarize
from prm.evaluation.tables import as_markdown, group_table
from prm.search import STRATEGIES

REPO = Path(__file__).parents[2]
META = {
    "format": 5,
    "problems": "arithmetic",
    "split": "test",
    "n": 4,
    "seed": 0,
    "methods": dict.fromkeys(["majority", "orm_best_of_n", "prm_best_of_n", "prm_weighted_vote", "prm_beam_search"], 4),
    "generator": {"name": "student", "num_parameters": 100, "temperature": 1.0},
    "verifiers": {
        "prm": {"path": "prm", "num_parameters": 50, "kind": "prm"},
        "orm": {"path": "orm", "num_parameters": 20, "kind": "orm"},
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


def rows(methods: Sequence[str] = tuple(META["methods"])) -> list[dict]:
    found = []
    for i, values in enumerate(CANDIDATES):
        right = [i != 2 and answer_class == 0 for answer_class, _, _ in values]
        candidates = [candidate(v[0], ok) | {"index": k} for k, (v, ok) in enumerate(zip(values, right, strict=True))]
        scores = {name: [[0.5, v[k]] for v in values] for name, k in (("prm", 1), ("orm", 2))}
        if i == 2:
            candidates[3].update(finished=False, status="truncated")
        if i == 3:
            candidates[3]["completions"] = ["a", "b", "c", "#### 11"]
            scores = {name: [*its[:3], [0.5, 0.5, *its[3]]] for name, its in scores.items()}
        usable = [c["answer"] is not None and c["finished"] for c in candidates]
        scores = {name: [s if ok else None for s, ok in zip(its, usable, strict=True)] for name, its in scores.items()}
        beam = candidate((0, 6, 5, 6)[i], i in (0, 2)) | {"completions": ["#### 10"]}
        results = {
            "majority": pool("majority", None, [None] * 4, chosen=(0, 1, 0, 0)[i]),
            "orm_best_of_n": pool("best_of_n", "orm", scores["orm"], chosen=(3, 1, 0, 0)[i]),
            "prm_best_of_n": pool("best_of_n", "prm", scores["prm"], chosen=(0, 0, 0, 3)[i]),
            "prm_weighted_vote": pool("weighted_vote", "prm", scores["prm"], chosen=(0, 0, 0, 3)[i]),
            "prm_beam_search": {
                "strategy": "beam_search",
                "verifier": "prm",
                "candidates": [4],
                "scores": [[0.7]],
                "trace_scores": [0.7],
                "chosen": 0,
                "independent": False,
                "duplicates": 2,
                "tree": {"parents": [None], "steps": ["#### 10"], "scores": [0.7], "tokens": [80]},
                "cost": cost(
                    generated_tokens=80,
                    verifier_tokens=120,
                    cached_tokens=15,
                    cached_verifier_tokens=5,
                    generator_calls=8,
                    verifier_calls=7,
                    flops=7e4,
                    flops_by_shape=8e4,
                ),
            },
        }
        row = {
            "problem_id": f"arithmetic/test/{i}",
            "prompt": f"Problem {i}",
            "gold": "10",
            "source": "arithmetic",
            "level": 1 + i // 2,
            "candidates": [*candidates, beam] if "prm_beam_search" in methods else candidates,
            "results": [results[name] | {"method": name} for name in methods],
        }
        found.append(row)
    found[0]["candidates"][0]["completions"][0] = "</script><b>1 < 2</b>"
    return found


def candidate(answer_class: int | None, right: bool) -> dict:
    return {
        "completions": ["1 + 1 = 2", f"#### {answer_class}"],
        "answer": None if answer_class is None else str(10 + answer_class),
        "class": answer_class,
        "correct": right,
        "status": "no_answer" if answer_class is None else "ok",
        "num_tokens": 10,
        "finished": True,
        "seed": 0,
        "index": 0,
        "generator": "student",
        "step_rule": "line",
    }


def pool(strategy: str, verifier: str | None, scores: list, chosen: int) -> dict:
    """The result of a method that chooses from the four samples."""
    size = {"prm": 50, "orm": 20, None: 0}[verifier]
    read = 60 if verifier else 0
    flops = 2 * 100 * (5 + 40) + 2 * size * read
    return {
        "strategy": strategy,
        "verifier": verifier,
        "candidates": [0, 1, 2, 3],
        "scores": list(scores),
        "trace_scores": [its and its[-1] for its in scores],
        "chosen": chosen,
        "independent": True,
        "duplicates": 1,
        "tree": {"parents": [], "steps": [], "scores": [], "tokens": []},
        "cost": cost(generated_tokens=40, prompt_tokens=5, verifier_tokens=read, flops=flops),
    }


def cost(**values: float) -> dict:
    tokens = ("generated_tokens", "prompt_tokens", "verifier_tokens", "cached_tokens", "cached_verifier_tokens")
    zero = dict.fromkeys((*tokens, "generator_calls", "verifier_calls"), 0)
    return zero | {"flops": 0.0, "flops_by_shape": 0.0, "seconds": 0.1} | values


def write_run(folder: Path, rows: list[dict], meta: dict = META) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta.json").write_text(json.dumps(meta))
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_report(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPO / "eval/write_report.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPO)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(output folder, stdout) of the script on the run above."""
    root = tmp_path_factory.mktemp("report")
    run = write_run(root / "search", rows())
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
        "prm_weighted_vote": 0.5,
        "prm_beam_search": 0.5,
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
    assert cost["prm_best_of_n"] == cost["prm_weighted_vote"] == (40, 60, 2 * 100 * (5 + 40) + 2 * 50 * 60)
    assert cost["orm_best_of_n"] == (40, 60, 2 * 100 * (5 + 40) + 2 * 20 * 60)
    assert cost["prm_beam_search"] == (80, 120, 7e4)
    duplicates = {name: numbers.get("duplicates") for name, numbers in summary["methods"].items()}
    assert (duplicates["prm_beam_search"], duplicates["majority"], duplicates["single"]) == (2, 1, None)


def test_everything_that_was_spent_is_in_the_pages(report):
    """A single sample costs 3000 FLOPs; what did not run has no row."""
    page = (report[0] / "report.md").read_text()
    table = page.split("## What was spent\n\n")[1].split("\n\n")[0].splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "majority vote", "ORM best-of-N", "PRM best-of-N", "PRM weighted vote", "PRM beam search"
    ]  # fmt: skip
    assert table[0] == (
        "| method | prompt tokens | generated tokens | verifier tokens | cached tokens | of these, verifier | continuations "
        "| traces scored | FLOPs | with attention | seconds | x one sample |"
    )
    assert table[-1] == "| PRM beam search | 0 | 80 | 120 | 15 | 5 | 8 | 7 | 7.00e+04 | 8.00e+04 | 0.100 | 23.3 |"
    assert "as this one at 258 (R = 0.16), 63 (R = 0.79) or 16 (R = 22) times one sample" in page


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


def test_each_budget_names_the_best_method_and_the_next(summary, report):
    assert [(b["n"], b["best"], b["second"]) for b in summary["budgets"]] == [
        (2, "prm_weighted_vote", "prm_best_of_n"),
        (4, "prm_best_of_n", "prm_weighted_vote"),
    ]
    assert summary["budgets"][1]["difference"] == {"mean": 0.0, "low": None, "high": None}
    page = (report[0] / "report.md").read_text()
    assert "| method | N = 1 | 2 | 4 | 95% interval | generated tokens | verifier tokens | FLOPs |" in page
    assert "| majority vote | 37.5% | 37.5% | 37.5% | – |" in page
    # A star for the best of a number, and for the next one: four problems tell nothing apart.
    assert "| PRM best-of-N | 37.5% | 45.8% * | 50.0% * | – |" in page
    assert "| PRM beam search |  |  | 50.0% | – | 80 |" in page


def test_what_stands_beside_a_gain_is_in_the_summary_and_the_pages(summary, report):
    """The figures themselves are in tests/unit/evaluation/test_controls.py."""
    pools = ["orm_best_of_n", "prm_best_of_n", "prm_weighted_vote"]
    assert list(summary["blind"]) == pools
    # The usable candidates that are right: 2 of 4, 1 of 4, none, 3 of 4.
    assert summary["blind"]["prm_best_of_n"][-1]["accuracy"] == pytest.approx((2 / 4 + 1 / 4 + 0 + 3 / 4) / 4)
    assert list(summary["over_majority"]) == [*pools, "prm_beam_search"]
    # Prompt, half of what was written, and half of what was read for nothing was shared; a vote takes a quarter of the pool.
    two = summary["over_majority"]["prm_best_of_n"][1]
    assert (two["n"], two["flops"]) == (2, 200 * (5 + 20) + 100 * 30)
    assert two["votes"] == pytest.approx(two["flops"] / (200 * (5 + 40) / 4))
    assert [entry["votes"] > 4 for entry in summary["over_majority"]["prm_beam_search"]] == [True]
    assert {name: its["best_n"] for name, its in summary["growth"].items()} == {
        "majority": 1, "orm_best_of_n": 1, "prm_best_of_n": 4, "prm_weighted_vote": 4
    }  # fmt: skip
    assert summary["false_positives"] == {}  # "Problem 0" is none of the embedded set
    page = (report[0] / "report.md").read_text()
    headings = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    assert headings[:3] == ["Accuracy and cost", "Gain over majority voting at equal FLOPs", "Controls"]
    assert "| minus majority vote | N = 2 | 4 |" in page
    assert "| PRM best-of-N | +8.3<br>3.6 votes | – needs<br>7 votes |" in page
    head = "| method | accuracy | scores shuffled | the verifier adds | best N | from there to the last N |"
    assert f"{head}\n" in page
    assert "| PRM best-of-N | 50.0% | 37.5% | +12.5 | 4 |  |" in page
    assert "| ORM best-of-N | 25.0% | 37.5% | -12.5 | 1 | -12.5 |" in page
    assert "wrong step" not in page


def embedded_rows():
    """Twelve problems of the embedded set; in every third, the chosen right answer has a wrong process."""
    some = []
    for i, problem in enumerate(arithmetic.load("test", 12)):
        row = rows(["majority", "prm_best_of_n"])[0]
        right = list(arithmetic.solution(problem.prompt))
        detour = [*right[:-1], *right[-2:]] if i % 3 == 0 else right
        for k, steps in enumerate((detour, right)):
            row["candidates"][k].update(completions=steps, answer=problem.answer)
        for result in row["results"]:
            result["chosen"] = 0
            lengths = [len(candidate["completions"]) for candidate in row["candidates"]]
            result["scores"] = [its and [0.5] * n for its, n in zip(result["scores"], lengths, strict=True)]
        some.append(row | {"problem_id": problem.id, "prompt": problem.prompt, "gold": problem.answer})
    return some


def test_right_answers_with_a_wrong_step_are_shown_for_the_embedded_sets(tmp_path):
    methods = dict.fromkeys(["majority", "prm_best_of_n"], 4)
    run = write_run(tmp_path / "run", embedded_rows(), META | {"methods": methods})
    done = write_report("--run", run, "--output_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    judged = json.loads((tmp_path / "out/summary.json").read_text())["false_positives"]
    assert {name: (its["right"], its["share"]) for name, its in judged.items()} == {
        "single": (24, 4 / 24), "majority": (12, 4 / 12), "prm_best_of_n": (12, 4 / 12)
    }  # fmt: skip
    page = (tmp_path / "out/report.md").read_text()
    assert "| from there to the last N | right answer, wrong step |" in page
    assert re.search(r"\| PRM best-of-N \|.*\| 33\.3% of 12 \[\d+\.\d, \d+\.\d\] \|", page)
    assert "by exact step truth" in page


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


def test_pages_show_the_numbers(report):
    folder, stdout = report
    last = stdout.rstrip().splitlines()[-1]
    assert re.fullmatch(r"pass@N \(ceiling\) +75\.0% +– +40 +0 +9\.00e\+03", last)
    markdown = (folder / "report.md").read_text()
    assert "| PRM best-of-N | 37.5% | 45.8% * | 50.0% * | – | 40 | 60 | 1.50e+04 |" in markdown
    assert "PRM best-of-N solves 50.0%, where a perfect choice" in markdown
    assert "4 problems are too few to compare methods: a difference may be chance." in markdown
    assert not re.search("beats|loses|The difference between", markdown)
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
    assert [list(problem["picks"].values()) for problem in problems] == [
        [0, 3, 0, 0, 4], [1, 1, 0, 0, 4], [0, 0, 0, 0, 4], [0, 0, 3, 3, 4],
    ]  # fmt: skip
    assert list(problems[0]["picks"]) == list(META["methods"])
    assert problems[2]["candidates"][2]["scores"] == {}
    assert problems[0]["candidates"][4]["step_scores"] == {"prm": [0.7]}
    names = json.loads(re.search(r'<script type="application/json" id="names">(.*?)</script>', page, re.DOTALL)[1])
    assert names["methods"]["prm_beam_search"] == "PRM beam search"
    assert (names["verifiers"], names["leading"]) == ({"prm": "PRM", "orm": "ORM"}, "prm_best_of_n")


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
    assert [problem["kept"] for problem in traces_to_show(run)] == [row["kept"] for row in some]
    assert "groups" not in summarize(run)
    with pytest.raises(ValueError, match="--group_by 'subject': the problems have no such column; they have topic"):
        summarize(run, "subject")


def test_the_pages_have_the_groups(tmp_path):
    some = [row | {"kept": {"topic": "<b>"}} for row in rows()]
    done = write_report(
        "--run", write_run(tmp_path / "run", some), "--output_dir", tmp_path / "out", "--group_by", "topic"
    )
    assert done.returncode == 0, done.stderr
    assert "## Accuracy by topic\n\n| topic | problems | single sample |" in (tmp_path / "out/report.md").read_text()
    assert "<h2>Accuracy by topic</h2>" in (page := (tmp_path / "out/report.html").read_text())
    assert "<td>&lt;b&gt;</td><td>4</td>" in page
    assert "A value of fewer than 10 problems has no interval" in page


def test_a_run_that_a_limit_stopped_is_said_to_be_a_part(tmp_path):
    meta = META | {"unfinished_problems": 3}
    assert summarize(read_runs([write_run(tmp_path, rows(), meta)]))["warnings"][0] == (
        "A limit stopped the run: 3 of its 7 problems were not searched."
    )


def twelve_problems():
    """The four problems three times."""
    return [row | {"problem_id": f"{row['problem_id']}/{i}"} for i in range(3) for row in rows()]


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


def test_without_orm_beam_and_levels(tmp_path):
    methods = ["majority", "prm_best_of_n", "prm_weighted_vote"]
    some = [row | {"level": None} for row in rows(methods)]
    meta = META | {"verifiers": {"prm": META["verifiers"]["prm"]}, "methods": dict.fromkeys(methods, 4)}
    done = write_report("--run", write_run(tmp_path / "run", some, meta), "--output_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert list(summary["methods"]) == ["single", *methods, "pass_at_n"]
    assert list(summary["differences"])[:2] == ["prm_best_of_n - majority", "prm_best_of_n - single"]
    assert summary["by_level"] == {}
    assert not (tmp_path / "out/by_level.png").exists()
    assert "by_level" not in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize("methods", [["majority"], ["prm_beam_search"], ["prm_beam_search", "orm_best_of_n"]])
def test_any_set_of_methods_makes_a_report(methods, tmp_path):
    run = write_run(tmp_path / "run", rows(methods), META | {"methods": dict.fromkeys(methods, 4)})
    done = write_report("--run", run, "--output_dir", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert set(methods) <= set(summary["methods"])
    assert ("single" in summary["methods"]) == (methods != ["prm_beam_search"])
    assert (tmp_path / "out/gains.png").read_bytes().startswith(b"\x89PNG")


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


def test_the_trace_browser_keeps_the_rare_kind(tmp_path):
    many = [rows()[3 if i == 150 else 1] | {"problem_id": str(i)} for i in range(200)]
    shown = [problem["id"] for problem in traces_to_show(read_runs([write_run(tmp_path, many)]))]
    assert len(shown) == 60
    assert "150" in shown
    assert shown == sorted(shown, key=int)


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
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


def test_runs_of_different_setups_are_refused(tmp_path):
    first = write_run(tmp_path / "first", rows())
    second = write_run(tmp_path / "second", rows(), META | {"n": 8})
    with pytest.raises(ValueError, match=r"second/meta\.json: n is 8, but 4 in .*first"):
        read_runs([first, second])


def test_the_script_ends_with_one_line_for_a_broken_or_missing_file(tmp_path):
    run = write_run(tmp_path / "run", rows())
    with (run / "results.jsonl").open("a") as file:
        file.write('{"problem_id": "arith')
    broken = write_report("--run", run, "--output_dir", tmp_path / "out")
    missing = write_report("--run", tmp_path / "nowhere", "--output_dir", tmp_path / "out")
    assert (broken.returncode, missing.returncode) == (1, 1)
    assert re.fullmatch(r"error: .*results\.jsonl:5: not a JSON row .*\n", broken.stderr)
    assert missing.stderr == f"error: {tmp_path}/nowhere does not exist; check the path\n"


def test_what_is_no_finished_search_is_told_from_what_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"meta\.json is missing; give a folder that eval/run_search\.py wrote"):
        read_runs([tmp_path])
    (tmp_path / "results.journal").touch()  # a search writes its answers here, and meta.json when it ends
    with pytest.raises(FileNotFoundError, match=r"the search is unfinished; start it again, and it goes on"):
        read_runs([tmp_path])
