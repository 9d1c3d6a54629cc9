"""convert_dataset -> build_dataset -> train_prm's reader: what comes in goes out, or its absence is written down."""

import json
import runpy
import sys
from collections import Counter

import datasets
import pytest
import yaml

from prm.datasets.splits import split_of
from prm.storage.rows import read_labeled, read_outcomes

GOLD = {"problem": "A merchant buys 12 crates of 30 apples and sells each of the apples for 2 coins. How much is it?"}


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def trace(prompt, steps, labels, **columns):
    return {"prompt": prompt, "completions": steps, "labels": labels, "semantics": "value", "method": "human"} | columns


def problem_of(split, start=0):
    """A short problem that the hash puts into this split."""
    return next(text for i in range(start, 10_000) if split_of(text := f"What is {i} + {i}?") == split)


@pytest.fixture
def build(scripts, tmp_path):
    """`build(rows, ...options)` -> (the run, the folder)."""

    def run(*files, **options):
        paths = [str(write(tmp_path / f"labeled{i}.jsonl", rows)) for i, rows in enumerate(files)]
        config = {"labels": paths, "output_dir": str(tmp_path / "set")} | options
        (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
        return scripts.run("data/build_dataset.py", config=tmp_path / "build.yaml"), tmp_path / "set"

    return run


def test_convert_counts_what_came_in_and_went_out(scripts, root, tmp_path):
    golden, output = root / "tests/golden/prm800k.jsonl", tmp_path / "labeled.jsonl"
    done = scripts.run("data/convert_dataset.py", source="prm800k", input=golden, output=output)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{output}: 8 rows read, 15 traces written",
        "status: ok 7, no_labels 2, give_up 2, bad_problem 1, quality_control 1, screening 1, no_steps 1",
        "steps of ok traces: unlabeled 8, good 7, bad 4; 63.6% of labels good",
    ]
    assert len(rows_of(output)) == 15
    assert len(read_labeled(output)) == 7
    meta = json.loads((tmp_path / "labeled.meta.json").read_text())
    assert (meta["rows"], meta["statuses"]["give_up"]) == (8, 2)


def test_convert_to_another_format_lists_what_it_cannot_say(scripts, root, tmp_path):
    golden, output = root / "tests/golden/prm800k.jsonl", tmp_path / "trl.jsonl"
    flags = {"source": "prm800k", "target": "trl", "input": golden, "output": output}
    done = scripts.run("data/convert_dataset.py", **flags)
    assert done.code == 0, done.stderr
    assert "8 rows read, 8 traces written" in done.stdout
    assert "status give_up 2" in done.stdout
    assert "shared steps have their labels in every trace (--branches repeat)" in done.stdout
    assert len(rows_of(output)) + len(rows_of(tmp_path / "trl.jsonl.left_out.jsonl")) == 15
    done = scripts.run("data/convert_dataset.py", **flags, branches="once")
    assert "8 rows read, 2 traces written" in done.stdout
    assert "a step may have its label in another trace of its tree" in done.stdout
    left_out = rows_of(tmp_path / "trl.jsonl.left_out.jsonl")
    assert [row["left_out"] for row in left_out].count("a step before the last labeled one has no label") == 5


def test_convert_reads_parquet_and_questions(scripts, root, tmp_path):
    path, problems = tmp_path / "rlhflow.parquet", write(tmp_path / "problems.jsonl", [{"problem": "Compute $3 + 3$."}])
    datasets.Dataset.from_list(rows_of(root / "tests/golden/rlhflow.jsonl")).to_parquet(path)
    output = tmp_path / "labeled.jsonl"
    done = scripts.run("data/convert_dataset.py", source="rlhflow", input=path, output=output, questions=problems)
    assert done.code == 0, done.stderr
    assert [row["status"] for row in rows_of(output)] == ["ok", "ok"]


OWN = {
    "source": "columns",
    "semantics": "correctness",
    "prompt_column": "question",
    "steps_column": "solution",
    "separator": "\\n",
    "first_error_column": "error",
    "first_error_base": 1,
    "no_error": [-1, "none"],
}
OWN_ROWS = 'question,solution,error,topic\n"Is it, too?","a\nb",2,x\nWhy?,c,-1,\nWhy?,d,none,y\n'


