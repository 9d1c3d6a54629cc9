"""What a report calls methods and verifiers: short labels, each of them once, and the words that they stand for.

    prm_beam_search[width=4]                                      PRM beam search [width=4]
    prm_beam_search[width=16]                                     PRM beam search [width=16]
    prm_adaptive_best_of_n[calibration=runs/a.json,target=0.9]    PRM adaptive best-of-N

A label says how a method differs from the others of its strategy and verifier; of a path it has the file's name only. What
all of them share, or the only one has, is left to the legend, except for a number of samples of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prm.evaluation.estimates import CEILING, SINGLE
from prm.types import SearchResult

TITLES = {
    "best_of_n": "best-of-N",
    "adaptive_best_of_n": "adaptive best-of-N",
    "compute_optimal": "compute-optimal",
    "majority": "majority vote",
    "dvts": "DVTS",
    "rebase": "REBASE",
    "mcts": "MCTS",
    SINGLE: "single sample",
    CEILING: "pass@N (ceiling)",
}
"""Where the title of a strategy is not its name with blanks."""


def describe(results: Sequence[SearchResult]) -> dict[str, dict[str, str | None]]:
    """Method -> {"label", "words", "strategy", "verifier"}, with the two estimates that did not run. The words are those of
    `--methods`: `beam_search prm width=4`.

    Args:
        results: one of each method of a run, such as those of its first problem.
    """
    nothing = dict.fromkeys(("words", "strategy", "verifier"))
    found: dict[str, dict[str, str | None]] = {name: {"label": TITLES[name], **nothing} for name in (SINGLE, CEILING)}
    labels = _labels(results)
    for result in results:
        found[result.method] = {
            "label": labels[result.method],
            "words": " ".join([result.strategy, *filter(None, [result.verifier]), *_settings(result.method)]),
            "strategy": result.strategy,
            "verifier": result.verifier,
        }
    return found


def _labels(results: Sequence[SearchResult]) -> dict[str, str]:
    bases = {result.method: _base(result) for result in results}
    settings = {result.method: _settings(result.method) for result in results}

    def label(method: str, whole: bool) -> str:
        alike = [other for other, base in bases.items() if base == bases[method]]
        shown = [
            text if whole else re.sub(r"=.*/", "=", text)
            for text in settings[method]
            if text.startswith("samples=") or not all(text in settings[other] for other in alike)
        ]
        return bases[method] + (f" [{', '.join(shown)}]" if shown else "")  # blanks, so that a line can break

    short = {method: label(method, whole=False) for method in bases}
    taken = list(short.values())
    return {method: text if taken.count(text) == 1 else label(method, whole=True) for method, text in short.items()}


def verifier_title(name: str | None) -> str:
    """A verifier's name as a reader knows it."""
    return name.upper() if name in ("prm", "orm") else name or ""


def largest(methods: Mapping[str, Any]) -> set[str]:
    """Of the methods of a summary that differ in their number of samples alone, the one with most."""
    found: dict[str, str] = {}
    for name in sorted(methods, key=lambda name: methods[name]["samples"]):
        found[re.sub(r" samples=\d+", "", methods[name]["words"] or name)] = name
    return set(found.values())


def leading(summary: dict[str, Any]) -> str | None:
    """The method that a report speaks of first: the first one of the run's first verifier, with most samples where only
    these differ; None without verifiers."""
    verifier, methods = next(iter(summary["verifiers"]), None), summary["methods"]
    most = largest(methods)
    return next((name for name, m in methods.items() if verifier and m["verifier"] == verifier and name in most), None)


def _base(result: SearchResult) -> str:
    title = TITLES.get(result.strategy, result.strategy.replace("_", " "))
    return " ".join(filter(None, [verifier_title(result.verifier), title]))


def _settings(method: str) -> list[str]:
    """`key=value` of each parameter that the name states; a value may hold a comma."""
    inside = method.partition("[")[2].removesuffix("]")
    return re.split(r",(?=\w+=)", inside) if inside else []
