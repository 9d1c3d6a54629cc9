"""Step-level benchmarks as judged traces, and predictions that others have published for them.

`processbench`, Zheng et al. 2412.06559 (`prm.conversions.processbench` has a row): `label` is the first wrong step, from 0,
or -1; steps after it were not judged. The subset is the id without its number.

`prmbench`, Song et al. 2501.03124. Wrong steps are counted from 1, right ones may follow them, and some lie after the last
step; they are counted and left out, as in the official evaluation. Ids repeat over the classes and, rarely, within one: the
id here is that of the official evaluation, class and `idx`, and the first of doubled ones counts.

    {"idx": "prm_test_p1_0", "classification": "counterfactual", "modified_question": "Tom has 3 boxes ...",
     "modified_process": ["There are 3 boxes.", "3 + 4 = 7.", ...], "error_steps": [2, 3], "original_process": [...]}

`mr_gsm8k`, Zeng et al. 2312.17080, a JSON array. The first error is counted from 1 and may be a text; where it is no
step of a wrong solution, the solution counts as wrong and its step can be found by nobody:

    {"uuid": "…", "question": "…", "model_output_steps": ["…", "…"], "question_type": "original",
     "model_output_answer_correctness": "correct", "model_output_solution_correctness": "wrong",
     "model_output_solution_first_error_step": "2"}

`rows` are ours, and TRL's. Their step labels are taken for the truth, whatever they mean, or the exact truth of the embedded
sets in their place. Our rows of another status than `ok` are left out; the command that made them has counted them.

Texts are scored as a benchmark has them, white space included: published verifiers read them so. The official PRMBench code
takes `Step 1.` off the steps for some models; here they keep it.

Published predictions are rows with the benchmark's id and a list of `scores`; or ProcessBench's `prediction`; or those of
the official PRMBench evaluation (`scores` with `step_level_validity_labels`); or MR-GSM8K's `Evaluation_Result`, called
`..._eval_output` in its first results. Left out: the reasons that MR-GSM8K asks for, and PRMBench's unchanged solutions,
from which it takes its `similarity`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prm.conversions.rows import Row
from prm.storage.rows import STEPWISE, is_ours, need, row_to_labeled, row_to_trace, status_of
from prm.storage.sources import read_rows
from prm.storage.step_scores import NOT_SCORED, JudgedTrace, Prediction, StepTruth
from prm.types import labels_to_first_error


def read_judged(
    benchmark: str,
    sources: Sequence[str],
    splits: Sequence[str] = ("train",),
    truth: StepTruth | None = None,
    config_name: str | None = None,
) -> tuple[list[JudgedTrace], int]:
    """All traces of a benchmark, and how many rows were left out because their id is there already (PRMBench has such).

    Args:
        benchmark: a key of `READERS`.
        sources: files, or hub names, of which all `splits` are read.
        truth: takes the place of the labels of `rows`.
        config_name: of hub names, which configuration.

    Raises:
        ValueError: a row is broken, an id is there twice, or there is no row; names file, row and value.
    """
    found: dict[str, JudgedTrace] = {}
    doubled = 0
    for where, row in _all_rows(sources, splits, config_name):
        trace = _rows(where, row, truth) if benchmark == "rows" else READERS[benchmark](where, row)
        if trace is None:
            continue
        if trace.id not in found:
            found[trace.id] = trace
        elif benchmark == "prmbench":
            doubled += 1
        else:
            raise ValueError(f"{where}: id {trace.id!r} is there twice; give each file once, or rename one of them")
    if not found:
        raise ValueError(f"{', '.join(sources)}: no row that can be used, all have a status; look into the file")
    return list(found.values()), doubled


def _all_rows(
    sources: Sequence[str], splits: Sequence[str], config_name: str | None = None
) -> Iterator[tuple[str, Row]]:
    for source in sources:
        for split in splits[:1] if Path(source).is_file() else splits:  # a file has no splits
            yield from read_rows(source, split, config_name)


def _steps(where: str, row: Row, column: str) -> tuple[str, ...]:
    """Blank ones stay, so that the others keep their numbers."""
    steps = need(where, row, column, list)
    for i, step in enumerate(steps, 1):
        if not isinstance(step, str):
            raise ValueError(f"{where}: step {i} of `{column}` is {step!r:.80}, not text; fix or remove the row")
    if not steps:
        raise ValueError(f"{where}: `{column}` is empty; a trace needs at least one step. Fix or remove the row")
    return tuple(steps)


def _processbench(where: str, row: Row) -> JudgedTrace:
    name, steps = need(where, row, "id", str), _steps(where, row, "steps")
    first = need(where, row, "label", int)
    if isinstance(first, bool) or not -1 <= first < len(steps):
        raise ValueError(f"{where}: label {first} is neither an index of {len(steps)} steps nor -1; fix the row")
    prompt = need(where, row, "problem", str)
    return JudgedTrace(
        id=name,
        subset=name.rpartition("-")[0] or "all",
        problem=prompt,
        prompt=prompt,
        steps=steps,
        labels=labels_to_first_error(len(steps), first),
        correct=row.get("final_answer_correct"),
    )


def _prmbench(where: str, row: Row) -> JudgedTrace:
    steps, kind = _steps(where, row, "modified_process"), need(where, row, "classification", str)
    wrong = [] if row.get("error_steps", ...) is None else need(where, row, "error_steps", list)
    if not all(type(step) is int and step > 0 for step in wrong):
        raise ValueError(f"{where}: error_steps is {wrong!r:.80}; steps are whole numbers from 1. Fix the row")
    prompt = need(where, row, "modified_question", str)
    return JudgedTrace(
        id=f"{kind}_{need(where, row, 'idx', str)}",
        subset=kind,
        problem=row.get("original_question") or prompt,
        prompt=prompt,
        steps=steps,
        labels=tuple(i not in wrong for i in range(1, len(steps) + 1)),
        beyond=sum(step > len(steps) for step in set(wrong)),
    )


def _mr_gsm8k(where: str, row: Row) -> JudgedTrace:
    steps, prompt = _steps(where, row, "model_output_steps"), need(where, row, "question", str)
    first = str(row.get("model_output_solution_first_error_step")).strip()
    right = need(where, row, "model_output_solution_correctness", str).strip().lower() == "correct"
    known = right or (first.isdigit() and 1 <= int(first) <= len(steps))
    labels = labels_to_first_error(len(steps), -1 if right else int(first) - 1) if known else (None,) * len(steps)
    return JudgedTrace(
        id=need(where, row, "uuid", str),
        subset=row.get("question_type") or "all",
        problem=prompt,
        prompt=prompt,
        steps=steps,
        labels=labels,
        correct=str(row.get("model_output_answer_correctness")).strip().lower() == "correct",
        beyond=int(not known),
    )


def _rows(where: str, row: Row, truth: StepTruth | None) -> JudgedTrace | None:
    if status_of(row) != "ok":
        return None
    if not is_ours(row):  # its `index` or `status` means something else, and without an id it is named by its place
        name = row["id"] if isinstance(row.get("id"), str) else where
        row = {name: row[name] for name in STEPWISE if name in row} | {"id": name}
    base = row_to_trace(where, row)
    if truth is None:
        labels: Any = row_to_labeled(where, row, row.get("semantics") or "correctness").labeled.labels
    else:
        labels = truth(base.problem, base.trace.steps)
    if labels is None:
        raise ValueError(f"{where}: problem {base.problem.id!r} is of no embedded set, so its exact truth is not known")
    name = row.get("id") or base.trace.id
    correct, prompt = base.trace.correct, base.problem.prompt
    return JudgedTrace(name, "all", base.problem.id, prompt, base.trace.steps, labels, correct)


READERS: dict[str, Callable[[str, Row], JudgedTrace]] = {
    "processbench": _processbench,
    "prmbench": _prmbench,
    "mr_gsm8k": _mr_gsm8k,
}
IDS = {"processbench": ("id",), "prmbench": ("idx", "id"), "mr_gsm8k": ("uuid", "id"), "rows": ("id",)}
"""Benchmark -> columns that may hold the id in rows of predictions."""


def read_predictions(benchmark: str, sources: Sequence[str]) -> tuple[dict[str, Prediction], int]:
    """Published predictions by the benchmark's ids, and how many rows repeat an id; the first one counts.

    Raises:
        ValueError: a row has no id, or neither scores nor a verdict in a form that is known.
    """
    found: dict[str, Prediction] = {}
    doubled = 0
    for where, row in _all_rows(sources, ("train",)):
        name = next((row[column] for column in IDS[benchmark] if isinstance(row.get(column), str)), None)
        if name is None:
            raise ValueError(f"{where}: no id; a prediction needs the column {' or '.join(IDS[benchmark])}")
        doubled += name in found
        found.setdefault(name, _published(where, name, row))
    return found, doubled


def _published(where: str, name: str, row: Row) -> Prediction:
    scores = row.get("scores")
    verdict = next((row[key] for key in row if key == "Evaluation_Result" or key.endswith("_eval_output")), None)
    if isinstance(scores, dict):
        return _prmbench_scores(where, name, row, scores)
    if isinstance(scores, list):
        return Prediction(name, _numbers(where, scores), trace=row.get("trace"))
    if type(row.get("prediction")) is int and row["prediction"] >= -1:
        return Prediction(name, None, first_error=row["prediction"])
    if isinstance(verdict, dict):
        return _mr_gsm8k_verdict(name, verdict)
    if row.get("status") in NOT_SCORED:
        return Prediction(name, None, status=row["status"])
    raise ValueError(
        f"{where}: no prediction; it needs `scores`, one number per step, or `prediction`, the first wrong step from 0 or -1"
    )


def _numbers(where: str, scores: Iterable[Any]) -> tuple[float, ...]:
    """Scores in [0, 1] or NaN, and verdicts as 0 and 1."""
    found = []
    for i, score in enumerate(scores, 1):
        if not isinstance(score, int | float) or score < 0 or score > 1:
            raise ValueError(
                f"{where}: score {i} is {score!r:.80}; it must be true, false or in 0..1 (apply the sigmoid to logits)"
            )
        found.append(float(score))
    return tuple(found)


def _prmbench_scores(where: str, name: str, row: Row, scores: dict[str, Any]) -> Prediction:
    """Verdicts come before scores: a model may have a threshold of its own. Where a model says whether a step is redundant,
    the official evaluation asks that of the classes that are about it."""
    redundant = scores.get("step_level_redundancy_labels")
    if redundant is not None and name.startswith(("redundency_", "circular_")):
        values: Any = [not step for step in redundant]
    else:
        values = scores.get("step_level_validity_labels", scores.get("step_level_validity_scores"))
    if row.get("validity") is False or values is None:
        return Prediction(name, None, status="missing")
    return Prediction(name, _numbers(where, values))


def _mr_gsm8k_verdict(name: str, verdict: dict[str, Any]) -> Prediction:
    """Of the newer official script, or of its first results."""
    judgment = str(verdict.get("solution_correctness", verdict.get("correctness_pred"))).strip().lower()
    if judgment == "correct":
        return Prediction(name, None, first_error=-1)
    if judgment not in ("wrong", "incorrect"):
        return Prediction(name, None, status="missing")
    named = str(verdict.get("first_error_step", verdict.get("error_step_pred"))).strip().lower()
    step = re.fullmatch(r"(?:step )?(\d+)", named)
    return Prediction(name, None, first_error=int(step[1]) - 1 if step else UNNAMED)


UNNAMED = 1_000_000
"""In the place of a first wrong step: there is one, nobody said which."""