def test_convert_shows_the_first_rows_of_a_table_and_one_with_a_bad_step(scripts, tmp_path):
    path, output = tmp_path / "own.csv", tmp_path / "out.jsonl"
    path.write_text(OWN_ROWS + "Who?,e,1,z\n")
    done = scripts.run("data/convert_dataset.py", **OWN, input=path, output=output, keep=["topic"])
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "rows as they are read; are the labels what you mean by them?",
        f"{path}:2  Is it, too?",
        "  step 1 good      a",
        "  step 2 bad       b",
        f"{path}:4  Why?",
        "  step 1 good      c",
        f"{path}:5  Why?",
        "  step 1 good      d",
        f"{path}:6  Who?",
        "  step 1 bad       e",
        f"{output}: 4 rows read, 4 traces written",
        "status: ok 4",
        "steps of ok traces: good 3, bad 2; 60.0% of labels good",
    ]
    assert [row["kept"]["topic"] for row in rows_of(output)] == ["x", None, "y", "z"]
    assert rows_of(output)[2]["id"] == rows_of(output)[1]["problem_id"] + "#1"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"steps_column": "solutions"}, "own.csv:2: no column 'solutions', did you mean 'solution'? The columns are"),
        ({"first_error_base": 0}, "own.csv:2: column 'error' is '2', which is neither a number from 0 to 1"),
        (
            {"good": ["right"]},
            "--good, --bad and --unlabeled belong to --labels_column or --outcome_column; leave them out",
        ),
        ({"neutral": "bad"}, "--neutral is not an option of --source columns; leave it out"),
        ({"source": "openr"}, "--first_error_base is not an option of --source openr; leave it out"),
    ],
)
def test_convert_refuses_a_table(scripts, tmp_path, flags, message):
    (tmp_path / "own.csv").write_text(OWN_ROWS)
    output = tmp_path / "out.jsonl"
    done = scripts.run("data/convert_dataset.py", **OWN | flags, input=tmp_path / "own.csv", output=output)
    assert done.code == 1
    assert message in done.last_line
    assert not output.exists()


def test_kept_columns_stay_with_their_traces(build):
    train, validation = problem_of("train"), problem_of("validation")
    done, folder = build(
        [trace(train, ["a"], [True], kept={"topic": "sums", "year": "3"}), trace(train, ["b"], [True])],
        [trace(validation, ["c"], [False], kept={"annotator": "ann", "topic": None})],
    )
    assert done.code == 0, done.stderr
    loaded = datasets.load_dataset(str(folder))
    assert loaded["train"]["kept"] == [
        {"topic": "sums", "year": "3", "annotator": None},
        {"topic": None, "year": None, "annotator": None},
    ]
    assert loaded["validation"]["kept"] == [{"topic": None, "year": None, "annotator": "ann"}]
    assert "Columns of the source, under `kept`: topic, year, annotator." in (folder / "README.md").read_text()
    assert done.stdout.splitlines()[-2:] == [
        "warning: train has 2 good and 0 bad steps; nothing can be learned or measured on labels of one kind",
        "warning: validation has 0 good and 1 bad steps; nothing can be learned or measured on labels of one kind",
    ]


def test_outcomes_of_a_table_become_a_set_for_an_orm(scripts, build, tmp_path):
    path, output = tmp_path / "own.csv", tmp_path / "out.jsonl"
    path.write_text("question,solution,passed\n" + "".join(f"{problem_of('train')},a{i}|b,{i % 2}\n" for i in range(4)))
    columns = {"prompt_column": "question", "steps_column": "solution", "separator": "|", "outcome_column": "passed"}
    flags = columns | {"source": "columns", "good": 1, "bad": 0}
    done = scripts.run("data/convert_dataset.py", **flags, input=path, output=output)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "outcomes of ok traces: bad 2, good 2; 50.0% of labels good"
    done, folder = build(rows_of(output))
    assert done.code == 0, done.stderr
    assert [row.labeled.labels for row in read_outcomes(folder / "train.jsonl")] == [(False,) * 2, (True,) * 2] * 2
    card = (folder / "README.md").read_text()
    assert "They mean `outcome`: a label says whether the whole trace ends right" in card
    assert {row["num_tokens"] for row in rows_of(folder / "train.jsonl")} == {None}
    assert datasets.load_dataset(str(folder))["train"]["seed"] == [None] * 4


