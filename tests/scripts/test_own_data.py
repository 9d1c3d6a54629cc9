"""data/own_data.md as its reader walks it: the files it shows are written, its commands run in order, its outputs exist."""

import json
import re
import shlex
from pathlib import Path

import pytest

_FILE = re.compile(r"`(\S+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [text for name, text in _BLOCK.findall(page) if name == language]


def flags_of(words):
    """["--a", "1", "2", "--b", "-1"] -> {"a": ["1", "2"], "b": ["-1"]}."""
    flags = {}
    for word in words:
        if word.startswith("--"):
            values = flags.setdefault(word[2:], [])
        else:
            values.append(word)
    return flags


@pytest.fixture(scope="module")
def walk(scripts, root, tmp_path_factory):
    """(the page, the folder instead of outputs/own, what each command printed by its script)."""
    folder = tmp_path_factory.mktemp("own")
    page = (root / "data/own_data.md").read_text(encoding="utf-8").replace("outputs/own", str(folder))
    for path, text in _FILE.findall(page):
        assert folder in Path(path).parents
        Path(path).write_text(text, encoding="utf-8")
    printed, noise = [], ("Warning", "Loading weights")
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            python, script, *words = shlex.split(line)
            assert python == "python"
            done = scripts.run(script, **flags_of(words))
            assert done.code == 0, f"{line}\n{done.stderr}"
            assert not any(text in done.stderr for text in noise), f"{line}\n{done.stderr}"
            printed.append((script, done.stdout))
    (snippet,) = blocks(page, "python")
    (folder / "score.py").write_text(snippet)
    done = scripts.run(str(folder / "score.py"))
    assert (done.code, done.stderr) == (0, "")
    printed.append(("score.py", done.stdout))
    return page, folder, printed


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_file_that_the_page_names_is_there(walk):
    page, folder, printed = walk
    names = set(re.findall(re.escape(str(folder)) + r"/[\w./]*\w", page))
    assert {f"{folder}/{name}" for name in ("problems.csv", "set", "report/report.html")} <= names
    assert [name for name in sorted(names) if not (folder / name).exists()] == []
    assert [script for script, _ in printed] == [
        "data/convert_dataset.py",
        "data/convert_dataset.py",
        "data/convert_dataset.py",
        "data/convert_dataset.py",
        "data/label_steps.py",
        "data/sample_traces.py",
        "data/label_steps.py",
        "data/build_dataset.py",
        "recipes/train_prm.py",
        "eval/report_verifier.py",
        "eval/run_search.py",
        "eval/write_report.py",
        "score.py",
    ]


def test_the_first_rows_are_printed_as_the_page_shows_them(walk):
    page, _, printed = walk
    (shown,) = blocks(page, "")
    assert shown in printed[0][1]
    assert printed[0][1].count("step 1 good") == 3
    assert printed[0][1] == printed[1][1], "the flags and the file say the same"


def test_labels_and_kept_columns_reach_the_data_set(walk):
    _, folder, printed = walk
    train = rows_of(folder / "set/train.jsonl")
    assert [row["labels"] for row in train[:4]] == [[True] * 3, [False] * 3, [True] * 3, [True, False, False]]
    assert [len(rows_of(folder / f"set/{name}.jsonl")) for name in ("train", "validation")] == [6, 2]
    assert train[5]["kept"] == {"topic": "subtraction", "annotator": "bob"}
    assert "Columns of the source, under `kept`: topic, annotator." in (folder / "set/README.md").read_text()
    card = (folder / "set/README.md").read_text()
    assert "They mean `correctness`: a label says whether the step itself is right" in card
    assert (train[0]["num_tokens"], train[0]["seed"]) == (None, None)
    (built,) = (text for script, text in printed if script == "data/build_dataset.py")
    assert "warning" not in built
    assert [row["correct"] for row in rows_of(folder / "outcomes.jsonl")] == [True, False]


def test_own_solutions_are_checked_and_labeled(walk):
    _, folder, _ = walk
    solutions, marked = rows_of(folder / "solutions.jsonl"), rows_of(folder / "marked.jsonl")
    assert [row["correct"] for row in solutions] == [True, False, True]
    assert [row["counts"][-1] for row in marked] == [[1, 1], [0, 1], [1, 1]]
    assert {(row["semantics"], row["method"]) for row in solutions} == {("outcome", "answer check")}
    assert {row["semantics"] for row in marked} == {"value"}


def test_own_ids_and_topics_reach_every_file(walk):
    _, folder, _ = walk
    topics = {
        "p1": "subtraction",
        "p2": "addition",
        "p3": "subtraction",
        "p4": "mixed",
        "p5": "mixed",
        "p6": "products",
    }
    for name, ids in (("traces", topics), ("rollouts", topics), ("search/results", ("p5", "p6"))):
        rows = rows_of(folder / f"{name}.jsonl")
        assert {row["problem_id"]: row["kept"] for row in rows} == {key: {"topic": topics[key]} for key in ids}
    assert len(rows_of(folder / "rollouts.jsonl")) == 12
    report = (folder / "report/report.md").read_text(encoding="utf-8")
    assert "## Accuracy by topic" in report
    assert "| products | 1 |" in report
    assert '"id":"p5"' in (folder / "report/report.html").read_text(encoding="utf-8")


def test_the_scores_are_one_per_step(walk):
    _, _, printed = walk
    scores = json.loads(printed[-1][1])
    assert len(scores) == 3
    assert all(0 < score < 1 for score in scores)


def test_the_report_names_the_verifier(walk):
    _, folder, _ = walk
    report = (folder / "report/report.md").read_text(encoding="utf-8")
    assert "| mine best-of-N |" in report
    assert "2 problems, 4 candidates each" in report
