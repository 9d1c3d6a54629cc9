"""Pictures: accuracy against generated tokens, by difficulty level and against the number of samples, what the FLOPs consist
of, and what an early stop promised and did.

Every picture is made from numbers that others have computed: those of `prm.evaluation.summary`, `prm.evaluation.controls` or
`prm.search.coverage`. Left out: anything interactive (the report's page has a browser of traces).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from prm.evaluation.controls import is_loss
from prm.evaluation.estimates import CEILING, SINGLE
from prm.evaluation.labels import leading
from prm.evaluation.reading import percent, title

COLORS = ("#E69F00", "#CC79A7", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#8C564B", "#B8A500")
"""Of the methods, in their order; Okabe and Ito's palette first, told apart by color-blind readers too."""

MARKERS = "s^ovDPX*"
LEGEND = 36
"""Characters of a line of the legend."""
BARS = 4
"""Most single points that have a bar for their interval: those of equal cost lie on top of each other."""


def styles(summary: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Color and marker of each method."""
    names = [name for name in summary["methods"] if name not in (SINGLE, CEILING)]
    turn = len(COLORS)  # after a turn through the colors, each has another marker
    found = {name: (COLORS[i % turn], MARKERS[(i + i // turn) % len(MARKERS)]) for i, name in enumerate(names)}
    return found | {SINGLE: ("#999999", "X"), CEILING: ("#444444", "")}


def draw_gains(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against generated tokens. The legend is sorted like the right ends of the lines."""
    methods, style = summary["methods"], styles(summary)
    labels = {
        name: f"{its['label']}  {percent(summary['curves'].get(name, [its])[-1]['accuracy'])}"
        for name, its in methods.items()
    }
    labels = {name: textwrap.fill(label, LEGEND) for name, label in labels.items()}
    lines = sum(label.count("\n") + 1 for label in labels.values())
    figure, axes = plt.subplots(figsize=(8.6, max(4.8, 1 + 0.22 * lines)), dpi=150, layout="constrained")
    alone = sum(name not in summary["curves"] for name in methods)
    handles = []
    for name in sorted(methods, key=lambda name: -methods[name]["accuracy"]):
        points = summary["curves"].get(name, [methods[name]])  # one sample and what adapts are points
        x = [point["generated_tokens"] for point in points]
        y, low, high = ([point[key] for point in points] for key in ("accuracy", "low", "high"))
        color, marker = style[name]
        handle = axes.plot(x, y, "--" if name == CEILING else "-", color=color, marker=marker)[0]
        handle.set_label(labels[name])
        handles.append(handle)
        if None in low:  # too few problems
            continue
        if len(points) == 1 and alone <= BARS:
            axes.vlines(x, low, high, color=color)
        elif len(points) > 1 and name != CEILING:
            axes.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("generated tokens per problem (log scale)")
    marked: list[Any] = [axes]
    if CEILING in summary["curves"]:
        budgets = {point["generated_tokens"]: point["n"] for point in summary["curves"][CEILING]}
        axes.set_xticks(list(budgets), [f"{tokens:,.0f}" for tokens in budgets])
        samples = axes.secondary_xaxis("top")
        samples.set_xticks(list(budgets), [str(n) for n in budgets.values()])
        samples.set_xlabel("candidates n")
        marked.append(samples)
    for axis in marked:
        axis.minorticks_off()
    axes.legend(
        handles=handles,
        title="at the largest N",
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        alignment="left",
    )
    finish(figure, axes, f"Accuracy against generated tokens\n{title(summary)}; bands: 95% intervals", path)


def draw_by_level(summary: dict[str, Any], path: Path) -> None:
    """Bars per level, in front of pass@N as the ceiling: one sample, the vote, and the leading method."""
    methods, style = summary["methods"], styles(summary)
    names = [name for name in (SINGLE, "majority", leading(summary)) if name in methods] or list(methods)[:3]
    levels, width = list(summary["by_level"]), 0.26
    figure, axes = plt.subplots(figsize=(max(6.5, 1.1 * len(levels) + 2.2), 4.4), dpi=150, layout="constrained")
    if CEILING in methods:
        ceiling = [summary["by_level"][level][CEILING] for level in levels]
        label = methods[CEILING]["label"]
        axes.bar(range(len(levels)), ceiling, 0.9, color="#ECECEC", edgecolor="#AAAAAA", label=label)
    for i, name in enumerate(names):
        x = [position + (i - 1) * width for position in range(len(levels))]
        y = [summary["by_level"][level][name] for level in levels]
        axes.bar(x, y, width, color=style[name][0], label=methods[name]["label"])
        intervals = (summary["by_level_intervals"][level][name] for level in levels)
        for position, (low, high) in zip(x, intervals, strict=True):
            if low is not None:  # a level of too few problems has none
                axes.vlines(position, low, high, color="#222222", linewidth=1.1)
    counts = summary["problems_by_level"]
    axes.set_xticks(range(len(levels)), [f"{level}\n{counts[level]} problems" for level in levels], fontsize=9)
    axes.set_xlabel("difficulty level")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, frameon=False)
    finish(figure, axes, f"Accuracy by difficulty level\n{title(summary)}; black lines: 95% intervals", path)