def test_a_file_that_is_not_there_is_named(scripts, tmp_path):
    for target in ("labeled", "trl"):
        flags = {"source": "openr", "target": target, "output": tmp_path / "out.jsonl"}
        done = scripts.run("data/convert_dataset.py", **flags, input=tmp_path / "none.jsonl")
        assert done.last_line == f"error: {tmp_path / 'none.jsonl'} does not exist; check the path"


def shepherd(question, good=True):
    text = f"{question} Step 1: It is so. ки"
    return {"input": text, "label": text.replace("ки", "+" if good else "-"), "task": "GSM8K"}


def test_a_row_that_nobody_can_remove_is_counted_and_the_others_are_read(scripts, tmp_path):
    path = write(tmp_path / "set.jsonl", [shepherd("Is it?"), shepherd(""), shepherd("Is it not?", False)])
    flags = {"source": "math_shepherd", "input": path, "output": tmp_path / "out.jsonl"}
    done = scripts.run("data/convert_dataset.py", **flags)
    assert done.code == 0, done.stderr
    assert "3 rows read, 3 traces written\nstatus: ok 2, no_question 1\n" in done.stdout
    assert [row["status"] for row in rows_of(tmp_path / "out.jsonl")] == ["ok", "no_question", "ok"]
    assert rows_of(tmp_path / "out.jsonl")[1]["kept"]["refused"].startswith(f"{path}:2: the question is empty")
    (tmp_path / "out.jsonl").unlink()
    done = scripts.run("data/convert_dataset.py", **flags, strict=True)
    assert (done.code, (tmp_path / "out.jsonl").exists()) == (1, False)
    assert "set.jsonl:2: the question is empty; remove the row" in done.last_line


def test_too_many_refused_rows_end_the_run_with_examples(scripts, tmp_path):
    rows = [shepherd("" if i % 10 == 3 else f"Is it {i}?") for i in range(50)]
    path, output = write(tmp_path / "set.jsonl", rows), tmp_path / "out.jsonl"
    done = scripts.run("data/convert_dataset.py", source="math_shepherd", input=path, output=output)
    assert (done.code, output.exists()) == (1, False)
    assert "5 of 50 rows have the status no_question, more than --max_refused 0.05" in done.last_line
    assert "set.jsonl:4: the question is empty" in done.last_line
    done = scripts.run("data/convert_dataset.py", source="math_shepherd", input=path, output=output, max_refused=0.1)
    assert done.code == 0, done.stderr


def test_ids_of_two_files_of_a_set_differ_and_stay_the_same(scripts, tmp_path):
    ids = []
    for name in ("a", "b", "a"):
        path = write(tmp_path / f"{name}.jsonl", [shepherd("Is it?"), shepherd("Is it?", name == "a")])
        done = scripts.run("data/convert_dataset.py", source="math_shepherd", input=path, output=tmp_path / "out.jsonl")
        assert done.code == 0, done.stderr
        ids.append({row["id"] for row in rows_of(tmp_path / "out.jsonl")})
    assert ids[0] == ids[2]
    assert len(ids[0] | ids[1]) == 4


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"source": "openr", "neutral": "bad"}, "--neutral is not an option of --source openr; leave it out"),
        ({"source": "openr"}, "broken.jsonl:2: no column 'label'"),
    ],
)
def test_convert_refuses(scripts, root, tmp_path, flags, message):
    row = rows_of(root / "tests/golden/openr.jsonl")[0]
    path = write(tmp_path / "broken.jsonl", [row, {"question": "Q", "process": "a"}])
    done = scripts.run("data/convert_dataset.py", **flags, input=path, output=tmp_path / "out.jsonl")
    assert done.code == 1
    assert message in done.last_line
    assert not (tmp_path / "out.jsonl").exists()


