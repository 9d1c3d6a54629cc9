import json

import pytest

from prm.datasets.problems import load_examples, load_problems
from prm.datasets.splits import split_of
from prm.storage.jsonl import read_jsonl
from prm.types import Problem


@pytest.fixture
def write(tmp_path):
    """Write lines (dictionaries as JSON) to problems.jsonl and return its path."""

    def write_lines(*lines):
        path = tmp_path / "problems.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return str(path)

    return write_lines


GOOD = {"prompt": "What is 2 + 2?", "answer": "4"}


def test_a_row_with_every_column(write):
    path = write({"id": "mine/1", "problem": "Find x² for x = 3.", "answer": 9, "level": 2})
    assert load_problems(path, "all") == [Problem("mine/1", "Find x² for x = 3.", "9", "problems", 2)]


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_that_leaves_nothing_or_the_last_ones_out_is_refused(write, limit):
    with pytest.raises(ValueError, match=f"limit is {limit}; it says how many of the first problems"):
        load_problems(write(GOOD, GOOD), "all", limit=limit)


def test_gsm8k_form(write):
    path = write({"question": "How many clips?", "answer": "48/2 = <<48/2=24>>24\n48+24 = <<48+24=72>>72\n#### 72"})
    assert load_problems(path, "all") == [Problem("problems/all/0", "How many clips?", "72", "problems", None)]
    row = {"prompt": "How many clips?", "completion": "48/2 = 24\n48+24 = 72\n#### 72"}
    assert load_examples(path, "all") == ([row], 0)


def test_a_level_in_words_is_no_number(write):
    assert load_problems(write(GOOD | {"level": "Level 5"}), "all")[0].level is None


def test_other_columns_are_kept_as_texts(write):
    columns = {"topic": "sums", "year": 2024.0, "tags": ["a", "b"], "note": None, "split": "test", "level": "Level 5"}
    (problem,) = load_problems(write(GOOD | columns | {"id": 7, "question": "in other words"}), "all")
    assert problem.id == "7"
    assert problem.kept == {
        "topic": "sums",
        "year": "2024",
        "tags": '["a", "b"]',
        "note": None,
        "level": "Level 5",
        "question": "in other words",
    }
    assert load_problems(write(GOOD), "all")[0].kept == {}


def test_a_level_from_a_table_is_a_number(tmp_path):
    path = tmp_path / "problems.csv"
    path.write_text("question,answer,level\nWhat is 2 + 2?,4,3\n")
    (problem,) = load_problems(str(path), "all")
    assert (problem.level, problem.kept) == (3, {})


def test_answer_zero_is_an_answer(write):
    assert load_problems(write(GOOD | {"answer": 0}), "all")[0].answer == "0"


def test_blank_lines_do_not_shift_line_numbers(write):
    path = write(GOOD, "", "  ", GOOD)
    assert [where for where, _ in read_jsonl(path)] == [f"{path}:1", f"{path}:4"]


def test_a_file_is_split_by_the_text_of_its_problems(write):
    path = write(*({"prompt": f"What is {i} + 1?", "answer": i + 1} for i in range(300)))
    parts = {split: load_problems(path, split) for split in ("train", "validation", "test")}
    assert sorted(int(p.answer) for part in parts.values() for p in part) == list(range(1, 301))
    assert all(split_of(p.prompt) == split for split, part in parts.items() for p in part)
    assert load_problems(path, "test", limit=5) == parts["test"][:5]
    assert [p.id for p in parts["test"][:2]] == ["problems/test/0", "problems/test/1"]


