"""Tables of a summary, as rows of cells and in three forms: text for a terminal, Markdown, HTML."""

from __future__ import annotations

import html
from typing import Any

from prm.evaluation.estimates import CEILING, SINGLE
from prm.evaluation.reading import interval, percent, points

Table = list[list[str]]

COST_NAMES = {"generated_tokens": "generated tokens", "flops": "FLOPs"}


def method_table(summary: dict[str, Any]) -> Table:
    rows = [["method", "accuracy", "95% interval", "generated tokens", "verifier tokens", "FLOPs"]]
    for m in summary["methods"].values():
        tokens = [f"{m['generated_tokens']:,.0f}", f"{m['verifier_tokens']:,.0f}"]
        rows.append([m["label"], percent(m["accuracy"]), interval(m), *tokens, f"{m['flops']:.2e}"])
    return rows


def cost_table(summary: dict[str, Any]) -> Table:
    """Everything that the methods spent, and the FLOPs as a multiple of those of one sample."""
    keys = {
        "prompt_tokens": "prompt tokens",
        "generated_tokens": "generated tokens",
        "verifier_tokens": "verifier tokens",
        "cached_tokens": "cached tokens",
        "cached_verifier_tokens": "of these, verifier",
        "generator_calls": "continuations",
        "verifier_calls": "traces scored",
    }
    rows = [["method", *keys.values(), "FLOPs", "with attention", "seconds", "x one sample"]]
    for m in summary["methods"].values():
        if m["strategy"] is None:  # an estimate: nothing ran
            continue
        single = summary["methods"].get(SINGLE, {}).get("flops")
        times = f"{m['flops'] / single:.1f}" if single else "–"
        flops = [f"{m[key]:.2e}" for key in ("flops", "flops_by_shape")]
        rows.append([m["label"], *(f"{m[key]:,.0f}" for key in keys), *flops, f"{m['search_seconds']:.3f}", times])
    return rows


def budget_table(summary: dict[str, Any]) -> Table:
    """Accuracy of every method at every number of samples, and the best one where the next is told from it."""
    names = [name for name in summary["curves"] if name != CEILING]
    adaptive = [name for name, m in summary["methods"].items() if m["strategy"] and name not in names]
    rows = [["samples", *(summary["methods"][name]["label"] for name in (*names, *adaptive)), "best"]]
    at = {name: {point["n"]: percent(point["accuracy"]) for point in summary["curves"][name]} for name in names}
    at |= {name: {m["samples"]: percent(m["accuracy"])} for name in adaptive for m in [summary["methods"][name]]}
    for budget in summary["budgets"]:
        cells = [at[name].get(budget["n"], "–") for name in (*names, *adaptive)]
        best, second = (summary["methods"][budget[key]]["label"] for key in ("best", "second"))
        told_apart = (budget["difference"]["low"] or 0) > 0
        rows.append([str(budget["n"]), *cells, best if told_apart else f"{best} or {second}"])
    return rows


def equal_cost_table(summary: dict[str, Any]) -> Table:
    """Each search against the independent samples that its tokens, or its FLOPs, would have bought."""
    rows = [["search", "accuracy", "minus", *(f"at equal {name}" for name in COST_NAMES.values())]]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for entry in summary["equal_cost"]:
        known = entry["n"] is not None
        cell = f"{points(entry['difference'])}, n = {entry['n']:.1f}" if known else "–"
        cells.setdefault((entry["method"], entry["rival"]), {})[entry["cost"]] = cell
    for (name, rival), cell_of in cells.items():
        mine, other = summary["methods"][name], summary["methods"][rival]
        rows.append([mine["label"], percent(mine["accuracy"]), other["label"], *(cell_of[cost] for cost in COST_NAMES)])
    return rows


def level_table(summary: dict[str, Any]) -> Table:
    rows = [["level", "problems", *(method["label"] for method in summary["methods"].values())]]
    for level, accuracy in summary["by_level"].items():
        shares = [percent(accuracy[name]) for name in summary["methods"]]
        rows.append([level, str(summary["problems_by_level"][level]), *shares])
    return rows


def group_table(summary: dict[str, Any]) -> Table:
    rows = [[summary["group_by"], "problems", *(method["label"] for method in summary["methods"].values())]]
    for value, group in summary["groups"].items():
        shares = [f"{percent(m['accuracy'])} {interval(m)}" for m in group["methods"].values()]
        rows.append([value, str(group["problems"]), *shares])
    return rows


def verifier_table(summary: dict[str, Any]) -> Table:
    rows = [["verifier", "AUC within a problem", "AUC", "length correlation within a problem", "calibration error"]]
    keys = ("trace_auc_within_problem", "trace_auc", "length_correlation_within_problem", "calibration_error")
    for name, numbers in summary["verifiers"].items():
        rows.append(
            [
                name.upper() if name in ("prm", "orm") else name,
                *("–" if numbers[key] is None else f"{numbers[key]:.3f}" for key in keys),
            ]
        )
    return rows


def as_text(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
        for r in table
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def as_markdown(table: Table) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table[0]) - 1) + "|", *lines[1:]])


def as_html(table: Table) -> str:
    def line(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    body = "\n".join(line(row, "td") for row in table[1:])
    return f'<div class="scroll"><table><thead>{line(table[0], "th")}</thead><tbody>{body}</tbody></table></div>'