def test_build_leaves_out_duplicates_statuses_and_benchmark_problems(build, tmp_path):
    train, test = problem_of("train"), problem_of("test")
    benchmark = write(tmp_path / "benchmark.jsonl", [GOLD])
    done, folder = build(
        [
            trace(train, ["a", "b"], [True, False]),
            trace(train, ["a", "b"], [True, True]),  # the same trace, judged otherwise
            trace(train.replace(" ", "\n"), ["a", "b"], [True, False]),  # the same problem
            trace(train, ["a", "b"], [None, True]),  # labels elsewhere: no duplicate
            trace(train, ["a"], [True], status="give_up"),
        ],
        [
            trace("Ada: " + GOLD["problem"][:-1] + " in all?", ["a"], [True], id="x#0"),
            trace(GOLD["problem"].upper(), ["a"], [False]),
            trace(test, ["a"], [True], values=[0.5], counts=[[4, 8]]),
        ],
        against=[str(benchmark)],
        license="mit",
    )
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{folder}: 3 traces; left out: duplicate 2, contaminated 2, status give_up 1",
        f"of problems in {benchmark}: 2 traces",
        "train: 2 traces of 1 problems, steps: good 2, bad 1, unlabeled 1",
        "test: 1 traces of 1 problems, steps: good 1",
        "warning: test has 1 good and 0 bad steps; nothing can be learned or measured on labels of one kind",
    ]
    assert [row["completions"] for row in rows_of(folder / "train.jsonl")] == [["a", "b"], ["a", "b"]]
    assert not (folder / "validation.jsonl").exists()
    removed = rows_of(folder / "removed.jsonl")
    assert [row["where"].split("labeled")[1] for row in removed] == [
        "0.jsonl:2",
        "0.jsonl:3",
        "0.jsonl:5",
        "1.jsonl:1",
        "1.jsonl:2",
    ]
    assert removed[3] == {
        "why": "contaminated",
        "benchmark": str(benchmark),
        "problem": GOLD["problem"],
        "words": "a merchant buys 12 crates of 30 apples and sells each of the",
        "where": f"{tmp_path}/labeled1.jsonl:1",
        "id": "x#0",
        "prompt": "Ada: " + GOLD["problem"][:-1] + " in all?",
    }
    assert removed[4]["words"] == "whole problem"


def test_build_makes_a_folder_that_datasets_loads(build):
    """`values` and `counts` are empty in the first file and not in the second; the type of neither must be guessed."""
    train, validation = problem_of("train"), problem_of("validation")
    many = [trace(train, [f"a{i}", "b" * 20_000], [True, None]) for i in range(1000)]  # two chunks of 10 MB
    done, folder = build(
        [*many, trace(train, ["z"], [False], values=[0.0], counts=[[0, 8]], level=3)],
        [trace(validation, ["a"], [True])],
    )
    assert done.code == 0, done.stderr
    assert "not compared with any benchmark" in done.stdout
    loaded = datasets.load_dataset(str(folder))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 1001, "validation": 1}
    assert loaded["train"][0]["labels"] == [True, None]
    assert (loaded["train"][1000]["values"], loaded["train"][1000]["counts"]) == ([0.0], [[0, 8]])
    assert len(read_labeled(folder / "train.jsonl")) == 1001  # as recipes/train_prm.py reads it
    card = (folder / "README.md").read_text()
    assert "| train | 1 | 1001 | 1000 (99.9%) | 1 | 1000 | 2.0 / 1.0 |" in card
    assert "| prompt | human | 1002 |" in card
    assert "License: unknown" in card
    assert "Not compared with any benchmark." in card
    assert "They mean `value`: a label says whether the trace can still end right after the step" in card


