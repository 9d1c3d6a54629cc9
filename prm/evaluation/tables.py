"""Tables of a summary, as rows of cells and in three forms: text for a terminal, Markdown, HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from prm.evaluation.equal_cost import COSTS
from prm.evaluation.estimates import SINGLE
from prm.evaluation.reading import interval, percent, points

Table = list[list[str]]


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


def flops_table(summary: dict[str, Any]) -> Table:
    """What the FLOPs of each method consist of."""
    parts = {
        "prefill_flops": "prompts and prefixes read",
        "decode_flops": "generated",
        "verifier_flops": "read by verifiers",
    }
    rows = [["method", *parts.values(), "FLOPs"]]
    for m in summary["methods"].values():
        if m["strategy"] is not None and m["flops"]:  # an estimate did not run
            cells = [f"{m[key]:.2e}\n{percent(m[key] / m['flops'])}" for key in parts]
            rows.append([m["label"], *cells, f"{m['flops']:.2e}"])
    return rows


def samples_table(summary: dict[str, Any]) -> Table:
    """Accuracy of every method with every number of samples, the smallest first, and what the largest cost. The best of each
    number has a star, and the next one, too, where they are not told apart."""
    at = {name: {m["samples"]: m["accuracy"]} for name, m in summary["methods"].items()}
    at |= {name: {p["n"]: p["accuracy"] for p in points} for name, points in summary["curves"].items()}
    numbers = sorted({n for accuracy in at.values() for n in accuracy})
    stars = {(budget[key], budget["n"]) for budget in summary["budgets"] for key in _best(budget)}
    head = ["method", f"N = {numbers[0]}", *map(str, numbers[1:]), "95% interval", *method_table(summary)[0][3:]]
    rows = [head]
    for (name, accuracy), costs in zip(at.items(), method_table(summary)[1:], strict=True):
        cells = [percent(accuracy[n]) + " *" * ((name, n) in stars) if n in accuracy else "" for n in numbers]
        rows.append([costs[0], *cells, *costs[2:]])
    return rows


def _best(budget: dict[str, Any]) -> tuple[str, ...]:
    return ("best",) if (budget["difference"]["low"] or 0) > 0 else ("best", "second")


def over_majority_table(summary: dict[str, Any]) -> Table:
    """Each method that chooses from a pool by a verifier, against as many votes as its FLOPs buy, few samples first. The
    others have one number of samples, and a column of `equal_cost_table`."""
    entries = {
        name: {e["n"]: _lift(e) for e in its if e["n"] > 1}
        for name, its in summary["over_majority"].items()
        if name in summary["curves"]
    }
    numbers = sorted({n for its in entries.values() for n in its})
    head = ["minus majority vote", *(f"N = {n}" if n == numbers[0] else str(n) for n in numbers)]
    return [
        head,
        *([summary["methods"][name]["label"], *(its.get(n, "") for n in numbers)] for name, its in entries.items()),
    ]


def _lift(entry: dict[str, Any]) -> str:
    if entry["difference"] is None:
        return f"– needs\n{entry['votes']:.0f} votes"
    return f"{points(entry['difference'], unit='')}\n{entry['votes']:.1f} votes"


def control_table(summary: dict[str, Any]) -> Table:
    """What the verifier adds to the same choice with shuffled scores, where more samples begin to hurt, and how many right
    choices have a wrong step."""
    blind, growth, judged = (summary[key] for key in ("blind", "growth", "false_positives"))
    head = ["method", "accuracy", "scores shuffled", "the verifier adds", "best N", "from there to the last N"]
    rows = [head + ["right answer, wrong step"] * bool(judged)]
    for name, m in summary["methods"].items():
        if not any(name in control for control in (blind, growth, judged)):
            continue
        cells = [m["label"], percent(m["accuracy"])]
        last = blind[name][-1] if name in blind else None
        cells += [percent(last["accuracy"]), points(last["difference"], unit="")] if last else ["", ""]
        best = growth.get(name)
        cells += [str(best["best_n"])] if best else [""]
        cells += [points(best["change"], unit="")] if best and best["best_n"] < m["samples"] else [""]
        rows.append(cells + ([wrong_share(judged[name])] if name in judged else [""] * bool(judged)))
    return rows


def wrong_share(numbers: Mapping[str, Any]) -> str:
    """`6.3% [4.5, 8.2] of 9,404`: of right answers, those with a wrong step (`prm.evaluation.controls.false_positives`)."""
    if numbers["share"] is None:
        return "– of 0"
    spread = "" if numbers["low"] is None else f" {interval(numbers)}"
    return f"{percent(numbers['share'])}{spread} of {numbers['right']:,}"


def equal_cost_table(summary: dict[str, Any]) -> Table:
    """Each search against the votes that its FLOPs would have bought, and against the samples that its tokens, or its FLOPs,
    would have, where these are chosen from by the best method with its verifier."""
    rivals: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for entry in summary["equal_cost"]:
        rivals.setdefault(entry["method"], {}).setdefault(entry["rival"], {})[entry["cost"]] = entry
    head = ["search", "accuracy", "minus votes of equal FLOPs", "against samples chosen from by"]
    rows = [[*head, "minus these, equal tokens", "minus these, equal FLOPs"]]
    for name, entries in rivals.items():
        mine = summary["methods"][name]
        rival = max(entries, key=lambda rival: max(e["accuracy"] or 0.0 for e in entries[rival].values()))
        votes = _lift(summary["over_majority"][name][0]) if name in summary["over_majority"] else ""
        cells = [mine["label"], percent(mine["accuracy"]), votes, summary["methods"][rival]["label"]]
        for entry in (entries[rival][cost] for cost in COSTS):
            known = entry["n"] is not None
            cells.append(f"{points(entry['difference'], unit='')}\n{entry['n']:.1f} samples" if known else "–")
        rows.append(cells)
    return rows


def level_table(summary: dict[str, Any]) -> Table:
    levels = summary["by_level"]
    rows = [["level", *levels], ["problems", *(str(count) for count in summary["problems_by_level"].values())]]
    for name, method in summary["methods"].items():
        rows.append([method["label"], *(percent(accuracy[name]) for accuracy in levels.values())])
    return rows


def difficulty_table(summary: dict[str, Any]) -> Table:
    """Every method in bins of problems, the easiest first."""
    bins = summary["by_difficulty"]
    rows = [
        ["bin", *(str(i) for i in range(1, len(bins) + 1))],
        ["problems", *(str(its["problems"]) for its in bins)],
        ["right samples", *(" to ".join(dict.fromkeys(percent(share) for share in its["right"])) for its in bins)],
    ]
    for name, method in summary["methods"].items():
        cells = [f"{percent(its['methods'][name]['accuracy'])} {interval(its['methods'][name])}" for its in bins]
        rows.append([method["label"], *cells])
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
    """Of cells without line ends."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True)))
        for r in table
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def as_markdown(table: Table) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in row) + " |" for row in table]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table[0]) - 1) + "|", *lines[1:]])


def marked(text: str) -> str:
    """As HTML, with what stands between backticks as code.

    >>> marked("`n=4` < 5")
    '<code>n=4</code> &lt; 5'
    """
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))


def as_html(table: Table) -> str:
    """A column in which nothing begins with a number, an interval or a dash has the class `words`, for its alignment."""
    numeric = [any(re.match(r"\d|[-+–\[]", cell) for cell in column) for column in zip(*table[1:], strict=True)]

    def line(row: list[str], tag: str) -> str:
        cells = (marked(cell).replace("\n", "<br>") for cell in row)
        starts = (f"<{tag}>" if numbers else f"<{tag} class=words>" for numbers in numeric)
        return "<tr>" + "".join(f"{start}{cell}</{tag}>" for start, cell in zip(starts, cells, strict=True)) + "</tr>"

    body = "\n".join(line(row, "td") for row in table[1:])
    return f"<table><thead>{line(table[0], 'th')}</thead><tbody>{body}</tbody></table>"
