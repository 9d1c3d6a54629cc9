import math

import pytest

from prm.storage.step_scores import (
    JudgedTrace,
    Prediction,
    join,
    prediction_of,
    prediction_to_row,
    problem_batches,
    row_to_prediction,
)
from prm.types import Scores

TRACE = JudgedTrace("gsm8k-0", "gsm8k", "p", "p", ("a", "b"), (True, False))


def test_the_first_error():
    assert TRACE.first_error == 1
    assert JudgedTrace("x", "s", "p", "p", ("a", "b"), (True, True)).first_error == -1
    assert JudgedTrace("x", "s", "p", "p", ("a", "b"), (True, True), beyond=1).first_error == 2, "after the end"


def test_what_a_verifier_says_becomes_a_row_and_back():
    said = prediction_of(TRACE, Scores((0.9, 0.25), 0.25))
    row = prediction_to_row(TRACE, said, 1)
    assert row == {
        "id": "gsm8k-0", "subset": "gsm8k", "scores": [0.9, 0.25], "trace": 0.25, "prediction": 1, "status": "ok"
    }  # fmt: skip
    assert row_to_prediction(row) == said
    assert prediction_of(TRACE, Scores((0.0, 1.0), 1.0)).scores == (0.0, 1.0)
    unread = prediction_of(TRACE, None)
    assert row_to_prediction(prediction_to_row(TRACE, unread, None)) == unread


def test_what_cannot_be_read_or_is_no_number_has_a_status():
    assert prediction_of(TRACE, None).status == "too_long"
    assert prediction_of(TRACE, Scores((0.9, math.nan), 0.5)) == Prediction("gsm8k-0", None, status="nan")
    assert prediction_of(TRACE, Scores((0.9, 0.5), math.nan)).status == "nan"


@pytest.mark.parametrize(
    ("scores", "message"),
    [((0.9,), "gsm8k-0: 1 scores for 2 steps"), ((0.9, 3.5), "gsm8k-0: score 2 is 3.5; .* apply the sigmoid")],
)
def test_a_verifier_that_gives_something_else_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        prediction_of(TRACE, Scores(scores, 0.5))


def test_predictions_are_joined_by_id_and_must_fit():
    """One score less is enough where it is that of a step called wrong."""
    for scores, status in (
        ((0.9, 0.1), "ok"),
        ((0.5,), "ok"),
        ((), "wrong_length"),
        ((0.9,), "wrong_length"),
        ((0.9, 0.9, 0.1), "wrong_length"),
    ):
        (said,) = join([TRACE], {"gsm8k-0": Prediction("gsm8k-0", scores)})
        assert said.status == status
    assert [its.status for its in join([TRACE], {})] == ["missing"]
    assert join([TRACE], {"gsm8k-0": Prediction("gsm8k-0", None, first_error=0)})[0].first_error == 0


def test_traces_of_one_prompt_are_neighbors():
    traces = [JudgedTrace(str(i), "s", "p", prompt, ("a",), (True,)) for i, prompt in enumerate("abacb")]
    assert [[trace.id for trace in batch] for batch in problem_batches(traces, 2)] == [["0", "2", "1", "4"], ["3"]]
