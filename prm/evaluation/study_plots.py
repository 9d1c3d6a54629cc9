"""Pictures of the study of compute: those of Snell et al. 2024 (arXiv:2408.03314), of one run each.

Numbers come from `prm.evaluation.savings` and `prm.evaluation.model_size`; nothing is computed here. Budgets are generated
tokens on a logarithmic axis, except where FLOPs are what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from prm.evaluation.plots import COLORS, MARKERS

Numbers = dict[str, Any]

OF_DIFFICULTY = {"oracle": COLORS[2], "predicted": COLORS[3], "probe": COLORS[4]}

GRAYS = ("#333333", "#666666", "#888888", "#AAAAAA", "#C4A484")
"""Of what is only compared with."""


def draw_methods(report: Numbers, heading: str, path: Path) -> None:
    """Every method at every budget."""
    figure, axes = plt.subplots(figsize=(8.2, 4.6), dpi=150, layout="constrained")
    for i, (family, points) in enumerate((report["fixed"] | report["adaptive"]).items()):
        _line(axes, points, "generated_tokens", COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], family)
    _finish(axes, "generated tokens per problem")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def draw_by_difficulty(bins: Sequence[Numbers], heading: str, path: Path) -> None:
    """A panel for each bin, the easiest first."""
    figure, panels = plt.subplots(
        1, len(bins), figsize=(2.6 * len(bins) + 0.6, 3.7), dpi=150, layout="constrained", sharey=True, squeeze=False
    )
    for b, (axes, its) in enumerate(zip(panels[0], bins, strict=True)):
        for i, (family, points) in enumerate(its["methods"].items()):
            _line(axes, points, "generated_tokens", COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], family)
        _finish(axes, "generated tokens", legend=False)
        axes.set_title(f"bin {b + 1}{', easiest' if b == 0 else ', hardest' if b == len(bins) - 1 else ''}", fontsize=9)
        if b:
            axes.set_ylabel("")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=8)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def draw_compute_optimal(report: Numbers, heading: str, path: Path) -> None:
    """A panel for each accounting: compute-optimal with each difficulty against fixed methods."""
    costs = {"generation": "generated_tokens", "charged": "flops"}
    labels = {"generation": "generated tokens", "charged": "FLOPs, with verifier and probe,"}
    figure, panels = plt.subplots(1, 2, figsize=(10.4, 5.2), dpi=150, layout="constrained", sharey=True)
    for axes, (accounting, cost) in zip(panels, costs.items(), strict=True):
        for i, (family, points) in enumerate(report["fixed"].items()):
            _line(axes, points, cost, GRAYS[i % len(GRAYS)], MARKERS[i % len(MARKERS)], family, band=False)
        curves = [curve for curve in report["curves"] if curve["accounting"] == accounting]
        for curve in curves:
            points = sorted(curve["points"], key=lambda point: point[cost])
            style = "-" if curve["form"] == "on average" else ":"
            label = f"compute-optimal, {curve['difficulty']}, {curve['form']}"
            _line(axes, points, cost, OF_DIFFICULTY[curve["difficulty"]], "", label, style, band=False)
        for i, (family, points) in enumerate(report["adaptive"].items()):
            _line(axes, points, cost, COLORS[i], "o", family, band=False)
        _finish(axes, f"{labels[accounting]} per problem", legend=False)
        axes.set_title(f"{accounting}", fontsize=10)
    named = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def draw_ratios(bins: Sequence[Numbers], ratios: dict[str, tuple[int, int]], heading: str, path: Path) -> None:
    """Accuracy against the ratio of sequential to parallel attempts at the largest budget, one line per bin.

    Args:
        ratios: family -> (chains, attempts of each), which the bins have.
    """
    order = sorted(ratios, key=lambda family: ratios[family][1] / ratios[family][0])
    figure, axes = plt.subplots(figsize=(6.8, 4.2), dpi=150, layout="constrained")
    for b, its in enumerate(bins):
        last = [its["methods"][family][-1] for family in order]
        x, y = range(len(order)), [point["accuracy"] for point in last]
        line = axes.plot(x, y, marker=MARKERS[b % len(MARKERS)], color=COLORS[b % len(COLORS)])[0]
        line.set_label(f"bin {b + 1}{' (easiest)' if b == 0 else ' (hardest)' if b == len(bins) - 1 else ''}")
        if None not in (last[0]["low"], last[-1]["high"]):
            axes.vlines(
                x, [p["low"] for p in last], [p["high"] for p in last], color=COLORS[b % len(COLORS)], alpha=0.35
            )
    axes.set_xticks(range(len(order)), ["{} x {}".format(*ratios[family]) for family in order])
    _finish(axes, "chains x attempts in a chain (parallel left, sequential right)", log=False)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def draw_against_larger(cases: Sequence[Numbers], larger: float, heading: str, path: Path) -> None:
    """Small model with compute-optimal search minus one sample of the larger model, by bin and R; a panel per accounting."""
    titles = {"generation": "generated tokens alone", "charged": "everything charged"}
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), dpi=150, layout="constrained", sharey=True)
    for axes, (accounting, title) in zip(panels, titles.items(), strict=True):
        those = [case for case in cases if case["accounting"] == accounting]
        width, names = 0.8 / len(those), ["all problems"]
        for i, case in enumerate(those):
            rows = [row for row in case["rows"] if row["choice"] == "compute-optimal"]
            x = [number + (i - (len(those) - 1) / 2) * width for number in range(len(rows))]
            gains = [row["difference"]["mean"] for row in rows]
            label = f"R = {case['R']:g}: {case['multiple']:.0f} samples of the small one"
            axes.bar(x, gains, width, color=COLORS[2 + i], label=label)
            for place, row in zip(x, rows, strict=True):
                if row["difference"]["low"] is not None:
                    low, high = row["difference"]["low"], row["difference"]["high"]
                    axes.vlines(place, low, high, color="#222222", linewidth=1)
            names = ["all" if row["bin"] is None else f"bin {row['bin'] + 1}" for row in rows] or names
        axes.axhline(0, color="#444444", linewidth=0.8)
        axes.set_xticks(range(len(names)), names)
        _finish(axes, "by difficulty, the easiest first", log=False, legend=False)
        axes.set_title(title, fontsize=10)
        axes.set_ylabel(f"small minus {larger:.0f}x larger")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
    plt.close(figure)


def _line(
    axes: Axes,
    points: Sequence[Numbers],
    cost: str,
    color: str,
    marker: str,
    label: str,
    style: str = "-",
    band: bool = True,
) -> None:
    x, y = [point[cost] for point in points], [point["accuracy"] for point in points]
    axes.plot(x, y, style, color=color, marker=marker, markersize=4, linewidth=1.5, label=label)
    if band and None not in [point["low"] for point in points]:
        axes.fill_between(
            x, [p["low"] for p in points], [p["high"] for p in points], color=color, alpha=0.1, linewidth=0
        )


def _finish(axes: Axes, label: str, log: bool = True, legend: bool = True) -> None:
    if log:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value < 1e5 else f"{value:.0e}")
        )
        axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(label, fontsize=9)
    axes.set_ylabel("problems solved")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["right", "top"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=8, loc="best")