def draw_flops(summary: dict[str, Any], path: Path) -> None:
    """Bars of the FLOPs of each method that ran: prefill, decode and verifiers, one after the other."""
    ran = [m for m in summary["methods"].values() if m["strategy"] is not None]
    figure, axes = plt.subplots(figsize=(8.6, 1.6 + 0.3 * len(ran)), dpi=150, layout="constrained")
    parts = {
        "prefill_flops": "prompts and prefixes read",
        "decode_flops": "generated",
        "verifier_flops": "read by verifiers",
    }
    left = [0.0] * len(ran)
    for (key, label), color in zip(parts.items(), (COLORS[5], COLORS[2], COLORS[0]), strict=True):
        axes.barh(range(len(ran)), [m[key] for m in ran], 0.7, left, color=color, label=label)
        left = [before + m[key] for before, m in zip(left, ran, strict=True)]
    axes.set_yticks(range(len(ran)), [textwrap.fill(m["label"], LEGEND) for m in ran])
    axes.invert_yaxis()
    axes.set_xlabel("FLOPs per problem")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    axes.spines[["right", "top"]].set_visible(False)
    figure.suptitle(f"Where the FLOPs went\n{title(summary)}", x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def draw_growth(growths: dict[str, dict[str, Any]], heading: str, path: Path) -> None:
    """Accuracy against the number of samples, one line for each label with a band for its intervals; a ring marks the best
    number of a method that falls significantly from there.

    Args:
        growths: label -> its points, best_n and change, as `prm.evaluation.controls.over_optimization` gives them.
    """
    figure, axes = plt.subplots(figsize=(8.6, 4.8), dpi=150, layout="constrained")
    handles = []
    for i, (label, growth) in enumerate(growths.items()):
        points, color = growth["points"], COLORS[i % len(COLORS)]
        n, y, low, high = ([point[key] for point in points] for key in ("n", "accuracy", "low", "high"))
        end = percent(y[-1])
        if is_loss(growth["change"]):
            best = n.index(growth["best_n"])
            axes.plot(n[best], y[best], "o", markersize=13, markerfacecolor="none", color=color, markeredgewidth=1.6)
            end = f"{percent(y[best])} at N = {n[best]}, then {end}"
        handle = axes.plot(n, y, "-", color=color, marker=MARKERS[i % len(MARKERS)])[0]
        handle.set_label(textwrap.fill(f"{label}  {end}", LEGEND))
        handles.append((y[-1], handle))
        if None not in low:
            axes.fill_between(n, low, high, color=color, alpha=0.13, linewidth=0)
    numbers = sorted({point["n"] for growth in growths.values() for point in growth["points"]})
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(n) for n in numbers])
    axes.minorticks_off()
    axes.set_xlabel("samples N (log scale)")
    axes.legend(
        handles=[handle for _, handle in sorted(handles, key=lambda its: -its[0])],
        title="at the largest N; rings: more samples hurt",
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        alignment="left",
    )
    finish(figure, axes, heading, path)


def draw_promises(promises: Mapping[str, Sequence[Any]], problems: int, path: Path) -> None:
    """Realized against promised risk, and what it saves, of each way of choosing.

    Args:
        promises: by its name, `prm.search.coverage.Promise`s.
        problems: of which random halves were learned from.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.2), dpi=150, layout="constrained")
    risks = [its.risk for its in next(iter(promises.values()))]
    most = 1.1 * max(risks)
    left.fill_between([0, most], [0, most], most, color="#F4D9CF", linewidth=0)
    left.text(0.03 * most, 0.9 * most, "promise broken", color="#A04020", fontsize=9)
    for i, (name, rows) in enumerate(promises.items()):
        drawn = [its for its in rows if its.refused < 1]
        shift = (i - (len(promises) - 1) / 2) * most / 60  # side by side
        x, y = [its.risk + shift for its in drawn], [its.lost for its in drawn]
        left.vlines(x, [its.low for its in drawn], [its.high for its in drawn], color=COLORS[i], linewidth=1.5)
        left.plot(x, y, MARKERS[i], color=COLORS[i], label=name)
        width = 0.8 / len(promises)
        places = [k + (i - (len(promises) - 1) / 2) * width for k in range(len(rows))]
        bars = right.bar(places, [its.saved for its in rows], width, color=COLORS[i], label=name)
        words = ["refused" if its.refused == 1 else f"{100 * its.difference:+.1f}" for its in rows]
        right.bar_label(bars, words, fontsize=8, padding=2)
    left.set(
        xlim=(0, most), ylim=(0, most), xticks=risks, xlabel="promised: at most this share of the stopped problems"
    )
    left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.set_ylabel("of the stopped problems, lost")
    right.legend(loc="upper left", frameon=False)
    right.set_xticks(range(len(risks)), [f"{risk:.0%}" for risk in risks])
    right.set(xlabel="promised risk", ylabel="generated tokens saved", ylim=(0, 1))
    left.set_title(
        f"Lost by stopping early\n{problems} problems, random halves; lines: 5% to 95%", loc="left", fontsize=11
    )
    right.set_title("Saved by stopping early\nwritten: accuracy minus all samples, points", loc="left", fontsize=11)
    for axes in (left, right):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.spines[["right", "top"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def finish(figure: Figure, axes: Axes, heading: str, path: Path) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("problems solved")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)  # of the axes, it would run into a legend beside them
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["right", "top"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)