def test_a_split_column_decides_instead_of_the_hash(write):
    names = ["train", "val", "dev", "validation", "Test", "test"]
    path = write(*({"prompt": f"What is {i} + 1?", "answer": i + 1, "split": name} for i, name in enumerate(names)))
    parts = {split: [int(p.answer) for p in load_problems(path, split)] for split in ("train", "validation", "test")}
    assert parts == {"train": [1], "validation": [2, 3, 4], "test": [5, 6]}
    assert [p.id for p in load_problems(path, "test")] == ["problems/test/0", "problems/test/1"]
    assert len(load_problems(path, "all")) == 6
    assert [row["completion"] for row in load_examples(path, "train")[0]] == ["1"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"split": "train"}, {}, "no `split`, but earlier rows have one; give every row a split, or none"),
        ({"split": "train"}, {"split": None}, "no `split`, but earlier rows have one"),
        ({}, {"split": "train"}, "`split` is 'train', but earlier rows have none; give every row a split, or none"),
        (
            {"split": "test"},
            {"split": "held-out"},
            "`split` is 'held-out', which is not one of train, validation, val, ",
        ),
    ],
)
def test_a_split_column_that_cannot_decide_is_an_error(write, first, second, message):
    path = write(GOOD | first, GOOD | second)
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=rf"problems\.jsonl:2: {message}"):
            load_problems(path, split)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "cut off', r"not a JSON object on one line .*: '{\"prompt\": \"cut off"),
        ("[1, 2]", r"a row must be a JSON object, this is list"),
        (
            {"text": "What?", "answer": "4"},
            r"no column prompt or problem or question; say which of text, answer it is with --prompt_column$",
        ),
        ({"prompt": "What?"}, r"no column answer; say which of prompt it is with --gold_column$"),
        (
            {"text": "What?", "solution": "4"},
            r"no column prompt or problem or question and no column answer; say which of text, solution it is with"
            r" --prompt_column and --gold_column$",
        ),
        ({"prompt": "What?", "answer": ["4"]}, r"column 'answer' is empty or not text: \['4'\]; fix or remove"),
        ({"prompt": " ", "answer": "4"}, r"column 'prompt' is empty or not text: ' '; fix or remove"),
        (GOOD | {"id": "a/1"}, r"an earlier row has the id 'a/1', too; make ids unique"),
    ],
)
def test_errors_name_file_and_line_and_fix(write, line, message):
    path = write(GOOD | {"id": "a/1", "prompt": "What is 1 + 1?"}, "", line)
    with pytest.raises(ValueError, match=rf"problems\.jsonl:3: {message}"):
        load_problems(path, "all")


def test_columns_of_other_names_are_named_and_all_others_are_kept(write):
    row = {"text": "What is 2 + 2?", "result": "It is 2 more.\n#### 4", "answer": "four", "topic": "sums"}
    for split in ("all", split_of(row["text"])):
        (problem,) = load_problems(write(row), split, prompt_column="text", gold_column="result")
        assert (problem.prompt, problem.answer) == ("What is 2 + 2?", "4")
        assert problem.kept == {"answer": "four", "topic": "sums"}
    with pytest.raises(
        ValueError, match="no column task; say which of text, result, answer, topic it is with --prompt_c"
    ):
        load_problems(write(row), "train", prompt_column="task", gold_column="result")


EMPTY = ["", " ", None, "2 + 2 = 4\n####  "]


@pytest.mark.parametrize("answer", EMPTY)
def test_a_row_without_a_gold_answer_is_left_out_and_named(write, answer):
    path = write(GOOD, {"prompt": "What?", "answer": answer}, GOOD | {"prompt": "What is 3 + 3?", "answer": "6"})
    with pytest.warns(UserWarning, match="left out") as warned:
        problems = load_problems(path, "all")
    assert [(p.id, p.answer) for p in problems] == [("problems/all/0", "4"), ("problems/all/2", "6")]
    assert str(warned[0].message) == f"{path}: 1 of 3 rows have an empty gold answer ({path}:2) and are left out"


def test_many_rows_without_a_gold_answer(write):
    path = write(*({"prompt": f"What is {i}?", "answer": ""} for i in range(8)), GOOD)
    named = ", ".join(f"{path}:{i}" for i in range(1, 6)) + ", ..."
    with pytest.warns(UserWarning, match="8 of 9 rows have") as warned:
        assert [p.answer for p in load_problems(path, "all")] == ["4"]
    assert f"({named})" in str(warned[0].message)
    path = write({"prompt": "What?", "answer": ""})
    with pytest.raises(ValueError, match=r"1 of 1 rows have an empty gold answer \(.*:1\); fill the column `answer`"):
        load_problems(path, "all")


def test_errors_in_the_request(tmp_path, write):
    with pytest.raises(ValueError, match="split 'dev' is not one of test, validation, train, all"):
        load_problems(write(GOOD), "dev")
    with pytest.raises(FileNotFoundError, match=r"missing.jsonl does not exist; give a path, or owner/name on the hub"):
        load_problems(str(tmp_path / "missing.jsonl"))
    with pytest.raises(ValueError, match=r"arithmetic is endless: say how many problems with limit \(--limit"):
        load_problems("arithmetic", "test")
    with pytest.raises(ValueError, match="arithmetic_hard is endless"):
        load_problems("arithmetic_hard", "test")
    with pytest.raises(ValueError, match="'no/such-set' is not a file, not arithmetic or arithmetic_hard, and"):
        load_problems("no/such-set", "test")


