"""Traces whose steps somebody has judged, what a verifier said of each step, and the rows that keep the latter.

A row of `predictions.jsonl`, under the id that the benchmark itself gave the trace, so that it can be joined with its rows
and with predictions that others have published:

    {"id": "gsm8k-0", "subset": "gsm8k", "scores": [0.98, 0.03, 0.01], "trace": 0.01, "prediction": 1, "status": "ok"}

`prediction` is the first step called wrong, from 0, or -1 (ProcessBench's word for it); null where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prm.types import Problem, Scores

StepTruth = Callable[[Problem, Sequence[str]], tuple[bool, ...] | None]
"""Of a problem and the steps of a trace: whether each step is right; None where nobody knows."""

NOT_SCORED = {
    "too_long": "longer than the verifier reads, or without a critique that can be read",
    "empty_step": "with a blank step",
    "nan": "with a score that is no number",
    "missing": "without a prediction",
    "wrong_length": "with another number of scores than steps",
}
"""Statuses of a trace that no verdict is known of, in words. Whether it counts as wrong is up to the benchmark."""


@dataclass(frozen=True)
class JudgedTrace:
    """A trace of a benchmark, or of any labeled rows, with the truth about its steps."""

    id: str
    """The benchmark's own."""
    subset: str
    """Part of the benchmark that has figures of its own."""
    problem: str
    """Equal for traces of one problem."""
    prompt: str
    steps: tuple[str, ...]
    labels: tuple[bool | None, ...]
    """One per step; None for one that nobody has judged."""
    correct: bool | None = None
    """Whether its final answer is right."""
    beyond: int = 0
    """Wrong steps that the benchmark names and the trace does not have, because it ends before them."""

    @property
    def first_error(self) -> int:
        """Index of the first wrong step, -1 if there is none; the number of steps if it lies after the end."""
        if False in self.labels:
            return self.labels.index(False)
        return len(self.steps) if self.beyond else -1


@dataclass(frozen=True)
class Prediction:
    """What a verifier says of one judged trace."""

    id: str
    scores: tuple[float, ...] | None
    """One in [0, 1] per step, or fewer if it stopped at the first step that it calls wrong; None if it has none."""
    first_error: int | None = None
    """The first step called wrong, or -1, where only that was published; a number that no step has if nobody said which."""
    trace: float | None = None
    """The verifier's score of the whole trace; None if it gave none."""
    status: str = "ok"
    """`ok`, or a key of `NOT_SCORED`."""


def prediction_of(trace: JudgedTrace, scores: Scores | None) -> Prediction:
    """What a verifier answered for a trace without blank steps, as a prediction.

    Raises:
        ValueError: it did not give one score in [0, 1] per step; names the trace.
    """
    if scores is None:
        return Prediction(trace.id, None, status="too_long")
    if len(scores.steps) != len(trace.steps):
        raise ValueError(
            f"{trace.id}: {len(scores.steps)} scores for {len(trace.steps)} steps; a verifier gives one for each"
        )
    if any(math.isnan(score) for score in (*scores.steps, scores.trace)):
        return Prediction(trace.id, None, status="nan")
    for i, score in enumerate(scores.steps, 1):
        if not 0 <= score <= 1:
            raise ValueError(
                f"{trace.id}: score {i} is {score}; a verifier gives numbers in 0..1, so apply the sigmoid"
            )
    return Prediction(trace.id, scores.steps, trace=scores.trace)


def prediction_to_row(trace: JudgedTrace, prediction: Prediction, first_error: int | None) -> dict[str, Any]:
    return {
        "id": trace.id,
        "subset": trace.subset,
        "scores": None if prediction.scores is None else list(prediction.scores),
        "trace": prediction.trace,
        "prediction": first_error,
        "status": prediction.status,
    }


def row_to_prediction(row: dict[str, Any]) -> Prediction:
    """The inverse of `prediction_to_row`."""
    scores = None if row["scores"] is None else tuple(row["scores"])
    return Prediction(row["id"], scores, trace=row["trace"], status=row["status"])


def join(traces: Sequence[JudgedTrace], predictions: dict[str, Prediction]) -> list[Prediction]:
    """One prediction per trace, in their order. One that is missing, or does not fit the steps, is there with a status."""
    return [_fitting(trace, predictions.get(trace.id)) for trace in traces]


def _fitting(trace: JudgedTrace, prediction: Prediction | None) -> Prediction:
    if prediction is None:
        return Prediction(trace.id, None, status="missing")
    if prediction.scores is None:
        return prediction
    if any(math.isnan(score) for score in prediction.scores):
        return Prediction(trace.id, None, status="nan")
    # Who stops reading at the first wrong step has said enough; any other number of scores belongs to other steps.
    stopped = 0 < len(prediction.scores) < len(trace.steps) and prediction.scores[-1] <= 0.5
    if len(prediction.scores) != len(trace.steps) and not stopped:
        return Prediction(trace.id, None, status="wrong_length")
    return prediction


def problem_batches(traces: Sequence[JudgedTrace], size: int) -> Iterator[list[JudgedTrace]]:
    """Traces of `size` problems at a time; those with one prompt are neighbors, so that what they share is read once."""
    by_prompt: dict[str, list[JudgedTrace]] = {}
    for trace in traces:
        by_prompt.setdefault(trace.prompt, []).append(trace)
    groups = list(by_prompt.values())
    for i in range(0, len(groups), size):
        yield [trace for group in groups[i : i + size] for trace in group]
