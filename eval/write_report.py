"""Write the report of a search run: what the verifier gains over voting, and for how many tokens.

Which methods there are is read from the run. The page says nothing that is not in summary.json: tables, sentences and
pictures are made from its numbers, and no gain is claimed whose 95% interval includes 0. Several runs of one setup on
different problems become one report. Left out: running any model (eval/run_search.py did) and comparing runs of
different setups.

Reads   <run>/meta.json, results.jsonl   as prm.evaluation.search_runs describes them
Writes  <output_dir>/summary.json   every number (the units are in it)
        <output_dir>/gains.png, by_level.png
        <output_dir>/report.md      the page for a repository
        <output_dir>/report.html    the page in one file, with a browser of traces and their step scores
        a W&B run                   with --report_to wandb: the same, linked to the verifiers that were used

    python eval/write_report.py --run outputs/quickstart/search --output_dir outputs/quickstart
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from prm.evaluation.reading import interval, percent, reading, traces_to_show
from prm.evaluation.search_runs import Run, read_runs
from prm.evaluation.summary import CEILING, SINGLE, leading, summarize, verifier_title

TEMPLATE = Path(__file__).with_name("report_template.html")
COLORS = ("#E69F00", "#CC79A7", "#0072B2", "#009E73", "#D55E00", "#56B4E9", "#8C564B", "#B8A500")
"""Of the methods, in their order; Okabe and Ito's palette first, told apart by color-blind readers too."""
MARKERS = "s^ovDPX*"
ESTIMATES = (
    "Accuracy with n candidates is the mean over all subsets of n of the N stored candidates: exact for best-of-N, "
    "majority and pass@N (ties share the credit), over 256 drawn subsets for the weighted vote where there are more.",
    "A method that adapts to what it sees (beam search) is not subsampled: it is one point at what it spent.",
    "Intervals are 95% percentile bootstraps over problems (10,000 resamples); differences are paired by problem.",
    "A candidate without an answer, or cut at the token limit, is wrong, has no vote and is never preferred.",
    "pass@N counts a problem as solved if any candidate is right: the ceiling of every way to choose.",
    "Verifier figures set the score of a whole trace against its outcome, over candidates with an answer.",
    "FLOPs count forward passes only, and each prompt once per request; with n < N the tokens are n/N of those spent.",
)
Table = list[list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the report of a search run.")
    parser.add_argument("--run", action="append", type=Path, required=True, help="folder of eval/run_search.py; repeat")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument(
        "--seconds", type=float, help="duration of the whole pipeline, to be shown instead of the search's"
    )
    parser.add_argument(
        "--report_to", choices=["wandb"], help="also log the report as a W&B run that uses the verifiers"
    )
    args = parser.parse_args()

    plt.switch_backend("Agg")  # needs no display
    try:
        run = read_runs(args.run)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    checkpoints = [
        Path(verifier["path"]) for verifier in run.meta["verifiers"].values() if ".py:" not in verifier["path"]
    ]
    if args.report_to and (gone := [str(path) for path in checkpoints if not path.is_dir()]):
        sys.exit(
            f"error: no folder {', '.join(gone)} here, the W&B run is to use it; start where the search was started"
        )
    summary = summarize(run)
    if args.seconds is not None:
        summary["seconds"] = args.seconds

    args.output_dir.mkdir(parents=True, exist_ok=True)
    (args.output_dir / "summary.json").write_text(
        json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    draw_gains(summary, args.output_dir / "gains.png")
    if summary["by_level"]:
        draw_by_level(summary, args.output_dir / "by_level.png")
    (args.output_dir / "report.md").write_text(markdown_page(summary, run.meta), encoding="utf-8")
    (args.output_dir / "report.html").write_text(html_page(summary, run, args.output_dir), encoding="utf-8")

    if args.report_to:
        from prm.storage.wandb_artifacts import log_report

        log_report(args.output_dir, summary, checkpoints, run.meta)
    for warning in summary["warnings"]:
        print(f"warning: {warning}")
    print(f"{title(summary)}; pictures and traces: {args.output_dir / 'report.html'}\n")
    print(as_text(method_table(summary)))


def title(summary: dict[str, Any]) -> str:
    return f"{summary['problems']} {summary['split']}, {summary['n_problems']} problems, {summary['N']} candidates each"


def method_table(summary: dict[str, Any]) -> Table:
    rows = [["method", "accuracy", "95% interval", "generated tokens", "verifier tokens", "FLOPs"]]
    for m in summary["methods"].values():
        tokens = [f"{m['generated_tokens']:,.0f}", f"{m['verifier_tokens']:,.0f}"]
        rows.append([m["label"], percent(m["accuracy"]), interval(m), *tokens, f"{m['flops']:.2e}"])
    return rows


def level_table(summary: dict[str, Any]) -> Table:
    rows = [["level", "problems", *(method["label"] for method in summary["methods"].values())]]
    for level, accuracy in summary["by_level"].items():
        shares = [percent(accuracy[name]) for name in summary["methods"]]
        rows.append([level, str(summary["problems_by_level"][level]), *shares])
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
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|---" + "|---:" * (len(table[0]) - 1) + "|", *lines[1:]])


def as_html(table: Table) -> str:
    def line(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    body = "\n".join(line(row, "td") for row in table[1:])
    return f'<div class="scroll"><table><thead>{line(table[0], "th")}</thead><tbody>{body}</tbody></table></div>'


def sections(summary: dict[str, Any]) -> list[tuple[str, Table, str]]:
    """(heading, table, note) of each table, for both pages."""
    found = [
        (
            "Accuracy and cost",
            method_table(summary),
            f"N = {summary['N']}. Costs are means per problem; FLOPs are 2 x parameters x tokens of both models.",
        ),
        (
            "Verifiers",
            verifier_table(summary),
            "AUC within a problem is the chance that a right candidate scores above a wrong one of the same problem "
            "(0.5 = no use for choosing). The length correlation should be near 0: else the score counts steps.",
        ),
    ]
    if summary["by_level"]:
        note = "A level has few problems: the picture shows how wide its intervals are."
        found.insert(1, ("Accuracy by difficulty level", level_table(summary), note))
    return found


def facts(summary: dict[str, Any], meta: dict[str, Any]) -> list[str]:
    models = {"generator": meta["generator"]} | meta["verifiers"]
    sizes = ", ".join(f"{name} {model['num_parameters']:,} parameters" for name, model in models.items())
    return [
        f"{sizes}; temperature {meta['generator']['temperature']}, seed {meta['seed']}, {summary['seconds']:.0f} s.",
        f"{percent(summary['truncated_share'])} of the candidates were cut at the token limit, "
        f"{percent(summary['no_answer_share'])} ended without an answer, {percent(summary['undecided_share'])} could "
        f"not be checked; they count as wrong. {percent(summary['vote_tie_rate'])} of the majority votes were ties.",
    ]


def markdown_page(summary: dict[str, Any], meta: dict[str, Any]) -> str:
    parts = [
        f"# Search report: {title(summary)}",
        *(f"> **Warning:** {w}" for w in summary["warnings"]),
        reading(summary),
    ]
    pictures = {
        "Accuracy and cost": "![Accuracy against generated tokens](gains.png)",
        "Accuracy by difficulty level": "![Accuracy by difficulty level](by_level.png)",
    }
    for heading, table, note in sections(summary):
        parts += [f"## {heading}", as_markdown(table), note]
        parts += [pictures[heading]] if heading in pictures else []
    parts += ["## The run", *facts(summary, meta), "Traces with their step scores are in [report.html](report.html)."]
    parts += ["## How the figures are estimated", "\n".join(f"- {line}" for line in ESTIMATES)]
    return "\n\n".join(parts) + "\n"


def html_page(summary: dict[str, Any], run: Run, folder: Path) -> str:
    """Fill the template. Everything is embedded, so that the page can be mailed or opened from a file."""

    def picture(name: str, alt: str) -> str:
        data = base64.b64encode((folder / name).read_bytes()).decode()
        return f'<img class="picture" alt="{alt}" src="data:image/png;base64,{data}">'

    pictures = {"Accuracy and cost": picture("gains.png", "Accuracy against generated tokens per problem")}
    if summary["by_level"]:
        pictures["Accuracy by difficulty level"] = picture("by_level.png", "Accuracy by difficulty level")
    tables = "\n".join(
        f"<h2>{heading}</h2>\n{as_html(table)}\n<p class=note>{html.escape(note)}</p>\n{pictures.get(heading, '')}"
        for heading, table, note in sections(summary)
    )
    fields = {
        "title": html.escape(title(summary)),
        "warnings": "".join(f"<p class=warning>Warning: {html.escape(w)}</p>" for w in summary["warnings"]),
        "reading": html.escape(reading(summary)),
        "tables": tables,
        "facts": "".join(f"<p>{html.escape(fact)}</p>" for fact in facts(summary, run.meta)),
        "estimates": "".join(f"<li>{html.escape(line)}</li>" for line in ESTIMATES),
        "total": str(len(run.rows)),
        "traces": as_json(traces_to_show(run)),
        "names": as_json(
            {
                "methods": {name: summary["methods"][name]["label"] for name in run.meta["methods"]},
                "verifiers": {name: verifier_title(name) for name in run.meta["verifiers"]},
                "leading": leading(summary),
            }
        ),
    }
    head, *pieces = TEMPLATE.read_text(encoding="utf-8").split("{{")
    return head + "".join(fields[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces))


def as_json(value: Any) -> str:
    """For a script element: no text in it can end the element."""
    return json.dumps(value, ensure_ascii=False).replace("<", r"\u003c")


def styles(summary: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Color and marker of each method."""
    names = [name for name in summary["methods"] if name not in (SINGLE, CEILING)]
    found = {name: (COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(names)}
    return found | {SINGLE: ("#999999", "X"), CEILING: ("#444444", "")}


def draw_gains(summary: dict[str, Any], path: Path) -> None:
    """Accuracy against generated tokens. The legend is sorted like the right ends of the lines."""
    methods, style = summary["methods"], styles(summary)
    figure, axes = plt.subplots(figsize=(8.6, 4.8), dpi=150, layout="constrained")
    handles = []
    for name in sorted(methods, key=lambda name: -methods[name]["accuracy"]):
        points = summary["curves"].get(name, [methods[name]])  # one sample and what adapts are points
        x = [point["generated_tokens"] for point in points]
        y, low, high = ([point[key] for point in points] for key in ("accuracy", "low", "high"))
        color, marker = style[name]
        handle = axes.plot(x, y, "--" if name == CEILING else "-", color=color, marker=marker)[0]
        handle.set_label(f"{methods[name]['label']}  {percent(y[-1])}")
        handles.append(handle)
        if len(points) == 1:
            axes.vlines(x, low, high, color=color)
        elif name != CEILING:
            axes.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("generated tokens per problem (log scale)")
    marked = [axes]
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
        title=f"at N = {summary['N']}",
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
        low, high = zip(*(summary["by_level_intervals"][level][name] for level in levels), strict=True)
        axes.bar(x, y, width, color=style[name][0], label=methods[name]["label"])
        axes.vlines(x, low, high, color="#222222", linewidth=1.1)
    counts = summary["problems_by_level"]
    axes.set_xticks(range(len(levels)), [f"{level}\n{counts[level]} problems" for level in levels], fontsize=9)
    axes.set_xlabel("difficulty level")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, frameon=False)
    finish(figure, axes, f"Accuracy by difficulty level\n{title(summary)}; black lines: 95% intervals", path)


def finish(figure: Figure, axes: Axes, heading: str, path: Path) -> None:
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("problems solved")
    axes.set_title(heading, loc="left", fontsize=11, pad=10)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["right", "top"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    main()