def test_arithmetic_by_name():
    problems = load_problems("arithmetic", "test", limit=2)
    assert [(p.id, p.answer, p.level) for p in problems] == [
        ("arithmetic/test/0", "30", 2),
        ("arithmetic/test/1", "42", 3),
    ]


ROWS = [{"question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(200)]


@pytest.mark.parametrize(
    ("splits", "cut_from_train"),
    [
        ({"train": ROWS, "test": ROWS[:3]}, {"validation"}),  # as GSM8K
        ({"train": ROWS, "validation": ROWS[:3]}, {"test"}),
        ({"train": ROWS}, {"validation", "test"}),
        ({"train": ROWS, "validation": ROWS[:3], "test": ROWS[:3]}, set()),
    ],
)
def test_a_split_cut_out_of_train_is_not_in_train(monkeypatch, splits, cut_from_train):
    monkeypatch.setattr("datasets.load_dataset", lambda name, config: splits)
    train = {p.prompt for p in load_problems("some/set", "train")}
    assert (len(train) == 200) == (not cut_from_train)
    for split in ("validation", "test"):
        held_out = {p.prompt for p in load_problems("some/set", split)}
        if split in cut_from_train:
            assert len(held_out) > 5
            assert not held_out & train
        else:
            assert held_out == {row["question"] for row in ROWS[:3]}


def test_a_data_set_without_train_cannot_be_cut(monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", lambda name, config: {"test": ROWS})
    assert len(load_problems("some/set", "test")) == 200
    assert load_problems("some/set", "all")[0].id == "some/set/all/0"
    with pytest.raises(ValueError, match="some/set has no train split and no train split to take it from; it has test"):
        load_problems("some/set", "train")


def test_traces_that_end_right_are_examples_and_the_others_are_counted(write):
    row = {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 4", "#### 4"], "answer": "4", "split": "train"}
    path = write(row | {"correct": True}, row | {"correct": False}, row | {"correct": None}, row)
    assert load_examples(path) == ([{"prompt": "What is 2 + 2?", "completion": "2 + 2 = 4\n#### 4"}], 3)


def test_a_question_with_two_gold_answers_is_warned_of_with_both_rows(write):
    other = {"prompt": "What is  2 + 2?", "answer": "5"}
    path = write(GOOD, GOOD | {"answer": "4.0"}, other, {"prompt": "What is 1 + 2?", "answer": "3"})
    with pytest.warns(UserWarning, match="gold answer") as warned:
        assert len(load_problems(path, "all")) == 4
    assert [str(warning.message) for warning in warned] == [
        f"{path}: 1 row has the question of an earlier row with another gold answer ({path}:3 says '5', {path}:1 says '4'):"
        " one is wrong; correct or remove it"
    ]
    path = write(GOOD, other, GOOD | {"answer": "6"})
    with pytest.warns(UserWarning, match=r"2 rows have the question of an earlier row .*:2 says '5', .*:1 says '4'\)"):
        load_problems(path, "all")


@pytest.mark.parametrize(("rule", "between"), [(None, "\n"), ("line", "\n"), ("paragraph", "\n\n")])
def test_the_steps_of_an_example_are_joined_as_they_were_divided(write, rule, between):
    row = {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 4", "#### 4"], "answer": "4", "correct": True}
    ((example,), left_out) = load_examples(write(row | ({} if rule is None else {"step_rule": rule})), "all")
    assert (example["completion"], left_out) == (f"2 + 2 = 4{between}#### 4", 0)


def test_turns_stay_as_they_are_and_rows_after_them_are_read(write):
    turns = [["1 + 1 = 3\n", "1 + 1 = 2\n#### 0\n"], ["#### 3\n", "2\n#### 0\n"]]
    rows = ({"prompt": "1 + 1?", "turns": turns}, {"prompt": "2 + 2?", "completion": "#### 4"})
    assert load_examples(write(*rows), "all") == ([rows[0], rows[1]], 0)


@pytest.mark.parametrize("turns", [[], None, "text", ["ab"], [["a"]], [["a", "b", "c"]], [["a", 1]], [["a", "b"], 3]])
def test_turns_are_pairs_of_texts(write, turns):
    with pytest.raises(
        ValueError, match=r":1: `turns` is .*; it must be a list of \[text that is given, text to learn\]"
    ):
        load_examples(write({"prompt": "1 + 1?", "turns": turns}), "all")
