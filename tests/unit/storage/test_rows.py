"""Rows on disk: what is read, what is refused, and that refusals say file, line, value and fix."""

import hashlib
import json
from dataclasses import replace

import pytest

from prm.storage.jsonl import file_hash, write_jsonl
from prm.storage.rows import (
    LabeledRow,
    TraceRow,
    group_by_problem,
    labeled_to_row,
    read_labeled,
    read_outcomes,
    read_statuses,
    read_traces,
    trace_to_row,
)
from prm.types import LabeledTrace, Problem, Trace

PROBLEM = Problem("arithmetic/train/7", "Start with 47, add 38.", "85", "arithmetic", 1)
TRACE = Trace(PROBLEM.id, ("47 + 38 = 75", "#### 75"), "75", False, "generator-1f2e", True, 9, 91, 3)
LABELED = LabeledTrace(TRACE, (True, False), (0.25, 0.0), ((2, 8), (0, 1)), "monte_carlo@8", "value")
TRL_ROW = {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 5", "#### 5"], "labels": [False, False]}


@pytest.fixture
def write(tmp_path):
    """`write(row, row, ...)` -> path of a JSON Lines file."""

    def write(*rows):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def test_labeled_trace_survives_the_file(write):
    path = write(labeled_to_row(PROBLEM, LABELED))
    assert read_labeled(path) == [LabeledRow(PROBLEM, LABELED, f"{path}:1")]
    assert read_traces(path) == [TraceRow(PROBLEM, TRACE, f"{path}:1")]


def test_labeled_row_is_a_trl_stepwise_row_plus_columns():
    row = labeled_to_row(PROBLEM, LABELED)
    assert row["prompt"] == "Start with 47, add 38."
    assert row["completions"] == ["47 + 38 = 75", "#### 75"]
    assert row["labels"] == [True, False]
    assert (row["values"], row["counts"], row["semantics"]) == ([0.25, 0.0], [[2, 8], [0, 1]], "value")
    assert (row["id"], row["gold"], row["level"]) == ("arithmetic/train/7#3", "85", 1)


def test_trl_row_is_read_unchanged_once_its_meaning_is_given(write):
    (row,) = read_labeled(write(TRL_ROW), "correctness")
    assert row.problem.prompt == "What is 2 + 2?"
    assert row.labeled.trace.steps == ("2 + 2 = 5", "#### 5")
    assert (row.labeled.labels, row.labeled.values, row.labeled.semantics) == ((False, False), None, "correctness")


def test_traces_of_one_foreign_prompt_share_a_problem(write):
    rows = read_labeled(write(TRL_ROW, TRL_ROW, TRL_ROW | {"prompt": "What is 3 + 3?"}), "correctness")
    ids = [row.problem.id for row in rows]
    assert ids[0] == ids[1] != ids[2]
    digest = hashlib.sha256(TRL_ROW["prompt"].encode()).hexdigest()[:12]
    assert (ids[0], rows[0].problem.source) == (f"prompt/{digest}", "prompt")
    trace = rows[0].labeled.trace
    assert (trace.generator, trace.finished, trace.index, trace.status) == ("unknown", True, 0, "ok")
    assert (rows[0].labeled.method, rows[0].problem.answer) == ("unknown", "")


def test_null_is_a_step_without_label(write):
    (row,) = read_labeled(write(TRL_ROW | {"labels": [None, True]}), "correctness")
    assert row.labeled.labels == (None, True)


@pytest.mark.parametrize("label", [-100, 1, 0.5, "true"])
def test_labels_that_are_no_booleans_are_refused(write, label):
    path = write(TRL_ROW, TRL_ROW | {"labels": [True, label]})
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: label 2 is ") as error:
        read_labeled(path, "correctness")
    assert repr(label) in str(error.value)
    assert "null for a step without one" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [True]}, "2 steps but 1 labels"),
        ({"values": [0.5, 0.5, 0.5]}, "2 steps but 3 values"),
        ({"counts": [[1, 8]]}, "2 steps but 1 counts"),
        ({"counts": [[1, 8], [-1, 8]]}, "count 2 is [-1, 8]; it is a pair of whole numbers"),
        ({"values": [0.5, 1.5]}, "value 2 is 1.5; a soft label lies in 0..1"),
        ({"values": [float("nan"), 0.5]}, "value 1 is nan"),
        ({"values": ["0.5", 0.5]}, "value 1 is '0.5'"),
        ({"completions": ["2 + 2 = 5", " \n"]}, "step 2 of 2 is empty"),
        ({"completions": "2 + 2 = 5"}, "'completions' must be a list"),
        ({"completions": [], "labels": []}, "a trace needs at least one step"),
        ({"semantics": "vibes"}, "semantics 'vibes' is not one of"),
    ],
)
def test_broken_rows_are_refused_by_file_and_line(write, change, message):
    good = TRL_ROW | {"semantics": "correctness", "status": "ok"}
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: ") as error:
        read_labeled(write(good, good | change))
    assert message in str(error.value)


