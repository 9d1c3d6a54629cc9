"""Rows of benchmarks, and of predictions that others have published, in the forms in which they are published."""

import json

import pytest

from prm.conversions.judged_traces import UNNAMED, read_judged, read_predictions
from prm.datasets.step_truth import step_truth
from prm.storage.step_scores import Prediction

PROCESSBENCH = {
    "id": "gsm8k-0",
    "generator": "Qwen2-7B-Instruct",
    "problem": " Sue has 18 flamingos. ",
    "steps": ["She has 18.", "18 - 6 = 13 ", "So 13."],
    "final_answer_correct": False,
    "label": 1,
}
PRMBENCH = {
    "idx": "prm_test_p1_0",
    "classification": "counterfactual",
    "original_question": "How many nuts?",
    "modified_question": "How many nuts are there?",
    "original_process": ["There are 3 boxes.", "3 * 4 = 12.", "So 12."],
    "modified_process": ["There are 3 boxes.", "3 + 4 = 7.", "So 7.", "Done."],
    "modified_steps": [2, 3],
    "error_steps": [2, 3, 7],
    "reason": "adds",
}
MR_GSM8K = {
    "uuid": "0b1c",
    "question": "What is 2 + 2?",
    "question_type": "reversed",
    "model_output_steps": ["2 + 2 = 5.", "So 5."],
    "model_output_answer_correctness": "correct",
    "model_output_solution_correctness": "wrong",
    "model_output_solution_first_error_step": "1",
}
TRL = {"prompt": "What is 2 + 2?", "completions": ["2 + 2 = 4", "4"], "labels": [True, None]}
OURS = {
    "prompt": "Start with 47, add 38.",
    "completions": ["47 + 38 = 75", "#### 75"],
    "labels": [True, True],  # wrong, as labels can be
    "problem_id": "arithmetic/test/7",
    "id": "arithmetic/test/7#3",
    "index": 3,
    "correct": False,
    "semantics": "value",
}


def read(tmp_path, benchmark, *rows, name="rows.jsonl", **options):
    path = tmp_path / name
    path.write_text(json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows))
    return read_judged(benchmark, [str(path)], **options)


def predictions(tmp_path, benchmark, *rows):
    path = tmp_path / "said.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_predictions(benchmark, [str(path)])


def test_processbench(tmp_path):
    ((its,), doubled) = read(tmp_path, "processbench", PROCESSBENCH)
    assert (its.id, its.subset, its.prompt, its.correct) == ("gsm8k-0", "gsm8k", " Sue has 18 flamingos. ", False)
    assert (its.steps[1], its.labels, its.first_error) == ("18 - 6 = 13 ", (True, False, None), 1)
    assert doubled == 0


def test_a_json_array_and_a_file_that_is_read_once_whatever_the_splits(tmp_path):
    rows = [PROCESSBENCH | {"id": f"omnimath-{i}", "label": -1} for i in range(3)]
    traces, _ = read(tmp_path, "processbench", *rows, name="omnimath.json", splits=("gsm8k", "math"))
    assert [its.id for its in traces] == ["omnimath-0", "omnimath-1", "omnimath-2"]
    assert traces[0].labels == (True, True, True)


def test_prmbench_counts_from_one_and_names_steps_that_are_not_there(tmp_path):
    ((its,), _) = read(tmp_path, "prmbench", PRMBENCH)
    assert (its.id, its.subset) == ("counterfactual_prm_test_p1_0", "counterfactual")
    assert (its.prompt, its.problem) == ("How many nuts are there?", "How many nuts?")
    assert (its.labels, its.beyond) == ((True, False, False, True), 1)


def test_the_first_of_doubled_ids_counts_in_prmbench_within_a_class_only(tmp_path):
    other = PRMBENCH | {"modified_process": ["Another."], "error_steps": []}
    traces, doubled = read(tmp_path, "prmbench", PRMBENCH, other, other | {"classification": "circular"})
    assert [len(its.steps) for its in traces] == [4, 1]
    assert doubled == 1


def test_elsewhere_an_id_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows.jsonl:2: id 'gsm8k-0' is there twice"):
        read(tmp_path, "processbench", PROCESSBENCH, PROCESSBENCH)


def test_mr_gsm8k(tmp_path):
    right = MR_GSM8K | {
        "uuid": "2",
        "model_output_solution_correctness": "correct",
        "model_output_solution_first_error_step": "N/A",
    }
    nowhere = MR_GSM8K | {"uuid": "3", "model_output_solution_first_error_step": 7}
    blanks = MR_GSM8K | {"uuid": "4", "model_output_solution_first_error_step": " 2 "}
    unknown = MR_GSM8K | {"uuid": "5", "model_output_solution_first_error_step": "N/A"}
    rows = (MR_GSM8K, right, nowhere, blanks, unknown)
    (its, other, third, fourth, fifth), _ = read(tmp_path, "mr_gsm8k", *rows, name="MR-GSM8K.json")
    assert (its.id, its.subset, its.labels, its.correct) == ("0b1c", "reversed", (False, None), True)
    assert (other.labels, other.first_error) == ((True, True), -1)
    assert (third.labels, third.first_error) == ((None, None), 2)
    assert (fourth.labels, fourth.first_error) == ((True, False), 1)
    assert (fifth.labels, fifth.beyond) == ((None, None), 1)