@pytest.mark.parametrize(
    ("balance", "kept"),
    [
        ("problem", {("a", 1), ("b", 1)}),  # the only problem with both kinds
        ("label", {("b", 1), ("e", 1), ("good", 2)}),
        ("level", {("level 1", 1), ("level 2", 1), ("level 3", 1)}),
    ],
)
def test_build_balances(build, balance, kept):
    """Each step text is a trace; which of several alike stays is decided by a hash."""
    one, two = problem_of("train"), problem_of("train", 50)
    done, folder = build(
        [
            trace(one, ["a"], [True], level=1),
            trace(one, ["b"], [False], level=1),
            trace(two, ["c"], [True], level=2),
            trace(two, ["d"], [True], level=3),
            trace(problem_of("train", 90), ["e"], [False], level=1),
        ],
        balance=balance,
    )
    assert done.code == 0, done.stderr
    rows = rows_of(folder / "train.jsonl")
    found = Counter(name for row in rows for name in (row["completions"][0], f"level {row['level']}"))
    found["good"] = sum(row["labels"] == [True] for row in rows)
    assert kept <= set(found.items())
    size = {"problem": 2, "label": 4, "level": 3}[balance]
    assert len(rows) == size
    assert f"balance {5 - size}" in done.stdout


def test_build_refuses(build):
    text = problem_of("train")
    value, correctness = trace(text, ["a"], [True]), trace(text, ["b"], [True], semantics="correctness")
    done, _ = build([value], [correctness])
    assert done.code == 1
    assert "labels mean 'value' in" in done.last_line
    done, _ = build([value], balance="level")
    assert "no `level`, so --balance level is not possible" in done.last_line
    done, folder = build([value | {"status": "give_up"}])
    assert "nothing is left of 1 traces" in done.last_line
    assert rows_of(folder / "removed.jsonl")[0]["why"] == "status give_up"


def test_build_takes_no_folder_of_which_it_would_read_one_split(root, tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "train.jsonl", [trace(problem_of("train"), ["a"], [True])])
    script = runpy.run_path(str(root / "data" / "build_dataset.py"))
    for labels, message in (
        (str(tmp_path / "set"), "set is a folder; give a file, such as .*set/train.jsonl"),
        ("someone/labels", "convert_dataset.py makes a file of a hub data set"),
    ):
        with pytest.raises(OSError, match=message):
            script["main"](script["Arguments"](labels=[labels], output_dir=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_push_uploads_the_files_of_the_set_and_no_others(root, tmp_path, monkeypatch):
    labeled = write(tmp_path / "labeled.jsonl", [trace(problem_of("train"), ["a"], [True])])
    calls = []
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda self, name, **k: calls.append((name, k["private"])))
    monkeypatch.setattr("huggingface_hub.HfApi.upload_folder", lambda self, **k: calls.append(k["allow_patterns"]))
    arguments = ["--labels", str(labeled), "--output_dir", str(tmp_path), "--push_to_hub", "me/set"]
    monkeypatch.setattr(sys, "argv", ["build_dataset.py", *arguments])
    runpy.run_path(str(root / "data" / "build_dataset.py"), run_name="__main__")
    assert calls == [
        ("me/set", True),
        ["train.jsonl", "README.md", "removed.jsonl", "meta.json", "config.yaml"],
    ]


def test_build_refuses_rows_of_a_benchmark_by_source_and_by_text(build, tmp_path):
    bolts = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?"
    good = trace(problem_of("train"), ["a"], [True])
    for row in (trace("Any.", ["a"], [True], problem_id="processbench/1"), trace(bolts, ["a"], [True])):
        done, _ = build([good, row])
        assert done.code == 1
        assert "labeled0.jsonl:2: " in done.last_line
        assert "--allow_benchmark" in done.last_line
        done, folder = build([good, row], allow_benchmark=True)
        assert done.code == 0, done.stderr
    against = write(tmp_path / "gsm8k.jsonl", [{"question": bolts}])
    done, folder = build([good, trace(bolts, ["a"], [True])], against=[str(against)])
    assert done.code == 0, done.stderr
    assert [row["prompt"] for row in rows_of(folder / "train.jsonl")] == [good["prompt"]]


def test_traces_of_two_files_with_one_id_get_different_ones(build):
    train = problem_of("train")
    rows = [trace(train, [text], [True], problem_id="p/1", index=0, id="p/1#0") for text in "abc"]
    done, folder = build(rows[:1], rows[1:])
    assert done.code == 0, done.stderr
    assert [row["id"] for row in rows_of(folder / "train.jsonl")] == ["p/1#0", "p/1#1", "p/1#2"]
    assert "2 traces had the id of another one; they have new numbers" in done.stdout
