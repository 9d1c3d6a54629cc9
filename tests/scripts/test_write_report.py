"""`eval/write_report.py` on the run of `tests/search_run.py`; the figures themselves are in tests/unit/evaluation."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from search_run import META, rows, write_run

from prm.datasets import arithmetic
from prm.evaluation.search_runs import read_runs
from prm.evaluation.summary import summarize

REPO = Path(__file__).parents[2]


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


def test_the_summary_is_that_of_the_run(report):
    run = read_runs([report[0].parent / "search"])
    assert json.loads((report[0] / "summary.json").read_text()) == json.loads(json.dumps(summarize(run))) | {
        "seconds": 99
    }


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


def test_a_budget_names_the_best_method_in_the_pages(report):
    page = (report[0] / "report.md").read_text()
    assert "| method | N = 1 | 2 | 4 | 95% interval | generated tokens | verifier tokens | FLOPs |" in page
    assert "| majority vote | 37.5% | 37.5% | 37.5% | – |" in page
    # A star for the best of a number, and for the next one: four problems tell nothing apart.
    assert "| PRM best-of-N | 37.5% | 45.8% * | 50.0% * | – |" in page
    assert "| PRM beam search |  |  | 50.0% | – | 80 |" in page


def test_what_stands_beside_a_gain_is_in_the_summary_and_the_pages(report):
    """The figures themselves are in tests/unit/evaluation/test_controls.py."""
    summary = json.loads((report[0] / "summary.json").read_text())
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
    assert re.search(r"\| PRM best-of-N \|.*\| 33\.3% \[\d+\.\d, \d+\.\d\] of 12 \|", page)
    assert "by exact step truth" in page


def test_pages_show_the_numbers(report):
    folder, stdout = report
    last = stdout.rstrip().splitlines()[-1]
    assert re.fullmatch(r"pass@N \(ceiling\) +75\.0% +– +40 +0 +9\.00e\+03", last)
    markdown = (folder / "report.md").read_text()
    assert "| PRM best-of-N | 37.5% | 45.8% * | 50.0% * | – | 40 | 60 | 1.50e+04 |" in markdown
    assert "PRM best-of-N solves 50.0%, where a perfect choice" in markdown
    assert "4 problems are too few to compare methods: a difference may be chance." in markdown
    assert not re.search("beats|loses|The difference between", markdown)
    for picture in ("gains.png", "by_level.png", "flops.png"):
        assert f"({picture})" in markdown
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")


def test_html_is_self_contained_and_safe(report):
    page = (report[0] / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert not re.search(r"""(src|href)=(?!["']?(data:|#))|https?://|@import|url\(""", page)
    assert "{{" not in page
    embedded = re.search(r'<script type="application/json" id="traces">(.*?)</script>', page, re.DOTALL)[1]
    problems = json.loads(embedded)
    assert problems[0]["texts"][problems[0]["candidates"][0]["steps"][0]] == "</script><b>1 < 2</b>"
    assert [list(problem["picks"].values()) for problem in problems] == [
        [0, 3, 0, 0, 4], [1, 1, 0, 0, 4], [0, 0, 0, 0, 4], [0, 0, 3, 3, 4],
    ]  # fmt: skip
    assert list(problems[0]["picks"]) == list(META["methods"])
    assert problems[2]["candidates"][2]["scores"] == {}
    assert problems[0]["candidates"][4]["step_scores"] == {"prm": [0.7]}
    names = json.loads(re.search(r'<script type="application/json" id="names">(.*?)</script>', page, re.DOTALL)[1])
    assert names["methods"]["prm_beam_search"] == "PRM beam search"
    assert (names["verifiers"], names["leading"]) == ({"prm": "PRM", "orm": "ORM"}, "prm_best_of_n")


def test_the_pages_have_the_groups(tmp_path):
    some = [row | {"kept": {"topic": "<b>"}} for row in rows()]
    done = write_report(
        "--run", write_run(tmp_path / "run", some), "--output_dir", tmp_path / "out", "--group_by", "topic"
    )
    assert done.returncode == 0, done.stderr
    assert "## Accuracy by topic\n\n| topic | problems | single sample |" in (tmp_path / "out/report.md").read_text()
    assert "<h2>Accuracy by topic</h2>" in (page := (tmp_path / "out/report.html").read_text())
    assert "<td class=words>&lt;b&gt;</td><td>4</td>" in page
    assert "A value of fewer than 10 problems has no interval" in page


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


def test_the_script_ends_with_one_line_for_a_broken_or_missing_file(tmp_path):
    run = write_run(tmp_path / "run", rows())
    with (run / "results.jsonl").open("a") as file:
        file.write('{"problem_id": "arith')
    broken = write_report("--run", run, "--output_dir", tmp_path / "out")
    missing = write_report("--run", tmp_path / "nowhere", "--output_dir", tmp_path / "out")
    assert (broken.returncode, missing.returncode) == (1, 1)
    assert re.fullmatch(r"error: .*results\.jsonl:5: not a JSON object on one line .*\n", broken.stderr)
    assert missing.stderr == f"error: {tmp_path}/nowhere does not exist; check the path\n"


@pytest.mark.parametrize(
    ("verifier", "folder"),
    [
        ("outputs/prm", Path("outputs/prm")),
        ("outputs/prm@http://here:8000", Path("outputs/prm")),
        ("outputs/prm@vllm", Path("outputs/prm")),
        ("qwen2.5-math-prm:Qwen/Qwen2.5-Math-PRM-7B", None),
        ("eval/oracle.py:oracle", None),
        ("likelihood", None),
    ],
)
def test_checkpoints_that_a_run_uses(load, verifier, folder):
    assert load("write_report").checkpoint_folder(verifier) == folder
