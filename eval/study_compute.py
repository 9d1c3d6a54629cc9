r"""The study of compute: which method, how many samples, for which problem, and is it worth it (Snell et al. 2024)?

The figures of arXiv:2408.03314 on the embedded sets, every number from stored rows: methods against budget, the same by
difficulty, sequential against parallel revisions, compute-optimal against fixed methods for search and for revisions, and
test-time compute against a larger model. The larger model is the generator that ships; the small one has a 14th of its
parameters. What does not exist is trained first; all stages go on where they stopped.

Choices are made by two-fold cross-validation over the test problems, as in the paper: no problem takes part in a choice that
is made for it (prm.evaluation.compute_optimal). Statistic, probe and number of bins were chosen on validation problems.

Reads   nothing           the sets and their generators are part of the project
Writes  outputs/study/    a run folder per search, with the report of the search in it; study.md, study.html, summary.json,
                          pictures; study.log: what the stages print

    python eval/study_compute.py
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.command_line import run_script
from prm.evaluation.menus import Menu, Probe, menu_of
from prm.evaluation.model_size import against_larger, bins_of, by_difficulty
from prm.evaluation.page import page
from prm.evaluation.reading import interval, percent, points
from prm.evaluation.savings import compute_optimal_report, merged
from prm.evaluation.search_runs import read_runs
from prm.evaluation.tables import Table, as_markdown
from prm.files import write_whole
from prm.stages import Stages

OUTPUT = Path("outputs/study")

SEARCH = "eval/run_search.py --config eval/configs/study_{}.yaml"
SAMPLE = "data/sample_traces.py --config data/configs/{}_traces.yaml"
LABEL = "data/label_steps.py --config data/configs/{}_labels.yaml"
TRAIN = "recipes/train_prm.py --overwrite_output_dir --config recipes/configs/prm_{}.yaml"
FIT = "recipes/train_generator.py --overwrite_output_dir --config recipes/configs/{}.yaml"
REPORT = f"eval/write_report.py --run {OUTPUT}/{{0}} --output_dir {OUTPUT}/{{0}}/report"
STAGES = {
    "kind set: traces, labels, verifiers": "recipes/quickstart.py",
    "kind set: search": SEARCH.format("arithmetic"),
    "unkind set: traces": SAMPLE.format("arithmetic_hard"),
    "unkind set: labels": LABEL.format("arithmetic_hard"),
    "unkind set: base of the PRM": FIT.format("checker_arithmetic_hard"),
    "unkind set: PRM": TRAIN.format("arithmetic_hard"),
    "unkind set: search": SEARCH.format("arithmetic_hard"),
    "small generator": FIT.format("generator_arithmetic_small"),
    "small generator: search": SEARCH.format("arithmetic_small"),
    "reviser: traces": SAMPLE.format("arithmetic_revisions"),
    "reviser: examples": "data/build_revisions.py --traces outputs/revisions/traces.jsonl"
    " --output outputs/revisions/examples.jsonl",
    "reviser": FIT.format("reviser_arithmetic"),
    "reviser: search": SEARCH.format("revisions"),
    "kind set: report": REPORT.format("arithmetic"),
    "unkind set: report": REPORT.format("arithmetic_hard"),
    "small generator: report": REPORT.format("small"),
    "reviser: report": REPORT.format("revisions"),
}
"""What it takes, in order. Each command can be run by hand."""

TITLES = {
    "arithmetic": "Kind set",
    "arithmetic_hard": "Unkind set",
    "small": "Kind set, small generator",
    "revisions": "Kind set, reviser",
}
"""Folder of each search, and what it is about."""

CHAINS = {f"revisions prm chains={n}": n for n in (1, 2, 4, 8)} | {"weighted_vote prm": 16}
"""Method of the search by revisions -> chains into which its 16 attempts are divided."""

PROBE = Probe("lead", 2)
BINS = 5
LARGER = "arithmetic"
"""The search whose generator is the larger model; the small one is searched on the same problems."""


@dataclass
class Arguments:
    """The study has none; its stages have those of their configs."""


def main(args: Arguments) -> None:
    os.chdir(Path(__file__).parent.parent)
    stages = Stages(OUTPUT, "study", width=46)
    print(f"{len(STAGES)} stages on the embedded sets, two hours at most. What they print: {stages.log}\n", flush=True)
    for i, (name, command) in enumerate(STAGES.items(), 1):
        stages.once(f"{i:2}/{len(STAGES)} {name}", command, mark=f"{i}", made_of=config_of(command), changed=name)

    menus = {name: menu_of(read_runs([OUTPUT / name]), "prm") for name in TITLES}
    summary = study(menus)
    write_whole(OUTPUT / "summary.json", json.dumps(summary, indent=1) + "\n")
    draw(summary)
    text = markdown(summary)
    write_whole(OUTPUT / "study.md", text)
    write_whole(OUTPUT / "study.html", html_page(summary))
    print(f"\n{text}")


def config_of(command: str) -> dict[str, str]:
    """The text of the config that a command reads."""
    _, found, config = command.partition("--config ")
    return {"config": Path(config).read_text(encoding="utf-8")} if found else {}


def study(menus: dict[str, Menu]) -> dict[str, Any]:
    """Every number of the study."""
    summary: dict[str, Any] = {}
    for name, menu in menus.items():
        report = compute_optimal_report(menu, PROBE, BINS)
        bins = {
            kind: bins_of(its, BINS)
            for kind, its in (("oracle", menu.oracle_P()), ("predicted", menu.predicted_P("score")))
        }
        summary[name] = report | {
            "problems": len(menu.problems),
            "generator_parameters": menu.run.meta["generator"]["num_parameters"],
            "by_difficulty": {kind: by_difficulty(menu, those) for kind, those in bins.items()},
        }
    small, large = menus["small"], menus[LARGER]
    assert small.problems == large.problems, "the two models answer the same problems"
    larger = large.run.meta["generator"]["num_parameters"] / small.run.meta["generator"]["num_parameters"]
    right = [1 - hard for hard in large.oracle_P()]
    groups = bins_of(small.oracle_P(), BINS)
    summary["against_larger"] = {"larger": larger, "cases": against_larger(small, PROBE, BINS, right, larger, groups)}
    # The two figures of the study: those of the kind set; the others have theirs in their own entries.
    return summary | {
        key: summary["arithmetic"][key] for key in ("compute_saving_generation", "compute_saving_charged")
    }


def draw(summary: dict[str, Any]) -> None:
    from prm.evaluation import study_plots as plots

    for name, title in TITLES.items():
        its = summary[name]
        who = f"{title}, {its['problems']} test problems"
        plots.draw_methods(its, f"{who}: every method at every budget", OUTPUT / f"{name}_methods.png")
        bins = its["by_difficulty"]["oracle"]
        plots.draw_by_difficulty(bins, f"{who}, by difficulty (oracle)", OUTPUT / f"{name}_by_difficulty.png")
        plots.draw_compute_optimal(its, f"{who}: compute-optimal", OUTPUT / f"{name}_compute_optimal.png")
    most = max(point["samples"] for point in summary["revisions"]["fixed"]["weighted_vote prm"])
    ratios = {family: (chains, most // chains) for family, chains in CHAINS.items()}
    plots.draw_ratios(
        summary["revisions"]["by_difficulty"]["oracle"],
        ratios,
        f"Sequential against parallel: {most} attempts, by difficulty",
        OUTPUT / "revisions_ratios.png",
    )
    against = summary["against_larger"]
    plots.draw_against_larger(
        against["cases"],
        against["larger"],
        "Search with the small model against one sample of the larger one, at equal FLOPs",
        OUTPUT / "against_larger.png",
    )


def html_page(summary: dict[str, Any]) -> str:
    """Tables and pictures in one file; traces and trees are on the pages of the searches, which it links to."""
    sections: list[tuple[str, Table, str]] = []
    pictures: dict[str, list[tuple[Path, str]]] = {}
    kinds = {
        "methods": "every method at every budget",
        "by_difficulty": "by difficulty",
        "compute_optimal": "compute-optimal",
    }
    for name, title in TITLES.items():
        its = summary[name]
        heading = f"{title}: {its['problems']} test problems"
        pictures[heading] = [(OUTPUT / f"{name}_{kind}.png", f"{title}: {words}") for kind, words in kinds.items()]
        sections.append((heading, method_table(its), "Accuracy with its 95% interval."))
        sections.append((f"{title}: savings", saving_table(its), "By two-fold cross-validation."))
    ratios = "Sequential against parallel"
    sections.append((ratios, [], ""))
    pictures[ratios] = [(OUTPUT / "revisions_ratios.png", f"{ratios} revisions, by difficulty")]
    against = summary["against_larger"]
    heading = f"Against a model {against['larger']:.1f} times larger"
    sections.append((heading, larger_table(against), "At equal FLOPs; differences are paired by problem."))
    pictures[heading] = [(OUTPUT / "against_larger.png", "Search with the small model against the larger one")]
    reports = {
        f"{name}/report/report.html": f"{title}: report, traces and search trees" for name, title in TITLES.items()
    }
    links = {path: words for path, words in reports.items() if (OUTPUT / path).exists()}
    return page("Study of compute", [], sections, pictures, [], links=links)


def markdown(summary: dict[str, Any]) -> str:
    """The tables of the study."""
    parts = ["# Study of compute", ""]
    for name, title in TITLES.items():
        its = summary[name]
        parts += [f"## {title}: {its['problems']} test problems", "", as_markdown(method_table(its)), ""]
        parts += ["Savings, two-fold cross-validation:", "", as_markdown(saving_table(its)), ""]
    against = summary["against_larger"]
    parts += [f"## Against a model {against['larger']:.1f} times larger", "", as_markdown(larger_table(against)), ""]
    return "\n".join(parts)


def method_table(its: dict[str, Any]) -> Table:
    methods = its["fixed"] | its["adaptive"]
    budgets = sorted({point["samples"] for points in methods.values() for point in points})
    rows = [["method", *(f"N = {n}" for n in budgets)]]
    for family, its_points in methods.items():
        at = {point["samples"]: f"{percent(point['accuracy'])} {interval(point)}" for point in its_points}
        rows.append([f"`{family}`", *(at.get(n, "") for n in budgets)])
    return rows


def saving_table(its: dict[str, Any]) -> Table:
    rows = [["accounting", "difficulty", "budget", "against", "accuracy", "saving"]]
    for s in merged(its["savings"]):
        if s["saving"] is None:
            gain = "not reached"
        else:
            gain = f"{s['saving']:.1f}x" + ("" if s["low"] is None else f" [{s['low']:.1f}, {s['high']:.1f}]")
        against = f"`{s['family']} samples={s['samples']}`, its {s['at']}"
        rows.append([s["accounting"], s["difficulty"], s["form"], against, percent(s["accuracy"]), gain])
    return rows


def larger_table(against: dict[str, Any]) -> Table:
    rows = [["counted", "R", "may cost", "small model with", "problems", "small", "larger", "difference"]]
    for case in against["cases"]:
        for row in case["rows"]:
            group = "all" if row["bin"] is None else f"bin {row['bin'] + 1}"
            both = [percent(row[key]["mean"]) for key in ("small", "larger")]
            head = [
                case["accounting"],
                f"{case['R']:g}",
                f"{case['multiple']:.0f} samples",
                row["choice"],
                f"{group}, {row['problems']}",
            ]
            rows.append([*head, *both, points(row["difference"])])
    return rows


if __name__ == "__main__":
    run_script(main, Arguments)