@pytest.mark.parametrize("column", ["prompt", "completions", "labels"])
def test_missing_column_is_named_beside_those_there_are(write, column):
    row = {name: value for name, value in TRL_ROW.items() if name != column}
    with pytest.raises(ValueError, match=rf"rows\.jsonl:1: no column '{column}'; the row has {', '.join(sorted(row))}"):
        read_labeled(write(row), "correctness")


def test_rows_that_do_not_say_what_labels_mean_are_refused_with_the_flag_to_use(write):
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: .*--semantics value .*--semantics correctness"):
        read_labeled(write(TRL_ROW))


def test_rows_that_say_otherwise_than_asked_are_refused(write):
    path = write(TRL_ROW | {"semantics": "value"})
    with pytest.raises(
        ValueError, match=r"rows\.jsonl:1: the row's labels are 'value', but 'correctness' was asked for"
    ):
        read_labeled(path, "correctness")


def test_unusable_rows_are_kept_in_the_file_counted_and_not_trained_on(write):
    good = labeled_to_row(PROBLEM, LABELED)
    unlabeled = good | {"status": "timeout", "labels": None}
    path = write(good, unlabeled, unlabeled, good)
    assert [row.where for row in read_labeled(path)] == [f"{path}:1", f"{path}:4"]
    assert read_statuses(path) == {"ok": 2, "timeout": 2}
    assert len(read_traces(path)) == 4


def test_outcome_is_the_label_of_every_step_and_unknown_outcomes_are_left_out(write):
    row = trace_to_row(PROBLEM, TRACE)
    path = write(row, row | {"correct": None}, row | {"correct": True}, row | {"completions": [], "status": "no_steps"})
    rows = read_outcomes(path)
    assert [(r.where, r.labeled.labels) for r in rows] == [(f"{path}:1", (False, False)), (f"{path}:3", (True, True))]
    assert {r.labeled.semantics for r in rows} == {"outcome"}


def test_an_orm_learns_the_last_label_of_rows_of_other_projects(write):
    """As TRL did with `train_on_last_step_only`; columns with our names mean something else there."""
    foreign = TRL_ROW | {"labels": [False, True], "status": "labeled", "level": "hard", "index": "a"}
    path = write(foreign, TRL_ROW, TRL_ROW | {"labels": [True, None]}, TRL_ROW | {"correct": True})
    assert [(row.where, row.labeled.labels) for row in read_outcomes(path)] == [
        (f"{path}:1", (True, True)),
        (f"{path}:2", (False, False)),
        (f"{path}:4", (True, True)),
    ]
    assert (read_statuses(path), len(read_labeled(path, "value"))) == ({"ok": 4}, 4)
    value = labeled_to_row(PROBLEM, replace(LABELED, trace=replace(TRACE, correct=None)))
    with pytest.raises(ValueError, match="no trace says whether it ended right"):
        read_outcomes(write(value))  # ours say what their labels mean: not the outcome


