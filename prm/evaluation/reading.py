"""A summary for people: its numbers in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prm.evaluation.estimates import CEILING, SINGLE
from prm.evaluation.labels import largest, leading
from prm.evaluation.search_metrics import FEWEST

SEARCHES = 2
"""Most searches that are spoken of in sentences; more are easier to read in their table."""


def reading(summary: dict[str, Any]) -> str:
    """The numbers in sentences: of methods that differ in their number of samples alone, only the one with most has some. A
    difference whose interval includes 0, or has none, is never called a gain or a loss."""
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
    many, most = len(searches) > SEARCHES, largest(methods)
    for name, difference in summary["differences"].items():
        first_name, second_name = name.split(" - ")
        if not {first_name, second_name} <= most or (many and first_name in searches):
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


def interval(numbers: Mapping[str, Any]) -> str:
    """`[58.2, 67.9]` in percent; a dash for too few problems."""
    if numbers["low"] is None:
        return "–"
    return f"[{100 * numbers['low']:.1f}, {100 * numbers['high']:.1f}]"


def title(summary: dict[str, Any]) -> str:
    return f"{summary['problems']} {summary['split']}, {summary['n_problems']} problems, {summary['N']} candidates each"
