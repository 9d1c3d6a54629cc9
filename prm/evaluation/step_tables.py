"""Tables of what step scores are worth, for the terminal and for reports: of `step_quality`, and of the benchmarks.

The figures may come from JSON, where NaN is null. What has no value is shown as NaN, an interval of too few problems as a
dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prm.evaluation.labels import verifier_title
from prm.evaluation.prmbench import GROUPS
from prm.evaluation.reading import interval
from prm.evaluation.tables import Table

Section = tuple[str, Table, str]
"""Heading, table, note."""


def share(value: float | None) -> str:
    """In percent."""
    return "NaN" if value is None or math.isnan(value) else f"{100 * value:.1f}%"


def number(value: float | None, signed: bool = False) -> str:
    return "NaN" if value is None or math.isnan(value) else f"{value:{'+' if signed else ''}.3f}"


def quality_sections(named: Mapping[str, dict[str, Any]], truth: str) -> list[Section]:
    """
    Args:
        named: name of a verifier -> its `step_quality`.
        truth: what the scores are set against, in words.
    """
    return [
        (
            f"Step scores against {truth}",
            quality_table(named),
            "Of single steps: AUC within a problem is the chance that a right step scores above a wrong one of the same"
            " problem (with its 95% interval), calibration error the mean difference between a score and the share that"
            " is right. Wrong process: among right answers with a wrong step, those with a step called wrong (at 0.5 or"
            " below), and, of the other right answers, how many are called so, too. An ORM learned the score of the last"
            " step only.",
        ),
        (
            "Calibration by depth",
            depth_table(named),
            "Mean score of the steps at each place, with their calibration error, beside the share of them that is"
            " right.",
        ),
        (
            "Biases of step scores",
            bias_table(named),
            "How often the lowest score of a trace is that of its last step, what chance would give, and in how many of"
            " the wrong traces the last step is the first wrong one. Correlations within a problem, of trace scores with"
            " the number of steps and of characters, each with that of the truth: what goes beyond it is bias.",
        ),
    ]


def quality_table(named: Mapping[str, dict[str, Any]]) -> Table:
    head = ["verifier", "traces", "steps", "right", "AUC within a problem", "95% interval", "AUC", "balanced accuracy"]
    rows = [[*head, "calibration error", "wrong process found", "right process called so"]]
    for name, its in named.items():
        process = its["wrong_process"]
        cells = [verifier_title(name), f"{its['traces']:,}", f"{its['steps']:,}", share(its["right_steps"])]
        spread = "–" if its["low"] is None else f"[{its['low']:.3f}, {its['high']:.3f}]"
        cells += [number(its["auc_within_problem"]), spread, number(its["auc"]), share(its["balanced_accuracy"])]
        found = f"{share(process['flagged'])} of {process['wrong_process']:,}"
        rows.append([*cells, number(its["calibration_error"]), found, share(process["flagged_right"])])
    return rows


def depth_table(named: Mapping[str, dict[str, Any]]) -> Table:
    """Rows for places of steps; verifiers that scored the same steps share the columns that say which these are."""
    depths = {its["from"]: its for figures in named.values() for its in figures["by_depth"]}
    columns = [f"{verifier_title(name)} {what}" for name in named for what in ("score", "error")]
    rows = [["step", "steps", "right", *columns]]
    for first, any_of in sorted(depths.items()):
        last = any_of["to"]
        label = f"{first}" if last == first else f"{first} to {last}" if last else f"{first} and more"
        cells = [label, f"{any_of['steps']:,}", share(any_of["right_steps"])]
        for figures in named.values():
            mine = next((its for its in figures["by_depth"] if its["from"] == first), None)
            cells += [number(mine["score"]), number(mine["calibration_error"])] if mine else ["", ""]
        rows.append(cells)
    return rows


def bias_table(named: Mapping[str, dict[str, Any]]) -> Table:
    rows = [["verifier", "lowest is last", "by chance", "in truth", "steps", "in truth", "characters", "in truth"]]
    for name, its in named.items():
        last, bias = its["lowest_last"], its["bias"]
        cells = [verifier_title(name), *(share(last[key]) for key in ("share", "by_chance", "by_truth"))]
        keys = ("steps", "steps_truth", "characters", "characters_truth")
        rows.append([*cells, *(number(bias[key], signed=True) for key in keys)])
    return rows


def benchmark_sections(name: str, figures: dict[str, Any]) -> list[Section]:
    """
    Args:
        name: `processbench`, `prmbench` or `mr_gsm8k`; others have no figures of their own.
    """
    return BENCHMARKS[name](figures) if name in BENCHMARKS else []


def _processbench(figures: dict[str, Any]) -> list[Section]:
    official = figures["rules"]["official"]
    rows = [["subset", "traces", "erroneous", "error acc", "correct acc", "F1", "95% interval", "not scored"]]
    for subset, its in official["subsets"].items():
        cells = [subset, f"{its['traces']:,}", f"{its['erroneous']:,}"]
        cells += [share(its[key]) for key in ("error_accuracy", "correct_accuracy", "f1")]
        rows.append([*cells, interval(its), str(its["not_scored"])])
    traces = sum(its["traces"] for its in official["subsets"].values())
    rows.append(["average F1", f"{traces:,}", "", "", "", share(official["f1_average"]), interval(official), ""])
    subsets = list(official["subsets"])
    variants = [["which step is called wrong", *subsets, "average F1", "row-weighted F1"]]
    for rule, its in figures["rules"].items():
        shares = [share(its["subsets"][subset]["f1"]) for subset in subsets]
        variants.append([rule, *shares, share(its["f1_average"]), share(its["f1_row_weighted"])])
    others = {
        "accuracy": "accuracy",
        "f1_has_mistake": "F1 of has a mistake",
        "f1_without_mistake": "F1 without mistake",
    }
    for key, title in others.items():
        values = [its[key] for its in official["subsets"].values()]
        mean = math.nan if None in values else math.fsum(values) / len(values)
        variants.append([title, *map(share, values), share(mean), ""])
    what = "; ".join(f"{rule}: {its['what']}" for rule, its in figures["rules"].items())
    return [
        (
            "ProcessBench",
            rows,
            "Official definition: the share of the erroneous traces whose first wrong step is named exactly, that of the"
            " others in which none is named, their harmonic mean, and its plain mean over the subsets.",
        ),
        (
            "ProcessBench, other figures in print",
            variants,
            f"F1 unless another figure is named. {what}. Below: figures that papers have published under the benchmark's"
            " name.",
        ),
    ]


def _prmbench(figures: dict[str, Any]) -> list[Section]:
    rows = [["class", "traces", "steps", "wrong", "F1", "negative F1", "PRMScore", "95% interval", "not scored"]]
    named = figures["classes"] | {"overall": figures}
    for name, its in named.items():
        cells = [name, *(f"{its[key]:,}" for key in ("traces", "steps", "wrong_steps"))]
        cells += [share(its[key]) for key in ("f1", "negative_f1", "prm_score")]
        rows.append([*cells, interval(its), str(its["not_scored"])])
    rows += [[group, "", "", "", "", "", share(figures["groups"][group]), "", ""] for group in GROUPS]
    return [
        (
            "PRMBench",
            rows,
            "A step is called right above 0.5. PRMScore: half the F1 of right and half that of wrong steps; of"
            " multi_solutions the former alone; of a group the mean of its classes; overall, of all steps."
            f" {figures['beyond']} wrong steps of {figures['traces_beyond']} traces lie after the last step and count for"
            " nothing.",
        )
    ]


def _mr_gsm8k(figures: dict[str, Any]) -> list[Section]:
    rows = [
        [
            "questions",
            "traces",
            "wrong",
            "MCC",
            "95% interval",
            "step accuracy",
            "MR-Score without reasons",
            "not scored",
        ]
    ]
    for name, its in (figures["types"] | {"all": figures["all"]}).items():
        spread = "–" if its["low"] is None else f"[{its['low']:.3f}, {its['high']:.3f}]"
        cells = [
            name,
            f"{its['traces']:,}",
            f"{its['wrong']:,}",
            number(its["mcc"]),
            spread,
            share(its["step_accuracy"]),
        ]
        rows.append([*cells, share(its["mr_score_without_reasons"]), str(its["not_scored"])])
    return [
        (
            "MR-GSM8K",
            rows,
            "MR-Score is 0.2 max(0, MCC) + 0.3 step accuracy + 0.5 reason accuracy; a verifier gives no reasons, so it"
            " has at most half of it.",
        )
    ]


BENCHMARKS = {"processbench": _processbench, "prmbench": _prmbench, "mr_gsm8k": _mr_gsm8k}


def step_run_sections(summary: dict[str, Any]) -> list[Section]:
    """All sections of a summary of `eval/score_steps.py`, with the verifier in their headings."""
    found = benchmark_sections(summary["benchmark"], summary["official"])
    if summary["steps"] is not None:
        found += quality_sections({summary["verifier"]: summary["steps"]}, summary["truth"])
    return [(f"{heading} ({summary['verifier']})", table, note) for heading, table, note in found if len(table) > 1]
