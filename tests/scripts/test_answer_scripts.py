"""The scripts that hold the answer checker against others, and against the answers of a data set."""

import json


def test_audit_lists_where_checkers_disagree(scripts, tmp_path):
    rows = [
        {"gold": "1/2", "answer": "0.5"},  # another text
        {"gold": "1/2", "answer": "0.5"},
        {"gold": "1/2^{99}", "pred": "1/2^{98}"},  # accepted by math-verify
        {"gold": "18", "pred": "18"},
        {"gold": "18", "pred": "19"},
        {"gold": "18", "answer": None},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    audit = tmp_path / "out" / "audit.jsonl"
    run = scripts.run("data/audit_answers.py", pairs=tmp_path / "pairs.jsonl", output=audit)
    assert run.code == 0, run.stderr
    assert "6 pairs, 5 different ones" in run.stdout
    assert [json.loads(line) for line in audit.read_text().splitlines()] == [
        {"gold": "1/2", "pred": "0.5", "count": 2, "ours": "correct", "math_verify": "correct", "same_text": "wrong"},
        {"gold": "1/2^{99}", "pred": "1/2^{98}", "count": 1, "ours": "wrong", "math_verify": "correct",
         "same_text": "wrong"},
    ]  # fmt: skip


def test_audit_names_the_row_without_an_answer(scripts, tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"gold": "5", "pred": "5"}\n{"gold": "5", "text": "5"}\n')
    run = scripts.run("data/audit_answers.py", pairs=tmp_path / "pairs.jsonl", output=tmp_path / "a.jsonl")
    assert run.code == 1
    assert "pairs.jsonl:2: neither `pred` nor `answer`" in run.last_line


def test_stress_prints_what_is_equal_and_what_is_not_itself(scripts, tmp_path):
    golds = ["1/2", "0.5 apples", r"\frac{3}{4}", "", "work: 5\n#### 7"]
    (tmp_path / "golds.jsonl").write_text("".join(json.dumps({"answer": gold}) + "\n" for gold in golds))
    run = scripts.run("data/stress_answers.py", golds=tmp_path / "golds.jsonl", num_pairs=50)
    assert run.code == 0, run.stderr
    assert "5 rows, 1 without an answer, 4 different answers" in run.stdout
    assert "  correct  1/2  |  0.5 apples" in run.stdout
    assert "7  |  1/2" not in run.stdout
