"""What the page of a report shows of traces and trees: problems for its inspector, as JSON-ready dictionaries.

A problem, shortened to one candidate and one tree; steps are numbers of `texts`, so that each text is there once:

    {"id": "arithmetic/test/0", "prompt": "Start with 15, subtract 9, add 24.", "gold": "30", "level": 2, "kept": {},
     "texts": ["15 - 9, borrow 1 = 6", "6 + 24 = 20", "#### 20"],
     "picks": {"majority": 0, "prm_beam_search": 0},
     "candidates": [{"steps": [0, 1, 2], "answer": "20", "correct": false, "status": "ok", "votes": 2,
                     "scores": {"prm": 0.9374}, "step_scores": {"prm": [0.93, 0.316, 0.937]},
                     "truth": [true, false, false], "apart": {"prm": 0.937}}],
     "trees": {"prm_beam_search": {"parents": [null, 0, 1], "steps": [0, 1, 2], "scores": [0.93, 0.316, 0.937],
               "tokens": [48, 6, 12], "states": ["chosen", "chosen", "chosen"],
               "cost": {"prompt_tokens": 16, "generated_tokens": 268, "verifier_tokens": 68, "flops": 611084560.0, ...}}}}

`truth` is there where somebody knows which steps are right; `apart` is how far a verifier is from it, or from the outcome of
the trace. Left out: what a page has no room for. A problem whose traces do
not all fit says how many were `left_out`, and then has no trees.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from itertools import accumulate, zip_longest
from typing import Any

from prm.evaluation.search_runs import Run
from prm.storage.search_rows import ProblemResults
from prm.storage.step_scores import JudgedTrace, Prediction, StepTruth
from prm.types import SampledStep, SearchResult

BYTES = 17_000_000
"""Most bytes of JSON, so that a page stays below 20 MB."""
SHARE = 8
"""A problem for which there is no room gets this part of the bytes at most, so that other large ones have room, too."""
LONGEST = 20_000
"""Most characters of one text."""


def traces_to_show(
    run: Run, step_truth: StepTruth | None = None, of_outcomes: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Problems for a trace browser, in the order of the run; at most `BYTES` of JSON.

    Problems are of a kind by who is right (each method, and any candidate); kinds take turns, the rarest first, so that a
    reader finds some of each: "PRM right, vote wrong" is there even if it happened twice in ten thousand problems. A problem
    for which there is no room has fewer candidates and says how many were `left_out`; without room for those that methods
    chose it is not shown.

    Args:
        step_truth: such as `prm.datasets.step_truth.step_truth`.
        of_outcomes: verifiers that judge whole traces only (ORMs).
    """
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for i, row in enumerate(run.rows):
        right = (*(result.correct for result in row.results), any(trace.correct for trace in row.candidates))
        kinds.setdefault(right, []).append(i)
    turns = [i for turn in zip_longest(*sorted(kinds.values(), key=len)) for i in turn if i is not None]
    shown, size = [], 0
    for i in turns:
        if BYTES - size < BYTES // 1000:
            break
        whole = _problem(run.rows[i], step_truth, of_outcomes)
        entry = _numbered(whole)
        if (size_of_it := _size(entry)) > BYTES - size:  # one that is too large leaves room for the others
            entry = _numbered(_cut(whole, min(BYTES - size, BYTES // SHARE)))
            size_of_it = _size(entry)
        if entry["candidates"]:
            size += size_of_it
            shown.append((i, entry))
    return [entry for _, entry in sorted(shown, key=lambda pair: pair[0])]


def judged_to_show(
    traces: Sequence[JudgedTrace], predictions: Sequence[Prediction], verifier: str
) -> list[dict[str, Any]]:
    """Judged traces and what one verifier said of their steps, by problem, in their order and as far as there is room."""
    entries: dict[str, dict[str, Any]] = {}
    for trace, said in zip(traces, predictions, strict=True):
        entry = entries.setdefault(
            trace.problem,
            {
                "id": trace.problem,
                "prompt": _short(trace.prompt),
                "gold": None,
                "level": None,
                "kept": {"subset": trace.subset},
                "picks": {},
                "candidates": [],
                "trees": {},
            },
        )
        candidate = {
            "id": trace.id,
            "steps": [_short(step) for step in trace.steps],
            "answer": None,
            "correct": trace.correct,
            "status": said.status,
            "votes": 0,
            "truth": list(trace.labels),
            "scores": {} if said.trace is None else {verifier: round(said.trace, 4)},
            "step_scores": {} if said.scores is None else {verifier: [round(score, 3) for score in said.scores]},
            "apart": {},
        }
        if said.scores is not None and (far := apart(candidate, verifier)) is not None:
            candidate["apart"] = {verifier: far}
        entry["candidates"].append(candidate)
    shown, size = [], 0
    for entry in map(_numbered, entries.values()):
        if (size_of_it := _size(entry)) <= BYTES - size:
            shown.append(entry)
            size += size_of_it
    return shown


def as_json(value: Any) -> str:
    """For a script element: no text in it can end the element, and no number in it is one that JSON does not have, for which
    the browser would read none of it."""
    finite = json.loads(json.dumps(value), parse_constant=lambda name: None)
    return json.dumps(finite, ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c")


def tree_to_show(result: SearchResult) -> dict[str, list[Any]]:
    """What was sampled for a problem, step by step, as columns with one entry per step: the fields of `SampledStep`, and
    `states`, what became of each step:

        chosen      on the way to the chosen candidate, or its end
        candidate   on the way to another candidate, or its end
        expanded    more was sampled after it, and none of that is a candidate
        pruned      nothing was sampled after it, and it is no candidate
        ahead       only written to look ahead

    Whole traces that are candidates are part of it; that nobody asked about their steps one by one, their missing scores
    say.
    """
    nodes = list(result.tree)
    paths: list[tuple[str, ...]] = []
    for node in nodes:
        paths.append((*(() if node.parent is None else paths[node.parent]), node.text))
    number = {path: i for i, path in enumerate(paths)}
    for trace, its in zip(result.candidates, result.scores, strict=True):
        for end in range(1, len(trace.steps) + 1):
            if (path := trace.steps[:end]) not in number:
                last = end == len(trace.steps)
                score = its.trace if its is not None and last else None
                parent = number.get(path[:-1])
                number[path] = len(nodes)
                nodes.append(SampledStep(parent, path[-1], score, (trace.num_tokens or 0) if last else 0))
    states = ["ahead" if node.ahead else "pruned" for node in nodes]
    for node in nodes:
        if node.parent is not None and not node.ahead:
            states[node.parent] = "expanded"
    chosen = () if result.chosen is None else (result.candidates[result.chosen],)
    for state, traces in (("candidate", result.candidates), ("chosen", chosen)):
        for trace in traces:
            for end in range(1, len(trace.steps) + 1):
                states[number[trace.steps[:end]]] = state
    return {
        "parents": [node.parent for node in nodes],
        "steps": [node.text for node in nodes],
        "scores": [None if node.score is None else round(node.score, 3) for node in nodes],
        "tokens": [node.tokens for node in nodes],
        "states": states,
    }


def apart(candidate: dict[str, Any], verifier: str, of_outcomes: Collection[str] = ()) -> float | None:
    """How far a verifier is from the truth: at its worst step where steps are judged, else with its score of the trace. None
    where neither is known.

    >>> candidate = {"correct": True, "scores": {"v": 0.75}, "step_scores": {"v": [0.25, 0.75]}, "truth": [True, None]}
    >>> apart(candidate, "v"), apart(candidate, "v", of_outcomes=["v"])
    (0.75, 0.25)
    """
    truth = [] if verifier in of_outcomes else candidate.get("truth", [])
    judged = [(s, t) for s, t in zip(candidate["step_scores"][verifier], truth, strict=False) if t is not None]
    pairs = judged or [(candidate["scores"].get(verifier), candidate["correct"])]
    distances = [abs(score - right) for score, right in pairs if score is not None and right is not None]
    return round(max(distances), 3) if distances else None


def _problem(row: ProblemResults, step_truth: StepTruth | None, of_outcomes: Collection[str]) -> dict[str, Any]:
    number = {trace: i for i, trace in enumerate(row.candidates)}
    candidates: list[dict[str, Any]] = [
        {
            "steps": [_short(step) for step in trace.steps],
            "answer": _short(trace.answer),
            "correct": bool(trace.correct),
            "status": trace.status,
            "votes": 0 if answer_class is None else row.classes.count(answer_class),
            "scores": {},
            "step_scores": {},
        }
        for trace, answer_class in zip(row.candidates, row.classes, strict=True)
    ]
    if step_truth is not None:
        for trace, candidate in zip(row.candidates, candidates, strict=True):
            if (truth := step_truth(row.problem, trace.steps)) is not None:
                candidate["truth"] = list(truth)
    for result in row.results:
        for trace, scores in zip(result.candidates, result.scores, strict=True):
            if scores is not None:
                candidate = candidates[number[trace]]
                candidate["scores"][result.verifier] = round(scores.trace, 4)
                candidate["step_scores"][result.verifier] = [round(score, 3) for score in scores.steps]
    for candidate in candidates:
        candidate["apart"] = {name: apart(candidate, name, of_outcomes) for name in candidate["scores"]}
    trees = {}
    for result in row.results:
        if result.tree:
            tree = tree_to_show(result)
            trees[result.method] = {
                **tree,
                "steps": [_short(text) for text in tree["steps"]],
                "cost": asdict(result.cost),
            }
    return {
        "id": row.problem.id,
        "prompt": _short(row.problem.prompt),
        "gold": _short(row.problem.answer),
        "level": row.problem.level,
        "kept": {column: _short(text) for column, text in row.problem.kept.items()},
        "picks": {
            result.method: None if result.chosen is None else number[result.candidates[result.chosen]]
            for result in row.results
        },
        "candidates": candidates,
        "trees": trees,
    }


def _numbered(entry: dict[str, Any]) -> dict[str, Any]:
    """A problem whose steps are numbers of its texts."""
    texts: dict[str, int] = {}

    def number(its: dict[str, Any]) -> dict[str, Any]:
        return {**its, "steps": [texts.setdefault(text, len(texts)) for text in its["steps"]]}

    candidates = [number(candidate) for candidate in entry["candidates"]]
    trees = {method: number(tree) for method, tree in entry["trees"].items()}
    return {**entry, "candidates": candidates, "trees": trees, "texts": list(texts)}


def _cut(entry: dict[str, Any], most: int) -> dict[str, Any]:
    """A problem with as many of its candidates as fit into so many bytes: all that a method chose, the first right one, and
    then those with the highest scores. No candidates if what was chosen does not fit."""
    candidates = entry["candidates"]
    right = [i for i, candidate in enumerate(candidates) if candidate["correct"]]
    kept = dict.fromkeys([*(i for i in entry["picks"].values() if i is not None), *right[:1]])
    needed = len(kept)
    best = [max(candidate["scores"].values(), default=-1.0) for candidate in candidates]
    kept |= dict.fromkeys(sorted(range(len(candidates)), key=lambda i: -best[i]))
    # A step takes at most the bytes of its text, its number, and what stands between them.
    sizes = accumulate(
        (_size(candidates[i]) + 10 * len(candidates[i]["steps"]) for i in kept),
        initial=_size(entry | {"candidates": [], "trees": {}}) + 100,
    )
    fit = sum(size <= most for size in sizes) - 1
    places = sorted(list(kept)[: fit if fit >= needed else 0])
    number = {i: place for place, i in enumerate(places)}
    return entry | {
        "picks": {method: number.get(i) for method, i in entry["picks"].items()},
        "candidates": [candidates[i] for i in places],
        "trees": {},
        "left_out": len(candidates) - len(places),
    }


def _size(value: Any) -> int:
    """Bytes of it in the page."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * text.count("<")  # as `as_json` writes them


def _short(text: str | None) -> str | None:
    """The beginning of a text that nobody would read to its end."""
    if text is None or len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… and {len(text) - LONGEST:,} more characters"