def test_rows_without_ids_are_told_apart(tmp_path):
    theirs = {"id": "a-1", "index": "7", "status": "done", "level": "hard"}  # none of it is ours
    traces, _ = read(tmp_path, "rows", TRL, TRL, OURS, OURS | {"status": "no_labels"}, TRL | theirs)
    assert [its.id.rpartition("/")[2] for its in traces] == ["rows.jsonl:1", "rows.jsonl:2", "7#3", "a-1"]
    assert traces[0].problem == traces[1].problem
    assert traces[0].labels == (True, None)
    assert traces[2].labels == (True, True)


def test_exact_truth_takes_the_place_of_labels(tmp_path):
    unlabeled = {name: value for name, value in OURS.items() if name not in ("labels", "semantics")}
    traces, _ = read(tmp_path, "rows", OURS, unlabeled | {"id": "arithmetic/test/7#4", "index": 4}, truth=step_truth)
    assert [its.labels for its in traces] == [(False, False)] * 2
    with pytest.raises(ValueError, match="of no embedded set"):
        read(tmp_path, "rows", TRL, truth=step_truth)


@pytest.mark.parametrize(
    ("benchmark", "row", "message"),
    [
        ("processbench", PROCESSBENCH | {"label": 3}, "label 3 is neither an index of 3 steps nor -1"),
        ("processbench", PROCESSBENCH | {"label": True}, "label True is neither"),
        ("processbench", PROCESSBENCH | {"steps": ["a", None]}, "step 2 of `steps` is None, not text"),
        ("processbench", PROCESSBENCH | {"steps": [], "label": -1}, "`steps` is empty"),
        ("processbench", {"id": "x-1", "steps": ["a"], "label": 0}, "no column 'problem'"),
        ("prmbench", PRMBENCH | {"error_steps": [0]}, "steps are whole numbers from 1"),
    ],
)
def test_a_broken_row_is_named(tmp_path, benchmark, row, message):
    with pytest.raises(ValueError, match=f"rows.jsonl:1: .*{message}"):
        read(tmp_path, benchmark, row)


def test_a_file_without_a_usable_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no row that can be used"):
        read(tmp_path, "rows", OURS | {"status": "no_labels"})


def test_published_predictions(tmp_path):
    found, doubled = predictions(
        tmp_path,
        "processbench",
        {"id": "gsm8k-0", "scores": [0.9, 0.2], "trace": 0.2, "prediction": 1, "status": "ok"},  # ours
        {"id": "gsm8k-1", "scores": None, "trace": None, "prediction": None, "status": "too_long"},
        {"id": "gsm8k-2", "problem": "...", "label": 1, "prediction": -1, "match": False},  # of the official scripts
        {"id": "gsm8k-2", "prediction": 0},
        {"id": "gsm8k-3", "scores": [True, False]},
    )
    assert doubled == 1
    assert found == {
        "gsm8k-0": Prediction("gsm8k-0", (0.9, 0.2), trace=0.2),
        "gsm8k-1": Prediction("gsm8k-1", None, status="too_long"),
        "gsm8k-2": Prediction("gsm8k-2", None, first_error=-1),
        "gsm8k-3": Prediction("gsm8k-3", (1.0, 0.0)),
    }


def test_published_predictions_of_prmbench(tmp_path):
    """Verdicts before scores; of the classes about redundancy, verdicts on that; nothing of what is not valid."""
    scores = {"step_level_validity_scores": [0.9, 0.4], "step_level_validity_labels": [True, True]}
    redundant = {"step_level_redundancy_labels": [True, False]}
    found, _ = predictions(
        tmp_path,
        "prmbench",
        {"idx": "deception_1", "scores": scores | redundant},
        {"idx": "circular_1", "scores": scores | redundant},
        {"idx": "circular_2", "scores": {"step_level_validity_scores": [0.9, 0.4]}},
        {"idx": "circular_3", "scores": {}, "validity": False},
    )
    assert [its.scores for its in found.values()] == [(1.0, 1.0), (0.0, 1.0), (0.9, 0.4), None]
    assert found["circular_3"].status == "missing"


def test_published_predictions_of_mr_gsm8k(tmp_path):
    judged = [
        (" Correct\n", "N/A"),
        ("Wrong ", " Step 2 "),
        (" incorrect", "1\n"),
        ("wrong", "the last one"),
        ("PARSE_ERROR", ""),
    ]
    found, _ = predictions(
        tmp_path,
        "mr_gsm8k",
        *(
            {"uuid": str(i), "Evaluation_Result": {"solution_correctness": whole, "first_error_step": step}}
            for i, (whole, step) in enumerate(judged)
        ),
    )
    assert [its.first_error for its in found.values()] == [-1, 1, 0, UNNAMED, None]
    assert found["4"].status == "missing"
    first_results = {"uuid": "0", "GPT4_eval_output": {"correctness_pred": "Incorrect", "error_step_pred": "Step 3"}}
    assert predictions(tmp_path, "mr_gsm8k", first_results)[0]["0"].first_error == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"scores": [0.5]}, "no id; a prediction needs the column id"),
        ({"id": "a"}, "no prediction; it needs `scores`"),
        ({"id": "a", "scores": [0.5, 3.1]}, r"score 2 is 3.1; it must be true, false or in 0..1 \(apply the sigmoid"),
        ({"id": "a", "scores": ["+"]}, "score 1 is '\\+'"),
        ({"id": "a", "prediction": -2}, "no prediction"),
    ],
)
def test_a_broken_prediction_is_named(tmp_path, row, message):
    with pytest.raises(ValueError, match=f"said.jsonl:1: {message}"):
        predictions(tmp_path, "processbench", row)