def test_a_file_of_another_kind_is_told_what_makes_it_the_right_one(write, tmp_path):
    with pytest.raises(ValueError, match=r"jsonl:1: no column 'labels'; .*\. data/label_steps\.py labels traces"):
        read_labeled(write(trace_to_row(PROBLEM, TRACE)))
    table = tmp_path / "table.csv"
    table.write_text("question,solution\nWhat is 2 + 2?,4\n")
    for read in (read_labeled, read_outcomes):
        with pytest.raises(
            ValueError, match=r"csv:2: no column 'prompt'; .*\. data/convert_dataset\.py makes such rows"
        ):
            read(table)
    human = replace(LABELED, trace=replace(TRACE, correct=None), semantics="correctness")
    with pytest.raises(ValueError, match=r"are about steps \(correctness\), .* With --outcome_column, data/convert"):
        read_outcomes(write(labeled_to_row(PROBLEM, human)))
    assert read_outcomes(write({k: v for k, v in TRL_ROW.items() if k != "labels"})) == []


def test_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    write_jsonl(path, [{"prompt": "½ ки"}])
    assert path.read_text(encoding="utf-8") == '{"prompt": "½ ки"}\n'

    def rows():
        yield {"prompt": "new"}
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_jsonl(path, rows())
    assert path.read_text(encoding="utf-8") == '{"prompt": "½ ки"}\n'
    assert [file.name for file in path.parent.iterdir()] == ["rows.jsonl"]  # no half file beside it


def test_hash_is_that_of_the_content(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"ab" * (1 << 20))
    assert file_hash(path) == hashlib.sha256(b"ab" * (1 << 20)).hexdigest()[:16]


def test_traces_may_be_an_array(tmp_path):
    path = tmp_path / "traces.json"
    path.write_text(json.dumps([trace_to_row(PROBLEM, TRACE)]))
    assert read_traces(path) == [TraceRow(PROBLEM, TRACE, f"{path}[0]")]


def test_groups_keep_the_order_of_first_appearance(write):
    row = trace_to_row(PROBLEM, TRACE)
    other = row | {"problem_id": "arithmetic/train/9", "prompt": "Start with 1, add 1."}
    groups = group_by_problem(read_traces(write(other, row, other | {"index": 4})))
    assert [(problem.id, [trace.index for trace in traces]) for problem, traces in groups] == [
        ("arithmetic/train/9", [3, 4]),
        ("arithmetic/train/7", [3]),
    ]


def test_kept_columns_survive_the_file_beside_those_of_the_problem(write):
    topical = replace(PROBLEM, kept={"topic": "sums", "area": "x"})
    mine = replace(LABELED, trace=replace(TRACE, kept={"area": "y", "annotator": None}))
    row = labeled_to_row(topical, mine)
    assert row["kept"] == {"topic": "sums", "area": "y", "annotator": None}
    path = write(row, trace_to_row(PROBLEM, TRACE))
    assert [read.trace.kept for read in read_traces(path)] == [row["kept"], {}]
    assert read_labeled(write(row))[0].labeled.trace.kept == row["kept"]
    assert "kept" not in trace_to_row(PROBLEM, TRACE)


@pytest.mark.parametrize("kept", [["sums"], {"topic": 3}, "sums"])
def test_kept_columns_are_texts(write, kept):
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: `kept` is .*; it must be an object whose values are texts"):
        read_traces(write(TRL_ROW | {"kept": kept}))


def test_what_all_traces_of_a_problem_share_is_the_problems(write):
    row = trace_to_row(PROBLEM, TRACE)
    kept = [{"topic": "sums", "annotator": "ann"}, {"annotator": "bob", "topic": "sums"}]
    ((problem, traces),) = group_by_problem(read_traces(write(*(row | {"kept": its} for its in kept))))
    assert problem.kept == {"topic": "sums"}
    assert [trace.kept["annotator"] for trace in traces] == ["ann", "bob"]


def test_nothing_is_invented_for_a_row_from_elsewhere(write):
    (read,) = read_labeled(write(TRL_ROW), "correctness")
    row = labeled_to_row(read.problem, read.labeled)
    unknown = ("num_tokens", "seed", "gold", "answer", "correct", "level", "values", "counts", "labeler")
    assert [row[name] for name in unknown] == [None] * 9
    assert read_traces(write(row))[0].trace == read.labeled.trace


def test_a_row_without_a_status_counts_as_ok(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"problem_id": "p"}, {"problem_id": "p", "status": "timeout"}])
    assert read_statuses(tmp_path / "rows.jsonl") == {"ok": 1, "timeout": 1}
