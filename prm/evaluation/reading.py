"""A summary for people: its numbers in sentences, and the traces worth looking at."""

from __future__ import annotations

import json
from itertools import accumulate, zip_longest
from typing import Any

from prm.evaluation.estimates import CEILING, SINGLE
from prm.evaluation.labels import leading
from prm.evaluation.search_metrics import FEWEST
from prm.evaluation.search_runs import Run
from prm.storage.search_rows import ProblemResults

PROBLEMS, BYTES = 60, 2_000_000
"""Most problems, and most bytes of JSON, that a trace browser is given."""
SHARE = 8
"""A problem for which there is no room gets this part of the bytes at most, so that other large ones have room, too."""
LONGEST = 20_000
"""Most characters of one text in it."""

SEARCHES = 2
"""Most searches that are spoken of in sentences; more are easier to read in their table."""


def reading(summary: dict[str, Any]) -> str:
    """The numbers in sentences. A difference whose interval includes 0, or has none, is never called a gain or a loss."""
    methods, n = summary["methods"], summary["N"]
    sentences = []
    if SINGLE in methods:
        name = leading(summary) or CEILING
        first, curves = methods[name], summary["curves"]
        n = curves[name][-1]["n"] if name in curves else n  # its own number of samples, if it states one
        perfect = {point["n"]: point["accuracy"] for point in curves.get(CEILING, ())}
        spread = "" if first["low"] is None else f" {interval(first)}"
        sentences.append(
            f"One sample solves {percent(methods[SINGLE]['accuracy'])} of the {summary['n_problems']} problems. With {n}"
            f" samples, {first['label']} solves {percent(first['accuracy'])}{spread}, where a perfect choice would"
            f" solve {percent(perfect.get(n, methods[CEILING]['accuracy']))}."
        )
    if summary["n_problems"] < FEWEST:
        return " ".join(
            [
                *sentences,
                f"{summary['n_problems']} problems are too few to compare methods: a difference may be chance.",
            ]
        )
    searches = {entry["method"] for entry in summary["equal_cost"]}
    many = len(searches) > SEARCHES
    for name, difference in summary["differences"].items():
        first_name, second_name = name.split(" - ")
        if many and first_name in searches:
            continue
        if second_name == SINGLE and any(m["strategy"] == "majority" for m in methods.values()):
            continue  # a vote is the harder rival
        a, b = methods[first_name]["label"], methods[second_name]["label"]
        gain = points(difference)
        if difference["low"] > 0:
            sentences.append(f"{a} beats {b} by {gain}.")
        elif difference["high"] < 0:
            sentences.append(f"{a} loses to {b}: {gain}.")
        else:
            sentences.append(f"The difference between {a} and {b} may be chance: {gain} includes 0.")
    if lift := _at_equal_flops(summary):
        sentences.append(lift)
    if many:
        sentences.append(f"The {len(searches)} searches are compared with independent samples of equal cost below.")
    return " ".join(sentences)


def _at_equal_flops(summary: dict[str, Any]) -> str | None:
    """The leading method against majority voting, with the largest number of samples for which the pool has enough votes."""
    entries = [e for e in summary["over_majority"].get(leading(summary), []) if e["difference"] is not None]
    if not entries:
        return None
    entry = entries[-1]
    gain, name = entry["difference"], summary["methods"][leading(summary)]["label"]
    verdict = "wins" if gain["low"] > 0 else "loses" if gain["high"] < 0 else "may be the same"
    return (
        f"With its verifier charged, {name} with {entry['n']} samples costs as much as {entry['votes']:.1f} votes: against"
        f" these it {verdict} ({points(gain)})."
    )


def points(difference: dict[str, Any], unit: str = " points") -> str:
    """`+6.8 points [-0.5, +13.9]`; without the interval where there is none."""
    low, high = difference["low"], difference["high"]
    spread = "" if low is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{100 * difference['mean']:+.1f}{unit}{spread}"


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def interval(numbers: dict[str, Any]) -> str:
    """`[58.2, 67.9]` in percent; a dash for too few problems."""
    if numbers["low"] is None:
        return "–"
    return f"[{100 * numbers['low']:.1f}, {100 * numbers['high']:.1f}]"


def traces_to_show(run: Run) -> list[dict[str, Any]]:
    """Problems for a trace browser, in the order of the run; at most `PROBLEMS`, and `BYTES` of JSON.

    Problems are of a kind by who is right (each method, and any candidate); kinds take turns, the rarest first, so that a
    reader finds some of each: "PRM right, vote wrong" is there even if it happened twice in a thousand problems. A problem
    for which there is no room has fewer candidates and says how many were `left_out`; without room for those that methods
    chose it is not shown.
    """
    kinds: dict[tuple[bool, ...], list[int]] = {}
    for i, row in enumerate(run.rows):
        right = (*(result.correct for result in row.results), any(trace.correct for trace in row.candidates))
        kinds.setdefault(right, []).append(i)
    turns = [i for turn in zip_longest(*sorted(kinds.values(), key=len)) for i in turn if i is not None]
    shown, size = [], 0
    for i in turns[:PROBLEMS]:
        entry = _problem_to_show(run.rows[i])
        if (size_of_it := len(json.dumps(entry))) > BYTES - size:  # one that is too large leaves room for the others
            entry = _cut(entry, min(BYTES - size, BYTES // SHARE))
            size_of_it = len(json.dumps(entry))
        if entry["candidates"] and size_of_it <= BYTES - size:
            size += size_of_it
            shown.append((i, entry))
    return [entry for _, entry in sorted(shown, key=lambda pair: pair[0])]


def _problem_to_show(row: ProblemResults) -> dict[str, Any]:
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
    for result in row.results:
        for trace, scores in zip(result.candidates, result.scores, strict=True):
            if scores is not None:
                candidate = candidates[number[trace]]
                candidate["scores"][result.verifier] = round(scores.trace, 4)
                candidate["step_scores"][result.verifier] = [round(score, 3) for score in scores.steps]
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
    }


def _cut(entry: dict[str, Any], most: int) -> dict[str, Any]:
    """A problem with as many of its candidates as fit into so many bytes: all that a method chose, the first right one, and
    then those with the highest scores. No candidates if what was chosen does not fit."""
    candidates = entry["candidates"]
    right = [i for i, candidate in enumerate(candidates) if candidate["correct"]]
    kept = dict.fromkeys([*(i for i in entry["picks"].values() if i is not None), *right[:1]])
    needed = len(kept)
    best = [max(candidate["scores"].values(), default=-1.0) for candidate in candidates]
    kept |= dict.fromkeys(sorted(range(len(candidates)), key=lambda i: -best[i]))
    sizes = accumulate(
        (len(json.dumps(candidates[i])) + 2 for i in kept), initial=len(json.dumps(entry | {"candidates": []}))
    )
    fit = sum(size <= most - 30 for size in sizes) - 1  # 30 for what says how many were left out
    places = sorted(list(kept)[: fit if fit >= needed else 0])
    number = {i: place for place, i in enumerate(places)}
    return entry | {
        "picks": {method: number.get(i) for method, i in entry["picks"].items()},
        "candidates": [candidates[i] for i in places],
        "left_out": len(candidates) - len(places),
    }


def _short(text: str | None) -> str | None:
    """The beginning of a text that nobody would read to its end."""
    if text is None or len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}… and {len(text) - LONGEST:,} more characters"


def title(summary: dict[str, Any]) -> str:
    return f"{summary['problems']} {summary['split']}, {summary['n_problems']} problems, {summary['N']} candidates each"
