"""Search results <-> rows on disk: one row per problem, with every distinct candidate once and what each method did.

Methods that choose from the same pool name the same candidates, so their texts are stored once. A row, shortened to one
candidate:

    {"problem_id": "arithmetic/test/7", "prompt": "Start with 47, add 38, subtract 12.", "gold": "73",
     "source": "arithmetic", "level": 2,
     "candidates": [{"completions": ["47 + 38 = 85", "85 - 12 = 73", "#### 73"], "answer": "73", "class": 0,
     "correct": true, "status": "ok", "num_tokens": 31, "finished": true, "seed": 91, "index": 0, "generator": "...",
     "step_rule": "line"}],
     "results": [{"method": "prm_best_of_n", "strategy": "best_of_n", "verifier": "prm", "candidates": [0],
     "scores": [[0.9, 0.8, 0.95]], "trace_scores": [0.95], "chosen": 0, "independent": true,
     "cost": {"generated_tokens": 31, "prompt_tokens": 14, "verifier_tokens": 45, ...}, "duplicates": 0,
     "tree": {"parents": [], "steps": [], "scores": [], "tokens": []}}]}

`spreads`, in the form of `scores`, is there if the verifier says how sure its scores are (`Scores.spreads`); the column
"ahead" of a tree, [false, true], if the search looked ahead.
`class` groups equal answers (null = no vote); `chosen` counts within the result's own candidates. Each column of a tree has
one entry per step (`SampledStep`): "parents": [null, 0], "steps": ["47 + 38 = 85", "85 - 12 = 73"], .... `kept` is there if
the problems have other columns (`prm.storage.rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from prm.storage.rows import kept_columns
from prm.types import Cost, Problem, SampledStep, Scores, SearchResult, Trace

_ROW = {"problem_id", "prompt", "gold", "source", "level", "candidates", "results"}
_CANDIDATE = {
    "completions",
    "answer",
    "class",
    "correct",
    "status",
    "num_tokens",
    "finished",
    "seed",
    "index",
    "generator",
    "step_rule",
}
_FACTS = ("method", "strategy", "verifier", "chosen", "independent", "duplicates")
"""Of a result, written as they are."""
_RESULT = {*_FACTS, "candidates", "scores", "trace_scores", "cost", "tree"}
_TREE = {"parents": "parent", "steps": "text", "scores": "score", "tokens": "tokens"}
"""Columns of a tree, and the fields of its steps."""
_AHEAD = {"ahead": "ahead"}
"""The column that is left out where it is false throughout."""


@dataclass(frozen=True)
class ProblemResults:
    """One row: a problem, all candidates that any method looked at, and the results of the methods."""

    problem: Problem
    candidates: tuple[Trace, ...]
    classes: tuple[int | None, ...]
    """Which candidates give equal answers; None for those without a vote."""
    results: tuple[SearchResult, ...]
    where: str = ""

    @cached_property
    def class_of(self) -> dict[Trace, int | None]:
        return dict(zip(self.candidates, self.classes, strict=True))

    @property
    def gold_class(self) -> int | None:
        """The class of the right answer; None if no candidate has it."""
        return next(
            (c for t, c in zip(self.candidates, self.classes, strict=True) if t.correct and c is not None), None
        )


def results_to_row(
    problem: Problem, results: Sequence[SearchResult], group: Callable[[list[str | None]], Sequence[int | None]]
) -> dict[str, Any]:
    """
    Args:
        results: of all methods, for this problem.
        group: says which answers are equal (`prm.answers.group`).
    """
    number = {trace: i for i, trace in enumerate(dict.fromkeys(t for result in results for t in result.candidates))}
    classes = group([trace.answer if trace.usable else None for trace in number])
    row = {
        "problem_id": problem.id,
        "prompt": problem.prompt,
        "gold": problem.answer,
        "source": problem.source,
        "level": problem.level,
        "candidates": [_candidate_to_row(trace, c) for trace, c in zip(number, classes, strict=True)],
        "results": [
            {
                "method": result.method,
                "strategy": result.strategy,
                "verifier": result.verifier,
                "candidates": [number[trace] for trace in result.candidates],
                "scores": [scores and list(scores.steps) for scores in result.scores],
                "trace_scores": [scores and scores.trace for scores in result.scores],
                "chosen": result.chosen,
                "independent": result.independent,
                "cost": asdict(result.cost),
                "duplicates": result.duplicates,
                "tree": {
                    name: [getattr(step, field) for step in result.tree]
                    for name, field in (_TREE | (_AHEAD if any(step.ahead for step in result.tree) else {})).items()
                },
            }
            | _spreads(result)
            for result in results
        ],
    }
    return row | {"kept": dict(problem.kept)} if problem.kept else row


def _spreads(result: SearchResult) -> dict[str, Any]:
    spreads = [list(scores.spreads) if scores and scores.spreads else None for scores in result.scores]
    return {"spreads": spreads} if any(spreads) else {}


def row_to_results(where: str, row: Any) -> ProblemResults:
    """
    Raises:
        ValueError: a key is missing, or scores and steps do not fit; names `where` and the value.
    """
    try:
        return _read(where, row)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(
            f"{where}: a column has a value of another type than eval/run_search.py writes ({error}); run it again"
        ) from error


def _read(where: str, row: Any) -> ProblemResults:
    _check_keys(where, row, _ROW)
    if row["level"] is not None and type(row["level"]) is not int:
        raise ValueError(f"{where}: level {row['level']!r:.80} is neither a whole number nor null; correct the row")
    candidates = [
        _row_to_candidate(f"{where}: candidate {i}", row, values) for i, values in enumerate(row["candidates"])
    ]
    return ProblemResults(
        problem=Problem(
            row["problem_id"], row["prompt"], row["gold"], row["source"], row["level"], kept_columns(where, row)
        ),
        candidates=tuple(candidates),
        classes=tuple(values["class"] for values in row["candidates"]),
        results=tuple(_row_to_result(where, row["problem_id"], candidates, values) for values in row["results"]),
        where=where,
    )


def _candidate_to_row(trace: Trace, answer_class: int | None) -> dict[str, Any]:
    return {
        "completions": list(trace.steps),
        "answer": trace.answer,
        "class": answer_class,
        "correct": trace.correct,
        "status": trace.status,
        "num_tokens": trace.num_tokens,
        "finished": trace.finished,
        "seed": trace.seed,
        "index": trace.index,
        "generator": trace.generator,
        "step_rule": trace.step_rule,
    }


def _row_to_candidate(where: str, row: dict[str, Any], values: Any) -> Trace:
    _check_keys(where, values, _CANDIDATE)
    names = ("answer", "correct", "generator", "step_rule", "finished", "num_tokens", "seed", "index", "status")
    return Trace(row["problem_id"], tuple(values["completions"]), **{name: values[name] for name in names})


def _row_to_result(where: str, problem_id: str, candidates: Sequence[Trace], values: Any) -> SearchResult:
    _check_keys(where, values, _RESULT)
    where = f"{where}: {values['method']}"
    # Rows from before verifiers could write lack what they wrote, which was nothing.
    _check_keys(f"{where}: cost", values["cost"], {field.name for field in fields(Cost)} - {"written_verifier_tokens"})
    mine, chosen = values["candidates"], values["chosen"]
    if not all(0 <= i < len(candidates) for i in mine) or not (chosen is None or 0 <= chosen < len(mine)):
        raise ValueError(f"{where}: candidates {mine} and choice {chosen} do not fit {len(candidates)} candidates")
    if not len(mine) == len(values["scores"]) == len(values["trace_scores"]):
        raise ValueError(f"{where}: {len(mine)} candidates but scores of {len(values['scores'])}; score the run again")
    scores = []
    spreads = values.get("spreads", [None] * len(mine))
    for i, steps, trace, its in zip(mine, values["scores"], values["trace_scores"], spreads, strict=True):
        if steps is not None and len(steps) != len(candidates[i].steps):
            raise ValueError(
                f"{where}: candidate {i} has {len(candidates[i].steps)} steps but {len(steps)} scores; score the run again"
            )
        if its and len(its) != len(candidates[i].steps):
            raise ValueError(
                f"{where}: candidate {i} has {len(candidates[i].steps)} steps but {len(its)} spreads; score the run again"
            )
        for score in [] if steps is None else [*steps, trace]:
            if not 0 <= score <= 1:
                raise ValueError(
                    f"{where}: a score of candidate {i} is {score}, not in [0, 1]; apply the sigmoid to logits"
                )
        scores.append(None if steps is None else Scores(tuple(steps), trace, spreads=tuple(its or ())))
    return SearchResult(
        problem_id=problem_id,
        candidates=tuple(candidates[i] for i in mine),
        scores=tuple(scores),
        cost=Cost(**values["cost"]),
        tree=_row_to_tree(where, values["tree"]),
        **{name: values[name] for name in _FACTS},
    )


def _row_to_tree(where: str, values: Any) -> tuple[SampledStep, ...]:
    _check_keys(f"{where}: tree", values, set(_TREE))
    columns = [values[name] for name in (*_TREE, *(values.keys() & _AHEAD))]
    if len(set(map(len, columns))) > 1:
        raise ValueError(f"{where}: the columns of the tree have {[*map(len, columns)]} entries; search again")
    for i, parent in enumerate(values["parents"]):
        if parent is not None and not 0 <= parent < i:
            raise ValueError(f"{where}: step {i} of the tree comes after step {parent}; parents come first")
    return tuple(SampledStep(*step) for step in zip(*columns, strict=True))


def _check_keys(where: str, values: Any, keys: set[str]) -> None:
    if not isinstance(values, dict) or keys - values.keys():
        found = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"{where}: needs the keys {sorted(keys)}, has {found}; run eval/run_search.py again")
